"""What a tar means: links, replacement, parents, ends, whiteouts, and what it must not do."""

from __future__ import annotations

import functools
import importlib.util
import io
import itertools
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import ROOT, describe_tree_object
from iasfs.blob import BytesBlob, SparseBlob
from iasfs.errors import FormatError, StorageError, UnsupportedFeature, WriteError
from iasfs.tree import Node, Tree
from iasfs.write import tarheader
from iasfs.write.tar import read_tar
from tarmaker import (
    END,
    GNU,
    V7,
    base256,
    block,
    content_of,
    member,
    node_of,
    octal,
    padded,
    pax,
    read,
    record,
)

DIR = b"5"
SYMLINK = b"2"
LINK = b"1"


def directory(name: bytes, **fields: object) -> bytes:
    return member(name, kind=DIR, **fields)


def symlink(name: bytes, target: bytes) -> bytes:
    long = pax((b"linkpath", target)) if len(target) > 100 else b""
    return long + member(name, kind=SYMLINK, link=target[:100])


def link(name: bytes, target: bytes) -> bytes:
    return member(name, kind=LINK, link=target)


def paths_of(tree: Tree) -> list[bytes]:
    return [path for path, _ in tree.walk()]


# Dialects that no tool at hand writes.


def test_star() -> None:
    """xstar: a prefix of 131 bytes, atime and ctime behind it, its sparse files, its numbers."""
    times = {476: octal(1, 12), 488: octal(2, 12), 508: b"tar\0"}
    tree = read(
        member(b"leaf", b"x", patches={**times, 345: b"p" * 130}),
        member(b"big", patches={**times, 108: base256(3_000_000, 8)}),
        block(
            b"sparse",
            kind=b"S",
            size=6,
            patches={
                **times,
                356: b"".join(octal(n, 12) for n in (0, 3, 1000, 3)),
                452: octal(2000, 12),
            },
        ),
        padded(b"abcdef"),
    )
    assert content_of(tree.get(b"p" * 130 + b"/leaf")) == b"x"
    big = tree.get("big")
    assert big is not None
    assert big.uid == 3_000_000
    assert content_of(tree.get("sparse")) == b"abc" + bytes(997) + b"def" + bytes(997)


def test_solaris() -> None:
    """``X`` is pax' ``x``; ACL and attribute members are passed over."""
    tree = read(
        member(b"acl", b"3000003\0user::rwx,group::r-x", kind=b"A"),
        pax((b"path", b"long"), kind=b"X"),
        member(b"short", b"x"),
        member(b"attributes", b"x" * 600, kind=b"E"),
        member(b"last"),
    )
    assert paths_of(tree) == [b"/", b"/last", b"/long"]


def test_v7_directories() -> None:
    """A regular file whose name ends in a slash; what data it has is passed over."""
    tree = read(
        member(b"a/", kind=b"\0", magic=V7),
        member(b"b/", kind=b"0", magic=V7),
        member(b"c/", b"data"),
        member(b"c/file", b"x"),
    )
    assert [node.is_dir for _, node in tree.walk()] == [True, True, True, True, False]


@pytest.mark.parametrize("kind", [b"0", b"\0", b"7", b"Q", b"~"])
def test_regular_files(kind: bytes) -> None:
    """Contiguous files, and whatever type POSIX does not know, are regular files."""
    node = node_of(member(b"file", b"data", kind=kind))
    assert node.mode == stat.S_IFREG | 0o644
    assert content_of(node) == b"data"


@pytest.mark.parametrize("kind", [b"2", b"3", b"4", b"5", b"6"])
def test_sizes_of_what_has_no_data(kind: bytes) -> None:
    """Some tars give directories and links a size, none gives them data."""
    header = block(b"file", kind=kind, size=5000, link=b"target")
    assert paths_of(read(header, member(b"next"))) == [b"/", b"/file", b"/next"]


def test_several_volumes() -> None:
    with pytest.raises(UnsupportedFeature, match="volumes"):
        read(member(b"file", b"rest", kind=b"M", magic=GNU))


def test_modes_are_cut_to_twelve_bits() -> None:
    assert node_of(block(mode=0o104755)).mode == stat.S_IFREG | 0o4755


def test_long_names() -> None:
    """GNU's ``L`` and ``K``; pax' own records win over them."""
    name, target = b"n/" * 1500 + b"file", b"t" * 4095
    tree = read(
        member(b"././@LongLink", target + b"\0", kind=b"K", magic=GNU),
        member(b"././@LongLink", name + b"\0", kind=b"L", magic=GNU),
        member(b"cut", kind=b"2", link=b"cut", magic=GNU),
        member(b"short"),
    )
    node = tree.get(name)
    assert node is not None
    assert node.target == target
    assert tree.get("short") is not None
    tree = read(member(b"L", b"gnu\0", kind=b"L"), pax((b"path", b"pax")), member(b"own"))
    assert paths_of(tree) == [b"/", b"/pax"]
    tree = read(pax((b"path", b"pax")), member(b"L", b"gnu\0", kind=b"L"), member(b"own"))
    assert paths_of(tree) == [b"/", b"/pax"]


def test_global_headers() -> None:
    """They hold until another one, below the member's own; an empty value takes one back."""
    tree = read(
        pax((b"uid", b"1"), (b"gid", b"1"), (b"comment", b"c"), kind=b"g"),
        member(b"a", uid=7, gid=7),
        pax((b"uid", b"2")),
        member(b"b", uid=7, gid=7),
        pax((b"uid", b"3"), kind=b"g"),
        member(b"c", uid=7, gid=7),
        pax((b"uid", b"")),
        member(b"d", uid=7, gid=7),
        pax((b"uid", b""), (b"gid", b""), kind=b"g"),
        member(b"e", uid=7, gid=7),
    )
    owners = [(node.uid, node.gid) for _, node in tree.walk()]
    assert owners[1:] == [(1, 1), (2, 1), (3, 1), (7, 1), (7, 7)]


def test_a_pax_size() -> None:
    """It counts, and not the header's own."""
    data = b"x" * 1000
    assert content_of(node_of(pax((b"size", b"1000")), block(size=3), padded(data))) == data


def test_pax_xattrs_reach_the_node() -> None:
    node = node_of(pax((b"SCHILY.xattr.user.a", b"1")), block(), block(b"other"))
    assert node.xattrs == {b"user.a": b"1"}
    assert node_of(pax((b"SCHILY.xattr.user.a", b"1")), block(b"other"), block()).xattrs == {}


# Names and parents.


@pytest.mark.parametrize("name", [b"a/b", b"./a/b", b"/a/b", b"//a//b", b"././a/./b", b"a/b/."])
def test_names(name: bytes) -> None:
    assert paths_of(read(member(name))) == [b"/", b"/a", b"/a/b"]


@pytest.mark.parametrize("name", [b"./", b"/", b".", b"//.//"])
def test_the_root(name: bytes) -> None:
    """It takes the metadata and keeps what is in it already."""
    header = pax((b"SCHILY.xattr.user.a", b"1"))
    tree = read(member(b"a"), header, directory(name, mode=0o700, uid=1, gid=2, mtime=3))
    assert (tree.root.mode, tree.root.uid, tree.root.gid) == (stat.S_IFDIR | 0o700, 1, 2)
    assert (tree.root.mtime_ns, tree.root.xattrs) == (3 * 10**9, {b"user.a": b"1"})
    assert paths_of(tree) == [b"/", b"/a"]
    for bad in (
        member(name, kind=b"6"),
        symlink(name, b"a"),
        link(name, b"a"),
        link(name, b"late"),
    ):
        with pytest.raises(FormatError, match="root"):
            read(member(b"a"), bad)


@pytest.mark.parametrize("name", [b"..", b"../a", b"a/../b", b"a/..", b"/..", b"a/../../b", b"../"])
def test_nothing_leaves_the_root(name: bytes) -> None:
    for part in (member(name), directory(name), member(b"ok") + link(b"link", name)):
        with pytest.raises(FormatError, match=r"'\.\.'"):
            read(part)


def test_missing_parents() -> None:
    """They are root's, as containerd makes them, until the archive says otherwise."""
    tree = read(member(b"a/b/c"), directory(b"a/b", mode=0o700))
    a, b = tree.get("a"), tree.get("a/b")
    assert a is not None
    assert b is not None
    assert (a.mode, a.mtime_ns) == (stat.S_IFDIR | 0o755, 0)
    assert b.mode == stat.S_IFDIR | 0o700
    assert paths_of(tree) == [b"/", b"/a", b"/a/b", b"/a/b/c"]


def test_a_parent_that_is_a_file() -> None:
    for first in (member(b"a"), member(b"a", kind=b"6"), link(b"a", b"late")):
        with pytest.raises(FormatError, match="not a directory"):
            read(first, member(b"a/b"), member(b"late"))


@pytest.mark.parametrize(
    ("target", "where"),
    [
        (b"usr/lib", b"/usr/lib/f"),
        (b"/usr/lib", b"/usr/lib/f"),
        (b"./usr//lib/", b"/usr/lib/f"),
        (b"..", b"/f"),
        (b"../../../../etc", b"/etc/f"),
        (b"/..//../etc", b"/etc/f"),
        (b".", b"/f"),
        (b"/", b"/f"),
        (b"usr/../var", b"/var/f"),
        (b"usr/second/x", b"/var/x/f"),
    ],
)
def test_a_parent_that_is_a_symbolic_link(target: bytes, where: bytes) -> None:
    """It is followed inside the tree; ``..`` stops at the root."""
    tree = read(symlink(b"usr/second", b"../var"), symlink(b"lib", target), member(b"lib/f", b"x"))
    assert content_of(tree.get(where)) == b"x"
    found = tree.get("lib")
    assert found is not None
    assert found.is_symlink


def test_links_that_lead_nowhere() -> None:
    with pytest.raises(FormatError, match="2048 components"):
        read(symlink(b"a", b"b/" * 1500), symlink(b"c", b"a/" * 1000), member(b"c/f"))
    with pytest.raises(FormatError, match="2048 components"):
        read(symlink(b"a", b"b/" * 2048), member(b"a/f"))
    with pytest.raises(FormatError, match="too many symbolic links"):
        read(symlink(b"a", b"b"), symlink(b"b", b"a"), member(b"a/f"))
    with pytest.raises(FormatError, match="too many symbolic links"):
        read(symlink(b"a", b"a/a"), member(b"a/f"))
    chain = [symlink(b"%d" % n, b"%d" % (n + 1)) for n in range(40)]
    assert read(*chain, member(b"0/f")).get("40/f") is not None
    with pytest.raises(FormatError, match="too many symbolic links"):
        read(*chain, symlink(b"40", b"41"), member(b"0/f"))


# Replacement.


def test_the_last_member_of_a_name_counts() -> None:
    tree = read(member(b"a", b"old"), member(b"b"), member(b"./a", b"new"))
    assert content_of(tree.get("a")) == b"new"


def test_what_is_replaced_lives_on_under_its_other_names() -> None:
    tree = read(member(b"a", b"old"), link(b"b", b"a"), link(b"c", b"b"), member(b"a", b"new"))
    assert content_of(tree.get("a")) == b"new"
    assert content_of(tree.get("b")) == b"old"
    assert tree.get("b") is tree.get("c")


def test_a_directory_on_a_directory() -> None:
    tree = read(directory(b"d", mode=0o700), member(b"d/a"), directory(b"d/", uid=5))
    node = tree.get("d")
    assert node is not None
    assert (node.mode, node.uid) == (stat.S_IFDIR | 0o644, 5)
    assert list(node.children) == [b"a"]


def test_files_and_directories_replace_each_other() -> None:
    tree = read(member(b"d/a"), member(b"d", b"file"))
    assert content_of(tree.get("d")) == b"file"
    tree = read(member(b"d/a"), member(b"d", b"file"), directory(b"d"), member(b"d/b"))
    assert paths_of(tree) == [b"/", b"/d", b"/d/b"]
    tree = read(symlink(b"d", b"e"), member(b"d/a"), directory(b"d"), member(b"d/b"))
    assert paths_of(tree) == [b"/", b"/d", b"/d/b", b"/e", b"/e/a"]
    tree = read(directory(b"d"), member(b"d/a"), symlink(b"d", b"e"), member(b"d/b"))
    assert paths_of(tree) == [b"/", b"/d", b"/e", b"/e/b"]


# Hard links.


def test_hard_links() -> None:
    """To anything but a directory, before or after it comes, in chains."""
    tree = read(
        link(b"early", b"late"),
        link(b"earlier", b"./early"),
        link(b"earliest", b"/earlier"),
        member(b"file", b"x", uid=5),
        link(b"sub/file", b"file"),
        symlink(b"symlink", b"file"),
        link(b"symlink2", b"symlink"),
        member(b"device", kind=b"3", device=(1, 3)),
        link(b"device2", b"device"),
        member(b"late", b"late"),
    )
    for one, two in [
        ("file", "sub/file"),
        ("symlink", "symlink2"),
        ("device", "device2"),
        ("early", "late"),
        ("earlier", "late"),
        ("earliest", "late"),
    ]:
        assert tree.get(one) is tree.get(two)
    assert content_of(tree.get("earliest")) == b"late"
    assert type(tree.get("early")) is Node


def test_a_hard_link_by_way_of_a_symbolic_link() -> None:
    """The parents of its target are followed, the target itself is not."""
    tree = read(
        member(b"usr/f", b"x"),
        symlink(b"u", b"usr"),
        link(b"a", b"u/f"),
        symlink(b"s", b"usr/f"),
        link(b"b", b"s"),
    )
    assert tree.get("a") is tree.get("usr/f")
    assert tree.get("b") is tree.get("s")


def test_hard_links_that_lead_nowhere() -> None:
    for parts in (
        [link(b"name", b"target")],
        [link(b"name", b"dir/target")],
        [member(b"dir"), link(b"name", b"dir/target")],
        [link(b"a", b"name"), link(b"name", b"target")],
    ):
        with pytest.raises(FormatError, match="target") as caught:
            read(*parts)
        assert caught.value.path == "name"
        assert caught.value.offset == (len(b"".join(parts)) - 512)
    for parts in ([link(b"a", b"a")], [link(b"a", b"b"), link(b"b", b"a")]):
        with pytest.raises(FormatError, match="not in the archive"):
            read(*parts)
    for parts in ([directory(b"d"), link(b"l", b"d")], [link(b"l", b"d"), directory(b"d")]):
        with pytest.raises(FormatError, match="a directory") as caught:
            read(*parts)
        assert caught.value.path == "l"


def test_a_link_to_itself() -> None:
    """Harmless if there is such a file: it is its own name."""
    assert content_of(read(member(b"a", b"x"), link(b"a", b"./a")).get("a")) == b"x"


def test_a_link_that_was_replaced_need_not_be_found() -> None:
    tree = read(link(b"a", b"nowhere"), member(b"a", b"x"))
    assert content_of(tree.get("a")) == b"x"


def test_a_link_to_a_link_that_is_replaced() -> None:
    tree = read(link(b"a", b"late"), link(b"b", b"a"), member(b"a", b"x"), member(b"late", b"y"))
    assert content_of(tree.get("a")) == b"x"
    assert tree.get("b") is tree.get("late")


def test_hard_links_with_data() -> None:
    """With a pax header they bring the content, and need no target."""
    mark = pax((b"comment", b"linkdata"))
    both = member(b"b", b"new content", kind=LINK, link=b"a")
    tree = read(mark, member(b"a", b"old"), mark, both)
    assert tree.get("a") is tree.get("b")
    assert content_of(tree.get("a")) == b"new content"
    tree = read(mark, both, member(b"a", b"old"))
    assert tree.get("a") is tree.get("b")
    assert content_of(tree.get("a")) == b"new content"
    tree = read(mark, both, link(b"c", b"b"))
    assert content_of(tree.get("c")) == b"new content"
    tree = read(symlink(b"a", b"x"), mark, both)
    assert tree.get("a") is tree.get("b")
    inner = member(b"inner", b"x")
    tree = read(member(b"a", inner), mark, member(b"b", inner, kind=LINK, link=b"a"))
    assert paths_of(tree) == [b"/", b"/a", b"/b"]


def test_hard_links_with_a_size() -> None:
    """Without a pax header the next block tells whether data follows."""
    sized = block(b"b", kind=LINK, link=b"a", size=600)
    for after in (member(b"c"), b""):
        tree = read(member(b"a", b"x" * 600), sized, after)
        assert content_of(tree.get("b")) == b"x" * 600
    tree = read(member(b"a", b"x" * 600), sized, padded(b"y" * 600), member(b"c"))
    assert content_of(tree.get("a")) == b"y" * 600
    assert tree.get("c") is not None


# Sparse files.


def sparse(data: bytes, *records: tuple[bytes, bytes]) -> Node:
    return node_of(pax(*records), member(b"file", data))


def test_a_sparse_file() -> None:
    node = sparse(b"abc", (b"GNU.sparse.size", b"10"), (b"GNU.sparse.map", b"2,1,3,1,5,1,10,0"))
    assert content_of(node) == b"\0\0ab\0c\0\0\0\0"
    assert isinstance(node.content, SparseBlob)
    assert node.content.ranges == [(2, 2), (5, 1)]
    assert content_of(sparse(b"", (b"GNU.sparse.size", b"4"), (b"GNU.sparse.map", b""))) == bytes(4)


@pytest.mark.parametrize("pieces", [b"5,1,4,1", b"0,2,1,1", b"0,4", b"9,2", b"11,0", b"0,1,9,9"])
def test_a_sparse_file_whose_map_is_wrong(pieces: bytes) -> None:
    """Out of order, overlapping, more than the data, behind the end."""
    with pytest.raises(FormatError, match="sparse file"):
        sparse(b"abc", (b"GNU.sparse.size", b"10"), (b"GNU.sparse.map", pieces))


def test_a_sparse_file_with_its_map_in_the_data() -> None:
    version = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")
    real = (b"GNU.sparse.realsize", b"10")
    node = sparse(padded(b"2\n2\n1\n5\n2\n") + b"abc", *version, real)
    assert content_of(node) == b"\0\0a\0\0bc\0\0\0"
    for data in (b"", b"2\n2\n1\n5\n", b"x", padded(b"1\n0\n4\n") + b"abc", b"1\n0\n3\nabc"):
        with pytest.raises(FormatError, match=r"sparse|malformed"):
            sparse(data, *version, real)


def test_old_sparse_files_of_many_pieces() -> None:
    def piece(at: int) -> bytes:
        return octal(at * 10, 12) + octal(1, 12)

    head = block(
        b"file",
        kind=b"S",
        size=46,
        magic=GNU,
        patches={386: b"".join(map(piece, range(4))), 482: b"\1", 483: octal(460, 12)},
    )
    more = b"".join(map(piece, range(4, 25))) + b"\1" + bytes(7)
    last = (b"".join(map(piece, range(25, 46))) + b"\0").ljust(512, b"\0")
    data = bytes(range(65, 65 + 46))
    node = node_of(head, more, last, padded(data), block(b"next"))
    assert content_of(node) == b"".join(data[n : n + 1] + bytes(9) for n in range(46))
    with pytest.raises(FormatError, match="ends"):
        read(head, more, end=b"")


# Where an archive ends.


def test_ends() -> None:
    one = member(b"a", b"x")
    zeros = bytes(512)
    for end in (zeros + zeros, zeros, b"", zeros * 30, zeros * 2 + b"garbage"):
        assert len(read(one, end=end)) == 2
    assert len(read(b"")) == 1
    for end in (zeros + b"x", zeros + one, b"x", one[:100], zeros[:100], zeros + zeros[:100]):
        with pytest.raises(FormatError) as caught:
            read(one, end=end)
        assert caught.value.offset is not None
        assert caught.value.offset >= len(one)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"x" * 511, b"x" * 512, b"x" * 5000, b"\x1f\x8b" + b"x" * 600, bytes(100)]
)
def test_what_is_not_a_tar(data: bytes) -> None:
    for source in (BytesBlob(data), io.BytesIO(data)):
        with pytest.raises(FormatError) as caught:
            read_tar(source, name="some.tar")
        assert caught.value.path == "some.tar"
        assert caught.value.offset is not None


def test_an_archive_that_ends_behind_an_extension() -> None:
    for part in (pax((b"path", b"x")), member(b"L", b"name\0", kind=b"L"), pax()):
        for end in (b"", END):
            with pytest.raises(FormatError, match="extension header"):
                read(part, end=end)
    assert len(read(pax((b"comment", b"x"), kind=b"g"))) == 1


def test_errors_say_where() -> None:
    """The member's name, and the offset of its first header in the uncompressed archive."""
    first = member(b"first", b"x" * 700)
    with pytest.raises(FormatError) as caught:
        read(first, pax((b"path", b"long name")), block(b"name", uid=0, patches={108: b"\xff" * 8}))
    assert (caught.value.path, caught.value.offset) == ("long name", len(first))
    with pytest.raises(FormatError) as caught:
        read(first, pax((b"path", b"x")), b"y" * 512)
    assert caught.value.offset == len(first) + 1024
    assert str(caught.value) == "offset 2560: not a tar header: its checksum is wrong"


CASES = [
    member(b"dir/a", b"content" * 100),
    directory(b"dir"),
    pax((b"path", b"long" * 40), (b"SCHILY.xattr.user.a", b"1"), (b"mtime", b"1.5")),
    member(b"long", b"x" * 512),
    link(b"hard", b"dir/a"),
    symlink(b"link", b"hard"),
    member(b"@", b"n" * 200 + b"\0", kind=b"L", magic=GNU),
    member(b"n", b"gnu"),
    pax((b"GNU.sparse.size", b"10"), (b"GNU.sparse.map", b"2,1,5,1")),
    member(b"sparse", b"ab"),
    member(b"null", kind=b"3", device=(1, 3)),
]
SMALL = b"".join(CASES) + END
BORDERS = {len(SMALL) - 1024, len(SMALL) - 512} | {
    size
    for number, size in enumerate(itertools.accumulate(map(len, CASES)))
    if CASES[number][156:157] not in b"xL"
}


@given(st.integers(0, len(SMALL)))
def test_every_truncation(size: int) -> None:
    """A tree where nothing is missing, else an error with the offset."""
    for source in (BytesBlob(SMALL[:size]), io.BytesIO(SMALL[:size])):
        if size in BORDERS or size == len(SMALL):
            assert isinstance(read_tar(source), Tree)
        else:
            with pytest.raises(FormatError) as caught:
                read_tar(source)
            assert caught.value.offset is not None
            assert caught.value.offset <= size


@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255), st.booleans())
def test_every_flip(at: int, flip: int, sealed: bool) -> None:
    """A tree or our error, also if the check sum is made good again."""
    data = bytearray(SMALL)
    data[at] ^= flip
    if sealed:
        start = at - at % 512
        blanked = data[start : start + 148] + b" " * 8 + data[start + 156 : start + 512]
        data[start + 148 : start + 156] = b"%06o\0 " % sum(blanked)
    with suppress(FormatError, StorageError):
        describe_tree_object(read_tar(BytesBlob(data)))


# Whiteouts.


def overlay(*parts: bytes) -> Tree:
    return read(*parts, whiteouts="overlay")


def test_whiteouts_are_files_unless_asked() -> None:
    parts = [
        member(b"d/.wh.x"),
        member(b"d/.wh..wh..opq"),
        member(b".wh..wh.plnk/1"),
        member(b".wh."),
    ]
    assert paths_of(read(*parts)) == [
        b"/",
        b"/.wh.",
        b"/.wh..wh.plnk",
        b"/.wh..wh.plnk/1",
        b"/d",
        b"/d/.wh..wh..opq",
        b"/d/.wh.x",
    ]


def test_whiteouts_for_overlayfs() -> None:
    tree = overlay(
        member(b"d/.wh.gone", uid=5, gid=6, mtime=7, mode=0o600),
        directory(b"opaque"),
        member(b"opaque/.wh..wh..opq"),
        member(b"opaque/kept"),
        directory(b".wh.as-a-directory"),
    )
    gone, opaque = tree.get("d/gone"), tree.get("opaque")
    assert gone is not None
    assert opaque is not None
    assert (gone.mode, gone.rdev, gone.uid, gone.gid) == (stat.S_IFCHR, 0, 5, 6)
    assert gone.mtime_ns == 7 * 10**9
    assert opaque.xattrs == {b"trusted.overlay.opaque": b"y"}
    assert paths_of(tree) == [
        b"/",
        b"/as-a-directory",
        b"/d",
        b"/d/gone",
        b"/opaque",
        b"/opaque/kept",
    ]


def test_an_opaque_root() -> None:
    tree = overlay(member(b".wh..wh..opq"), directory(b"./"))
    assert tree.root.xattrs == {b"trusted.overlay.opaque": b"y"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_whiteout_hides_nothing_of_its_own_layer(order: int) -> None:
    """A directory beside it does not show what is below, for that has been removed."""
    parts = [member(b".wh.a"), member(b"a", b"x"), member(b".wh.d"), member(b"d/f")][::order]
    tree = overlay(*parts)
    assert paths_of(tree) == [b"/", b"/a", b"/d", b"/d/f"]
    assert content_of(tree.get("a")) == b"x"
    node = tree.get("d")
    assert node is not None
    assert node.xattrs == {b"trusted.overlay.opaque": b"y"}


def test_aufs() -> None:
    """Its bookkeeping goes, its whiteouts are hard links, its real links lead into what goes."""
    tree = overlay(
        member(b".wh..wh.aufs"),
        link(b"d/.wh.gone", b".wh..wh.aufs-that-is-not-here"),
        link(b".wh..wh..opq", b".wh..wh.aufs-that-is-not-here"),
        member(b".wh..wh.plnk/17.4", b"x"),
        link(b"file", b".wh..wh.plnk/17.4"),
        directory(b".wh..wh.orph"),
    )
    assert paths_of(tree) == [b"/", b"/d", b"/d/gone", b"/file"]
    assert content_of(tree.get("file")) == b"x"
    assert tree.root.xattrs == {b"trusted.overlay.opaque": b"y"}


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"d/.wh.", b".wh.x/f"])
def test_whiteouts_that_hide_nothing(name: bytes) -> None:
    with pytest.raises(FormatError, match="whiteout"):
        overlay(member(name))


# Hostile archives: bounded time and memory.


def test_too_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarheader, "SPARSE_LIMIT", 100)
    more = (octal(0, 12) + octal(0, 12)) * 21 + b"\1" + bytes(7)
    with pytest.raises(FormatError, match="more than 100 pieces"):
        read(block(kind=b"S", magic=GNU, patches={482: b"\1"}), more * 20)


def test_limits() -> None:
    huge = (1 << 63) - 1
    for part in (
        block(size=0, patches={124: base256(huge, 12)}),
        block(patches={124: base256(1 << 63, 12)}),
        block(patches={124: base256(-1, 12)}),
        block(patches={124: base256(-512, 12)}),
        block(kind=b"x", patches={124: base256(huge, 12)}),
        block(kind=b"x", size=(1 << 24) + 1),
        block(kind=b"x", patches={124: base256(-512, 12)}),
        pax((b"comment", bytes(1 << 23))) * 2,
        block(kind=b"L", size=1 << 20),
        block(kind=b"V", patches={124: base256(-1024, 12)}),
        block(kind=b"D", patches={124: base256(-1024, 12)}),
        pax((b"size", b"9" * 19)) + block(),
        pax((b"path", b"x" * 65537)) + block(),
        pax((b"path", b"x/" * 2049 + b"y")) + block(),
        pax((b"mtime", b"9" * 19)) + block(),
        pax((b"uid", b"4294967296")) + block(),
        block(kind=b"3", patches={329: base256(1 << 31, 8)}),
        block(kind=b"3", patches={337: base256(-1, 8)}),
        block(kind=b"2"),
        block(b""),
    ):
        for source in (BytesBlob(part + END), io.BytesIO(part + END)):
            with pytest.raises(FormatError):
                read_tar(source)


def repeated(make: Callable[[int], bytes], size: int = 1 << 20) -> bytes:
    """About ``size`` bytes of members."""
    parts: list[bytes] = []
    total = 0
    for number in itertools.count():
        if total >= size:
            return b"".join(parts) + END
        parts.append(make(number))
        total += len(parts[-1])
    raise AssertionError


def long_links(number: int) -> bytes:
    """Symbolic links in a chain, each of many steps, then new paths through all of them."""
    if number < 39:
        steps = b"a/../" * 12 + b"../l/%d" % (number + 1)
        return pax((b"path", b"l/%d" % number), (b"linkpath", steps)) + symlink(b"x", b"y")
    return member(b"l/0/%d/f" % number)


def replaced(number: int) -> bytes:
    """A cached parent that is thrown away again and again."""
    if number == 0:
        return pax((b"path", b"d/" * 2000 + b"f")) + member(b"x")
    return symlink(b"l", b"d/" * 45) if number % 2 else member(b"l/%d" % number)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "long names without end": lambda: repeated(lambda n: member(b"@", b"n" * 400, kind=b"L")),
    "pax headers without end": lambda: repeated(lambda n: pax((b"path", b"n" * 400))),
    "global headers without end": lambda: repeated(
        lambda n: pax((b"path", b"n" * 60000), kind=b"g") if not n else block(b"%d" % n)
    ),
    "links in a chain": lambda: repeated(lambda n: link(b"%d" % n, b"%d" % (n + 1))),
    "links in a ring": lambda: repeated(
        lambda n: link(b"%d" % (n % 1000), b"%d" % ((n + 1) % 1000))
    ),
    "links to a late one": lambda: (
        repeated(lambda n: link(b"%d" % n, b"late"))[:-1024] + member(b"late") + END
    ),
    "symbolic links in a chain": lambda: repeated(long_links),
    "parents replaced": lambda: repeated(replaced),
    "deep": lambda: repeated(lambda n: pax((b"path", b"a/" * 2000 + b"%d" % n)) + block()),
    "slashes": lambda: repeated(lambda n: pax((b"path", b"/" * 60000 + b"%d" % n)) + block()),
    "small records": lambda: pax(*[(b"%d" % n, b"") for n in range(100_000)]) + block() + END,
    "attributes": lambda: (
        pax(*[(b"SCHILY.xattr.user.%d" % n, b"") for n in range(30_000)]) + block() + END
    ),
    "sparse map": lambda: (
        pax(
            (b"GNU.sparse.size", b"9999999"),
            (b"GNU.sparse.map", b",".join(b"%d,1" % (2 * n) for n in range(100_000))),
        )
        + member(b"x", bytes(100_000))
        + END
    ),
    "sparse pairs": lambda: (
        member(
            b"pax",
            record(b"GNU.sparse.size", b"9")
            + (record(b"GNU.sparse.offset", b"0") + record(b"GNU.sparse.numbytes", b"0")) * 20_000,
            kind=b"x",
        )
        + block()
        + END
    ),
    "sparse map in the data": lambda: (
        pax(
            (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")
        )
        + member(b"x", b"250000\n" + b"0\n0\n" * 249_999)
        + END
    ),
    "sparse blocks": lambda: (
        block(kind=b"S", magic=GNU, patches={482: b"\1"})
        + (b"0" * 504 + b"\1" + bytes(7)) * 2000
        + END
    ),
    "an ACL": lambda: (
        pax((b"SCHILY.acl.access", b",".join(b"u:%d:r--" % n for n in range(60_000))))
        + block()
        + END
    ),
    "a directory replaced": lambda: repeated(
        lambda n: member(b"d/%d" % n) if n % 100 else symlink(b"d", b"e")
    ),
    "whiteouts": lambda: repeated(lambda n: member(b".wh.%d" % n)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_take_little_time(name: str) -> None:
    """About a megabyte each."""
    data = HOSTILE[name]()
    start = time.process_time()
    with suppress(FormatError, WriteError):
        read_tar(BytesBlob(data), whiteouts="overlay").check()
    assert time.process_time() - start < (3 if sys.gettrace() is None else 60)


# What the fuzzer found.

CORPUS = sorted((ROOT / "fuzz" / "corpus" / "tar").glob("*"))


@functools.cache
def fuzzer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_tar", ROOT / "fuzz" / "fuzz_tar.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_corpus_is_there() -> None:
    assert CORPUS


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_what_once_hurt(path: ModuleType) -> None:
    fuzzer().one_input(path.read_bytes())
