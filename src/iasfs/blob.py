"""Blob: the one seam for bytes.

A blob is immutable bytes of known size that any thread may read at any offset.  Everything
below the user's file object reads through one: a local file, bytes in memory, a slice of a tar,
a remote object, a slow test double.  There is no cursor and no ``seek``, hence nothing to lock.

A read answers with *exactly* the bytes asked for or raises :class:`~iasfs.errors.StorageError`;
asking for bytes beyond the end is an error too (whoever wants them has been lied to).

The regular files of a :class:`~iasfs.tree.Tree` have a blob as their content as well, so writing
an image reads through the same seam as reading one.
"""

from __future__ import annotations

import errno
import os
import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import BinaryIO, Protocol, Self, runtime_checkable

from iasfs.buffers import Buffer, Range
from iasfs.errors import BlobNotFound, StorageError


@runtime_checkable
class Blob(Protocol):
    """Immutable bytes of known size, readable at any offset by any thread."""

    @property
    def size(self) -> int:
        """The number of bytes."""
        ...

    def read_at(self, offset: int, size: int) -> Buffer:
        """Exactly ``size`` bytes from ``offset``, or :class:`~iasfs.errors.StorageError`."""
        ...

    def read_many(self, ranges: Sequence[Range]) -> list[Buffer]:
        """The bytes of each range, in the order asked; a remote blob fetches them side by side."""
        ...

    def close(self) -> None:
        """Give back what the blob holds; reading afterwards is an error."""
        ...


class BaseBlob(ABC):
    """A convenient start for a blob: implement ``size`` and ``read_at``, inherit the rest."""

    name: str | None = None
    """What to call this blob in an error: a path or a URL."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of bytes."""

    @abstractmethod
    def read_at(self, offset: int, size: int) -> Buffer:
        """Exactly ``size`` bytes from ``offset``."""

    front_size = 0
    """Bytes at the beginning that are worth fetching at once by who will want most of them."""
    merge_gap = 0
    """Bytes between two ranges up to which :meth:`read_many` reads across."""
    merge_limit = 1 << 20
    """Bytes up to which :meth:`read_many` lets a merged read grow."""

    def read_many(self, ranges: Sequence[Range]) -> list[Buffer]:
        """The bytes of each range, in the order asked; near ones are read as one."""
        if len(ranges) == 1:
            return [self.read_at(*ranges[0])]
        found: list[Buffer] = [b""] * len(ranges)
        for (start, size), members in coalesce(ranges, gap=self.merge_gap, limit=self.merge_limit):
            data = memoryview(self.read_at(start, size))
            for index in members:
                offset = ranges[index][0] - start
                found[index] = data[offset : offset + ranges[index][1]]
        return found

    def close(self) -> None:  # noqa: B027 - most blobs hold nothing
        """Give back what the blob holds."""

    def check_range(self, offset: int, size: int) -> None:
        """Raise :class:`~iasfs.errors.StorageError` unless the range lies inside the blob."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise StorageError(
                f"{size} bytes at offset {offset} asked, only {self.size} bytes are there",
                name=self.name,
                errno=errno.EINVAL,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class BytesBlob(BaseBlob):
    """Bytes in memory."""

    def __init__(self, data: Buffer, name: str | None = None) -> None:
        self._data = memoryview(data).cast("B") if not isinstance(data, bytes) else data
        self.name = name

    @property
    def size(self) -> int:
        return len(self._data)

    def read_at(self, offset: int, size: int) -> Buffer:
        self.check_range(offset, size)
        return self._data[offset : offset + size]

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (bytes(self._data), self.name)


class FileBlob(BaseBlob):
    """A local file, read by ``pread``; pickles as its path and is safe across ``fork``.

    The size is taken when it is opened.  A file that became shorter afterwards gives
    :class:`~iasfs.errors.StorageError` (a memory map would have killed the process).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.path.abspath(path)
        self._fd = -1
        try:
            self._fd = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC)
            # lseek, since fstat says 0 for a block device.
            self._size = os.lseek(self._fd, 0, os.SEEK_END)
        except FileNotFoundError as error:
            raise BlobNotFound("no such file", name=self.name) from error
        except OSError as error:
            self.close()
            raise StorageError(
                error.strerror or "cannot open", name=self.name, errno=error.errno
            ) from error

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, size: int) -> Buffer:
        self.check_range(offset, size)
        try:
            data = os.pread(self._fd, size, offset)
            if len(data) == size:
                return data
            parts = [data]
            done = len(data)
            while done < size:  # Linux moves at most 2 GiB - 4 KiB a call
                data = os.pread(self._fd, size - done, offset + done)
                if not data:
                    raise StorageError(
                        f"the file ends at {offset + done}, {self._size} bytes were there",
                        name=self.name,
                    )
                parts.append(data)
                done += len(data)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(
                error.strerror or "cannot read", name=self.name, errno=error.errno
            ) from error
        return b"".join(parts)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.name,)


class FileObjectBlob(BaseBlob):
    """A seekable binary file object, whose cursor is moved under a lock; closing closes it.

    A child after ``fork`` shares that cursor with its parent, and would read wrong bytes: it gets
    :class:`~iasfs.errors.StorageError` instead.  Open by path what is read in many processes.
    """

    def __init__(self, file: BinaryIO, name: str | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self.name = name if name is not None else str(getattr(file, "name", "")) or None
        try:
            self._size = file.seek(0, os.SEEK_END)
        except (OSError, ValueError) as error:
            raise StorageError(f"cannot seek: {error}", name=self.name) from error

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, size: int) -> Buffer:
        self.check_range(offset, size)
        if os.getpid() != self._pid:
            raise StorageError("a file object cannot be read after fork", name=self.name)
        parts: list[bytes] = []
        missing = size
        with self._lock:
            try:
                self._file.seek(offset)
                while missing:
                    data = self._file.read(missing)
                    if not data:
                        break
                    parts.append(data)
                    missing -= len(data)
            except (OSError, ValueError) as error:
                raise StorageError(f"cannot read: {error}", name=self.name) from error
        if missing:
            raise StorageError(
                f"the file ends {missing} bytes short of {offset + size}", name=self.name
            )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        self._file.close()


class SliceBlob(BaseBlob):
    """``size`` bytes of another blob from ``offset`` on; closing it leaves the other open."""

    __slots__ = ("_blob", "_offset", "_size")

    def __init__(self, blob: Blob, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > blob.size:
            raise ValueError(f"slice {offset}+{size} of a blob of {blob.size} bytes")
        self._blob = blob
        self._offset = offset
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, size: int) -> Buffer:
        self.check_range(offset, size)
        return self._blob.read_at(self._offset + offset, size)

    def read_many(self, ranges: Sequence[Range]) -> list[Buffer]:
        for offset, size in ranges:
            self.check_range(offset, size)
        return self._blob.read_many([(self._offset + offset, size) for offset, size in ranges])

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._blob, self._offset, self._size)


class SparseBlob(BaseBlob):
    """A blob with holes: runs of data, and zeros wherever none is.

    ``runs`` are ``(offset, data)`` with ascending, non-overlapping offsets inside ``size``;
    ``ValueError`` if they are not.  A writer may look at :attr:`ranges` to store the holes as
    holes.
    """

    def __init__(self, size: int, runs: Iterable[tuple[int, Blob]]) -> None:
        self._size = size
        self._offsets: list[int] = []
        self._blobs: list[Blob] = []
        end = 0
        for offset, blob in runs:
            if offset < end or offset + blob.size > size:
                raise ValueError(f"run {offset}+{blob.size} overlaps or ends behind {size}")
            if blob.size:
                self._offsets.append(offset)
                self._blobs.append(blob)
            end = offset + blob.size

    @property
    def size(self) -> int:
        return self._size

    @property
    def ranges(self) -> list[Range]:
        """Where data is, ascending."""
        return [(offset, blob.size) for offset, blob in zip(self._offsets, self._blobs)]

    def read_at(self, offset: int, size: int) -> Buffer:
        self.check_range(offset, size)
        data = bytearray(size)
        at = max(bisect_right(self._offsets, offset) - 1, 0)
        while at < len(self._offsets) and self._offsets[at] < offset + size:
            start = self._offsets[at]
            blob = self._blobs[at]
            lo, hi = max(offset, start), min(offset + size, start + blob.size)
            if lo < hi:
                data[lo - offset : hi - offset] = blob.read_at(lo - start, hi - lo)
            at += 1
        return data


def coalesce(ranges: Sequence[Range], *, gap: int, limit: int) -> list[tuple[Range, list[int]]]:
    """Merge ranges that lie near each other into few requests (pure).

    Two ranges become one request when the bytes between them are at most ``gap`` and the
    request stays within ``limit`` bytes; a single range longer than ``limit`` stays whole.
    Answers with ``[(request, indexes of the ranges inside it), ...]`` in order of offset.
    """
    merged: list[tuple[Range, list[int]]] = []
    for index in sorted(range(len(ranges)), key=lambda i: ranges[i]):
        offset, size = ranges[index]
        if merged:
            (start, length), members = merged[-1]
            end = max(start + length, offset + size)
            if offset - (start + length) <= gap and (end - start <= limit or end == start + length):
                merged[-1] = (start, end - start), members
                members.append(index)
                continue
        merged.append(((offset, size), [index]))
    return merged
