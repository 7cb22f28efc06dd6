"""Hostile bytes: any byte of an image changed or cut, and what once hurt.

Images made by hand are in ``tests/bad``; the bound is in ``hostile.py``.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from contextlib import suppress

import pytest

from craft import (
    DIR,
    LNK,
    PLAIN,
    REG,
    ROOT,
    SUPER,
    Craft,
    one_file,
    reseal,
    u16,
    u32,
    u64,
    xattr_area,
    xattr_entry,
)
from hostile import (
    bounded,
    check,
    fuzz,
    read_file,
)
from iasfs.blob import BytesBlob
from iasfs.errors import FormatError
from iasfs.format import disk, seal
from iasfs.read.image import Image
from trees import PROFILES, packed, symlink, tree_of

# --- the superblock -----------------------------------------------------------------------------

SUPER_TRAPS: dict[str, tuple[int, bytes, str]] = {
    "magic": (0x00, b"EROF", "magic"),
    "block size 2^8": (0x0C, b"\x08", "block size"),
    "block size 2^17": (0x0C, b"\x11", "block size"),
    "block size 2^255": (0x0C, b"\xff", "block size"),
    "dirblkbits": (0x5A, b"\x01", "dirblkbits"),
    "unknown incompat": (0x50, u32(1 << 31), "incompat 0x80000000"),
    "metabox": (0x50, u32(0x180), "METABOX"),
    "root is no directory": (0x0E, u16(56), "not a directory"),
    "root behind the image": (0x0E, u16(0xFFFF), "behind the image"),
    "root is nothing": (0x0E, u16(127), "no known type"),
    "48-bit root behind": (0x50, u32(0x80) + bytes(28) + u64(1 << 58), "behind the image"),
    "nid 0 behind the image": (0x28, u32(0xFFFFFFFF), "behind the image"),
    "packed inode behind": (0x50, u32(0x20) + bytes(12) + u64(1 << 40), "behind the image"),
    "packed inode is a directory": (0x50, u32(0x20) + bytes(12) + u64(ROOT), "not a regular file"),
    "algorithm 4": (0x50, u32(3) + u16(16), "compression algorithm 4"),
    "all algorithms": (0x50, u32(3) + u16(0xFFFF), "compression algorithm"),
    "a configuration of nothing": (0x50, u32(3) + u16(8), "configuration of zstd"),
    "extension slots behind the block": (0x0D, b"\xff", "extension slots"),
    "a device table behind": (0x50, u32(8) + bytes(2) + u16(1) + u16(0xFFFF), "device table"),
    "65,535 devices": (0x50, u32(8) + bytes(2) + u16(0xFFFF) + u16(0), "device table"),
}  # fmt: skip


@pytest.mark.parametrize("trap", SUPER_TRAPS)
def test_a_superblock_that_lies(trap: str) -> None:
    offset, data, what = SUPER_TRAPS[trap]
    craft = one_file()
    craft.inode(56, REG, b"data")
    craft.poke(SUPER + offset, data)
    raw = unsealed(craft)

    def run() -> FormatError:
        with pytest.raises(FormatError, match=what) as caught:
            Image(BytesBlob(raw), name="some.erofs")
        return caught.value

    assert bounded(run).path == "some.erofs"


def unsealed(craft: Craft) -> bytes:
    """The image with a checksum if one can be made, else as it is."""
    try:
        return craft.image()
    except FormatError:
        return bytes(craft.data)


CONFIG_TRAPS = {
    "windowlog 11": (8, 6, b"\0\x0b"),
    "zstd format": (8, 6, b"\x01\x06"),
    "zstd short": (8, 1, b"\0"),
    "zstd endless": (8, 0, b"\0\x06"),
    "lzma dictionary small": (2, 14, u32(4095) + u16(0)),
    "lzma dictionary large": (2, 14, u32((8 << 20) + 1) + u16(0)),
    "lzma format": (2, 14, u32(4096) + u16(1)),
    "deflate window small": (4, 6, b"\x07"),
    "deflate window large": (4, 6, b"\x10"),
    "lz4 short": (1, 13, b""),
}


@pytest.mark.parametrize("trap", CONFIG_TRAPS)
def test_a_compression_configuration_that_lies(trap: str) -> None:
    algorithms, size, payload = CONFIG_TRAPS[trap]
    craft = one_file(feature_incompat=3, algorithms=8, zstd_windowlog=15)
    craft.poke(SUPER + 0x54, u16(algorithms))
    craft.poke(SUPER + 128, u16(size) + payload)
    with pytest.raises(FormatError, match="configuration of"):
        craft.open()


def test_a_checksum_that_does_not_match() -> None:
    data = bytearray(one_file().image())
    data[2000] ^= 1
    with pytest.raises(FormatError, match="checksum"):
        Image(BytesBlob(data))


def test_devices_on_top_of_each_other() -> None:
    craft = one_file(blocks=4, feature_incompat=8)
    slot = struct.pack("<64sII56x", b"", 10, 100)
    craft.put(3 << 12, slot * 2)
    craft.poke(SUPER + 0x56, u16(2) + u16(96))
    data, device = craft.image(), BytesBlob(bytes(10 << 12))
    with pytest.raises(FormatError, match="overlap"):
        Image(BytesBlob(data), devices=[device, device])
    with pytest.raises(FormatError, match="extra devices given"):
        Image(BytesBlob(data), devices=[device])
    with pytest.raises(FormatError, match="shorter"):
        Image(BytesBlob(data), devices=[device, BytesBlob(b"")])


def test_a_device_that_only_the_table_of_an_unused_feature_names() -> None:
    """Fields of a feature that is not declared are ignored, as Linux does."""
    craft = one_file()
    craft.inode(56, REG, b"data")
    craft.poke(SUPER + 0x56, u16(0xFFFF) + u16(0xFFFF))
    assert read_file(craft.open()) == b"data"


def test_a_header_that_lies() -> None:
    """It is a hint: reading does not depend on it, and fsck compares it."""
    craft = one_file()
    craft.inode(56, REG, b"data")
    for image_size, metadata_size in [(1 << 60, 1 << 60), (8192, 0), (8192, 1), (0, 0)]:
        craft.poke(0, seal.pack(seal.Header(image_size, metadata_size)))
        assert read_file(craft.open()) == b"data"
        assert "metadata zone" in check(craft.image()) or "the header says" in check(craft.image())


# --- everything, byte by byte -------------------------------------------------------------------


def small_images() -> dict[str, bytes]:
    """One of each layout, few inodes each."""
    text = b"".join(b"%d bottles\n" % number for number in range(1000))
    nodes = {"a": b"inline", "d/text": text, "l": symlink(b"d/text"), "d/pack": text[:600]}
    tree = tree_of(nodes)
    for name in ("a", "d"):
        node = tree.get(name)
        assert node is not None
        node.xattrs = {b"user.own": name.encode(), b"security.selinux": b"label"}
    small = {"extent_size": 4096, "pack_extent_size": 4096, "pack_limit": 4096}
    return {
        "zstd": packed(tree, compression="zstd", **small),
        "lz4": packed(tree, **PROFILES["lz4-5.4"]),
        "none": packed(tree, **PROFILES["none-6.10"]),
    }


SMALL = small_images()


@pytest.mark.parametrize("name", SMALL)
def test_every_length(name: str) -> None:
    """Cut anywhere, with and without the checksum that would have told."""
    data = bytearray(SMALL[name])
    for size in range(0, len(data), 61):
        fuzz().exercise(bytes(data[:size]))
    data[SUPER + 8] &= ~disk.FEATURE_COMPAT_SB_CHKSUM
    for size in (*range(0, 4096, 17), *range(4096, len(data), 97)):
        fuzz().exercise(bytes(data[:size]))


@pytest.mark.parametrize("name", SMALL)
def test_every_byte_of_metadata(name: str) -> None:
    """Each becomes several other values; the checksum is made good, so that it counts."""
    data = SMALL[name]
    image = Image(BytesBlob(data))
    assert fuzz().exercise(data) is None
    header = image.volume.metadata.header
    assert header is not None
    end = len(data[: header.metadata_size].rstrip(b"\0")) + 1
    for at in (*range(32), *range(SUPER, end)):
        for value in {0, 0xFF, data[at] ^ 1, data[at] ^ 0x80} - {data[at]}:
            fuzz().exercise(mended(data, at, value))


def mended(data: bytes, at: int, value: int) -> bytes:
    changed = bytearray(data)
    changed[at] = value
    with suppress(FormatError):
        return reseal(changed)
    return bytes(changed)


@pytest.mark.parametrize("name", SMALL)
def test_fsck_finds_every_change_of_a_nid_or_type_in_a_directory(name: str) -> None:
    data = SMALL[name]
    assert check(data) == ""
    body = Image(BytesBlob(data)).inode("/d").body
    for entry in range(body, body + 4 * disk.DIRENT.size, disk.DIRENT.size):
        for at in (*range(entry, entry + 8), entry + 10):
            assert "/d" in check(mended(data, at, data[at] ^ 1)), at - body
            assert "/d" in check(mended(data, at, data[at] ^ 0x80)), at - body


def test_every_length_of_a_small_image() -> None:
    """Two blocks of 512 bytes behind the superblock's, and no checksum."""
    craft = Craft(blocks=7, blkszbits=9)
    craft.modes.update({56: DIR, 72: LNK})
    craft.directory(ROOT, {b"d": 56, b"f": 64, b"l": 72})
    craft.directory(56, {b"f": 64}, parent=ROOT)
    craft.inode(
        64, REG, layout=PLAIN, size=700, u=5, nlink=2, xattrs=xattr_area(xattr_entry(1, b"a", b"1"))
    )
    craft.inode(72, LNK, b"d/f")
    craft.poke(SUPER + 8, u32(0))
    data = craft.image()
    assert check(data) == ""
    for size in range(len(data)):
        fuzz().exercise(data[:size])


# --- what the fuzzer found ----------------------------------------------------------------------


def test_the_inputs_that_are_kept() -> None:
    """Those that once hurt, and small images with what our writer does not make."""
    kept = sorted(fuzz().CORPUS.iterdir())
    assert kept
    for path in kept:
        fuzz().one_input(path.read_bytes())


def test_the_inputs_that_are_kept_without_the_compiled_part() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", fuzz().__file__, "--replay"],
        env={**os.environ, "IASFS_PURE_PYTHON": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert done.stdout.endswith(b" inputs\n")
