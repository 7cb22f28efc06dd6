"""File offset to extents: flat and chunk based files, and whole images by another tool."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extents import COMPACT, GEOMETRY, node, table_of
from helpers import require_vectors
from iasfs.errors import FormatError
from iasfs.format import dirent, disk, extent, inode, superblock
from iasfs.format.extent import Extent, ExtentTable, Geometry, Kind
from iasfs.format.superblock import Device

PLAIN, ZSTD = Kind.PLAIN, Kind.ZSTD

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


def test_an_extent_lies_on_one_device() -> None:
    geometry = replace(GEOMETRY, devices=DEVICES, image_size=1000 << 12)
    for u in (999, 1099):
        with pytest.raises(FormatError, match="outside"):
            extent.table(node(PLAIN_FILE, 8192, u=u), geometry)
    geometry = replace(GEOMETRY, devices=DEVICES)
    with pytest.raises(FormatError, match="inline tail outside"):
        extent.table(node(INLINE_FILE, 9, body=1005 << 12), geometry)


@settings(max_examples=1500, deadline=None)
@given(
    st.sampled_from(range(6)),
    st.one_of(st.integers(0, 70000), st.integers(0, (1 << 63) - 1)),
    st.one_of(st.integers(0, 0xFF), st.integers(0, (1 << 48) - 1)),
    st.integers(0, 5000),
    st.sampled_from([9, 12, 16]),
    st.tuples(st.integers(0, 0x3F), st.sampled_from([0, 3, 0x33]), st.integers(0, 0x8F)),
    st.binary(max_size=300),
    st.booleans(),
)
def test_any_inode_and_any_metadata(
    layout: int,
    size: int,
    u: int,
    body: int,
    blkszbits: int,
    header: tuple[int, int, int],
    noise: bytes,
    attached: bool,
) -> None:
    """A table of the whole file, or FormatError; and all its bytes lie where bytes are."""
    geometry = replace(
        GEOMETRY, image_size=1 << 20, blkszbits=blkszbits, devices=DEVICES, attached=attached
    )
    raw = noise[:4].ljust(4, b"\0") + struct.pack("<HBB", *header) + noise[4:]
    raw += bytes(-len(raw) % 8)

    def read(offset: int, size: int) -> bytes:
        return (raw * (size // len(raw) + 1))[:size]

    try:
        table = table_of(node(layout, size, u=u, body=body), geometry, read)
    except FormatError:
        return
    assert table.size == size
    for piece in table:
        if piece.kind not in (Kind.HOLE, Kind.FRAGMENT):
            device, address = extent.resolve(piece, geometry)
            end = address + min(piece.size, piece.stored)
            assert end <= (DEVICES[device - 1].blocks << blkszbits if device else 1 << 20)


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
