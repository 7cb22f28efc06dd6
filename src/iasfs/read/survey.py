"""Survey: a look at all metadata of an image, whose work has an end.

In a sound image no two pieces of metadata share a byte, so whoever looks at all of it looks at
no more than the image.  In a hostile one a thousand inodes share an index and a thousand
directories a block, and a megabyte keeps a reader busy for hours.  So what is looked at is
counted, about in bytes, and has a limit that no sound image comes near.
"""

from __future__ import annotations

from iasfs.format import disk, extent, xattr
from iasfs.format.inode import Inode
from iasfs.format.table import ExtentTable
from iasfs.read.volume import Volume

_FACTOR = 3
_FLOOR = 1 << 18
"""A sound image costs less than so many times its size, and any may cost a little."""
_NAME_COST = 24
_INODE_COST = 32
_HEADER_COST = 32
_EXTENT_COST = 4
_XATTR_COST = 8


class Overspent(Exception):  # noqa: N818 - never leaves this room
    """More was looked at than any sound image of this size holds."""


class Survey:
    """Gives out the metadata of one volume as long as it adds up."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._left = _FACTOR * volume.metadata.size + _FLOOR

    def spend(self, cost: int) -> None:
        """Count ``cost`` bytes; :class:`Overspent` when it has become too much."""
        self._left -= cost
        if self._left < 0:
            raise Overspent

    def name(self) -> None:
        """Count one name and a look at where it leads."""
        self.spend(_NAME_COST)

    def extents(self, inode: Inode) -> ExtentTable:
        """Where the bytes of an inode are: as the volume has them, but not kept."""
        self.spend(_INODE_COST)
        compressed = inode.layout in (disk.INODE_COMPRESSED_FULL, disk.INODE_COMPRESSED_COMPACT)
        answer = extent.table(inode, self._volume.geometry)
        while not isinstance(answer, ExtentTable):
            # The first look at a compressed file is for its header, and may find all.
            self.spend(_HEADER_COST if compressed else answer[1])
            compressed = False
            data = self._volume.metadata.read(*answer)
            answer = extent.table(inode, self._volume.geometry, data)
        self.spend(_EXTENT_COST * len(answer))
        return answer

    def xattrs(self, inode: Inode) -> tuple[list[tuple[int, bytes, bytes]], list[int]]:
        """What lies in the xattr area, as :func:`~iasfs.format.xattr.unpack_area` says it."""
        if not inode.xattr_size:
            return [], []
        start = inode.body - inode.xattr_size
        area = self._volume.metadata.read(start, inode.xattr_size)
        self.spend(len(area))
        entries, ids = xattr.unpack_area(area, start)
        self.spend(_XATTR_COST * (len(entries) + len(ids)))
        return entries, ids
