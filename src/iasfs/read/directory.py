"""Directories by inode: list them, look one name up.

A lookup reads only the blocks that its binary search touches, in metadata; a directory that a
tool has compressed is read through :class:`~iasfs.read.data.Data` like a file.
"""

from __future__ import annotations

from collections.abc import Iterator

from iasfs.buffers import Buffer
from iasfs.errors import FormatError
from iasfs.format import dirent
from iasfs.format.dirent import Entry
from iasfs.format.inode import Inode
from iasfs.format.table import Kind, resolve
from iasfs.read.data import Data
from iasfs.read.volume import Volume

SIZE_FACTOR = 16
"""No directory is longer than so many times the image, even where a tool has compressed it: its
names lead to inodes, and none is longer than eight of them."""


class Directories:
    """The directories of one volume."""

    def __init__(self, volume: Volume, data: Data) -> None:
        self._volume = volume
        self._data = data

    def entries(self, directory: Inode) -> Iterator[Entry]:
        """All entries in order of their names, ``.`` and ``..`` included."""
        try:
            yield from dirent.check_order(self._unchecked(directory))
        except FormatError as error:
            raise self._placed(error, directory) from None

    def _unchecked(self, directory: Inode) -> Iterator[Entry]:
        for number in range(self.count(directory)):
            yield from dirent.iterate(self.block(directory, number))

    def find(self, directory: Inode, name: bytes) -> Entry | None:
        """The entry of one name, or ``None``."""
        try:
            return dirent.find(
                self.count(directory), lambda number: self.block(directory, number), name
            )
        except FormatError as error:
            raise self._placed(error, directory) from None

    def count(self, directory: Inode) -> int:
        """The number of blocks of a directory."""
        if directory.size > SIZE_FACTOR * self._volume.metadata.size:
            what = f"a directory of {directory.size} bytes, out of proportion to the image"
            raise FormatError(what, nid=directory.nid, offset=directory.offset)
        return -(-directory.size >> self._volume.superblock.blkszbits)

    def block(self, directory: Inode, number: int) -> Buffer:
        """One block of a directory; the last one is cut where the directory ends."""
        block_size = self._volume.superblock.block_size
        offset = number * block_size
        size = min(block_size, directory.size - offset)
        table = self._volume.extents(directory)
        extent = table[table.find(offset)]
        skip = offset - extent.logical
        if extent.kind == Kind.PLAIN and skip + size <= extent.size:
            device, address = resolve(extent, self._volume.geometry)
            if device == 0:
                return self._volume.metadata.read(address + skip, size)
        return self._data.read(directory, offset, size)

    @staticmethod
    def _placed(error: FormatError, directory: Inode) -> FormatError:
        if error.nid is None:
            error.nid = directory.nid
        return error
