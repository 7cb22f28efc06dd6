"""The classic index from extents to bytes, and back by both decoders."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extents import COMPACT, FULL, GEOMETRY, extent_lists, node, table_of
from iasfs.errors import WriteError
from iasfs.format import disk, extent
from iasfs.format.extent import Extent, Kind

PLAIN, LZ4, LZMA, ZSTD = Kind.PLAIN, Kind.LZ4, Kind.LZMA, Kind.ZSTD

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
