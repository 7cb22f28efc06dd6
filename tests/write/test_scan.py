"""A scanned directory is the directory, whatever is in it and in whatever order it is listed."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import (
    compare,
    describe_tree,
    describe_tree_object,
    missing,
    require,
    require_root,
    run,
)
from iasfs.blob import SparseBlob
from iasfs.errors import BlobNotFound, StorageError
from iasfs.tree import Node, Tree
from iasfs.write import scan
from iasfs.write.scan import scan_directory


def same(tree: Tree, root: Path) -> None:
    assert compare(describe_tree_object(tree), describe_tree(root)) == []


def node_of(tree: Tree, path: str) -> Node:
    node = tree.get(path)
    assert node is not None
    return node


def content_of(node: Node) -> bytes:
    return bytes(node.content.read_at(0, node.content.size))


# What is found.


def test_files_of_all_kinds(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "empty").touch(0o600)
    (tmp_path / "d" / "f").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "d" / "e" / "hard").hardlink_to(tmp_path / "d" / "f")
    (tmp_path / "a-hard").hardlink_to(tmp_path / "d" / "f")
    (tmp_path / "link").symlink_to("d/f")
    os.link(tmp_path / "link", tmp_path / "link2", follow_symlinks=False)
    (tmp_path / "dangling").symlink_to("/nowhere/at all")
    (tmp_path / "to-d").symlink_to("d")
    (tmp_path / "\udcff\udce4 \n").write_bytes(b"odd")
    (tmp_path / "d" / "f").chmod(0o6755)
    os.mkfifo(tmp_path / "fifo")
    os.utime(tmp_path / "d", ns=(0, -1_500_000_001))
    with socket.socket(socket.AF_UNIX) as listener:
        directory = os.open(tmp_path, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{directory}/socket")
        os.close(directory)
    tree = scan_directory(tmp_path)
    same(tree, tmp_path)
    assert stat.S_ISSOCK(node_of(tree, "socket").mode)
    assert node_of(tree, "a-hard") is node_of(tree, "d/e/hard")
    tree.check()


def test_what_only_root_can_make(tmp_path: Path) -> None:
    require_root()
    os.mknod(tmp_path / "char", stat.S_IFCHR | 0o620, os.makedev(5, 1))
    os.mknod(tmp_path / "block", stat.S_IFBLK | 0o660, os.makedev(259, 70_000))
    os.mknod(tmp_path / "whiteout", stat.S_IFCHR, 0)
    (tmp_path / "file").touch()
    os.chown(tmp_path / "file", 4_000_000_000, 70_000)
    same(scan_directory(tmp_path), tmp_path)


def test_extended_attributes(disk_path: Path) -> None:
    require_root()
    (disk_path / "f").write_bytes(b"x")
    (disk_path / "d").mkdir()
    (disk_path / "s").symlink_to("f")
    os.setxattr(disk_path / "f", "user.a=\u00e4", b"\0\xff value")
    os.setxattr(disk_path / "f", "user.empty", b"")
    os.setxattr(disk_path / "d", "trusted.overlay.opaque", b"y")
    os.setxattr(disk_path / "s", "trusted.t", b"of the link", follow_symlinks=False)
    os.setxattr(disk_path, "user.root", b"1")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(disk_path / "f", "security.capability", capability)
    run(require("setfacl"), "-m", "u:70000:r-x", disk_path / "f")
    run("setfacl", "-d", "-m", "u:70000:rwx", disk_path / "d")
    tree = scan_directory(disk_path)
    same(tree, disk_path)
    assert set(node_of(tree, "d").xattrs) == {
        b"trusted.overlay.opaque",
        b"system.posix_acl_default",
    }


def test_attributes_of_the_file_system_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS' and CIFS' views of their access rules stay behind; a refusal counts as none."""
    (tmp_path / "f").touch()
    (tmp_path / "none").touch()
    values = {"system.nfs4_acl": b"1", "system.posix_acl_access": b"2", "user.a": b"3"}

    def listxattr(path: bytes, *, follow_symlinks: bool) -> list[str]:
        assert not follow_symlinks
        if path.endswith(b"none"):
            raise OSError(errno.ENOTSUP, "Operation not supported")
        return [*values, "user.hidden", "user.gone"] if path.endswith(b"f") else []

    def getxattr(path: bytes, name: str, *, follow_symlinks: bool) -> bytes:
        if name not in values:
            raise OSError(errno.EPERM if name == "user.hidden" else errno.ENODATA, "no")
        return values[name]

    monkeypatch.setattr(os, "listxattr", listxattr)
    monkeypatch.setattr(os, "getxattr", getxattr)
    tree = scan_directory(tmp_path)
    assert node_of(tree, "f").xattrs == {b"system.posix_acl_access": b"2", b"user.a": b"3"}
    assert node_of(tree, "none").xattrs == {}
    monkeypatch.delattr(os, "listxattr")
    assert node_of(scan_directory(tmp_path), "f").xattrs == {}


@pytest.mark.parametrize("call", ["listxattr", "getxattr"])
def test_attributes_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(path: bytes, *_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(os, "listxattr", lambda *_, **__: ["user.a"])
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="Input/output error"):
        scan_directory(tmp_path)


# The walk.


def test_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of any type, relative or a symbolic link; contents outlive a change of directory."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"x")
    (tmp_path / "link").symlink_to("d")
    monkeypatch.chdir(tmp_path)
    trees = [scan_directory(path) for path in ("d", b"d", Path("d"), "link", "d/", "./d/../link/")]
    monkeypatch.chdir("/")
    for tree in trees:
        same(tree, tmp_path / "d")
        assert content_of(node_of(tree, "f")) == b"x"


def test_what_is_not_a_directory(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(NotADirectoryError) as caught:
        scan_directory(tmp_path / "f")
    assert caught.value.filename == str(tmp_path / "f")
    with pytest.raises(FileNotFoundError):
        scan_directory(tmp_path / "missing")


def test_the_order_of_a_listing_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even for which of its names a linked file is read by."""
    for name in ("b", "a", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(name.encode())
        (tmp_path / f"{name}-link").hardlink_to(tmp_path / "b" / "f")

    def facts(tree: Tree) -> list[object]:
        return [
            (path, list(node.children), getattr(node.content, "name", None))
            for path, node in tree.walk()
        ]

    first = facts(scan_directory(tmp_path))
    listdir = os.listdir
    for order in (sorted, lambda names: sorted(names, reverse=True)):
        monkeypatch.setattr(os, "listdir", lambda path, order=order: order(listdir(path)))
        assert facts(scan_directory(tmp_path)) == first


def test_deep_trees(tmp_path: Path) -> None:
    """Deeper than recursion would come."""
    deep = [os.fspath(tmp_path)]
    while len(deep) < 1200:
        deep.append(deep[-1] + "/d")
        os.mkdir(deep[-1])
    try:
        assert len(scan_directory(tmp_path)) == len(deep)
    finally:
        for path in deep[:0:-1]:
            os.rmdir(path)


def test_wide_directories(tmp_path: Path) -> None:
    for number in range(20_000):
        os.mknod(tmp_path / str(number))
    calls: list[tuple[int, int | None]] = []
    tree = scan_directory(tmp_path, progress=lambda *call: calls.append(call))
    assert len(tree) == 20_001
    assert calls == [*((count, None) for count in range(1000, 20_001, 1000)), (20_000, None)]


def test_no_descriptor_is_kept(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / str(number)).write_bytes(b"x" * number)
    before = os.listdir("/dev/fd")
    tree = scan_directory(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        assert [content_of(node_of(tree, str(n))) for n in range(200)] == [
            b"x" * n for n in range(200)
        ]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(os.listdir("/dev/fd")) == len(before)


def test_other_file_systems(tmp_path: Path) -> None:
    """Of a mount point its directory remains; a file that is mounted is left out."""
    require_root()
    for name in ("here", "mounted", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"y")
    done = run("mount", "-t", "tmpfs", "none", tmp_path / "mounted", check=False)
    if done:
        missing("root", f"cannot mount: {done}")
    try:
        (tmp_path / "mounted" / "g").write_bytes(b"z")
        run("mount", "--bind", tmp_path / "mounted" / "g", tmp_path / "file")
        try:
            tree = scan_directory(tmp_path, one_filesystem=True)
            everything = scan_directory(tmp_path)
            assert content_of(node_of(everything, "file")) == b"z"
        finally:
            run("umount", tmp_path / "file")
    finally:
        run("umount", tmp_path / "mounted")
    paths = [path for path, _ in tree.walk()]
    assert paths == [b"/", b"/here", b"/here/f", b"/mounted", b"/outside", b"/outside/f"]
    assert len(everything) == 8


# Errors.


@pytest.fixture
def nobody() -> object:
    """For a while this process is somebody without rights."""
    require_root()
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory with a file and a directory that only their owner may read."""
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d" / "inside").touch()
    (root / "file").write_bytes(b"x")
    (root / "open").write_bytes(b"x")
    (root / "d").chmod(0o700)
    (root / "file").chmod(0o600)
    return root


def test_permission_is_denied(closed: Path, nobody: object) -> None:
    with pytest.raises(PermissionError) as caught:
        scan_directory(closed)
    assert os.fsdecode(caught.value.filename) in (str(closed / "d"), str(closed / "file"))


def test_errors_can_be_passed_over(closed: Path, nobody: object) -> None:
    errors: list[OSError] = []
    tree = scan_directory(closed, on_error=errors.append)
    assert [path for path, _ in tree.walk()] == [b"/", b"/d", b"/open"]
    assert sorted(os.fsdecode(error.filename) for error in errors) == [
        str(closed / "d"),
        str(closed / "file"),
    ]


def test_a_file_that_goes_while_it_is_scanned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [*listdir(path), b"gone"])
    with pytest.raises(FileNotFoundError) as caught:
        scan_directory(tmp_path)
    assert os.fsdecode(caught.value.filename) == str(tmp_path / "gone")
    assert len(scan_directory(tmp_path, on_error=lambda error: None)) == 3


# Contents.


def test_ranges(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(range(256)) * 10)
    content = node_of(scan_directory(tmp_path), "f").content
    assert content.size == 2560
    assert content.read_many([(0, 2), (2558, 2), (100, 0)]) == [b"\0\1", b"\xfe\xff", b""]
    for bad in [(0, 2561), (-1, 1), (2560, 1)]:
        with pytest.raises(StorageError, match="asked"):
            content.read_at(*bad)


def test_large_reads_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(bytes(range(256)) * 10)
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: pread(fd, min(size, 100), at))
    assert content_of(node_of(scan_directory(tmp_path), "f")) == bytes(range(256)) * 10


def grow(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 3)


def rewrite(path: Path) -> None:
    path.write_bytes(b"CONTENT")


def replace(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"CONTENT")
    os.utime(other, ns=(status.st_mtime_ns, status.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize("change", [grow, shrink, rewrite, replace])
def test_a_file_that_has_changed(tmp_path: Path, change: object) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"content")
    os.utime(path, ns=(10**18, 10**18))
    content = node_of(scan_directory(tmp_path), "f").content
    assert content.read_at(0, 7) == b"content"
    assert callable(change)
    change(path)
    with pytest.raises(StorageError, match="has changed") as caught:
        content.read_at(0, 7)
    assert caught.value.filename == str(path)


def test_a_file_that_has_gone(tmp_path: Path) -> None:
    """Or has become something that must not be opened."""
    path = tmp_path / "f"
    path.write_bytes(b"content")
    content = node_of(scan_directory(tmp_path), "f").content
    path.unlink()
    with pytest.raises(BlobNotFound, match="gone") as caught:
        content.read_at(0, 1)
    assert caught.value.filename == str(path)
    path.symlink_to("/etc/passwd")
    with pytest.raises(StorageError):
        content.read_at(0, 1)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StorageError):
        content.read_at(0, 1)


# Files with holes.


def sparse_file(path: Path, size: int, pieces: list[tuple[int, bytes]]) -> bytes:
    content = bytearray(size)
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
            content[offset : offset + len(data)] = data
    return bytes(content)


@pytest.mark.parametrize(
    ("size", "offsets"),
    [
        (1 << 20, []),
        (1 << 20, [0]),
        (1 << 20, [(1 << 20) - 65536]),
        (1 << 20, [262144]),
        (1_000_003, [0, 524288]),
        (4 << 20, range(0, 4 << 20, 262144)),
    ],
)
def test_holes(disk_path: Path, size: int, offsets: list[int]) -> None:
    pieces = [(offset, b"data" * 16384) for offset in offsets]
    truth = sparse_file(disk_path / "f", size, pieces)
    if (disk_path / "f").stat().st_blocks * 512 >= size:
        missing("sparse-files", "this file system has no holes")
    tree = scan_directory(disk_path)
    content = node_of(tree, "f").content
    assert isinstance(content, SparseBlob)
    assert content.ranges == [(offset, 65536) for offset in offsets]
    assert content_of(node_of(tree, "f")) == truth


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9000)), max_size=8), st.integers(0, 9))
def test_any_holes(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, int]], tail: int
) -> None:
    root = tmp_path_factory.mktemp("holes")
    data = [(block * 4096, os.urandom(size)) for block, size in pieces]
    truth = sparse_file(root / "f", 70 * 4096 + tail, data)
    content = node_of(scan_directory(root), "f").content
    assert content.read_at(0, content.size) == truth


def test_a_system_that_does_not_know_its_holes(
    disk_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = sparse_file(disk_path / "f", 1 << 20, [(65536, b"x")])

    def lseek(fd: int, offset: int, how: int) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "lseek", lseek)
    node = node_of(scan_directory(disk_path), "f")
    assert isinstance(node.content, scan.ScannedFile)
    assert content_of(node) == truth
