"""Trees in memory: names and nodes, and what cannot become an image."""

from __future__ import annotations

import os
import stat
from pathlib import PurePosixPath

import pytest

from iasfs.errors import WriteError
from iasfs.testing import content
from iasfs.tree import Node, Tree
from trees import directory, file, symlink, tree_of


def test_paths_of_any_kind_lead_to_the_same_node() -> None:
    tree = tree_of({"usr/bin/é": b"x"})
    node = tree.get("/usr/bin/é")
    assert node is not None
    assert node.is_file
    for path in ("usr//bin/./é/", "usr/bin/é".encode(), PurePosixPath("/usr/bin/é")):
        assert tree.get(path) is node
    assert tree.get("/") is tree.get("") is tree.root
    tree.add(b"\xff", node)
    assert tree.get("\udcff") is node


def test_what_is_not_there_is_none() -> None:
    tree = tree_of({"a/b": b"x"})
    assert tree.get("a/c") is None
    assert tree.get("a/b/c") is None
    assert tree.remove("a/c") is None
    assert tree.remove("x/y") is None


@pytest.mark.parametrize("path", ["..", "a/../b", b"../x"])
def test_a_path_upwards_is_refused(path: str) -> None:
    tree = Tree()
    for call in (tree.get, tree.remove, lambda path: tree.add(path, file())):
        with pytest.raises(ValueError, match=r"'\.\.'"):
            call(path)
    with pytest.raises(ValueError, match="null byte"):
        tree.get("a\0b")


def test_parents_are_made() -> None:
    tree = tree_of({"a/b/c": b"x"})
    for path in ("a", "a/b"):
        node = tree.get(path)
        assert node is not None
        assert (node.mode, node.uid, node.gid, node.mtime_ns) == (stat.S_IFDIR | 0o755, 0, 0, 0)


def test_a_file_below_a_file_is_refused() -> None:
    for parent in (file(), symlink(b"dir")):
        tree = tree_of({"a/b": parent})
        with pytest.raises(WriteError, match="/a/b: not a directory") as caught:
            tree.add("a/b/c/d", file())
        assert caught.value.path == "/a/b"


def test_a_directory_that_comes_again_keeps_its_children() -> None:
    tree = tree_of({"a/old": b"1", "old": b"2"})
    new = tree.add("a", directory(0o700, uid=5))
    assert tree.get("a") is new
    assert tree.get("a/old") is not None
    root = tree.add("/", directory(0o711))
    assert tree.root is root
    assert tree.get("old") is not None
    assert tree.get("a/old") is not None


def test_anything_else_that_comes_again_replaces_what_was_there() -> None:
    tree = tree_of({"a/b": b"1"})
    for node in (file(b"2"), symlink(b"x"), directory()):
        assert tree.add("a", node) is node
        assert tree.get("a") is node
        assert tree.get("a/b") is None
    with pytest.raises(WriteError, match="root must be a directory"):
        tree.add("/", file())


def test_remove_gives_the_node() -> None:
    tree = tree_of({"a/b": b"1"})
    node = tree.get("a")
    assert tree.remove("a") is node
    assert tree.get("a") is None
    with pytest.raises(ValueError, match="root"):
        tree.remove("/")


def test_walk_gives_every_name_in_byte_order() -> None:
    """A directory before what it holds; a hard link under each of its names."""
    node = file(b"x")
    tree = tree_of({b"b/\xff": node, "b/a/c": node, "b/a-": node, "a": b"", "b/é": node})
    assert [path for path, _ in tree.walk()] == [
        *(b"/", b"/a", b"/b", b"/b/a", b"/b/a/c", b"/b/a-", "/b/é".encode(), b"/b/\xff")
    ]
    assert sum(found is node for _, found in tree.walk()) == 4
    assert len(tree) == 8


def test_nodes_know_what_they_are() -> None:
    device = Node(stat.S_IFBLK, rdev=os.makedev(259, 300))
    assert device.device == (259, 300)
    nodes = [file(), directory(), symlink(b"x"), device, Node(stat.S_IFCHR), Node(stat.S_IFIFO)]
    facts = [(node.is_file, node.is_dir, node.is_symlink, node.is_device) for node in nodes]
    assert facts == [
        (True, False, False, False),
        (False, True, False, False),
        (False, False, True, False),
        (False, False, False, True),
        (False, False, False, True),
        (False, False, False, False),
    ]
    assert file() != file()  # an inode is itself, whatever it holds


# --- what can be an image -----------------------------------------------------------------------

GOOD = {
    "name-255": {b"n" * 255: file()},
    "name-bytes": {b"\xff\x01 \n": file()},
    "times": {"a": file(mtime_ns=-(1 << 63) * 10**9), "b": file(mtime_ns=(1 << 63) * 10**9 - 1)},
    "owner": {"a": file(uid=(1 << 32) - 1, gid=(1 << 32) - 1)},
    "target": {"a": symlink(b"x" * 4095), "b": symlink(b"\xff")},
    "xattr": {"a": file(xattrs={b"user." + b"n" * 250: bytes(65535), b"user.x": b""})},
    "device": {"a": Node(stat.S_IFCHR, rdev=os.makedev(4095, (1 << 20) - 1))},
    "content": {"a": content(10_000, "sparse")},
}
BAD = {
    "type": ({"a": Node(0o644)}, "mode 0o644 has no known file type"),
    "type-whiteout": ({"a": Node(0o160000)}, "no known file type"),
    "mode": ({"a": Node(stat.S_IFREG | 1 << 16)}, "no known file type"),
    "uid": ({"a": file(uid=1 << 32)}, "owner 4294967296:0 does not fit"),
    "gid": ({"a": file(gid=-1)}, "owner 0:-1 does not fit"),
    "time": ({"a": file(mtime_ns=(1 << 63) * 10**9)}, "64 bits"),
    "time-before": ({"a": file(mtime_ns=-(1 << 63) * 10**9 - 1)}, "64 bits"),
    "target-empty": ({"a": symlink(b"")}, "0 bytes"),
    "target-long": ({"a": symlink(b"x" * 4096)}, "4096 bytes"),
    "target-nul": ({"a": symlink(b"a\0b")}, "no NUL"),
    "major": ({"a": Node(stat.S_IFBLK, rdev=os.makedev(4096, 0))}, "device 4096:0"),
    "minor": ({"a": Node(stat.S_IFCHR, rdev=os.makedev(0, 1 << 20))}, "device 0:1048576"),
    "xattr-empty": ({"a": file(xattrs={b"": b""})}, "extended attribute"),
    "xattr-nul": ({"a": file(xattrs={b"user.\0": b""})}, "extended attribute"),
    "xattr-name": ({"a": file(xattrs={b"user." + b"n" * 251: b""})}, "extended attribute"),
    "xattr-value": ({"a": file(xattrs={b"user.a": bytes(65536)})}, "user.a has 65536 bytes"),
    "children": ({"a": Node(stat.S_IFREG, children={b"b": file()})}, "it has children"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_can_be_an_image_passes(name: str) -> None:
    tree_of(GOOD[name]).check()


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_an_image_is_named(name: str) -> None:
    nodes, words = BAD[name]
    with pytest.raises(WriteError, match=words) as caught:
        tree_of({"dir/" + path: node for path, node in nodes.items()}).check()
    assert caught.value.path == "/dir/a"


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0", b"n" * 256])
def test_what_cannot_be_a_name_is_refused(name: bytes) -> None:
    tree = Tree()
    tree.add("dir", directory(children={name: file()}))
    with pytest.raises(WriteError, match=r"/dir: .*name") as caught:
        tree.check()
    assert caught.value.path == "/dir"


def test_a_directory_has_one_name() -> None:
    node = directory()
    with pytest.raises(WriteError, match="/b: a directory has two names"):
        tree_of({"a": node, "b": node}).check()
    loop = directory()
    loop.children[b"self"] = loop
    with pytest.raises(WriteError, match="/a/self: a directory has two names"):
        tree_of({"a": loop}).check()


def test_the_root_is_a_directory() -> None:
    with pytest.raises(WriteError, match="/: the root must be a directory"):
        Tree(file()).check()
