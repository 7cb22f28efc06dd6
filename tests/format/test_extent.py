"""File offset to extents: every layout, both directions, and what a hostile index may try."""

from __future__ import annotations

import hashlib
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
from iasfs.format import dirent, disk, extent, inode, superblock, zindex
from iasfs.format.codec import fast
from iasfs.format.extent import Extent, ExtentTable, Geometry, Kind
from iasfs.format.superblock import Device

PLAIN, LZ4, LZMA, ZSTD = Kind.PLAIN, Kind.LZ4, Kind.LZMA, Kind.ZSTD
FULL, COMPACT = disk.INODE_COMPRESSED_FULL, disk.INODE_COMPRESSED_COMPACT
FEATURES = (
    disk.FEATURE_INCOMPAT_COMPR_CFGS | disk.FEATURE_INCOMPAT_FRAGMENTS | disk.FEATURE_INCOMPAT_48BIT
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
        assert offset >= 0
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
    data = extent.encode_index(extents, size=size, header_offset=offset, compact=compact, **options)
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
    one, two = Extent(0, 4096, 4096, 4096, ZSTD), Extent(4096, 4096, 8192, 4096, ZSTD)
    far, partial = two._replace(address=40960), two._replace(partial=True)
    fragment = Extent(8192, 1, 1 << 40, 1, Kind.FRAGMENT)
    assert extent.can_be_compact([one, two])
    assert extent.can_be_compact([one, fragment._replace(logical=4096)])
    assert not extent.can_be_compact([one, far])
    assert not extent.can_be_compact([one, partial])
    for extents in ([one, far], [one, partial], [one, two, fragment]):
        size = sum(e.size for e in extents)
        with pytest.raises(WriteError):
            extent.encode_index(extents, size=size, header_offset=0x58, compact=True)
        extent.encode_index(extents, size=size, header_offset=0x58, compact=False)


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
        "0000 0000 0100 0004" + struct.pack("<QIII", 0x12345, zstd_word(1000), 0, 18928).hex(),
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
    "undeclared": (FULL, 4096, HEAD + END, {"algorithms": 0b111}, "lcluster 0: an algorithm"),
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
    "index-outside": (FULL, 1 << 42, HEAD, {}, "the index of 8589934608 bytes ends behind"),
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


# --- any index: both directions, both decoders --------------------------------------------------


@st.composite
def extent_lists(draw: st.DrawFn, *, back_to_back: bool) -> list[Extent]:
    """Extents that a classic index of 4 KiB blocks can express, already joined."""
    extents: list[Extent] = []
    logical = 0
    block = draw(st.integers(0, 1 << 19))
    count = draw(st.integers(1, 12))
    for number in range(count):
        last = number == count - 1
        kind = draw(st.sampled_from([ZSTD, ZSTD, LZ4, PLAIN]))
        if not back_to_back:
            block = draw(st.integers(0, (1 << 20) - 600))
        if kind == PLAIN:
            blocks = draw(st.integers(1, 40))
            size = (blocks << 12) - (draw(st.integers(0, 4095)) if last else 0)
        else:
            blocks = draw(st.sampled_from([1, 1, 2, 3, 16, 256]))
            shortest = 1 if last and blocks == 1 else (blocks << 12) + (blocks > 1)
            size = draw(st.integers(shortest, shortest + 70000))
        here = Extent(logical, size, block << 12, blocks << 12, kind)
        if last and logical and draw(st.booleans()):
            here = Extent(logical, size, draw(st.integers(0, 1 << 32)) >> 1, size, Kind.FRAGMENT)
        before = extents[-1] if extents else None
        if (
            before
            and before.kind == here.kind == PLAIN
            and before.address + before.stored == here.address
        ):
            here = before._replace(size=before.size + size, stored=before.stored + here.stored)
            extents.pop()
        extents.append(here)
        logical += size
        block += blocks
    return extents


def both(*arguments: object) -> bytes | tuple[int, int]:
    """The answer of the decoders, which is one."""
    answers = [decode(*arguments) for decode in DECODERS]
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


@settings(max_examples=300, deadline=None)
@given(st.data(), st.booleans(), st.integers(0, 1 << 20))
def test_round_trip(data: st.DataObject, compact: bool, slot: int) -> None:
    extents = data.draw(extent_lists(back_to_back=compact))
    size = extents[-1].logical + extents[-1].size
    offset = 8 * slot
    if compact:
        assert extent.can_be_compact(extents)
    index = extent.encode_index(extents, size=size, header_offset=offset, compact=compact)
    assert len(index) == extent.index_size(
        size, blkszbits=12, header_offset=offset, compact=compact
    )
    file = node(COMPACT if compact else FULL, size, body=offset)
    assert list(table_of(file, GEOMETRY, index)) == extents


@settings(max_examples=400, deadline=None)
@given(st.data(), st.booleans(), st.integers(0, 7), st.integers(0, 0x3F))
def test_decoders_agree_on_what_is_wrong(
    data: st.DataObject, compact: bool, slot: int, flip: int
) -> None:
    """Valid indexes with a few bytes changed give the same records or the same fault."""
    extents = data.draw(extent_lists(back_to_back=compact))
    size = extents[-1].logical + extents[-1].size
    offset = 8 * slot
    index = bytearray(
        extent.encode_index(extents, size=size, header_offset=offset, compact=compact)
    )
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(8, len(index) - 1))
        index[at] = data.draw(st.sampled_from([0, 1, 2, 8, 16, 0x20, 0x80, 0xFF, index[at] ^ 3]))
    advise = int.from_bytes(index[4:6], "little")
    if data.draw(st.booleans()):
        advise ^= flip & (0x3E if not compact else 0x3F)
    form = COMPACT if compact else FULL
    if len(index) < zmap_size(form, offset, size, advise):
        return
    regions = struct.pack("=QQQQ", 1 << 30, 1 << 31, 0, 1 << 29)
    tail = data.draw(st.sampled_from([0, 1, 100, 5000]))
    both(bytes(index), form, offset, size, 12, 12, advise, index[6], tail, 0b1001, regions)


def zmap_size(form: int, offset: int, size: int, advise: int) -> int:
    total = -(-size >> 12)
    if form == FULL:
        return zindex.FULL_START + 8 * total
    return 8 + zindex.packs(total, offset, bool(advise & 1)).size


@settings(max_examples=400, deadline=None)
@given(
    st.binary(min_size=1, max_size=64),
    st.integers(1, 40),
    st.booleans(),
    st.integers(9, 14),
    st.integers(0, 3),
    st.integers(0, 7),
    st.integers(0, 0x3F),
)
def test_decoders_agree_on_noise(
    noise: bytes, total: int, compact: bool, bits: int, more: int, slot: int, advise: int
) -> None:
    form = COMPACT if compact else FULL
    lclusterbits = bits if compact else bits + more
    if not compact or bits > 12:
        advise &= ~1
    size = (total << lclusterbits) - len(noise)
    length = zmap_size(form, 8 * slot, total << 12, advise)
    index = (noise * (length // len(noise) + 1))[:length]
    # Mostly the start of the file is sound, so that the rest is looked at.
    index = index[:8] + bytes(8) + index[16:] if form == FULL else index
    regions = struct.pack("=QQ", 0, 1 << 60)
    both(index, form, 8 * slot, size, bits, lclusterbits, advise, 0x30, 9, 0b1111, regions)


def test_c_decoder_checks_its_parameters() -> None:
    if fast is None:
        pytest.skip("not compiled")
    good = [bytes(24), FULL, 0, 4096, 12, 12, 0, 0, 0, 15, struct.pack("=QQ", 0, 1 << 30)]
    assert len(fast.decode_index(*good)) == 40
    bad = {0: bytes(23), 1: 2, 2: 4, 3: 4097, 4: 8, 5: 11, 6: 1 << 16, 7: 4, 8: 1 << 16, 9: 1 << 16}
    for index, value in bad.items():
        with pytest.raises(ValueError):  # noqa: PT011 - all of them are
            fast.decode_index(*good[:index], value, *good[index + 1 :])
    with pytest.raises(TypeError):
        fast.decode_index(*good[:-1])


def test_a_big_index_costs_its_records_alone() -> None:
    """A megabyte of compact index makes half a million extents of 40 bytes."""
    total = 1 << 19
    packs_size = 2 * total
    # Every lcluster a head of one block; all at the same place, so that none are joined.
    pack = sum(0x1000 << 14 * slot for slot in range(16)).to_bytes(28, "little") + bytes(4)
    index = bytes.fromhex("0000 0000 0100 0300") + pack * (packs_size // 32)
    file = node(COMPACT, total << 12, body=0x58)
    geometry = replace(GEOMETRY, image_size=0x58 + len(index))
    tracemalloc.start()
    began = time.process_time()
    table = table_of(file, geometry, index)
    spent = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == total
    assert table.nbytes == 40 * total
    assert peak < 3 * 40 * total
    assert spent < 30


# --- flat files ---------------------------------------------------------------------------------

PLAIN_FILE, INLINE_FILE = disk.INODE_FLAT_PLAIN, disk.INODE_FLAT_INLINE
NO_BLOCK = disk.NULL_ADDR

FLAT = {
    "empty": (node(PLAIN_FILE, 0, u=NO_BLOCK), []),
    "blocks": (node(PLAIN_FILE, 5000, u=3), [Extent(0, 5000, 0x3000, 5000, PLAIN)]),
    "48-bit": (node(PLAIN_FILE, 1, u=0xFFFFF), [Extent(0, 1, 0xFFFFF000, 1, PLAIN)]),
    "inline": (
        node(INLINE_FILE, 100, body=0x540, u=NO_BLOCK),
        [Extent(0, 100, 0x540, 100, PLAIN)],
    ),
    "blocks-and-inline": (
        node(INLINE_FILE, 8200, body=0x540, u=3),
        [Extent(0, 8192, 0x3000, 8192, PLAIN), Extent(8192, 8, 0x540, 8, PLAIN)],
    ),
    "inline-to-the-block-end": (
        node(INLINE_FILE, 4096, body=0x1000, u=NO_BLOCK),
        [Extent(0, 4096, 0x1000, 4096, PLAIN)],
    ),
    "hole": (
        node(PLAIN_FILE, 1 << 50, u=(1 << 48) - 1),
        [Extent(0, 1 << 50, 0, 0, Kind.HOLE)],
    ),
    "hole-of-a-compact-inode": (
        node(PLAIN_FILE, 5000, u=NO_BLOCK, extended=False),
        [Extent(0, 5000, 0, 0, Kind.HOLE)],
    ),
}


@pytest.mark.parametrize("name", FLAT)
def test_flat(name: str) -> None:
    file, extents = FLAT[name]
    assert list(table_of(file, GEOMETRY, b"")) == extents


@pytest.mark.parametrize(
    ("file", "what"),
    [
        (node(PLAIN_FILE, 1 << 31, u=1 << 19 | 1), "outside the image"),
        (node(PLAIN_FILE, 5000, u=NO_BLOCK), "outside the image"),
        (node(PLAIN_FILE, (1 << 63) - 1, u=0), "outside the image"),
        (node(INLINE_FILE, (1 << 63) - 1, u=0), "outside the image"),
        (node(INLINE_FILE, 100, body=0x1FA0), "crosses a block"),
        (node(INLINE_FILE, 100, body=1 << 40), "outside the image"),
        (node(5, 100), "data layout 5"),
    ],
)
def test_wrong_flat(file: inode.Inode, what: str) -> None:
    with pytest.raises(FormatError, match=what) as caught:
        table_of(file, replace(GEOMETRY, image_size=1 << 31), b"")
    assert caught.value.nid == 7


# --- chunk based files --------------------------------------------------------------------------


def chunk_file(size: int, form: int, body: int = 0x40) -> inode.Inode:
    return node(disk.INODE_CHUNK_BASED, size, body=body, u=form)


def rows(*entries: tuple[int, int, int]) -> bytes:
    return b"".join(struct.pack("<HHI", *entry) for entry in entries)


DEVICES = (Device(b"one", 100, 0), Device(b"two", 100, 1000))
CHUNKS = {
    # The second and third chunk lie back to back, the fourth is short, two holes are one.
    "block-map": (
        chunk_file(5 * 4096 + 7, 0),
        struct.pack("<6I", 9, 20, 21, NO_BLOCK, NO_BLOCK, 5),
        {},
        [
            Extent(0, 4096, 0x9000, 4096, PLAIN),
            Extent(4096, 8192, 0x14000, 8192, PLAIN),
            Extent(12288, 8192, 0, 0, Kind.HOLE),
            Extent(20480, 7, 0x5000, 7, PLAIN),
        ],
    ),
    "chunks-of-64k": (
        chunk_file(65536 + 10, 4),
        struct.pack("<2I", 16, 32),
        {},
        [Extent(0, 65546, 0x10000, 65546, PLAIN)],
    ),
    # The array of 8-byte entries begins at 0x48; without 48BIT the high half means nothing.
    "indexes": (
        chunk_file(3 * 4096, disk.CHUNK_FORMAT_INDEXES, body=0x44),
        bytes(4) + rows((1, 0, 9), (0xFFFF, 0, NO_BLOCK), (0, 0, 11)),
        {},
        [
            Extent(0, 4096, 0x9000, 4096, PLAIN),
            Extent(4096, 4096, 0, 0, Kind.HOLE),
            Extent(8192, 4096, 0xB000, 4096, PLAIN),
        ],
    ),
    "indexes-of-48-bits": (
        chunk_file(3 * 4096, disk.CHUNK_FORMAT_INDEXES | disk.CHUNK_FORMAT_48BIT),
        rows((1, 0, 9), (0xFFFF, 0, NO_BLOCK), (0, 0, NO_BLOCK)),
        {"image_size": 1 << 50},
        [
            Extent(0, 4096, 0x1_0000_0009 << 12, 4096, PLAIN),
            Extent(4096, 4096, 0, 0, Kind.HOLE),
            Extent(8192, 4096, NO_BLOCK << 12, 4096, PLAIN),
        ],
    ),
    # The id is cut to the bits that two devices need; chunks of two devices are not joined.
    "devices": (
        chunk_file(3 * 4096, disk.CHUNK_FORMAT_INDEXES),
        rows((0, 1, 9), (0, 2, 10), (0, 0xFFFE, 11)),
        {"devices": DEVICES},
        [
            Extent(0, 4096, 0x9000, 4096, PLAIN, 1),
            Extent(4096, 8192, 0xA000, 8192, PLAIN, 2),
        ],
    ),
    # Across the border of the image and a device that continues it, too.
    "unified": (
        chunk_file(2 * 4096, 0),
        struct.pack("<2I", 999, 1000),
        {"devices": DEVICES, "image_size": 1000 << 12},
        [Extent(0, 4096, 999 << 12, 4096, PLAIN), Extent(4096, 4096, 1000 << 12, 4096, PLAIN)],
    ),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_chunks(name: str) -> None:
    file, data, changes, extents = CHUNKS[name]
    assert list(table_of(file, replace(GEOMETRY, **changes), data)) == extents


INDEXES = disk.CHUNK_FORMAT_INDEXES


@pytest.mark.parametrize(
    ("file", "data", "changes", "what"),
    [
        (chunk_file(4096, 0x80), b"", {}, "chunk format 0x80"),
        (chunk_file((1 << 63) - 1, 0), b"", {}, "ends behind the image"),
        (chunk_file(4096, 0), struct.pack("<I", 1 << 20), {}, "at 4294967296 of device 0"),
        (chunk_file(4096, INDEXES), rows((0, 3, 0)), {"devices": DEVICES}, "of device 3"),
        (chunk_file(4096, INDEXES), rows((0, 1, 100)), {"devices": DEVICES}, "of device 1"),
        (
            chunk_file(4096, INDEXES),
            rows((0, 1, 0)),
            {"devices": DEVICES, "attached": False},
            "of device 1",
        ),
        (
            chunk_file(4096, INDEXES),
            rows((0, 2, 99)),
            {"devices": DEVICES, "attached": False, "image_size": 1099 << 12},
            "of device 2",
        ),
    ],
)
def test_wrong_chunks(file: inode.Inode, data: bytes, changes: dict, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        table_of(file, replace(GEOMETRY, **changes), data)


# --- devices ------------------------------------------------------------------------------------


def test_resolve() -> None:
    plain = Extent(0, 4096, 0x5000, 4096, PLAIN)
    unified = plain._replace(address=1005 << 12)
    second = plain._replace(device=2)
    assert extent.resolve(plain, GEOMETRY) == (0, 0x5000)
    attached = replace(GEOMETRY, devices=DEVICES)
    assert extent.resolve(plain, attached) == (0, 0x5000)
    assert extent.resolve(unified, attached) == (2, 0x5000)
    assert extent.resolve(second, attached) == (2, 0x5000)
    flat = replace(attached, attached=False)
    assert extent.resolve(unified, flat) == (0, 1005 << 12)
    assert extent.resolve(second, flat) == (0, 1005 << 12)
    with pytest.raises(FormatError):
        extent.resolve(plain._replace(address=1 << 40), attached)


def test_an_extent_lies_on_one_device() -> None:
    geometry = replace(GEOMETRY, devices=DEVICES, image_size=1000 << 12)
    for u in (999, 1099):
        with pytest.raises(FormatError, match="outside"):
            extent.table(node(PLAIN_FILE, 8192, u=u), geometry)
    geometry = replace(GEOMETRY, devices=DEVICES)
    with pytest.raises(FormatError, match="inline tail outside"):
        extent.table(node(INLINE_FILE, 9, body=1005 << 12), geometry)


def test_devices_do_not_overlap() -> None:
    with pytest.raises(FormatError, match="addresses of device 2 overlap"):
        Geometry(image_size=1, devices=(Device(b"", 10, 5), Device(b"", 10, 14)))


def test_geometry_of_a_superblock() -> None:
    found = superblock.Superblock(blkszbits=9, packed_nid=5, algorithms=8)
    assert Geometry.of(found, 4096).packed_nid == 0
    with_fragments = found._replace(feature_incompat=disk.FEATURE_INCOMPAT_FRAGMENTS)
    geometry = Geometry.of(with_fragments, 4096, packed_size=10)
    assert geometry == Geometry(4096, 9, disk.FEATURE_INCOMPAT_FRAGMENTS, 8, 5, 10)


# --- the table ----------------------------------------------------------------------------------


def test_table() -> None:
    extents = BIG_TXT_EXTENTS
    table = ExtentTable.of(extents)
    assert len(table) == 4
    assert list(table) == extents
    assert [table[0], table[-1]] == [extents[0], extents[3]]
    assert [table.find(at) for at in (0, 65535, 65536, 199999)] == [0, 0, 1, 3]
    assert list(table.overlapping(65535, 2)) == extents[:2]
    assert list(table.overlapping(65536, 1 << 40)) == extents[1:]
    assert list(table.overlapping(10, 0)) == list(table.overlapping(200000, 5)) == []
    assert table == pickle.loads(pickle.dumps(table))
    assert hash(table) == hash(ExtentTable.of(extents))
    assert table != extents
    assert repr(table) == "<ExtentTable of 4 extents, 200000 bytes>"
    for offset in (-1, 200000):
        with pytest.raises(IndexError):
            table.find(offset)
    for index in (4, -5):
        with pytest.raises(IndexError):
            table[index]


def test_empty_table() -> None:
    table = ExtentTable()
    assert (len(table), table.size, table.nbytes, list(table)) == (0, 0, 0, [])
    assert list(table.overlapping(0, 10)) == []


# --- images by another tool ---------------------------------------------------------------------

IMAGES = [
    *("plain", "b512", "b1024", "noinline", "noxattrshare", "chunk4k", "chunkidx64k"),
    *("extended", "lz4_4k", "lz4hc_64k", "lz4_legacy_full", "lz4_b1024_16k", "zstd_4k"),
    *("zstd_64k", "zstd_1m", "zstd_legacy_64k", "zstd_ztail", "zstd_frag", "zstd_allfrag"),
    *("zstd_dedupe", "deflate_64k", "lzma_64k", "e48_plain", "e48_zstd_extents", "prefix"),
    *("multi_alg", "device"),
]


class Vector:
    """An image by another tool, read by this room alone."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        self.superblock = superblock.unpack(self.data[: 1 << 16], len(self.data))
        offset, size = self.superblock.device_table
        devices = superblock.unpack_devices(self.data[offset : offset + size])
        self.geometry = Geometry.of(self.superblock, len(self.data), devices=devices)
        self.blobs = [self.data, *(path.with_suffix(".blob").read_bytes() for _ in devices)]

    def inode(self, nid: int) -> inode.Inode:
        offset = self.superblock.inode_offset(nid)
        return inode.unpack(self.data[offset : offset + inode.SIZE_MAX], nid, self.superblock)

    def table(self, file: inode.Inode) -> ExtentTable:
        return table_of(file, self.geometry, lambda at, size: self.data[at : at + size])

    def read_plain(self, table: ExtentTable) -> bytes:
        content = b""
        for piece in table:
            if piece.kind == Kind.HOLE:
                content += bytes(piece.size)
                continue
            assert piece.kind == PLAIN
            device, at = extent.resolve(piece, self.geometry)
            content += self.blobs[device][at : at + piece.size]
        return content

    def walk(self) -> Iterator[tuple[bytes, inode.Inode]]:
        """Every inode under each of its names, and the packed inode."""
        waiting = [(b"/", self.inode(self.superblock.root_nid))]
        if self.geometry.packed_nid:
            waiting.append((b"(packed)", self.inode(self.geometry.packed_nid)))
        while waiting:
            path, found = waiting.pop()
            yield path, found
            if not found.is_dir:
                continue
            content = self.read_plain(self.table(found))
            size = self.superblock.block_size
            for start in range(0, len(content), size):
                for entry in dirent.iterate(content[start : start + size]):
                    if entry.name not in (b".", b".."):
                        below = path.rstrip(b"/") + b"/" + entry.name
                        waiting.append((below, self.inode(entry.nid)))


def vector(name: str) -> Vector:
    return Vector(require_vectors() / f"{name}.erofs")


def expected_files(name: str) -> dict[bytes, dict[str, object]]:
    file = "tree-48bit.jsonl" if name.startswith("e48_") else "tree.jsonl"
    lines = (require_vectors() / file).read_text().splitlines()
    return {record["path"].encode("latin-1"): record for record in map(json.loads, lines)}


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("name", IMAGES)
def test_vectors(name: str) -> None:
    """Every inode has a table of its size; what is stored plain has the right content."""
    image = vector(name)
    expected = expected_files(name)
    checked = 0
    for path, found in image.walk():
        table = image.table(found)
        assert table.size == found.size, path
        end = 0
        for piece in table:
            assert piece.logical == end
            assert piece.size > 0
            end += piece.size
        record = expected.get(path)
        if record and found.is_file and all(p.kind in (PLAIN, Kind.HOLE) for p in table):
            content = image.read_plain(table)
            assert hashlib.sha256(content).hexdigest() == record["sha256"], path
            checked += 1
    # Whatever the options are, the image has files that are stored plain, unless it packs all.
    assert checked or "frag" in name


@pytest.mark.parametrize("name", IMAGES)
def test_indexes_of_vectors_are_written_alike(name: str) -> None:
    """Where mkfs.erofs writes a compact index, ours has the same bytes."""
    image = vector(name)
    for path, found in image.walk():
        pieces = list(image.table(found))
        offset = found.body + 7 & ~7
        inline = any(p.address % image.superblock.block_size for p in pieces if p.kind < 4)
        if found.layout != COMPACT or inline:
            continue
        compressed = [p.kind for p in pieces if p.kind < PLAIN]
        index = extent.encode_index(
            pieces,
            size=found.size,
            header_offset=offset,
            compact=True,
            blkszbits=image.superblock.blkszbits,
            algorithm=compressed[0] if compressed else ZSTD,
            big_pclusters=image.superblock.has(disk.FEATURE_INCOMPAT_COMPR_CFGS),
        )
        there = bytearray(image.data[offset : offset + len(index)])
        if pieces[0].kind != Kind.FRAGMENT:  # mkfs.erofs says so whether anything is rotated or not
            there[4] &= ~disk.Z_ADVISE_INTERLACED_PCLUSTER
        assert index.hex() == there.hex(), path
