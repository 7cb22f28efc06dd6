"""Map headers, the index behind them as other tools write it, and what may be wrong with it."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from extents import COMPACT, FULL, GEOMETRY, node, table_of
from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.format import extent, zindex
from iasfs.format.extent import Extent, Kind

PLAIN, ZSTD = Kind.PLAIN, Kind.ZSTD


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
    "fragment-far": (FULL, 9, "ffff ffff ffff ffff", {}, "fragment ends at 9223372036854775816"),
    "encoded-fragment-far": (
        FULL,
        9,
        "0100 0000 2500 0000 0000 0000 0000 0000" + struct.pack("<IIII", 0, 0, 1, 0).hex(),
        {},
        "fragment ends at 18446744073709551625",
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
