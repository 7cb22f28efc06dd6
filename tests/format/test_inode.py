"""Inodes: compact and extended ones become one value, and what is refused."""

from __future__ import annotations

import os
import stat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from example import BIG_TXT, BLOCK, HELLO, LINK, MTIME_NS, ROOT, SUB
from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.format import disk, inode
from iasfs.format.inode import Inode
from iasfs.format.superblock import Superblock

SUPERBLOCK = Superblock(meta_blkaddr=1, epoch=1_600_000_000, fixed_nsec=7)
EXAMPLE = Superblock()

# nid of the example image: its inode
INODES = {
    ROOT: {"layout": 2, "mode": 0o40755, "nlink": 3, "size": 94, "u": 0xFFFFFFFF, "body": 0x4E0},
    BIG_TXT: {"layout": 3, "mode": 0o100644, "nlink": 1, "size": 200_000, "u": 22, "body": 0x580},
    HELLO: {"layout": 2, "mode": 0o100644, "nlink": 1, "size": 12, "u": 0xFFFFFFFF, "body": 0x678},
    LINK: {"layout": 2, "mode": 0o120777, "nlink": 1, "size": 5, "u": 0xFFFFFFFF, "body": 0x6E0},
    SUB: {"layout": 2, "mode": 0o40755, "nlink": 2, "size": 40, "u": 0xFFFFFFFF, "body": 0x740},
}


def compact(
    i_format: int, mode: int, nb: int = 1, size: int = 0, u: int = 0, icount: int = 0
) -> bytes:
    """The bytes of a compact inode."""
    return disk.INODE_COMPACT.pack(i_format, icount, mode, nb, size, 100, u, 9, 10, 11)


def extended(
    i_format: int, mode: int, nb: int = 0, size: int = 0, u: int = 0, icount: int = 0
) -> bytes:
    """The bytes of an extended inode."""
    return disk.INODE_EXTENDED.pack(
        i_format | 1, icount, mode, nb, size, u, 9, 1 << 31, 1 << 30, -5, 6, 3
    )


def unpack(data: bytes) -> Inode:
    return inode.unpack(data, 4, SUPERBLOCK)


@pytest.mark.parametrize("nid", INODES)
def test_the_example(nid: int) -> None:
    """Both directions."""
    fields: dict[str, Any] = INODES[nid]
    seconds, nanoseconds = divmod(MTIME_NS, 1_000_000_000)
    expected = Inode(
        nid=nid,
        offset=nid * 32,
        uid=0,
        gid=0,
        mtime=seconds,
        mtime_nsec=nanoseconds,
        ino=nid,
        xattr_size=24 if nid == HELLO else 0,
        extended=True,
        **fields,
    )
    data = BLOCK[nid * 32 : nid * 32 + 64]
    assert inode.unpack(data, nid, EXAMPLE) == expected
    assert inode.pack(expected) == data


def test_a_compact_inode() -> None:
    """32 bytes; its time counts from the image's."""
    found = unpack(compact(4, stat.S_IFREG | 0o644, nb=2, size=5, u=6, icount=3))
    assert found == Inode(
        nid=4,
        offset=4096 + 4 * 32,
        layout=disk.INODE_FLAT_INLINE,
        mode=stat.S_IFREG | 0o644,
        nlink=2,
        size=5,
        uid=10,
        gid=11,
        mtime=1_600_000_100,
        mtime_nsec=7,
        u=6,
        ino=9,
        body=4096 + 4 * 32 + 32 + 20,
        xattr_size=20,
        extended=False,
    )


@pytest.mark.parametrize(
    ("data", "nlink", "u"),
    [
        (compact(0, stat.S_IFREG, nb=5, u=7), 5, 7),
        (compact(0x10, stat.S_IFREG, nb=5, u=7), 1, 7 + (5 << 32)),
        (compact(0x10, stat.S_IFDIR, nb=5, u=7), 5, 7),
        (extended(0, stat.S_IFREG, nb=5, u=7), 3, 7 + (5 << 32)),
        (extended(2, stat.S_IFREG, nb=5, u=7), 3, 7 + (5 << 32)),
        (extended(8, stat.S_IFREG, nb=5, u=7), 3, 7),
        (extended(0, stat.S_IFCHR, nb=5, u=7), 3, 7),
        (extended(0, stat.S_IFBLK, nb=5, u=7), 3, 7),
    ],
)
def test_addresses_can_have_48_bits(data: bytes, nlink: int, u: int) -> None:
    """Unless ``i_u`` is something else, or a compact inode needs the field for its links."""
    found = unpack(data)
    assert (found.nlink, found.u) == (nlink, u)


@given(st.integers(0, (1 << 12) - 1), st.integers(0, (1 << 20) - 1))
def test_device_numbers(major: int, minor: int) -> None:
    """All that Linux has."""
    found = unpack(extended(0, stat.S_IFCHR, u=inode.disk_device(major, minor)))
    assert found.device == (major, minor)
    assert unpack(extended(0, stat.S_IFIFO, u=7)).device == (0, 0)


def test_device_numbers_as_linux_encodes_them() -> None:
    assert inode.disk_device(1, 3) == 0x103
    assert inode.disk_device(2748, 1_043_915) == 0xFEDABCCB


@pytest.mark.parametrize("kind", range(16))
def test_file_types(kind: int) -> None:
    """As directory entries number them; a mode without a type is refused."""
    mode = kind << 12 | 0o644
    expected = {1: 5, 2: 3, 4: 2, 6: 4, 8: 1, 10: 7, 12: 6}.get(kind, disk.FT_UNKNOWN)
    assert inode.file_type(mode) == expected
    if expected == disk.FT_UNKNOWN:
        with pytest.raises(FormatError, match="no known type") as caught:
            unpack(extended(0, mode))
        assert (caught.value.nid, caught.value.offset) == (4, 4096 + 128 + 4)
    else:
        found = unpack(extended(0, mode))
        assert (found.is_file, found.is_dir, found.is_symlink) == (
            stat.S_ISREG(mode),
            stat.S_ISDIR(mode),
            stat.S_ISLNK(mode),
        )


REG = stat.S_IFREG | 0o644
START = 4096 + 4 * 32


@pytest.mark.parametrize(
    ("data", "words", "offset"),
    [
        (extended(0x20, REG), "inode format 0x21", START),
        (compact(0x8000, REG), "inode format 0x8000", START),
        (extended(5 << 1, REG), "data layout 5", START),
        (extended(7 << 1, REG), "data layout 7", START),
        (extended(0, REG, size=1 << 63), "size", START + 8),
        (extended(0, REG, icount=1), "without entries", START + 2),
        (compact(0, REG, icount=1), "without entries", START + 2),
        (extended(0, REG)[:63], "ends behind the image", START),
        (compact(0, REG)[:31], "ends behind the image", START),
        (b"", "ends behind the image", START),
    ],
)
def test_what_is_refused_says_where(data: bytes, words: str, offset: int) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        unpack(data)
    assert (caught.value.nid, caught.value.offset) == (4, offset)
    assert isinstance(caught.value, UnsupportedFeature) == ("format" in words or "layout" in words)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_inode_or_an_error(data: bytes) -> None:
    try:
        found = unpack(data)
    except FormatError:
        return
    assert found.body >= found.offset + 32
    assert os.major(os.makedev(*found.device)) == found.device[0]


@given(
    layout=st.integers(0, 4),
    mode=st.sampled_from((stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)),
    permissions=st.integers(0, 0o7777),
    nlink=st.integers(0, (1 << 32) - 1),
    size=st.integers(0, (1 << 63) - 1),
    uid=st.integers(0, (1 << 32) - 1),
    gid=st.integers(0, (1 << 32) - 1),
    mtime=st.integers(-(1 << 63), (1 << 63) - 1),
    mtime_nsec=st.integers(0, 999_999_999),
    ino=st.integers(0, (1 << 32) - 1),
    entries=st.integers(0, 0xFFFF).filter(lambda count: count != 1),
)
def test_what_is_packed_unpacks(mode: int, permissions: int, entries: int, **fields: int) -> None:
    size = 12 + 4 * (entries - 1) if entries else 0
    value = Inode(
        nid=4,
        offset=START,
        mode=mode | permissions,
        u=77,
        xattr_size=size,
        body=START + 64 + size,
        extended=True,
        **fields,
    )
    assert unpack(inode.pack(value)) == value
