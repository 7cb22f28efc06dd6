"""Images put together by hand: what is asked for is written, right or wrong.

An inode goes where its nid says; a directory is made from names and nids.  What the library
would not write is poked over it at last; the superblock's checksum is then made good.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from typing import Any

from iasfs.blob import BytesBlob
from iasfs.format import dirent, disk, inode, superblock
from iasfs.format.dirent import Entry
from iasfs.format.inode import Inode
from iasfs.format.superblock import Superblock
from iasfs.read.image import Image

ROOT = 48
"""The nid of the root: at byte 1,536."""
DIR, REG, LNK = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777
PLAIN, FULL, INLINE, COMPACT, CHUNKS = range(5)
SUPER = disk.SUPER_OFFSET


class Craft:
    """An image of ``blocks`` blocks; the superblock has the given fields of ``Superblock``."""

    def __init__(self, blocks: int = 2, blkszbits: int = 12, **fields: Any) -> None:
        self.data = bytearray(blocks << blkszbits)
        self.block = Superblock(blkszbits=blkszbits, root_nid=ROOT, blocks=blocks)
        self.block = self.block._replace(**fields)
        self.modes: dict[int, int] = {}
        self.names: dict[int, Mapping[bytes, int]] = {}
        self.pokes: list[tuple[int, bytes]] = []

    def inode(
        self,
        nid: int,
        mode: int,
        body: bytes = b"",
        *,
        layout: int = INLINE,
        size: int | None = None,
        u: int = 0,
        xattrs: bytes = b"",
        nlink: int = 1,
    ) -> int:
        """An extended inode and what follows it; the offset of its body."""
        offset = self.block.inode_offset(nid)
        size = len(body) if size is None else size
        fields = Inode(
            nid, offset, layout, mode, nlink, size, 0, 0, 0, 0, u, nid & 0xFFFFFFFF, 0, 0, True
        )
        raw = inode.pack(fields._replace(xattr_size=len(xattrs))) + xattrs
        self.put(offset, raw + body)
        self.modes[nid] = mode
        return offset + len(raw)

    def directory(
        self, nid: int, names: Mapping[bytes, int], *, parent: int | None = None, nlink: int = 0
    ) -> int:
        """A directory of names and nids, inline; the offset of its body."""
        self.modes[nid] = DIR
        entries = {b".": nid, b"..": nid if parent is None else parent, **names}
        content = dirent.pack(
            [Entry(name, entries[name], self._type(entries[name])) for name in sorted(entries)],
            self.block.block_size,
        )
        nlink = nlink or 2 + sum(self._type(child) == disk.FT_DIR for child in names.values())
        return self.inode(nid, DIR, content, nlink=nlink)

    def _type(self, nid: int) -> int:
        return inode.file_type(self.modes.get(nid, REG))

    def put(self, offset: int, data: bytes) -> None:
        """Bytes at a place."""
        assert offset + len(data) <= len(self.data)
        self.data[offset : offset + len(data)] = data

    def poke(self, offset: int, data: bytes) -> None:
        """Bytes at a place, after all others."""
        self.pokes.append((offset, data))

    def image(self) -> bytes:
        """The bytes of the image."""
        self.put(SUPER, superblock.pack(self.block))
        for offset, data in self.pokes:
            self.put(offset, data)
        return reseal(self.data)

    def open(self) -> Image:
        """The image, opened."""
        return Image(BytesBlob(self.image()), name="image")


def reseal(data: bytes | bytearray) -> bytes:
    """An image with its checksum made good."""
    return superblock.with_checksum(bytes(data), data[SUPER + 12])


def u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    return (value % (1 << 64)).to_bytes(8, "little")


def one_file(blocks: int = 2, mode: int = REG, **fields: Any) -> Craft:
    """An image with ``/file``, nid 56, whose inode is the caller's to write."""
    craft = Craft(blocks, **fields)
    craft.modes[56] = mode
    craft.directory(ROOT, {b"file": 56})
    return craft


def xattr_area(
    *entries: bytes, ids: Sequence[int] = (), count: int | None = None, name_filter: int = 0
) -> bytes:
    """An xattr area; ``count`` is what it says of its shared ids."""
    header = disk.XATTR_IBODY_HEADER.pack(name_filter, len(ids) if count is None else count)
    return b"".join([header, *map(u32, ids), *entries])


def xattr_entry(index: int, rest: bytes, value: bytes, size: int | None = None) -> bytes:
    """An attribute; ``size`` is what it says of its value."""
    raw = disk.XATTR_ENTRY.pack(len(rest), index, len(value) if size is None else size)
    raw += rest + value
    return raw + bytes(-len(raw) % 4)
