"""IAS: a tar goes in, an image comes out, and each layer is stored once."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

import iasfs
from iasfs.errors import BlobNotFound, DigestMismatch, FormatError, StorageError, WriteError
from iasfs.ias import layout
from iasfs.layers import IAS
from stores import S3, s3_server, tar_of

FILES = {"etc/motd": b"hello\n", "usr/data": os.urandom(300_000), "etc/.wh.gone": b""}
TAR = tar_of(FILES)
DIFF_ID = f"sha256:{hashlib.sha256(TAR).hexdigest()}"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["directory", "memory", "s3"])
def ias(request: pytest.FixtureRequest, tmp_path: Path) -> IAS:
    if request.param == "directory":
        return IAS(tmp_path / "ias")
    if request.param == "memory":
        return IAS(f"memory://{tmp_path.name}")
    s3: S3 = request.getfixturevalue("s3")
    return IAS(f"s3://{s3.bucket()}/ias", storage_options=s3.options)


def test_publish_and_open(ias: IAS) -> None:
    layer = ias.publish_layer(io.BytesIO(TAR))
    assert layer.diff_id == DIFF_ID
    with ias.open_layer(DIFF_ID) as image:
        assert image.read_bytes("/etc/motd") == FILES["etc/motd"]
        assert image.read_bytes("/usr/data") == FILES["usr/data"]
        assert (layer.size, layer.inodes) == (image.size, image.superblock.inos)
    data = ias._store.blob(layer).read_at(0, layer.size)
    assert layer.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert list(ias.layers()) == [layer] == [ias.layer(DIFF_ID)]
    assert ias.has_layer(DIFF_ID)
    ias.remove_layer(DIFF_ID)
    assert not ias.has_layer(DIFF_ID)
    with pytest.raises(BlobNotFound):
        ias.open_layer(DIFF_ID)


def test_whiteouts_are_those_of_overlayfs(ias: IAS) -> None:
    ias.publish_layer(io.BytesIO(TAR))
    assert ias.open_layer(DIFF_ID).listdir("/etc") == ["gone", "motd"]


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_a_layer_is_named_by_what_is_uncompressed(tmp_path: Path, compression: str) -> None:
    ias = IAS(tmp_path / "ias")
    path = tmp_path / "layer"
    path.write_bytes(tar_of({"a": b"b"}, compression))
    layer = ias.publish_layer(path)
    assert layer.diff_id == f"sha256:{hashlib.sha256(tar_of({'a': b'b'})).hexdigest()}"
    assert ias.publish_layer(io.BytesIO(tar_of({"a": b"b"}))) == layer


class Forward(io.RawIOBase):
    """A stream that cannot seek, as standard input."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


@pytest.mark.parametrize("kind", ["path", "str", "url", "file", "stream", "blob"])
def test_sources(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "layer.tar"
    path.write_bytes(TAR)
    fsspec.filesystem("memory").pipe_file("/layer.tar.gz", gzip.compress(TAR))
    sources: dict[str, Any] = {
        "path": path,
        "str": str(path),
        "url": "memory://layer.tar.gz",
        "file": io.BytesIO(TAR),
        "stream": Forward(TAR),
        "blob": iasfs.BytesBlob(TAR),
    }
    assert IAS(tmp_path / "ias").publish_layer(sources[kind]).diff_id == DIFF_ID


def test_a_source_on_s3(s3: S3, tmp_path: Path) -> None:
    url = f"s3://{s3.bucket()}/layer.tar"
    s3.put(url, TAR)
    layer = IAS(tmp_path / "ias").publish_layer(url, storage_options=s3.options)
    assert layer.diff_id == DIFF_ID


@pytest.mark.parametrize("source", [Path("."), ".", iasfs.Tree()])
def test_what_is_no_tar_has_no_diff_id(tmp_path: Path, source: Any) -> None:
    with pytest.raises(WriteError, match="only a tar has a diffID"):
        IAS(tmp_path / "ias").publish_layer(source)
    assert not (tmp_path / "ias").exists()


def test_a_damaged_tar_is_not_published(ias: IAS) -> None:
    with pytest.raises(FormatError):
        ias.publish_layer(io.BytesIO(TAR[:1000]))
    assert list(ias.layers()) == []


def test_a_missing_tar(tmp_path: Path) -> None:
    with pytest.raises(BlobNotFound):
        IAS(tmp_path / "ias").publish_layer(tmp_path / "none.tar")
    with pytest.raises(BlobNotFound):
        IAS(tmp_path / "ias").publish_layer("memory://none.tar")


def test_an_expected_diff_id_must_be_right(ias: IAS) -> None:
    other = f"sha256:{'0' * 64}"
    with pytest.raises(DigestMismatch, match=f"the diffID is {DIFF_ID}, not {other}"):
        ias.publish_layer(io.BytesIO(TAR), diff_id=other)
    assert list(ias.layers()) == []
    assert ias.publish_layer(io.BytesIO(TAR), diff_id=DIFF_ID).diff_id == DIFF_ID


def test_a_layer_that_is_there_costs_one_small_request(s3: S3) -> None:
    """With its diffID known, the source is not even looked at."""
    ias = IAS(f"s3://{s3.bucket()}/ias", storage_options=s3.options)
    layer = ias.publish_layer(io.BytesIO(TAR))
    for source, diff_id in ((io.BytesIO(TAR), None), ("/not/there.tar", DIFF_ID)):
        s3.requests.clear()
        assert ias.publish_layer(source, diff_id=diff_id) == layer
        assert [(method, status) for method, _, status in s3.requests] == [("GET", 206)]


def test_the_mark_is_the_last_thing_uploaded(s3: S3) -> None:
    bucket = s3.bucket()
    IAS(f"s3://{bucket}", storage_options=s3.options).publish_layer(io.BytesIO(TAR))
    uploads = [path for method, path, _ in s3.requests if method == "PUT"]
    names = [layout.ROOT, layout.image_name(DIFF_ID), layout.descriptor_name(DIFF_ID)]
    assert uploads == [f"/{bucket}/{name}" for name in names]


def test_options_are_those_of_mkfs(tmp_path: Path) -> None:
    ias = IAS(tmp_path / "ias")
    with pytest.raises(WriteError, match="does not mount"):
        ias.publish_layer("/not/there", compression="zstd", min_kernel="5.4")
    with pytest.raises(TypeError):
        ias.publish_layer("/not/there", no_such_option=1)
    layer = ias.publish_layer(io.BytesIO(TAR), compression="none", whiteouts="keep", mtime=7)
    image = ias.open_layer(layer.diff_id)
    assert image.listdir("/etc") == [".wh.gone", "motd"]
    assert image.stat("/etc/motd").st_mtime == 7


def test_many_who_publish_the_same(ias: IAS) -> None:
    """Each gets the layer, all the same one, and it is right at any moment."""
    layers: list[layout.Layer] = []

    def publish() -> None:
        layers.append(ias.publish_layer(io.BytesIO(TAR)))
        assert ias.open_layer(DIFF_ID).read_bytes("/usr/data") == FILES["usr/data"]

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(layers) == 4
    assert list(ias.layers()) == [layers[0]]
    assert len(list(ias._store.backend.names(layout.LAYERS))) == 2


def test_pickles_by_root_and_options(ias: IAS) -> None:
    layer = ias.publish_layer(io.BytesIO(TAR))
    again = pickle.loads(pickle.dumps(ias))
    assert again.layer(DIFF_ID) == layer
    image = pickle.loads(pickle.dumps(again.open_layer(DIFF_ID)))
    assert image.read_bytes("/etc/motd") == FILES["etc/motd"]


def test_options_are_not_told(s3: S3) -> None:
    ias = IAS("s3://user:hunter2@nowhere/ias", storage_options={"secret": "pa55word", **s3.options})
    with pytest.raises(StorageError) as caught:
        ias.publish_layer(io.BytesIO(TAR))
    told = f"{ias!r} {ias.name} {caught.value}"
    assert "hunter2" not in told
    assert "pa55word" not in told


def test_front_door() -> None:
    assert iasfs.IAS is IAS
