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
