"""How many requests a job costs, and how many bytes: counted, not timed.

The metadata zone of each image here is longer than the 64 KiB that a reader asks for first.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import fsspec
import pytest

import iasfs
from helpers import require_debian_root
from iasfs.blob import BytesBlob, FileBlob
from iasfs.format.superblock import FRONT_SIZE
from iasfs.fs import IasFileSystem
from iasfs.ias.objects import FsspecBlob
from iasfs.layers import IAS
from iasfs.read.image import Image
from iasfs.testing import RecordingBlob
from iasfs.write.profile import EXTENT_SIZE
from stores import S3, s3_server, tar_of

RANDOM = random.Random(7)
FILES = {
    f"dir{number % 30}/sub{number % 7}/file{number}": b"line %d\n" % number * RANDOM.randrange(50)
    + RANDOM.randbytes(RANDOM.randrange(100, 4000))
    for number in range(3000)
} | {"large": RANDOM.randbytes(3_000_000)}
SMALL = "dir5/sub4/file95"


class Sample(NamedTuple):
    """An image and what one small file in it should hold."""

    tar: bytes | Path
    image: bytes | Path
    path: str
    data: bytes


@pytest.fixture(scope="module")
def generated() -> Sample:
    tar, image = tar_of(FILES), io.BytesIO()
    iasfs.mkfs(io.BytesIO(tar), image)
    return Sample(tar, image.getvalue(), SMALL, FILES[SMALL])


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    tar = require_debian_root()
    image = tmp_path_factory.mktemp("debian") / "root.erofs"
    iasfs.mkfs(tar, image)
    with tarfile.open(tar) as archive:
        name = next(name for name in archive.getnames() if name in ("etc/passwd", "./etc/passwd"))
        member = archive.extractfile(name)
        assert member is not None
        return Sample(tar, image, name.removeprefix("./"), member.read())


@pytest.fixture(params=["generated", "debian"])
def sample(request: pytest.FixtureRequest) -> Sample:
    found: Sample = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


def recorded(sample: Sample) -> RecordingBlob:
    """The image, with requests merged as those to a remote store are."""
    blob = FileBlob(sample.image) if isinstance(sample.image, Path) else BytesBlob(sample.image)
    return RecordingBlob(blob, merge_gap=FsspecBlob.merge_gap, merge_limit=FsspecBlob.merge_limit)


def look_at_everything(image: Image) -> int:
    """List and stat the whole tree, attributes too; the number of names."""
    count = 0
    for top, dirs, files in image.walk("/"):
        for name in [*dirs, *files]:
            path = os.path.join(top, name)
            image.lstat(path)
            image.listxattr(path, follow_symlinks=False)
            count += 1
    return count


def test_one_file_costs_three_requests(sample: Sample) -> None:
    """The front, the rest of the metadata, the data; the whole tree costs nothing more."""
    blob = recorded(sample)
    image = Image(blob)
    metadata_size = len(image.volume.metadata.front)
    assert metadata_size > FRONT_SIZE
    assert blob.calls == [
        ((0, FRONT_SIZE),),
        ((FRONT_SIZE, metadata_size - FRONT_SIZE),),
    ]
    assert image.read_bytes(sample.path) == sample.data
    assert len(blob.calls) == len(blob.requests) == 3
    assert blob.requests[2][1] <= EXTENT_SIZE
    assert blob.bytes_read <= metadata_size + EXTENT_SIZE
    assert look_at_everything(image) >= 3000
    assert len(blob.calls) == 3


def test_one_file_costs_two_where_the_metadata_size_is_known(sample: Sample) -> None:
    size = len(Image(recorded(sample)).volume.metadata.front)
    blob = recorded(sample)
    image = Image(blob, metadata_size=size)
    assert image.read_bytes(sample.path) == sample.data
    look_at_everything(image)
    assert blob.calls[0] == ((0, size),)
    assert len(blob.requests) == 2


@pytest.mark.parametrize("guess", [1, FRONT_SIZE + 1, 1 << 40])
def test_a_wrong_guess_of_the_metadata_size_does_no_harm(generated: Sample, guess: int) -> None:
    blob = recorded(generated)
    assert Image(blob, metadata_size=guess).read_bytes(SMALL) == FILES[SMALL]
    assert len(blob.requests) <= 3


def test_many_small_files_are_few_requests(generated: Sample) -> None:
    """In as many round trips as memory asks for, and no byte twice."""
    blob = recorded(generated)
    image = Image(blob)
    blob.clear()
    names = RANDOM.sample([name for name in FILES if name != "large"], 1000)
    found = image.read_many([(name, 0, None) for name in names])
    assert found == [FILES[name] for name in names]
    assert len(blob.calls) <= 2
    assert len(blob.requests) <= 8
    assert blob.bytes_read <= image.size - len(image.volume.metadata.front) - len(FILES["large"])


def test_a_batch_through_fsspec_is_one_round_trip(generated: Sample) -> None:
    blob = recorded(generated)
    fs = IasFileSystem(blob)
    blob.clear()
    names = [name for name in FILES if name.startswith("dir3/")]
    assert fs.cat(names) == {name: FILES[name] for name in names}
    assert len(blob.calls) == 1
    blob.clear()
    assert len(fs.find("")) == len(FILES)
    assert fs.glob("dir*/sub1") != []
    assert fs.du("") > 3_000_000
    assert blob.calls == []


def test_a_large_file_in_order(generated: Sample) -> None:
    """Reading it whole is one request; in pieces, no byte is fetched twice."""
    blob = recorded(generated)
    image = Image(blob)
    blob.clear()
    assert image.read_bytes("large") == FILES["large"]
    assert len(blob.requests) == 1
    assert blob.bytes_read <= 3_000_000 + 4096
    blob.clear()
    with image.open("large") as file:
        while file.read(1 << 16):
            pass
    assert blob.bytes_read <= 3_000_000 + 4096


def test_one_file_on_s3(sample: Sample, s3: S3) -> None:
    """What the server was asked: the size, the front, and the data if that is not in it."""
    url = f"s3://{s3.bucket()}/x.erofs"
    data = sample.image.read_bytes() if isinstance(sample.image, Path) else sample.image
    s3.put(url, data)
    with iasfs.open(url, storage_options=s3.options) as image:
        assert image.read_bytes(sample.path) == sample.data
        look_at_everything(image)
    head, *ranges = s3.requests
    assert head == ("HEAD", f"/{url[5:]}", 200)
    assert 1 <= len(ranges) <= 2
    assert set(ranges) == {("GET", f"/{url[5:]}", 206)}


def test_one_file_by_a_chained_url(generated: Sample, s3: S3) -> None:
    fsspec.register_implementation("iasfs", IasFileSystem, clobber=True)
    url = f"s3://{s3.bucket()}/x.erofs"
    assert isinstance(generated.image, bytes)
    s3.put(url, generated.image)
    with fsspec.open(f"iasfs://{SMALL}::{url}", s3=dict(s3.options)) as file:
        assert file.read() == FILES[SMALL]
    assert [method for method, _, _ in s3.requests] == ["HEAD", "GET", "GET"]


def test_one_file_of_a_layer(sample: Sample, s3: S3) -> None:
    """Its descriptor tells the sizes: so three in all, and three at the most."""
    ias = IAS(f"s3://{s3.bucket()}/ias", storage_options=s3.options)
    tar = sample.tar if isinstance(sample.tar, Path) else io.BytesIO(sample.tar)
    layer = ias.publish_layer(tar)
    s3.requests.clear()
    with ias.open_layer(layer.diff_id) as image:
        assert image.read_bytes(sample.path) == sample.data
        look_at_everything(image)
    names = [path.rpartition("/")[2] for _, path, _ in s3.requests]
    assert names == ["layer.json", "layer.erofs", "layer.erofs"]
    assert {(method, status) for method, _, status in s3.requests} == {("GET", 206)}


def test_a_child_process_asks_for_nothing_that_is_known(generated: Sample, s3: S3) -> None:
    """An image that comes out of a pickle needs its front again, and nothing else."""
    url = f"s3://{s3.bucket()}/x.erofs"
    assert isinstance(generated.image, bytes)
    s3.put(url, generated.image)
    image = iasfs.open(url, storage_options=s3.options)
    s3.requests.clear()
    again = pickle.loads(pickle.dumps(image))
    assert [method for method, _, _ in s3.requests] == ["GET"]
    assert again.read_bytes(SMALL) == FILES[SMALL]
