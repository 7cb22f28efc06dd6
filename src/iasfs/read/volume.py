"""Volume: an image by number, below paths and contents.

It owns the blobs (the image and its extra devices) and answers from metadata alone: the
superblock, inodes by nid, and where the bytes of an inode are.  What it has decoded and is
likely to be asked for again it keeps, bounded.
"""

from __future__ import annotations

from collections.abc import Sequence

from iasfs.blob import Blob
from iasfs.errors import FormatError
from iasfs.format import disk, extent, inode, superblock
from iasfs.format.inode import Inode
from iasfs.format.table import ExtentTable, Geometry
from iasfs.read.metadata import Metadata
from iasfs.read.recent import Recent

TABLES_KEPT = 4 << 20
"""Bytes of extent tables that are kept."""
_TABLE_OVERHEAD = 256
"""Bytes that a table takes besides its records, about."""
INODES_KEPT = 4096


class Volume:
    """One opened image; safe for threads and across ``fork``.

    ``devices`` are the blobs of the extra devices that the image names, in its order.  Without
    them the image is taken to hold their data itself ("flat device mode").  ``metadata_size`` is
    the size of the metadata zone in bytes, if it is known, or a guess.
    """

    def __init__(
        self,
        blob: Blob,
        devices: Sequence[Blob] = (),
        *,
        metadata_size: int = 0,
        lenient: bool = False,
    ) -> None:
        self.metadata = Metadata(blob, metadata_size)
        self.superblock = superblock.unpack(self.metadata.front, blob.size, lenient=lenient)
        self.blobs = [blob, *devices]
        slots = superblock.unpack_devices(self.metadata.read(*self.superblock.device_table))
        if devices and len(devices) != len(slots):
            raise FormatError(f"{len(devices)} extra devices given, the image has {len(slots)}")
        for number, (slot, device) in enumerate(zip(slots, devices), 1):
            if slot.blocks << self.superblock.blkszbits > device.size:
                raise FormatError(f"extra device {number} is shorter than its {slot.blocks} blocks")
        self._inodes: Recent[int, Inode] = Recent(INODES_KEPT)
        self._tables: Recent[int, ExtentTable] = Recent(
            TABLES_KEPT, lambda table: table.nbytes + _TABLE_OVERHEAD
        )
        self.geometry = Geometry.of(
            self.superblock, blob.size, devices=slots, attached=bool(devices)
        )
        self.packed_inode = self._find_packed_inode()

    def _find_packed_inode(self) -> Inode | None:
        if not self.geometry.packed_nid:
            return None
        packed = self.inode(self.geometry.packed_nid)
        if not packed.is_file:
            raise FormatError("the packed inode is not a regular file", nid=packed.nid)
        self.geometry = Geometry.of(
            self.superblock,
            self.geometry.image_size,
            packed_size=packed.size,
            devices=self.geometry.devices,
            attached=self.geometry.attached,
        )
        return packed

    def inode(self, nid: int) -> Inode:
        """The inode ``nid``; ``FormatError`` if there is none that is sound."""
        found = self._inodes.get(nid)
        if found is None:
            offset = self.superblock.inode_offset(nid)
            if offset + disk.INODE_COMPACT.size > self.metadata.size:
                raise FormatError("the inode lies behind the image", nid=nid, offset=offset)
            size = min(inode.SIZE_MAX, self.metadata.size - offset)
            found = inode.unpack(self.metadata.read(offset, size), nid, self.superblock)
            self._inodes.put(nid, found)
        return found

    def extents(self, of: Inode) -> ExtentTable:
        """Where the bytes of an inode are."""
        table = self._tables.get(of.nid)
        if table is None:
            answer = extent.table(of, self.geometry)
            while not isinstance(answer, ExtentTable):
                answer = extent.table(of, self.geometry, self.metadata.read(*answer))
            table = answer
            self._tables.put(of.nid, table)
        return table
