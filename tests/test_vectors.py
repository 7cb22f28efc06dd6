"""Images made by mkfs.erofs read back to their tree; the README beside them describes both."""

from __future__ import annotations

import functools
import json
import os
import re
import stat
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator

import pytest

from helpers import Description, compare, describe_files, load_description, require_vectors
from iasfs.blob import BytesBlob, FileBlob
from iasfs.errors import FormatError
from iasfs.read.image import Image

IMAGES = [
    *("plain", "b512", "b1024", "noinline", "noxattrshare", "chunk4k", "chunkidx64k", "extended"),
    *("lz4_4k", "lz4hc_64k", "lz4_legacy_full", "lz4_b1024_16k"),
    *("zstd_4k", "zstd_64k", "zstd_1m", "zstd_legacy_64k", "zstd_ztail"),
    *("zstd_frag", "zstd_allfrag", "zstd_dedupe", "deflate_64k", "lzma_64k", "multi_alg"),
    *("e48_plain", "e48_zstd_extents", "prefix", "device"),
]
FIELDS = {
    "path", "mode", "uid", "gid", "mtime_ns", "nlink", "size", "sha256", "target", "rdev",
    "xattrs", "link_group",
}  # fmt: skip
DESCRIBE = """
import json, sys
from helpers import describe_files
from iasfs.format.codec import fast
from test_vectors import open_vector
assert fast is None
json.dump([describe_files(open_vector(name)) for name in sys.argv[1:]], sys.stdout)
"""


def open_vector(name: str) -> Image:
    vectors = require_vectors()
    devices = [FileBlob(vectors / "device.blob")] if name == "device" else []
    return Image(FileBlob(vectors / f"{name}.erofs"), devices=devices)


@functools.cache
def tree_of(name: str) -> Description:
    file = "tree-48bit.jsonl" if name.startswith("e48_") else "tree.jsonl"
    return load_description(require_vectors() / file)


@pytest.fixture(params=IMAGES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(name: str) -> Iterator[Image]:
    with open_vector(name) as image:
        yield image


def test_every_image_that_the_readme_names_is_there_and_tested() -> None:
    vectors = require_vectors()
    table = re.findall(r"^\| (\w+) \| `", (vectors / "README.md").read_text(), re.MULTILINE)
    assert sorted(table) == sorted(IMAGES)
    assert sorted(path.stem for path in vectors.glob("*.erofs")) == sorted(IMAGES)


@pytest.mark.parametrize("file", ["tree.jsonl", "tree-48bit.jsonl"])
def test_the_trees_have_every_field_and_every_type(file: str) -> None:
    tree = load_description(require_vectors() / file)
    assert set().union(*tree.values()) == FIELDS
    assert {record["mode"] >> 12 for record in tree.values()} == {1, 2, 4, 6, 8, 10}


def test_an_image_reads_back_to_its_tree(name: str, image: Image) -> None:
    assert compare(tree_of(name), describe_files(image)) == []


def test_an_image_may_hold_the_data_of_its_device() -> None:
    """Behind its own bytes: "flat device mode", where no device is given."""
    vectors = require_vectors()
    data = (vectors / "device.erofs").read_bytes() + (vectors / "device.blob").read_bytes()
    assert compare(tree_of("device"), describe_files(Image(BytesBlob(data)))) == []


def test_without_its_device_an_image_shows_the_tree_but_no_data() -> None:
    with Image(FileBlob(require_vectors() / "device.erofs")) as image:
        assert image.listdir("/big") == ["mixed", "text", "zeros"]
        with pytest.raises(FormatError, match=r"/big/text.*outside the image"):
            image.read_bytes("/big/text")


def test_the_python_twins_read_the_same() -> None:
    """Without the C code: one image of each codec, index and layout."""
    names = ["b512", "chunk4k", "lz4_4k", "lz4hc_64k", "zstd_legacy_64k", "zstd_allfrag"]
    names += ["zstd_dedupe", "zstd_ztail", "e48_zstd_extents", "multi_alg"]
    require_vectors()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DESCRIBE, *names],
        env={**os.environ, "IASFS_PURE_PYTHON": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    for name, found in zip(names, json.loads(done.stdout), strict=True):
        assert compare(tree_of(name), found) == [], name


def test_every_path_is_found_and_no_other(name: str, image: Image) -> None:
    """By lookups of its own: each path is there, and names that sort beside it are not."""
    tree = {path.encode("latin-1"): record for path, record in tree_of(name).items()}
    for path, record in tree.items():
        assert image.lstat(path).st_mode == record["mode"], path
    for path in tree.keys() - {b"/"}:
        for near in (path + b"\x01", path[:-1] + bytes([path[-1] - 1]) + b"\xff", path[:-1]):
            if near not in tree and os.path.basename(near) not in (b"", b".", b".."):
                assert not image.lexists(near), near


def test_listings_agree(name: str, image: Image) -> None:
    """``listdir``, ``scandir`` and ``walk`` show what the tree has, in byte order."""
    tree = tree_of(name)
    names: dict[bytes, list[bytes]] = defaultdict(list)
    for path in tree.keys() - {"/"}:
        parent, _, child = path.encode("latin-1").rpartition(b"/")
        names[parent or b"/"].append(child)
    for top, dirs, files in image.walk(b"/"):
        assert image.listdir(top) == sorted(names[top]) == sorted(dirs + files)
        with image.scandir(top) as entries:
            found = {entry.name: entry for entry in entries}
        assert list(found) == sorted(names.pop(top))
        for name, entry in found.items():
            record = tree[os.path.join(top, name).decode("latin-1")]
            assert stat.S_ISDIR(record["mode"]) == entry.is_dir(follow_symlinks=False)
            assert entry.inode() == image.lstat(entry.path).st_ino
    assert not any(names.values())
