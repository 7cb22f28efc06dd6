"""A directory becomes a Tree.

The walk takes what lstat(2), readlink(2) and listxattr(2) say and leaves the contents where they
are: a regular file becomes a blob that opens the file for each read, so any number of files costs
no descriptor.  The image that is written later must be of the files as they were scanned, hence
each read makes sure that the file is still the same inode with the same size and mtime.

The tree does not depend on the order in which the file system lists its directories.

Files with holes are found by their block count and looked at with ``SEEK_DATA`` and
``SEEK_HOLE``; their contents are :class:`~iasfs.blob.SparseBlob`.

Extended attributes are taken in every namespace that the system shows to this process, but
``system.``: apart from the two POSIX ACLs, what stands there (``system.nfs4_acl``,
``system.cifs_acl``) is another view of the file system's own access rules, which means nothing
elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import NamedTuple

from iasfs import paths
from iasfs.blob import BaseBlob, Blob, BytesBlob, SliceBlob, SparseBlob
from iasfs.buffers import Buffer, Range
from iasfs.errors import BlobNotFound, StorageError
from iasfs.tree import Node, Tree

OnError = Callable[[OSError], object]
"""Called with the error of a file that cannot be scanned; the file is then left out."""
Progress = Callable[[int, int | None], None]
"""Called with the number of files found so far, and ``None`` for how many there will be."""

_PROGRESS_STEP = 1000
_NO_XATTRS = frozenset((errno.ENOTSUP, errno.EPERM, errno.ENOSYS))
_SYSTEM_XATTRS = frozenset(("system.posix_acl_access", "system.posix_acl_default"))
_EMPTY = BytesBlob(b"")


def scan_directory(
    path: paths.AnyPath,
    *,
    one_filesystem: bool = False,
    on_error: OnError | None = None,
    progress: Progress | None = None,
) -> Tree:
    """Scan a directory, which becomes the root of the tree.

    ``path`` may be a symbolic link to the directory; below it none is followed.  With
    ``one_filesystem``, what lies on another file system is left out: of a mount point its
    directory remains, empty.  The contents of the tree are read from the directory when they
    are used, and raise :class:`~iasfs.errors.StorageError` if a file has changed since.

    A file that cannot be looked at, or that this process may not read, raises the builtin
    ``OSError``, with its path; given ``on_error``, that is called with the error instead and
    the file left out (of a directory that cannot be listed, all that is in it).
    """
    top = os.path.realpath(os.fsencode(path))
    status = os.lstat(top)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fsdecode(path))
    scan = _Scan(status.st_dev if one_filesystem else None, on_error)
    root = _new_node(top, status)
    stack = [(top, root)]
    count = 0
    while stack:
        where, node = stack.pop()
        for name in scan.names(where):
            child = scan.child(os.path.join(where, name))
            if child is None:
                continue
            node.children[name] = child.node
            if child.is_entered:
                stack.append((child.path, child.node))
            count += 1
            if progress is not None and count % _PROGRESS_STEP == 0:
                progress(count, None)
    if progress is not None:
        progress(count, None)
    return Tree(root)


class _Child(NamedTuple):
    path: bytes
    node: Node
    is_entered: bool


class _Scan:
    """What one walk knows; ``device`` is the only one to scan, ``None`` means all."""

    def __init__(self, device: int | None, on_error: OnError | None) -> None:
        self._device = device
        self._on_error = on_error
        self._linked: dict[tuple[int, int], Node] = {}

    def names(self, path: bytes) -> list[bytes]:
        """What a directory holds, in an order that does not depend on the file system."""
        try:
            return sorted(os.listdir(path))
        except OSError as error:
            self._report(error)
            return []

    def child(self, path: bytes) -> _Child | None:
        """The node of a file; ``None`` for one that is left out."""
        try:
            status = os.lstat(path)
            is_dir = stat.S_ISDIR(status.st_mode)
            is_here = self._device is None or status.st_dev == self._device
            if not (is_here or is_dir):
                return None
            if is_dir or status.st_nlink == 1:
                return _Child(path, _new_node(path, status), is_dir and is_here)
            key = status.st_dev, status.st_ino
            if key not in self._linked:
                self._linked[key] = _new_node(path, status)
            return _Child(path, self._linked[key], False)
        except OSError as error:
            self._report(error)
            return None

    def _report(self, error: OSError) -> None:
        if self._on_error is None:
            raise error
        self._on_error(error)


def _new_node(path: bytes, status: os.stat_result) -> Node:
    mode = status.st_mode
    node = Node(mode, status.st_uid, status.st_gid, status.st_mtime_ns, xattrs=_xattrs(path))
    if stat.S_ISREG(mode):
        node.content = _content(path, status)
    elif stat.S_ISLNK(mode):
        node.target = os.readlink(path)
    elif node.is_device:
        node.rdev = status.st_rdev
    return node


def _xattrs(path: bytes) -> dict[bytes, bytes]:
    if not hasattr(os, "listxattr"):
        return {}
    xattrs = {}
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_XATTRS:
            raise
        return {}
    for name in names:
        if name.startswith("system.") and name not in _SYSTEM_XATTRS:
            continue
        try:
            value = os.getxattr(path, name, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (*_NO_XATTRS, errno.ENODATA):
                raise
        else:
            xattrs[os.fsencode(name)] = value
    return xattrs


# Contents.

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Neither a symbolic link nor a FIFO that has taken a file's place can lead astray."""
_EFFECTIVE = os.access in os.supports_effective_ids


class ScannedFile(BaseBlob):
    """A file as it was when it was scanned; it is open only while it is read."""

    __slots__ = ("_identity", "name")
    name: str

    def __init__(self, path: bytes, status: os.stat_result) -> None:
        self.name = os.fsdecode(path)
        self._identity = _identity(status)

    @property
    def size(self) -> int:
        return self._identity[2]

    def read_at(self, offset: int, size: int) -> Buffer:
        return self.read_many([(offset, size)])[0]

    def read_many(self, ranges: Sequence[Range]) -> list[Buffer]:
        for offset, size in ranges:
            self.check_range(offset, size)
        try:
            fd = os.open(self.name, _FLAGS)
            try:
                buffers: list[Buffer] = [_read(fd, offset, size) for offset, size in ranges]
                is_same = _identity(os.fstat(fd)) == self._identity
            finally:
                os.close(fd)
        except FileNotFoundError as error:
            raise BlobNotFound("the file has gone since it was scanned", name=self.name) from error
        except OSError as error:
            what = error.strerror or "cannot read"
            raise StorageError(what, name=self.name, errno=error.errno) from error
        if not is_same or any(len(data) != size for data, (_, size) in zip(buffers, ranges)):
            raise StorageError("the file has changed since it was scanned", name=self.name)
        return buffers


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _read(fd: int, offset: int, size: int) -> bytes:
    """``size`` bytes, or fewer at the end of the file."""
    data = os.pread(fd, size, offset)
    while len(data) < size:  # Linux moves at most 2 GiB - 4 KiB a call
        more = os.pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _content(path: bytes, status: os.stat_result) -> Blob:
    if not os.access(path, os.R_OK, effective_ids=_EFFECTIVE):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(path))
    size = status.st_size
    if not size:
        return _EMPTY
    file = ScannedFile(path, status)
    if status.st_blocks * 512 >= size:
        return file
    runs = _data_ranges(path, size)
    if runs == [(0, size)]:
        return file
    return SparseBlob(size, [(offset, SliceBlob(file, offset, run)) for offset, run in runs])


def _data_ranges(path: bytes, size: int) -> list[Range]:
    """Where a file with holes has data; all of it where the system cannot tell."""
    ranges: list[Range] = []
    fd = os.open(path, _FLAGS)
    try:
        end = 0
        while end < size:
            start = os.lseek(fd, end, os.SEEK_DATA)
            if start >= size:
                break
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
            ranges.append((start, end - start))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return [(0, size)]
        if error.errno != errno.ENXIO:  # no data from here to the end
            raise
    finally:
        os.close(fd)
    return ranges
