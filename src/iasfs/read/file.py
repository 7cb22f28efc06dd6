"""File: one opened regular file, as :mod:`io` knows it.

The cursor lives here and nowhere below.  :meth:`File.pread` does not use it and may be called
from many threads; the other methods are for one thread, as with any Python file.
"""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING, NoReturn

from iasfs.errors import FormatError
from iasfs.format.inode import Inode
from iasfs.read.data import Data, Read

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

WINDOW_SIZE = 64 << 10
"""Small reads are served from a window of so many bytes."""


class File(io.RawIOBase):
    """A regular file of an image, open for reading.

    It reads ahead a little for small reads, so it needs no :class:`io.BufferedReader` around it;
    ``read(n)`` answers with fewer than ``n`` bytes only at the end of the file.
    """

    def __init__(self, data: Data, inode: Inode, name: str, owner: object = None) -> None:
        """``owner`` is kept alive as long as the file."""
        super().__init__()
        self.name = name
        self.mode = "rb"
        self._data = data
        self._inode = inode
        self._owner = owner
        self._at = 0
        self._window = b""
        self._window_at = 0

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._inode.size

    def readable(self) -> bool:
        """Always."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """Always."""
        self._check_open()
        return True

    def tell(self) -> int:
        """The offset of the next byte read."""
        self._check_open()
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to an offset from the beginning, from here or from the end."""
        self._check_open()
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._inode.size}
        if whence not in bases:
            raise ValueError(f"invalid whence ({whence})")
        at = bases[whence] + offset
        if at < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), self.name)
        self._at = at
        return at

    def pread(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on; the cursor stays.  As :func:`os.pread`."""
        self._check_open()
        if offset < 0 or size < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), self.name)
        return self._fetch(offset, size)

    def _fetch(self, offset: int, size: int) -> bytes:
        try:
            return self._data.read(self._inode, offset, size)
        except FormatError as error:
            raise error.at(self.name) from None

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes, or all that are left."""
        self._check_open()
        left = max(self._inode.size - self._at, 0)
        if size is None or size < 0 or size > left:
            size = left
        start = self._at - self._window_at
        if start >= 0 and start + size <= len(self._window):
            data = self._window[start : start + size]
        elif size < WINDOW_SIZE // 2:
            self._window = self._fetch(self._at, WINDOW_SIZE)
            self._window_at = self._at
            data = self._window[:size]
        else:
            data = self._fetch(self._at, size)
        self._at += len(data)
        return data

    def readall(self) -> bytes:
        """All that is left."""
        return self.read()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer`` as far as the file goes; answers with the number of bytes."""
        self._check_open()
        target = memoryview(buffer).cast("B")
        size = min(len(target), max(self._inode.size - self._at, 0))
        if size < WINDOW_SIZE // 2:
            target[:size] = self.read(size)
            return size
        try:
            self._data.read_into([Read(self._inode, self._at, size, 0)], target)
        except FormatError as error:
            raise error.at(self.name) from None
        self._at += size
        return size

    def peek(self, size: int = 0, /) -> bytes:
        """Some bytes from here on, without moving; none only at the end of the file."""
        at = self._at
        start = at - self._window_at
        if not 0 <= start < len(self._window):
            self.read(1)
            self._at = at
            start = at - self._window_at
        return self._window[start:]

    def write(self, data: ReadableBuffer, /) -> NoReturn:
        """Never."""
        raise io.UnsupportedOperation("an image is read-only")

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
