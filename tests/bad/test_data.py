"""Hostile files: sizes, extents and payloads that lie.

Each image is made by hand to hurt in one way.
"""

from __future__ import annotations

import os
import struct
from typing import Any

import pytest

from craft import (
    CHUNKS,
    COMPACT,
    DIR,
    FULL,
    PLAIN,
    REG,
    ROOT,
    SUPER,
    Craft,
    one_file,
    u16,
    u32,
    u64,
)
from hostile import (
    BIG,
    CFGS,
    HEAD,
    NONHEAD,
    ZSTD,
    bounded,
    check,
    compressed,
    fails,
    frame,
    full_index,
    fuzz,
    quick,
    read_file,
)
from iasfs.blob import BytesBlob
from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.format import dirent, disk
from iasfs.format.dirent import Entry
from iasfs.read.check import fsck
from iasfs.read.image import Image

# --- inodes and layouts -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1 << 63, (1 << 64) - 1])
def test_a_negative_size(size: int) -> None:
    craft = one_file()
    craft.inode(56, REG, layout=PLAIN)
    craft.poke(56 * 32 + 8, u64(size))
    fails(craft, "size", read_file)


@pytest.mark.parametrize("size", [8193, 1 << 32, (1 << 63) - 1])
def test_a_size_behind_the_image(size: int) -> None:
    """Found out before any memory is taken for it."""
    craft = one_file()
    craft.inode(56, REG, layout=PLAIN, size=size)
    fails(craft, "outside the image", lambda image: image.read_bytes("/file"))


@pytest.mark.parametrize("block", [2, 0xFFFFFFFF, 0x100000000, 0xFFFF_FFFF_FFFE])
def test_data_behind_the_image(block: int) -> None:
    craft = one_file()
    craft.inode(56, REG, layout=PLAIN, size=1, u=block)
    fails(craft, "outside the image", read_file)


@pytest.mark.parametrize("form", [0x20, 0x8000, 0x0A, 0x0C, 0x0E])
def test_an_inode_format_that_is_not_known(form: int) -> None:
    craft = one_file()
    craft.inode(56, REG, b"data")
    craft.poke(56 * 32, u16(form | 1))
    error = fails(craft, "unsupported feature", read_file)
    assert isinstance(error, UnsupportedFeature)


@pytest.mark.parametrize("mode", [0, 0o644, 0o170000, 0o030000])
def test_a_mode_without_a_type(mode: int) -> None:
    craft = one_file()
    craft.inode(56, REG)
    craft.poke(56 * 32 + 4, u16(mode))
    fails(craft, "no known type", lambda image: image.stat("/file"))


def test_an_inline_tail_across_blocks() -> None:
    craft = one_file()
    craft.inode(120, REG, b"x" * 500)
    craft.directory(ROOT, {b"file": 120})
    fails(craft, "crosses a block", read_file)


def test_an_inline_tail_behind_the_image() -> None:
    craft = Craft()
    craft.directory(ROOT, {b"file": 254})
    craft.inode(254, REG, size=100)
    fails(craft, "inline tail outside the image", read_file)


# --- chunks -------------------------------------------------------------------------------------


def test_a_hole_of_petabytes_is_right() -> None:
    """It is read in pieces; all at once there is no memory for it, and that is said."""
    craft = one_file(feature_incompat=disk.FEATURE_INCOMPAT_CHUNKED_FILE)
    craft.inode(56, REG, u32(disk.NULL_ADDR) * 512, layout=CHUNKS, size=(1 << 52) - 5, u=31)
    image = craft.open()
    assert bounded(lambda: image.open("/file").read(1 << 20)) == bytes(1 << 20)
    with image.open("/file") as file:
        file.seek(-7, os.SEEK_END)
        assert file.read(100) == bytes(7)
    with pytest.raises(OSError, match="memory"):
        image.read_bytes("/file")
    with pytest.raises(OSError, match="memory"):
        image.read_many([("/file", 0, None)] * 2100)
    assert bounded(lambda: check(craft.image())) == ""


@pytest.mark.parametrize("u", [0x80, 0x8000, 0x1F00])
def test_a_chunk_format_that_is_not_known(u: int) -> None:
    craft = one_file()
    craft.inode(56, REG, bytes(64), layout=CHUNKS, size=4096, u=u)
    fails(craft, "chunk format", read_file)


@pytest.mark.parametrize("size", [1 << 24, 1 << 40, (1 << 63) - 1])
def test_a_chunk_array_behind_the_image(size: int) -> None:
    craft = one_file()
    craft.inode(56, REG, layout=CHUNKS, size=size)
    fails(craft, "chunk array", lambda image: image.read_bytes("/file"))


@pytest.mark.parametrize(
    ("u", "entry"),
    [
        (0, u32(2)),
        (0, u32(0xFFFFFFFE)),
        (0x20, struct.pack("<HHI", 0, 0xFFFF, 2)),
        (0x60, struct.pack("<HHI", 1, 0, 0)),
        (0x60, struct.pack("<HHI", 0, 0, 0xFFFFFFFF)),
    ],
)
def test_a_chunk_behind_the_image(u: int, entry: bytes) -> None:
    craft = one_file()
    craft.inode(56, REG, entry, layout=CHUNKS, size=1, u=u)
    fails(craft, "chunk at 0 lies outside", read_file)


@pytest.mark.parametrize(("device", "block"), [(1, 10), (1, 0xFFFFFFFE), (2, 0), (3, 0), (0, 109)])
def test_a_chunk_behind_its_device(device: int, block: int) -> None:
    """Device 1 has ten blocks, at 100 of the unified addresses; a third is not in the table."""
    craft = one_file(blocks=4, feature_incompat=disk.FEATURE_INCOMPAT_DEVICE_TABLE)
    slots = [struct.pack("<64sII56x", b"", 10, 100), struct.pack("<64sII56x", b"", 0, 200)]
    craft.put(3 << 12, b"".join(slots))
    craft.poke(SUPER + 0x56, u16(2) + u16(96))
    entry = struct.pack("<HHI", 0, device, block)
    craft.inode(56, REG, entry, layout=CHUNKS, size=4097, u=0x20 | 1)
    devices = [BytesBlob(b"d" * (10 << 12)), BytesBlob(b"")]
    image = Image(BytesBlob(craft.image()), devices=devices)
    with pytest.raises(FormatError, match="chunk at 0 lies outside"):
        read_file(image)
    assert any("chunk at 0" in problem.what for problem in fsck(image))


def test_many_chunks_of_one_block_are_right() -> None:
    """Sharing is legal: 40,000 chunks say that a file is 160 MB of one block."""
    craft = one_file(blocks=100, feature_incompat=disk.FEATURE_INCOMPAT_CHUNKED_FILE)
    craft.put(1 << 12, b"x" * 4096)
    craft.directory(ROOT, {b"file": 512})
    craft.inode(512, REG, u32(1) * 40_000, layout=CHUNKS, size=40_000 << 12)
    data = craft.image()
    assert bounded(lambda: read_file(Image(BytesBlob(data)))) == b"x" * (1 << 20)
    assert quick(lambda: check(data)) == ""


def test_many_inodes_with_one_chunk_array() -> None:
    """Each reaches it across an xattr area of its own length; looking at all of them has an end."""
    craft = Craft(blocks=100)
    nids = list(range(48, 7000, 2))
    craft.directory(8192, {b"%04d" % nid: nid for nid in nids[:20]})
    end = 8000 * 32
    for nid in nids:
        craft.inode(nid, REG, layout=CHUNKS, size=30_000 << 12)
        icount = (end - nid * 32 - 64 - 12) // 4 + 1
        craft.poke(nid * 32 + 2, u16(icount))
    names = {b"%04d" % nid: nid for nid in nids}
    content = dirent.pack(
        [Entry(name, nid, 1) for name, nid in [(b".", ROOT), (b"..", ROOT), *names.items()]], 4096
    )
    craft.put(70 << 12, content)
    craft.block = craft.block._replace(root_nid=8960)
    craft.inode(8960, DIR, layout=PLAIN, size=len(content), u=70, nlink=2)
    data = craft.image()
    assert "share bytes" in bounded(lambda: check(data))


# --- compressed files ---------------------------------------------------------------------------


INDEX_TRAPS = {
    "no extent begins": (full_index((NONHEAD, 0, 1)), 4096),
    "no extent begins at the start": (full_index((HEAD, 5, 1)), 4096),
    "clusterofs behind": (full_index((HEAD, 0, 1), (HEAD, 4096, 1)), 8192),
    "d0 does not lead": (full_index((HEAD, 0, 1), (NONHEAD, 0, 7 | 1 << 16)), 8192),
    "a d1 before it leads": (full_index((HEAD, 0, 1), (NONHEAD, 0, 1 | 50 << 16)), 8192),
    "a block count where": (full_index((HEAD, 0, 1), (NONHEAD, 0, 0x802 | 1 << 16)), 8192),
    "a pcluster of no block": (
        full_index((HEAD, 0, 1), (NONHEAD, 0, 0x800 | 1 << 16), advise=BIG),
        8192,
    ),
    "more than 1 MiB": (
        full_index((HEAD, 0, 1), (NONHEAD, 0, 0x800 | 257 | 1 << 16), advise=BIG),
        8192,
    ),
    "no block count": (full_index((HEAD, 0, 1), (NONHEAD, 0, 1 | 1 << 16), advise=BIG), 8192),
    "outside the image": (full_index((HEAD, 0, 2)), 4096),
    "uncompressed extent longer": (full_index((0, 0, 1), (NONHEAD, 0, 1 | 1 << 16)), 8192),
    "not declare": (full_index((HEAD, 0, 1), algorithms=0), 4096),
    "compression algorithm 4": (full_index((HEAD, 0, 1), algorithms=4), 4096),
    "compression algorithm 15": (full_index((HEAD, 0, 1), algorithms=0xF3), 4096),
    "map advise": (full_index((HEAD, 0, 1), advise=0x40), 4096),
    "more than 12 MiB": (full_index((HEAD, 0, 1), bits=15), 13 << 20),
    "crosses a block": (full_index((HEAD, 0, 1), advise=8, word=5000 << 16), 4096),
    "without 48BIT": (full_index((HEAD, 0, 1), advise=1), 4096),
    "an index behind": (full_index(), 1 << 40),
}


@pytest.mark.parametrize("trap", INDEX_TRAPS)
def test_an_index_that_lies(trap: str) -> None:
    index, size = INDEX_TRAPS[trap]
    what = "ends behind the image" if trap == "an index behind" else trap
    fails(compressed(index, size), what, lambda image: image.read_bytes("/file"))


@pytest.mark.parametrize("layout", [FULL, COMPACT])
@pytest.mark.parametrize("bits", range(16))
@pytest.mark.parametrize("size", [1 << 40, (1 << 63) - 1])
def test_an_endless_index(layout: int, bits: int, size: int) -> None:
    """No size is believed before an index of that length is known to be there."""
    craft = compressed(full_index(bits=bits), size, layout=layout)
    fails(craft, "index", lambda image: image.read_bytes("/file"))


@pytest.mark.parametrize(
    ("advise", "bits", "what"),
    [(2, 0, "one half"), (4, 0, "one half"), (0, 1, "lclusters"), (1, 3, "lclusters")],
)
def test_a_compact_index_that_contradicts_itself(advise: int, bits: int, what: str) -> None:
    index = full_index(advise=advise, bits=bits)
    fails(compressed(index, 4096, layout=COMPACT), what, read_file)


def test_big_pclusters_that_the_superblock_does_not_know() -> None:
    craft = compressed(full_index((HEAD, 0, 1), advise=BIG), 4096, feature_incompat=1)
    fails(craft, "big pclusters without", read_file)


def test_overlapping_extents_are_right() -> None:
    """Ten extents of one pcluster: that is what deduplication makes."""
    heads = [(HEAD, 0, 1)] + [(NONHEAD, 0, min(d, 2047) | 16 - d << 16) for d in range(1, 16)]
    craft = compressed(full_index(*heads * 10), 10 * 65536)
    assert read_file(craft.open()) == b"a" * 655360
    assert bounded(lambda: check(craft.image())) == ""


PAYLOAD_TRAPS = {
    "all zeros": b"",
    "no zstd frame": b"garbage" * 9,
    "corrupt zstd frame": frame(b"a" * 65536)[:-3] + b"\xff\xff\xff",
    "larger window": b"\x28\xb5\x2f\xfd\x00\xf0" + bytes(50),
    "wants a dictionary": b"\x28\xb5\x2f\xfd\x21\x05\x41" + bytes(50),
    "fewer bytes": frame(b"a" * 4095),
}


@pytest.mark.parametrize("trap", PAYLOAD_TRAPS)
def test_a_payload_that_lies(trap: str) -> None:
    craft = compressed(full_index((HEAD, 0, 1)), 4096)
    craft.put(1 << 12, PAYLOAD_TRAPS[trap].rjust(4096, b"\0"))
    error = fails(craft, trap, read_file)
    assert (error.path, error.nid, error.offset) == ("/file", 56, 4096)


@pytest.mark.parametrize("algorithm", ["zstd", "lz4", "deflate", "lzma"])
def test_random_payloads(algorithm: str) -> None:
    """What is no stream of its codec is an error, or decodes to something."""
    number = ["lz4", "lzma", "deflate", "zstd"].index(algorithm)
    fields = {"algorithms": 15, "lzma_dict_size": 4096, "deflate_windowbits": 15}
    index = full_index((HEAD, 0, 1), algorithms=number * 0x11)
    craft = compressed(index, 4096, **fields)
    for seed in range(200):
        craft.poke(1 << 12, bytes((seed * 7 + n * n * (seed + 3)) % 255 + 1 for n in range(64)))
        fuzz().exercise(craft.image())


def bomb() -> bytes:
    """Half a megabyte that holds 800 MB: a hundred extents of 8 MiB, each with its pcluster."""
    size = 8 << 20
    craft = one_file(blocks=120, **ZSTD)
    index = full_index(*[(HEAD, 0, 2 + n) for n in range(100)], bits=11)
    craft.inode(56, REG, index, layout=FULL, size=100 * size, u=100)
    payload = frame(bytes(size)).rjust(4096, b"\0")
    for n in range(100):
        craft.put(2 + n << 12, payload)
    return craft.image()


def test_a_bomb_read_in_pieces() -> None:
    data = bomb()
    assert bounded(lambda: read_file(Image(BytesBlob(data)))) == bytes(1 << 20)
    reads = [("/file", n << 23, 1) for n in range(50)]
    assert bounded(lambda: Image(BytesBlob(data)).read_many(reads)) == [b"\0"] * 50


def test_a_bomb_that_fsck_does_not_wait_for() -> None:
    """It decodes as much as is in proportion to the image, and says that there is more."""
    data = bomb()
    assert "the rest was not decoded" in bounded(lambda: check(data))
    assert check(data, contents=False) == ""


# --- encoded extents ----------------------------------------------------------------------------


def encoded(record: int, rows: bytes, *, count: int = 0, advise: int = 0) -> bytes:
    """A map header and encoded extents in records of 4 << ``record`` bytes."""
    header = struct.pack(
        "<IHBB", count & 0xFFFFFFFF, 1 | record << 1 | advise, count >> 32 & 255, count >> 40
    )
    return header + rows


def extents_16(*rows: tuple[int, int, int], count: int | None = None, advise: int = 0) -> bytes:
    """Records of 16 bytes: where in the file, the word with the stored size, the address."""
    packed = b"".join(
        struct.pack("<IIII", word, address & 0xFFFFFFFF, address >> 32, logical)
        for logical, word, address in rows
    )
    return encoded(2, bytes(8) + packed, count=len(rows) if count is None else count, advise=advise)


ZSTD_WORD = 4 << 28
ENCODED_TRAPS = {
    "ends behind the image": extents_16((0, 10, 0), count=(1 << 47) - 1),
    "out of order": extents_16((0, 10, 4096), (10, 5, 4096), (5, 5, 4096)),
    "is out of order": extents_16((0, 5, 4096), (99, 5, 4096)),
    "two encoded extents": extents_16((0, 5, 4096), (5, 5, 4096), (5, 5, 4096)),
    "outside the image": extents_16((0, 100, 8100)),
    "lies outside the image": extents_16((0, 100, (1 << 64) - 50)),
    "uncompressed extent longer": extents_16((0, 10, 4096)),
    "compression algorithm 14": extents_16((0, 15 << 28 | 10, 4096)),
    "not declare": extents_16((0, 1 << 28 | 10, 4096)),
    "more than 1 MiB": extents_16((0, ZSTD_WORD | (1 << 20) + 1, 4096)),
    "outside": encoded(0, ((1 << 64) - 4096).to_bytes(8, "little") + u32(100)),
}


@pytest.mark.parametrize("trap", ENCODED_TRAPS)
def test_encoded_extents_that_lie(trap: str) -> None:
    incompat = CFGS | disk.FEATURE_INCOMPAT_48BIT
    craft = compressed(ENCODED_TRAPS[trap], 64, feature_incompat=incompat)
    fails(craft, trap, lambda image: image.read_bytes("/file"))


def test_many_tiny_extents_of_large_pclusters() -> None:
    """Each asks for a megabyte to be read, for one byte of the file."""
    craft = one_file(blocks=250, **{**ZSTD, "feature_incompat": CFGS | 0x80})
    craft.directory(ROOT, {b"file": 128})
    word = ZSTD_WORD | 1 << 27 | 900_000
    rows = [(n, word, 4096 * 8 + n) for n in range(1500)]
    craft.inode(128, REG, extents_16(*rows), layout=FULL, size=1500)
    craft.put(4096 * 8, frame(b"a" * 100).rjust(4096, b"\0"))
    fails(craft, "shorter than its pcluster", read_file)


# --- fragments ----------------------------------------------------------------------------------

FRAGMENTS: dict[str, Any] = {**ZSTD, "feature_incompat": CFGS | 0x20, "packed_nid": 64}


def whole_fragment(offset: int) -> bytes:
    """The map header of a file that is one fragment."""
    return u64(1 << 63 | offset)


def tail_fragment(offset: int, block: int = 0) -> bytes:
    """A full index whose last extent is a fragment; its high half stands for a block."""
    return full_index((HEAD, 0, 1), (0, 0, block), advise=0x20, word=offset)


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (whole_fragment(100), 10),
        (whole_fragment(96), 6),
        (whole_fragment((1 << 63) - 1), 10),
        (whole_fragment(0), (1 << 63) - 1),
        (tail_fragment(100), 4106),
        (tail_fragment(0xFFFFFFFF), 4106),
        (tail_fragment(0, 0xFFFFFFFF), 4106),
    ],
)
def test_a_fragment_behind_the_packed_inode(body: bytes, size: int) -> None:
    craft = compressed(body, size, **FRAGMENTS)
    craft.inode(64, REG, b"p" * 100)
    fails(craft, "fragment ends at", lambda image: image.read_bytes("/file"))


def test_a_fragment_without_a_packed_inode() -> None:
    fails(compressed(whole_fragment(0), 10), "no packed inode", read_file)


def test_a_packed_inode_in_itself() -> None:
    """Linux hangs on it for ever."""
    craft = compressed(whole_fragment(0), 10, **FRAGMENTS)
    craft.inode(64, REG, whole_fragment(0), layout=FULL, size=10)
    error = fails(craft, "packed inode is its own fragment", read_file)
    assert (error.path, error.nid) == ("/file", 64)
    assert "\nnid 64, offset 2112: the packed inode" in "\n" + check(craft.image())


def test_a_packed_inode_that_ends_in_itself() -> None:
    craft = compressed(whole_fragment(4096), 10, **FRAGMENTS)
    craft.inode(64, REG, tail_fragment(0), layout=FULL, size=4110)
    fails(craft, "packed inode is its own fragment", read_file)


def test_a_packed_inode_with_other_numbers() -> None:
    """The file is the packed inode, by a nid that wraps around to it."""
    craft = one_file(**FRAGMENTS)
    craft.directory(ROOT, {b"file": 64 + (1 << 59)})
    craft.inode(64, REG, whole_fragment(0), layout=FULL, size=10)
    with pytest.raises(FormatError, match="packed inode is its own fragment"):
        read_file(craft.open())
    assert "the packed inode has a name" in check(craft.image())


def test_a_packed_inode_that_has_a_name() -> None:
    craft = one_file(**FRAGMENTS)
    craft.directory(ROOT, {b"file": 64})
    craft.inode(64, REG, b"data")
    assert "the packed inode has a name" in check(craft.image())
