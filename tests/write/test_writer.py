"""mkfs and Writer: sources, targets that appear whole or not at all, options, and memory."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import compare, describe_files, describe_tree_object
from iasfs.blob import BytesBlob, FileBlob
from iasfs.errors import BlobNotFound, FormatError, StorageError, WriteError
from iasfs.making import mkfs
from iasfs.read.image import Image
from iasfs.testing import FaultyBlob, content
from iasfs.tree import Node, Tree
from iasfs.write.scan import ScannedFile
from iasfs.write.writer import Made, Writer
from trees import NS, directory, file, image_of, packed, symlink, tree_of


def small_tree() -> Tree:
    return tree_of(
        {"dir/file": b"content", "dir/link": symlink(b"file"), "big": content(300_000, "text")}
    )


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where an image may go; nothing else may be left beside it."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "image.erofs"


def opened(path: Path) -> Image:
    return Image(FileBlob(path))


# --- targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("absent", BlobNotFound),
        (BytesBlob(b"x" * 5000), FormatError),
        (tree_of({"a": file(uid=-1)}), WriteError),
        (
            tree_of({"a": FaultyBlob(BytesBlob(bytes(99_999)), [StorageError("no")] * 2)}),
            StorageError,
        ),
    ],
)
def test_an_error_leaves_nothing(source: Any, error: type[Exception], target: Path) -> None:
    """Neither under the target's name nor under any other; what was there before stays."""
    with pytest.raises(error):
        mkfs(source, target)
    assert os.listdir(target.parent) == []
    target.write_bytes(b"before")
    with pytest.raises(error):
        mkfs(source, target)
    assert os.listdir(target.parent) == [target.name]
    assert target.read_bytes() == b"before"


def test_the_answer_says_what_was_written(target: Path) -> None:
    made = mkfs(small_tree(), target)
    with opened(target) as image:
        assert made == Made(os.path.getsize(target), image.volume.metadata.header.metadata_size, 5)
        assert image.superblock.inos == made.inodes
        assert compare(describe_tree_object(small_tree()), describe_files(image)) == []
    assert os.listdir(target.parent) == [target.name]


def test_a_file_that_is_there_is_replaced_at_once(target: Path) -> None:
    """Whoever has it open reads on; its hard links stay as they were."""
    mkfs(tree_of({"old": b""}), target)
    os.link(target, target.with_name("link"))
    with opened(target) as before:
        mkfs(tree_of({"new": b""}), target)
        assert before.listdir() == ["old"]
    with opened(target) as image:
        assert image.listdir() == ["new"]
    with opened(target.with_name("link")) as image:
        assert image.listdir() == ["old"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_a_new_file_has_the_permissions_of_any_other(target: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        mkfs(Tree(), target)
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask


def test_a_symbolic_link_leads_to_the_target(target: Path, tmp_path: Path) -> None:
    """Also to one that is not there yet; the link stays."""
    link = tmp_path / "link"
    link.symlink_to(target)
    for _ in range(2):
        mkfs(small_tree(), link)
        assert link.is_symlink()
        assert target.read_bytes() == packed(small_tree())
        assert os.listdir(target.parent) == [target.name]


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "名" * 85])
def test_a_target_may_have_the_longest_name(target: Path, name: str) -> None:
    mkfs(Tree(), target.with_name(name))
    assert os.listdir(target.parent) == [name]


def test_a_device_or_a_fifo_is_written_as_it_is(target: Path) -> None:
    """And nothing is put beside it."""
    devices = set(os.listdir("/dev"))
    mkfs(small_tree(), os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    assert set(os.listdir("/dev")) == devices
    os.mkfifo(target)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(target.read_bytes()))
    reader.start()
    mkfs(small_tree(), target)
    reader.join()
    assert found == [packed(small_tree())]
    assert stat.S_ISFIFO(target.stat().st_mode)


def test_a_directory_cannot_be_a_target(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        mkfs(Tree(), tmp_path)
    with pytest.raises(FileNotFoundError):
        mkfs(Tree(), tmp_path / "absent" / "image.erofs")


class Sluggish(io.RawIOBase):
    """An unbuffered file that takes few bytes at a time."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        taken = bytes(data[:5000])
        self.data += taken
        return len(taken)


def test_a_file_object_gets_every_byte(tmp_path: Path) -> None:
    """Unbuffered, appended to, or a pipe; and it is not closed."""
    expected = packed(small_tree())
    sluggish = Sluggish()
    mkfs(small_tree(), sluggish)  # type: ignore[arg-type]
    assert bytes(sluggish.data) == expected
    assert not sluggish.closed
    with open(tmp_path / "i", "wb") as appended:
        appended.write(b"before")
        mkfs(small_tree(), appended)
    assert (tmp_path / "i").read_bytes() == b"before" + expected


class Full(io.BytesIO):
    """A disk that is full."""

    def write(self, data: Any) -> int:
        raise OSError(28, "No space left on device")


def test_an_error_of_the_target_comes_out() -> None:
    with pytest.raises(OSError, match="No space"):
        mkfs(small_tree(), Full())


# --- options ------------------------------------------------------------------------------------


def test_identity() -> None:
    image = image_of(small_tree(), volume_name="fünfzehn bytes", uuid=bytes(range(16)), mtime=-5)
    assert image.superblock.volume_name == "fünfzehn bytes".encode()
    assert image.superblock.uuid == bytes(range(16))
    for path in ("/", "dir", "dir/file", "dir/link"):
        assert image.lstat(path).st_mtime_ns == -5 * NS
    assert image_of(Tree()).superblock.uuid != bytes(16)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"volume_name": "sixteen letters!"}, "volume name"),
        ({"volume_name": "a\0"}, "volume name"),
        ({"volume_name": "é" * 8}, "volume name"),
        ({"uuid": bytes(15)}, "UUID"),
        ({"uuid": bytes(16)}, "UUID"),
        ({"mtime": 1 << 63}, "mtime"),
        ({"mtime": -(1 << 63) - 1}, "mtime"),
        ({"workers": 0}, "0 workers"),
        ({"level": 23}, "zstd has levels 1 to 22"),
        ({"level": 0, "compression": "deflate"}, "deflate has levels 1 to 9"),
        ({"compression": "zstd", "min_kernel": "6.1"}, "6.1 does not mount zstd"),
        ({"pack_limit": 1 << 30}, "pack_limit"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: dict[str, Any], words: str, target: Path
) -> None:
    with pytest.raises(WriteError, match=words):
        mkfs(small_tree(), target, **options)
    assert os.listdir(target.parent) == []


def test_levels_make_a_difference() -> None:
    tree = tree_of({"a": content(1 << 20, "text")})
    sizes = [len(packed(tree, level=level)) for level in (1, 9, 19)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[2]


def test_progress_is_told() -> None:
    calls: list[tuple[int, int]] = []
    packed(small_tree(), progress=lambda done, total: calls.append((done, total)))
    assert calls
    assert calls[-1] == (300_000, 300_000)


def test_the_spool_lies_where_it_is_told(target: Path, tmp_path: Path) -> None:
    """An error of its disk names that place."""
    mkfs(small_tree(), target, spool_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        mkfs(small_tree(), target.with_name("other"), spool_dir=tmp_path / "absent")
    assert os.listdir(target.parent) == [target.name]


# --- Writer -------------------------------------------------------------------------------------


def test_a_writer_makes_an_image_file_by_file(target: Path, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"from disk")
    owner: dict[str, Any] = {"uid": 1, "gid": 2, "mtime_ns": 3, "xattrs": {"user.a": b"1"}}
    with Writer(target, compression="none") as writer:
        writer.add_file("/etc/motd", b"hi\n", mode=0o640, **owner)
        writer.add_file(b"blob\xff", content(5000, "random"))
        writer.add_file("local", tmp_path / "local")
        writer.add_file("array", bytearray(b"array"))
        writer.add_dir("etc", mode=0o700, **owner)
        writer.add_symlink("link", "etc/motd", **owner)
        writer.add_special("null", stat.S_IFCHR | 0o666, rdev=os.makedev(1, 3), **owner)
        writer.add_link("hard", "etc/motd")
        assert not target.exists()
    assert writer.made == Made(os.path.getsize(target), 4096, 8)
    fields: dict[str, Any] = {"uid": 1, "gid": 2, "mtime_ns": 3, "xattrs": {b"user.a": b"1"}}
    motd = file(b"hi\n", 0o640, **fields)
    expected = {
        "etc": directory(0o700, **fields),
        "etc/motd": motd,
        "hard": motd,
        b"blob\xff": content(5000, "random"),
        "local": b"from disk",
        "array": b"array",
        "link": symlink(b"etc/motd", **fields),
        "null": Node(stat.S_IFCHR | 0o666, rdev=os.makedev(1, 3), **fields),
    }
    with opened(target) as image:
        found = describe_files(image)
        assert compare(describe_tree_object(tree_of(expected)), found) == []


def test_local_files_are_not_kept_open(tmp_path: Path) -> None:
    """There may be more of them than a process may have open; a link leads to its file."""
    (tmp_path / "local").write_bytes(b"from disk")
    (tmp_path / "link").symlink_to("local")
    target = io.BytesIO()
    with Writer(target) as writer:
        for number in range(50):
            first = writer.add_file(f"{number}", tmp_path / "link").content
            assert isinstance(first, ScannedFile)
    assert Image(BytesBlob(target.getvalue())).read_bytes("49") == b"from disk"
    with pytest.raises(FileNotFoundError):
        writer.add_file("absent", tmp_path / "absent")


def test_a_writer_that_fails_writes_nothing(target: Path) -> None:
    def fill() -> Iterator[None]:
        with Writer(target) as writer:
            writer.add_file("a", b"x")
            yield
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        list(fill())
    assert os.listdir(target.parent) == []


def test_a_writer_is_closed_once(target: Path) -> None:
    writer = Writer(target)
    made = writer.close()
    os.unlink(target)
    assert writer.close() is made
    assert os.listdir(target.parent) == []


def test_a_link_needs_a_file() -> None:
    writer = Writer(io.BytesIO())
    writer.add_dir("dir")
    for existing in ("absent", "dir", "/"):
        with pytest.raises(WriteError, match="to link to") as caught:
            writer.add_link("link", existing)
        assert caught.value.path == "link"


def test_a_writer_refuses_unknown_options() -> None:
    with pytest.raises(TypeError, match="levle"):
        Writer(io.BytesIO(), levle=3)


# --- memory -------------------------------------------------------------------------------------

PEAK = """
import resource, sys
from iasfs.making import mkfs
from trees import PatternBlob, tree_of
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
sizes = [int(size) << 20 for size in sys.argv[2:]]
mkfs(tree_of({"warm": PatternBlob(8 << 20)}), sys.argv[1])
before = peak()
mkfs(tree_of({str(n): PatternBlob(size, 1 << 12) for n, size in enumerate(sizes)}), sys.argv[1])
print(peak() - before)
"""


@pytest.mark.parametrize("sizes", [[300], [1] * 300], ids=["one", "many"])
def test_memory_does_not_grow_with_the_contents(sizes: list[int], tmp_path: Path) -> None:
    """300 MB pass through; a tenth of that may be in flight."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, tmp_path / "image.erofs", *map(str, sizes)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert int(done.stdout) < 120 << 20
