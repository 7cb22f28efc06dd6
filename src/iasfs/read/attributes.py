"""Extended attributes of an inode, from its own area, shared entries and long prefixes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from iasfs.errors import FormatError
from iasfs.format import disk, xattr
from iasfs.format.inode import Inode
from iasfs.read.data import Data
from iasfs.read.volume import Volume


class Attributes:
    """The extended attributes of one volume."""

    def __init__(self, volume: Volume, data: Data) -> None:
        self._volume = volume
        self._data = data

    def of(self, inode: Inode) -> dict[bytes, bytes]:
        """Full names and values; a name that Linux would hide is left out here too.

        Where a name is stored twice the first counts, as it does for Linux.
        """
        found: dict[bytes, bytes] = {}
        for index, rest, value in self._stored(inode):
            name = xattr.full_name(index, rest, self.long_prefixes)
            if name is None:
                continue
            if b"\0" in name:
                raise FormatError(f"an attribute named {name[:40]!r}", nid=inode.nid)
            found.setdefault(name, value)
        return found

    def _stored(self, inode: Inode) -> Iterator[tuple[int, bytes, bytes]]:
        if not inode.xattr_size:
            return
        metadata, block = self._volume.metadata, self._volume.superblock
        start = inode.body - inode.xattr_size
        try:
            entries, ids = xattr.unpack_area(metadata.read(start, inode.xattr_size), start)
            yield from entries
            for number in ids:
                offset = (block.xattr_blkaddr << block.blkszbits) + 4 * number
                size = xattr.entry_size(metadata.read(offset, disk.XATTR_ENTRY.size))
                yield xattr.unpack_entry(metadata.read(offset, size))
        except FormatError as error:
            error.nid = inode.nid
            raise

    @cached_property
    def long_prefixes(self) -> list[xattr.LongPrefix]:
        """The image's own prefixes.

        Their table lies in the data of the packed inode, where there is one, unless the image
        says that it is plain.
        """
        block = self._volume.superblock
        if not block.has(disk.FEATURE_INCOMPAT_XATTR_PREFIXES) or not block.xattr_prefix_count:
            return []
        offset = 4 * block.xattr_prefix_start
        packed = self._volume.packed_inode
        plain = block.feature_compat & disk.FEATURE_COMPAT_PLAIN_XATTR_PFX
        if packed is not None and not plain:
            table = self._data.read(packed, offset, xattr.LONG_PREFIX_TABLE_MAX)
        else:
            size = min(xattr.LONG_PREFIX_TABLE_MAX, self._volume.metadata.size - offset)
            table = bytes(self._volume.metadata.read(offset, max(size, 0)))
        return xattr.unpack_long_prefixes(table, block.xattr_prefix_count)
