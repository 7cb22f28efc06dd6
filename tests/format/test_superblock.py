"""The superblock: what it says, its checksum, and what is refused."""

from __future__ import annotations

import contextlib
import re
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from example import BLOCK, IMAGE_SIZE
from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.format import disk, superblock
from iasfs.format.codec import crc32c
from iasfs.format.superblock import Device, Superblock

EXAMPLE = Superblock(
    blkszbits=12,
    feature_compat=disk.FEATURE_COMPAT_SB_CHKSUM | disk.FEATURE_COMPAT_MTIME,
    feature_incompat=disk.FEATURE_INCOMPAT_ZERO_PADDING | disk.FEATURE_INCOMPAT_COMPR_CFGS,
    root_nid=37,
    inos=6,
    epoch=1_700_000_000,
    blocks=23,
    uuid=bytes.fromhex("4cd605e7afa25360b5b9c5e9fb5c76f4"),
    volume_name=b"mini",
    algorithms=1 << disk.COMPRESSION_ZSTD,
    zstd_windowlog=16,
    checksum=0x663EA044,
)
ALL_CONFIGS = EXAMPLE._replace(
    algorithms=0b1111,
    lz4_max_distance=65535,
    lz4_max_pclusterblks=16,
    lzma_dict_size=1 << 18,
    deflate_windowbits=15,
)


def patched(*patches: tuple[int, bytes], block: bytes = BLOCK) -> bytes:
    """The example with some bytes changed, at offsets in the superblock, and a right checksum."""
    data = bytearray(block)
    for offset, value in patches:
        data[1024 + offset : 1024 + offset + len(value)] = value
    return superblock.with_checksum(bytes(data))


def front_of(block: Superblock) -> bytes:
    """The first block of an image with this superblock."""
    return patched((0, superblock.pack(block)), block=bytes(4096))


# --- both directions ----------------------------------------------------------------------------


def test_the_example() -> None:
    assert superblock.unpack(BLOCK, IMAGE_SIZE) == EXAMPLE
    packed = superblock.pack(EXAMPLE)
    assert packed == BLOCK[1024:1028] + bytes(4) + BLOCK[1032 : 1024 + len(packed)]


def test_the_checksum() -> None:
    """CRC-32C that is not inverted at the end, over the rest of the block, the field as zeros."""
    assert crc32c(b"123456789") == 0x1CF96D7C
    blank = BLOCK[:1028] + bytes(4) + BLOCK[1032:]
    assert crc32c(blank[1024:]) == EXAMPLE.checksum
    assert superblock.with_checksum(blank) == BLOCK
    assert crc32c(BLOCK[1032:], 0x5045B54A) == EXAMPLE.checksum


@pytest.mark.parametrize("blkszbits", [9, 10, 12, 16])
def test_the_checksum_covers_the_rest_of_the_block(blkszbits: int) -> None:
    """Or as much as a block, where the superblock lies behind the first."""
    covered = (1 << blkszbits) - 1024 if blkszbits > 10 else 1 << blkszbits
    packed = superblock.pack(EXAMPLE._replace(blkszbits=blkszbits))
    data = superblock.with_checksum((bytes(1024) + packed).ljust(1 << 16, b"\1"), blkszbits)

    def unpack_changed(offset: int) -> None:
        superblock.unpack(data[:offset] + b"\2" + data[offset + 1 :], 1 << 20)

    unpack_changed(1024 + covered)
    unpack_changed(1023)
    with pytest.raises(FormatError, match="checksum"):
        unpack_changed(1023 + covered)


def test_every_configuration() -> None:
    """In the order of the algorithms, each at a multiple of four."""
    packed = superblock.pack(ALL_CONFIGS)
    assert packed[128:] == bytes.fromhex(
        "0e00 ffff 1000"
        + 10 * "00"
        + "0e00 0000 0400"
        + 10 * "00"
        + "0600 0f"
        + 5 * "00"
        + "0600 00 06"
    ) + bytes(4)
    assert superblock.unpack(front_of(ALL_CONFIGS), 1 << 20)._replace(checksum=None) == (
        ALL_CONFIGS._replace(checksum=None)
    )


def test_without_configurations_the_field_is_the_distance_of_lz4() -> None:
    block = EXAMPLE._replace(
        feature_incompat=disk.FEATURE_INCOMPAT_ZERO_PADDING,
        algorithms=1 << disk.COMPRESSION_LZ4,
        lz4_max_distance=4000,
        zstd_windowlog=0,
        checksum=None,
    )
    assert superblock.pack(block)[84:86] == (4000).to_bytes(2, "little")
    assert superblock.unpack(front_of(block), 4096)._replace(checksum=None) == block


@given(
    feature_compat=st.sampled_from((1, 7)),
    root_nid=st.integers(0, 0xFFFF),
    packed_nid=st.integers(0, (1 << 64) - 1),
    inos=st.integers(0, (1 << 64) - 1),
    epoch=st.integers(-(1 << 63), (1 << 63) - 1),
    blocks=st.integers(0, (1 << 32) - 1),
    uuid=st.binary(min_size=16, max_size=16),
    volume_name=st.binary(max_size=16).filter(lambda name: not name.endswith(b"\0")),
    lz4_max_distance=st.integers(0, 0xFFFF),
)
def test_what_is_packed_unpacks(**fields: Any) -> None:
    block = Superblock(algorithms=1 << disk.COMPRESSION_LZ4, **fields)
    found = superblock.unpack(front_of(block), 4096)
    assert found._replace(checksum=None) == block


# --- what it means ------------------------------------------------------------------------------


def test_features_have_names() -> None:
    assert EXAMPLE.features == ["SB_CHKSUM", "MTIME", "ZERO_PADDING", "COMPR_CFGS"]
    assert Superblock(feature_compat=0x40000004).features == ["XATTR_FILTER", "compat 0x40000000"]
    known = [name for name in vars(disk) if name.startswith("FEATURE_")]
    everything = Superblock(feature_compat=0x3F, feature_incompat=0x1FF)
    assert sorted(everything.features) == sorted(
        name.removeprefix("FEATURE_COMPAT_").removeprefix("FEATURE_INCOMPAT_") for name in known
    )


def test_inodes_are_counted_in_slots() -> None:
    assert EXAMPLE.inode_offset(37) == 0x4A0
    assert EXAMPLE._replace(meta_blkaddr=2).inode_offset(37) == 2 * 4096 + 0x4A0
    assert EXAMPLE._replace(meta_blkaddr=1).inode_offset((1 << 59) - 128) == 0


def test_devices() -> None:
    table = struct.pack("<64sIIHH52x", b"one", 527, 18, 0, 0)
    table += struct.pack("<64sIIHH52x", bytes(64), 1, 2, 3, 4)
    assert superblock.unpack_devices(table) == [
        Device(b"one", 527, 18),
        Device(b"", 1 + (3 << 32), 2 + (4 << 32)),
    ]
    front = patched((80, bytes([11])), (86, bytes([2, 0, 15, 0])))
    assert superblock.unpack(front, IMAGE_SIZE).device_table == (15 * 128, 256)
    assert superblock.unpack(BLOCK, IMAGE_SIZE).device_table == (0, 0)


def test_a_48_bit_image_has_its_root_nid_elsewhere() -> None:
    wide = patched((80, b"\x83"), (14, b"\7\0"), (112, (5).to_bytes(8, "little")))
    found = superblock.unpack(wide, IMAGE_SIZE)
    assert (found.root_nid, found.blocks) == (5, 23 + (7 << 32))
    narrow = superblock.unpack(patched((80, b"\x83")), IMAGE_SIZE)
    assert (narrow.root_nid, narrow.blocks) == (37, 23)


# --- what is refused ----------------------------------------------------------------------------

CONFIG = 128
REFUSED: dict[str, tuple[bytes, int, str]] = {  # front, offset that the error names, its words
    "magic": (patched((0, b"\0")), 1024, "not an EROFS image"),
    "checksum": (BLOCK[:-1] + b"\1", 1028, "superblock checksum"),
    "block-size-256": (patched((12, b"\x08")), 1036, "2^8"),
    "block-size-128k": (patched((12, b"\x11")), 1036, "2^17"),
    "extension-slots": (patched((13, b"\xff")), 1037, "255 extension slots"),
    "dirblkbits": (patched((90, b"\1")), 1114, "dirblkbits 1"),
    "device-table-outside": (
        patched((80, b"\x0b"), (86, b"\1\0\xff\xff")),
        1110,
        "device table ends behind the image",
    ),
    "config-short": (patched((CONFIG, b"\5")), 1152, "zstd has 5 bytes"),
    "config-outside": (patched((CONFIG, b"\0\0")), 1152, "ends behind"),
    "zstd-format": (patched((CONFIG + 2, b"\1")), 1152, "zstd out of range"),
    "zstd-window": (patched((CONFIG + 3, b"\x0b")), 1152, "zstd out of range"),
    "lzma-format": (patched((84, b"\2"), (CONFIG, b"\x0e\0\0\0\1\0\1")), 1152, "lzma out of range"),
    "lzma-dict-large": (patched((84, b"\2"), (CONFIG, b"\x0e\0\1\0\x80\0")), 1152, "lzma out of"),
    "lzma-dict-small": (patched((84, b"\2"), (CONFIG, b"\x0e\0\xff\x0f\0\0")), 1152, "lzma out of"),
    "deflate-window-16": (patched((84, b"\4"), (CONFIG, b"\6\0\x10")), 1152, "deflate out of"),
    "deflate-window-7": (patched((84, b"\4"), (CONFIG, b"\6\0\7")), 1152, "deflate out of"),
    "empty": (b"", 0, "too few"),
    "cut-superblock": (BLOCK[:1151], 0, "too few"),
    "cut-block": (BLOCK[:4095], 4095, "cut short"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_where(name: str) -> None:
    front, offset, words = REFUSED[name]
    with pytest.raises(FormatError, match=re.escape(words)) as caught:
        superblock.unpack(front, IMAGE_SIZE)
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    ("patch", "feature"),
    [
        ((80, b"\x03\x01"), "METABOX"),
        ((81, b"\x02"), "incompat 0x200"),
        ((83, b"\x80"), "incompat 0x80000000"),
        ((84, b"\x18"), "compression algorithm 4"),
        ((85, b"\x80"), "compression algorithm 15"),
    ],
)
def test_what_is_unknown_is_named(patch: tuple[int, bytes], feature: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        superblock.unpack(patched(patch), IMAGE_SIZE)
    assert caught.value.feature == feature


@pytest.mark.parametrize(
    ("patch", "fields"),
    [
        ((36, bytes(4)), {"blocks": 0}),
        ((16, bytes(8)), {"inos": 0}),
        ((11, b"\x80"), {"feature_compat": 0x80000003}),
        ((86, b"\x09"), {"extra_devices": 0}),
        ((64, b"sixteen letters!"), {"volume_name": b"sixteen letters!"}),
        ((13, b"\1"), {}),
    ],
)
def test_what_linux_accepts_is_accepted(patch: tuple[int, bytes], fields: dict[str, Any]) -> None:
    block = BLOCK
    if patch[0] == 13:  # the configuration moves
        patch_configs = (CONFIG, bytes(16) + BLOCK[1024 + CONFIG : 1024 + CONFIG + 8])
        block = patched(patch_configs)
    found = superblock.unpack(patched(patch, block=block), IMAGE_SIZE)
    expected = EXAMPLE._replace(checksum=found.checksum, **fields)
    assert found == expected


def test_a_checksum_counts_only_where_it_is_said_to_be() -> None:
    block = BLOCK[:1032] + b"\2" + BLOCK[1033:]
    assert superblock.unpack(block, IMAGE_SIZE).checksum is None


@given(st.integers(1024, 1024 + 143), st.integers(0, 255))
def test_any_byte_changed_is_a_superblock_or_an_error(offset: int, value: int) -> None:
    """With a checksum that is right all the same."""
    with contextlib.suppress(FormatError):
        superblock.unpack(patched((offset - 1024, bytes([value]))), IMAGE_SIZE)
