"""File offset to extents: every layout, both directions, and what a hostile index may try."""

from __future__ import annotations

import itertools
import json
import pickle
import stat
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import require_vectors
from iasfs.errors import FormatError, UnsupportedFeature, WriteError
from iasfs.format import dirent, disk, extent, inode, superblock, zindex, zmap
from iasfs.format.codec import fast
from iasfs.format.extent import Extent, ExtentTable, Geometry, Kind
from iasfs.format.superblock import Device

PLAIN, LZ4, LZMA, ZSTD = Kind.PLAIN, Kind.LZ4, Kind.LZMA, Kind.ZSTD
FULL, COMPACT = disk.INODE_COMPRESSED_FULL, disk.INODE_COMPRESSED_COMPACT
FEATURES = (
    disk.FEATURE_INCOMPAT_COMPR_CFGS
    | disk.FEATURE_INCOMPAT_FRAGMENTS
    | disk.FEATURE_INCOMPAT_48BIT
)
GEOMETRY = Geometry(
    image_size=1 << 32, feature_incompat=FEATURES, algorithms=0b1111, packed_nid=999
)

DECODERS = [zindex.decode_py] + ([fast.decode_index] if fast is not None else [])


@pytest.fixture(params=DECODERS, ids=["python", "c"][: len(DECODERS)])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test with each decoder of the classic index."""
    monkeypatch.setattr(zindex, "decode", request.param)


def node(layout: int, size: int, *, body: int = 0, u: int = 0, **fields: int) -> inode.Inode:
    values = dict.fromkeys(inode.Inode._fields, 0) | {"nid": 7, "mode": stat.S_IFREG | 0o644}
    values |= {"layout": layout, "size": size, "body": body, "u": u, "extended": True}
    return inode.Inode(**(values | fields))


def table_of(
    file: inode.Inode, geometry: Geometry, image: bytes | Callable[[int, int], bytes]
) -> ExtentTable:
    """Ask for the table as a reader does; an image of bytes begins at byte ``file.body``."""
    answer = extent.table(file, geometry)
    for _ in range(3):
        if not isinstance(answer, tuple):
            return answer
        offset, size = answer
        assert 0 <= offset
        assert offset + size <= geometry.image_size
        if isinstance(image, bytes):
            assert offset >= file.body
            data = image[offset - file.body :][:size].ljust(size, b"\0")
        else:
            data = image(offset, size)
        answer = extent.table(file, geometry, data)
    raise AssertionError("asked for metadata more than twice")


# --- the classic index: one table for both directions -------------------------------------------

BIG_TXT = """
0000 0000 0700 0300 0010 0728 0100 0000
0220 0d20 0800 0000 0420 0b20 0800 0000
06e0 0188 0026 800a e002 c800 3680 0ee0
0308 001d a002 e000 4800 2e80 0800 0000
06e0 0188 0026 800a e002 c800 3680 0ee0
0308 001d a002 e000 4800 2e80 0f00 0000
0620 0920 1600 0000 0820 0720 1600 0000
0a20 0520 1600 0000 0c20 0320 1600 0000
0e20 0120 1600 0000 0000 0000 1600 0000
"""
BIG_TXT_EXTENTS = [
    Extent(0, 65536, 4096, 28672, ZSTD),
    Extent(65536, 65536, 32768, 28672, ZSTD),
    Extent(131072, 65536, 61440, 28672, ZSTD),
    Extent(196608, 3392, 90112, 4096, PLAIN),
]


def full_rows(*rows: str) -> str:
    return "".join(rows)


def nonheads(d0: int, *distances: int) -> str:
    """NONHEADs of a full index: the first with ``d0``, then 2, 3...; and their d1."""
    rows = ""
    for number, d1 in enumerate(distances):
        rows += struct.pack("<HHHH", 2, 0, d0 if not number else number + 1, d1).hex()
    return rows


BIG_TXT_FULL = full_rows(
    "0000 0000 0200 0300 0000 0000 0000 0000",
    "0100 0000 0100 0000",
    nonheads(0x807, *range(15, 0, -1)),
    "0100 0000 0800 0000",
    nonheads(0x807, *range(15, 0, -1)),
    "0100 0000 0f00 0000",
    nonheads(0x807, *range(15, 0, -1)),
    "0000 0000 1600 0000",
)

# name: (compact, header offset, size, options, extents, bytes)
CLASSIC = {
    "example-compact": (True, 0x580, 200000, {}, BIG_TXT_EXTENTS, BIG_TXT),
    "example-full": (False, 0x580, 200000, {}, BIG_TXT_EXTENTS, BIG_TXT_FULL),
    # One block for 5,000 and one for 4,000 bytes; the file ends in its third lcluster.
    "one-block-full": (
        False,
        0x40,
        9000,
        {"algorithm": LZ4, "big_pclusters": False},
        [Extent(0, 5000, 0x5000, 4096, LZ4), Extent(5000, 4000, 0x9000, 4096, LZ4)],
        "0000 0000 0000 0000 0000 0000 0000 0000"
        "0100 0000 0500 0000 0100 8803 0900 0000 0000 2803 0000 0000",
    ),
    # The header at 0x58: packs of two entries; the third entry is alone in its pack.
    "one-block-compact": (
        True,
        0x58,
        9000,
        {"algorithm": LZ4, "big_pclusters": False},
        [Extent(0, 5000, 0x5000, 4096, LZ4), Extent(5000, 4000, 0x6000, 4096, LZ4)],
        "0000 0000 0100 0000 0010 8813 0400 0000 2803 0000 0600 0000",
    ),
    "two-algorithms": (
        False,
        0x40,
        20480,
        {"algorithm": LZMA},
        [
            Extent(0, 12288, 0x10000, 8192, LZMA),
            Extent(12288, 8192, 0x20000, 4096, ZSTD),
        ],
        "0000 0000 0600 3100 0000 0000 0000 0000"
        "0100 0000 1000 0000 0200 0000 0208 0200 0200 0000 0200 0100"
        "0300 0000 2000 0000 0200 0000 0108 0100",
    ),
    "partial": (
        False,
        0x40,
        12288,
        {},
        [
            Extent(0, 8192, 0x3000, 4096, ZSTD, 0, True),
            Extent(8192, 4096, 0x3000, 4096, ZSTD, 0, True),
        ],
        "0000 0000 0200 0300 0000 0000 0000 0000"
        "0180 0000 0300 0000 0200 0000 0108 0100 0180 0000 0300 0000",
    ),
    "plain-blocks-are-one-extent": (
        True,
        0x58,
        12000,
        {},
        [Extent(0, 12000, 0x7000, 12288, PLAIN)],
        "0000 0000 0700 0300 0000 0000 0700 0000 0000 0000 0900 0000",
    ),
    # A rotated block begins at byte 100 of its lcluster.
    "interlaced": (
        False,
        0x40,
        8292,
        {},
        [
            Extent(0, 4196, 0x3000, 4096, ZSTD),
            Extent(4196, 4096, 0x4000, 4096, Kind.INTERLACED),
        ],
        "0000 0000 1200 0300 0000 0000 0000 0000"
        "0100 0000 0300 0000 0000 6400 0400 0000 0000 6400 0000 0000",
    ),
    "fragment-tail-full": (
        False,
        0x40,
        9000,
        {},
        [Extent(0, 8192, 0x3000, 4096, ZSTD), Extent(8192, 808, 0x2_0000_0010, 808, 7)],
        "1000 0000 2200 0300 0000 0000 0000 0000"
        "0100 0000 0300 0000 0200 0000 0108 0100 0100 0000 0200 0000",
    ),
    "fragment-tail-compact": (
        True,
        0x58,
        9000,
        {},
        [Extent(0, 8192, 0x3000, 4096, ZSTD), Extent(8192, 808, 0x10, 808, Kind.FRAGMENT)],
        "1000 0000 2700 0300 0010 0128 0300 0000 0010 0000 0400 0000",
    ),
    "fragment-whole": (
        False,
        0x40,
        9000,
        {},
        [Extent(0, 9000, 0x1234_5678_9ABC, 9000, Kind.FRAGMENT)],
        "bc9a 7856 3412 0080",
    ),
    # 16 KiB blocks: packs of two entries with 14 bits of clusterofs.
    "block-16k": (
        True,
        0x58,
        50000,
        {"blkszbits": 14},
        [Extent(0, 40000, 0x10000, 32768, ZSTD), Extent(40000, 10000, 0x18000, 16384, ZSTD)],
        "0000 0000 0600 0300 0040 0288 0400 0000 405c 5003 0600 0000",
    ),
}


@pytest.mark.parametrize("name", CLASSIC)
def test_encode(name: str) -> None:
    compact, offset, size, options, extents, text = CLASSIC[name]
    data = extent.encode_index(
        extents, size=size, header_offset=offset, compact=compact, **options
    )
    assert data.hex() == bytes.fromhex(text).hex()
    if extents[0].kind != Kind.FRAGMENT:
        bits = options.get("blkszbits", 12)
        assert len(data) == extent.index_size(
            size, blkszbits=bits, header_offset=offset, compact=compact
        )


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("name", CLASSIC)
def test_decode(name: str) -> None:
    compact, offset, size, options, extents, text = CLASSIC[name]
    geometry = replace(GEOMETRY, blkszbits=options.get("blkszbits", 12))
    file = node(COMPACT if compact else FULL, size, body=offset)
    assert list(table_of(file, geometry, bytes.fromhex(text))) == extents


def test_written_indexes_are_what_older_kernels_read() -> None:
    """A file that ends inside an lcluster has a terminator, also in the middle of a pack."""
    extents = [Extent(0, 65536 + 5, 4096, 8192, ZSTD)]
    size = 65536 + 5
    data = extent.encode_index(extents, size=size, header_offset=0, compact=False)
    assert data[-8:] == struct.pack("<HHI", disk.Z_LCLUSTER_PLAIN, 5, 0)


REFUSED = {
    "gap": [Extent(0, 4096, 0, 4096, PLAIN), Extent(8192, 4096, 4096, 4096, PLAIN)],
    "short": [Extent(0, 12000, 0, 12288, PLAIN)],
    "empty": [],
    "hole": [Extent(0, 12288, 0, 0, Kind.HOLE)],
    "device": [Extent(0, 12288, 0, 12288, PLAIN, 1)],
    "fragment-first": [
        Extent(0, 4096, 0, 4096, Kind.FRAGMENT),
        Extent(4096, 8192, 0, 4096, ZSTD),
    ],
    "unaligned": [Extent(0, 12288, 100, 4096, ZSTD)],
    "far": [Extent(0, 12288, 1 << 44, 4096, ZSTD)],
    "plain-long": [Extent(0, 12288, 0, 4096, PLAIN)],
    "pcluster-long": [Extent(0, 12288, 0, (1 << 20) + 1, ZSTD)],
    "one-lcluster": [
        Extent(0, 100, 0, 4096, ZSTD),
        Extent(100, 12188, 4096, 4096, ZSTD),
    ],
    "blocks-in-one-lcluster": [
        Extent(0, 4096, 0, 8192, ZSTD),
        Extent(4096, 8192, 8192, 4096, ZSTD),
    ],
    "three-algorithms": [
        Extent(0, 4096, 0, 4096, ZSTD),
        Extent(4096, 4096, 4096, 4096, LZ4),
        Extent(8192, 4096, 8192, 4096, LZMA),
    ],
    "mixed-rotation": [
        Extent(0, 4196, 0, 4096, ZSTD),
        Extent(4196, 4096, 4096, 4096, PLAIN),
        Extent(8292, 3996, 8192, 4096, Kind.INTERLACED),
    ],
    "fragment-far": [
        Extent(0, 8192, 0, 4096, ZSTD),
        Extent(8192, 4096, 1 << 64, 4096, Kind.FRAGMENT),
    ],
}


@pytest.mark.parametrize("name", REFUSED)
def test_encode_refuses(name: str) -> None:
    with pytest.raises(WriteError):
        extent.encode_index(REFUSED[name], size=12288, header_offset=0, compact=False)


def test_an_extent_of_more_than_12_mib_is_refused() -> None:
    size = (12 << 20) + 1
    with pytest.raises(WriteError):
        extent.encode_index(
            [Extent(0, size, 0, 1 << 20, ZSTD)], size=size, header_offset=0, compact=False
        )


def test_what_a_compact_index_can_hold() -> None:
    one, two = Extent(0, 8192, 4096, 4096, ZSTD), Extent(8192, 8192, 8192, 4096, ZSTD)
    far = two._replace(address=40960)
    fragment = Extent(16384, 1, 1 << 40, 1, Kind.FRAGMENT)
    assert extent.can_be_compact([one, two])
    assert extent.can_be_compact([one, fragment._replace(logical=8192)])
    assert not extent.can_be_compact([one, far])
    assert not extent.can_be_compact([one, two._replace(partial=True)])
    for extents, size in (([one, far], 16384), ([one, two, fragment], 16385)):
        with pytest.raises(WriteError):
            extent.encode_index(extents, size=size, header_offset=0x58, compact=True)


# --- the rest of what an index may say ----------------------------------------------------------


def zstd_word(stored: int, partial: bool = False) -> int:
    return stored | 4 << 28 | partial << 27


# name: (layout, size, bytes from 0x40 on, extents)
DECODED = {
    "inline": (
        FULL,
        5000,
        "0000 6400 0a00 0300 0000 0000 0000 0000 0100 0000 ffff ffff 0000 8803 0000 0000",
        [Extent(0, 5000, 0x60, 100, ZSTD)],
    ),
    "inline-compact": (
        COMPACT,
        5000,
        "0000 6400 0f00 0300 0010 8803 0000 0000",
        [Extent(0, 5000, 0x50, 100, ZSTD)],
    ),
    "inline-is-never-rotated": (
        FULL,
        4196,
        "0000 6800 1a00 0300 0000 0000 0000 0000 0100 0000 0300 0000 0000 6400 0000 0000",
        [Extent(0, 4196, 0x60, 104, ZSTD)],
    ),
    "inline-raw-is-never-rotated": (
        FULL,
        4300,
        "0000 6800 1a00 0300 0000 0000 0000 0000 0100 0000 0300 0000 0000 6400 0000 0000",
        [Extent(0, 4196, 0x3000, 4096, ZSTD), Extent(4196, 104, 0x60, 104, PLAIN)],
    ),
    "fragment-wins-over-inline": (
        FULL,
        4300,
        "0000 6800 2a00 0300 0000 0000 0000 0000 0100 0000 0300 0000 0100 6400 0000 0000",
        [
            Extent(0, 4196, 0x3000, 4096, ZSTD),
            Extent(4196, 104, 0x68_0000, 104, Kind.FRAGMENT),
        ],
    ),
    "fragment-from-the-start": (
        FULL,
        5000,
        "0700 0000 2200 0300 0000 0000 0000 0000 0100 0000 0000 0000 0200 0000 0108 0100",
        [Extent(0, 5000, 7, 5000, Kind.FRAGMENT)],
    ),
    "lclusters-of-four-blocks": (
        FULL,
        40000,
        "0000 0000 0200 0302 0000 0000 0000 0000"
        "0100 0000 0500 0000 0200 0000 0308 0100 0100 6400 0900 0000",
        [Extent(0, 32868, 0x5000, 0x3000, ZSTD), Extent(32868, 7132, 0x9000, 0x1000, ZSTD)],
    ),
    "hole": (
        FULL,
        16384,
        "0000 0000 0200 0300 0000 0000 0000 0000"
        "0140 0000 ffff ffff 0200 0000 0008 0100 0140 0000 ffff ffff 0100 0000 0300 0000",
        [Extent(0, 12288, 0, 0, Kind.HOLE), Extent(12288, 4096, 0x3000, 4096, ZSTD)],
    ),
    "no-terminator": (
        FULL,
        5000,
        "0000 0000 0000 0300 0000 0000 0000 0000 0100 0000 0300 0000 0200 0000 0100 0000",
        [Extent(0, 5000, 0x3000, 4096, ZSTD)],
    ),
    "plain-of-two-blocks": (
        FULL,
        12288,
        "0000 0000 0400 0300 0000 0000 0000 0000"
        "0000 0000 0300 0000 0200 0000 0208 0100 0000 0000 0500 0000",
        [Extent(0, 12288, 0x3000, 12288, PLAIN)],
    ),
    "encoded-4": (
        FULL,
        150000,
        "0000 0000 0100 0004"
        + struct.pack("<QIII", 0x12345, zstd_word(1000), 0, 18928).hex(),
        [
            Extent(0, 65536, 0x12345, 1000, ZSTD),
            Extent(65536, 65536, 0, 0, Kind.HOLE),
            Extent(131072, 18928, 0x12345 + 1000, 18928, PLAIN),
        ],
    ),
    "encoded-8": (
        FULL,
        150000,
        "0000 0000 0300 0004"
        + struct.pack("<IIIIII", zstd_word(9, True), 7, zstd_word(50), 99, 18930, 5).hex(),
        [
            Extent(0, 65536, 7, 9, ZSTD, 0, True),
            Extent(65536, 65536, 99, 50, ZSTD),
            Extent(131072, 18928, 5, 18930, PLAIN),
        ],
    ),
    "encoded-16": (
        FULL,
        150000,
        "0300 0000 1500 0000 0000 0000 0000 0000"
        + struct.pack("<IIII", zstd_word(50), 99, 0, 4096).hex()
        + struct.pack("<IIII", 8192, 0x3000, 0, 10000).hex()
        + struct.pack("<IIII", 0, 0, 0, 18192).hex(),
        [
            Extent(0, 4096, 0, 0, Kind.HOLE),
            Extent(4096, 5904, 99, 50, ZSTD),
            Extent(10000, 8192, 0x3000, 8192, Kind.INTERLACED),
            Extent(18192, 131808, 0, 0, Kind.HOLE),
        ],
    ),
    "encoded-32": (
        FULL,
        150000,
        "0200 0000 2700 0000"
        + "00" * 24
        + struct.pack("<IIIQ12x", zstd_word(50), 99, 0, 0).hex()
        + struct.pack("<IIIQ12x", 0x10, 2, 0, 100000).hex(),
        [
            Extent(0, 100000, 99, 50, ZSTD),
            Extent(100000, 50000, 0x2_0000_0010, 50000, Kind.FRAGMENT),
        ],
    ),
    "encoded-none": (FULL, 5000, "0000 0000 0500 0000", [Extent(0, 5000, 0, 0, Kind.HOLE)]),
}


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("name", DECODED)
def test_decode_what_others_write(name: str) -> None:
    layout, size, text, extents = DECODED[name]
    table = table_of(node(layout, size, body=0x40), GEOMETRY, bytes.fromhex(text))
    assert list(table) == extents
    assert table.size == size


# --- what is wrong with an index ----------------------------------------------------------------

HEAD = "0000 0000 0200 0300 0000 0000 0000 0000"
END = "0100 0000 0900 0000"

# name: (layout, size, bytes from 0x40 on, geometry, what is said)
WRONG = {
    "first-nonhead": (FULL, 8192, HEAD + "0200 0000 0108 0100" + END, {}, "lcluster 0: no extent"),
    "first-late": (FULL, 8192, HEAD + "0100 0100 0300 0000" + END, {}, "lcluster 0: no extent"),
    "clusterofs": (FULL, 8192, HEAD + "0100 0000 0300 0000 0100 0010 0400 0000", {}, "clusterofs"),
    "d0": (
        FULL,
        16384,
        HEAD + "0100 0000 0300 0000 0200 0000 0108 0200 0200 0000 0300 0100" + END,
        {},
        "lcluster 2: d0",
    ),
    "d1": (
        FULL,
        12288,
        HEAD + "0100 0000 0300 0000 0200 0000 0108 0200" + END,
        {},
        "lcluster 2: a d1",
    ),
    "d1-behind-the-end": (
        FULL,
        8192,
        HEAD + "0100 0000 0300 0000 0200 0000 0108 0200",
        {},
        "lcluster 1: a d1",
    ),
    "count-without-big": (
        FULL,
        8192,
        "0000 0000 0000 0300 0000 0000 0000 0000 0100 0000 0300 0000 0200 0000 0108 0100",
        {},
        "lcluster 1: a block count",
    ),
    "count-late": (
        FULL,
        12288,
        HEAD + "0100 0000 0300 0000 0200 0000 0108 0200 0200 0000 0108 0100",
        {},
        "lcluster 2: a block count",
    ),
    "count-missing": (
        FULL,
        8192,
        HEAD + "0100 0000 0300 0000 0200 0000 0100 0100",
        {},
        "lcluster 0: no block count",
    ),
    "count-zero": (
        FULL,
        8192,
        HEAD + "0100 0000 0300 0000 0200 0000 0008 0100",
        {},
        "lcluster 0: a pcluster of no block",
    ),
    "count-257": (
        FULL,
        8192,
        HEAD + "0100 0000 0300 0000 0200 0000 0109 0100",
        {},
        "lcluster 0: a pcluster of more",
    ),
    "plain-long": (
        FULL,
        8192,
        HEAD + "0000 0000 0300 0000 0200 0000 0100 0100",
        {},
        "lcluster 0: an uncompressed extent",
    ),
    "short": (
        FULL,
        8192,
        HEAD + "0100 0000 0300 0000 0100 ff0f 0400 0000"[:39].replace("0100 ff0f", "0100 0000"),
        {"algorithms": 0},
        "lcluster 0: an algorithm",
    ),
    "extent-short": (
        FULL,
        3 * 4096,
        HEAD + "0100 0000 0300 0000 0200 0000 0308 0100" + END,
        {},
        "lcluster 0: a compressed extent shorter",
    ),
    "outside": (FULL, 8192, HEAD + END + "0100 0000 0000 1000", {}, "lcluster 1: the pcluster"),
    "half-outside": (
        FULL,
        8192,
        HEAD + END + "0100 0000 0a00 0000",
        {"image_size": 0xA800},
        "lcluster 1: the pcluster",
    ),
    "compact-d0": (
        COMPACT,
        16384,
        "0000 0000 0700 0300 0010 0128 0300 0000 0320 0120 0300 0000",
        {},
        "lcluster 2: d0",
    ),
    "compact-d1": (
        COMPACT,
        16384,
        "0000 0000 0700 0300 0010 0128 0300 0000 0220 0220 0300 0000",
        {},
        "lcluster 3: a d1",
    ),
    "algorithm": (FULL, 4096, "0000 0000 0000 0400", {}, "compression algorithm 4"),
    "second-algorithm": (FULL, 4096, "0000 0000 0000 5300", {}, "compression algorithm 5"),
    "advise": (FULL, 4096, "0000 0000 4000 0300", {}, "map advise 0x40"),
    "big-undeclared": (
        FULL,
        4096,
        HEAD,
        {"feature_incompat": 0},
        "big pclusters without COMPR_CFGS",
    ),
    "compact-half-big": (COMPACT, 4096, "0000 0000 0300 0300", {}, "one half"),
    "compact-lclusters": (COMPACT, 4096, "0000 0000 0700 0301", {}, "lclusters of 2^13"),
    "compact-64k": (COMPACT, 4096, "0000 0000 0600 0300", {"blkszbits": 16}, "lclusters of 2^16"),
    "index-outside": (FULL, 1 << 40, HEAD, {}, "the index of 2147483664 bytes ends behind"),
    "no-header": (FULL, 4096, "", {"image_size": 0x44}, "the map header lies behind"),
    "inline-crosses": (FULL, 4096, "0000 e90f 0a00 0300", {}, "crosses a block"),
    "inline-outside": (
        FULL,
        4096,
        "0000 6400 0a00 0300",
        {"image_size": 0x80},
        "inline pcluster outside",
    ),
    "encoded-without-48bit": (
        FULL,
        4096,
        "0000 0000 0100 0000",
        {"feature_incompat": 0},
        "without 48BIT",
    ),
    "encoded-many": (FULL, 4096, "ffff ffff 0500 ff7f", {}, "ends behind the image"),
    "encoded-order": (
        FULL,
        9000,
        "0200 0000 0500 0000 0000 0000 0000 0000"
        + struct.pack("<IIII", 0, 0, 0, 5000).hex()
        + struct.pack("<IIII", 0, 0, 0, 4000).hex(),
        {},
        "encoded extent at 4000 is out of order",
    ),
    "encoded-twice": (
        FULL,
        9000,
        "0200 0000 0500 0000 0000 0000 0000 0000"
        + struct.pack("<IIII", zstd_word(5), 0, 0, 0).hex()
        + struct.pack("<IIII", 0, 0, 0, 0).hex(),
        {},
        "two encoded extents at 0",
    ),
    "encoded-behind": (
        FULL,
        9000,
        "0100 0000 0500 0000 0000 0000 0000 0000" + struct.pack("<IIII", 0, 0, 0, 9000).hex(),
        {},
        "out of order",
    ),
    "encoded-algorithm": (
        FULL,
        4096,
        "0000 0000 0300 0000" + struct.pack("<II", 5 << 28 | 9, 0).hex(),
        {},
        "compression algorithm 4",
    ),
    "encoded-pcluster": (
        FULL,
        4096,
        "0000 0000 0300 0000" + struct.pack("<II", zstd_word((1 << 20) + 1), 0).hex(),
        {},
        "more than 1 MiB",
    ),
    "encoded-outside": (
        FULL,
        4096,
        "0000 0000 0300 0000" + struct.pack("<II", zstd_word(9), (1 << 32) - 8).hex(),
        {},
        "outside the image",
    ),
    "encoded-plain": (
        FULL,
        4096,
        "0000 0000 0300 0000" + struct.pack("<II", 4095, 0).hex(),
        {},
        "uncompressed extent longer",
    ),
    "fragment-nowhere": (FULL, 9, "0000 0000 0000 0080", {"packed_nid": 0}, "no packed inode"),
    "fragment-of-itself": (FULL, 9, "0000 0000 0000 0080", {"packed_nid": 7}, "its own fragment"),
    "fragment-behind": (
        FULL,
        9,
        "5c00 0000 0000 0080",
        {"packed_size": 100},
        "fragment ends at 101, the packed inode at 100",
    ),
    "fragment-tail-behind": (
        FULL,
        5000,
        "5c00 0000 2200 0300 0000 0000 0000 0000 0100 0000 0000 0000 0200 0000 0108 0100",
        {"packed_size": 100},
        "fragment ends at",
    ),
}


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("name", WRONG)
def test_wrong_index(name: str) -> None:
    layout, size, text, changes, what = WRONG[name]
    geometry = replace(GEOMETRY, **changes)
    file = node(layout, size, body=0x40)
    with pytest.raises(FormatError, match=what.replace("^", r"\^")) as caught:
        table_of(file, geometry, bytes.fromhex(text))
    assert caught.value.nid == file.nid
    assert caught.value.offset is not None
    unknown = ("algorithm 4", "algorithm 5", "map advise", "lclusters of")
    assert isinstance(caught.value, UnsupportedFeature) == any(word in what for word in unknown)


@pytest.mark.usefixtures("decoder")
def test_an_extent_longer_than_12_mib() -> None:
    size = (12 << 20) + 4096
    rows = zindex.FULL_START + 8 * (size >> 12)
    index = extent.encode_index(
        [Extent(0, 12 << 20, 0, 1 << 20, ZSTD), Extent(12 << 20, 4096, 1 << 20, 4096, PLAIN)],
        size=size,
        header_offset=0x40,
        compact=False,
    )
    file = node(FULL, size, body=0x40)
    assert len(table_of(file, GEOMETRY, index)) == 2
    last = struct.pack("<HHHH", 2, 0, zindex.D0_MAX, 1)
    with pytest.raises(FormatError, match="lcluster 0: an extent of more than 12 MiB"):
        table_of(file, GEOMETRY, index[: rows - 8] + last)


def test_the_error_names_the_entry() -> None:
    """The offset is that of the entry, or of the pack that holds it."""
    for name, offset in {"clusterofs": 0x40 + 16 + 8, "compact-d0": 0x40 + 8 + 8}.items():
        layout, size, text, _, _ = WRONG[name]
        with pytest.raises(FormatError) as caught:
            table_of(node(layout, size, body=0x40), GEOMETRY, bytes.fromhex(text))
        assert caught.value.offset == offset
