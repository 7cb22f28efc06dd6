"""Target: a local directory that is filled, and nothing outside of it touched.

What comes here is not trusted, neither the names nor what lies in the directory already.  Each
system call names one component, relative to an open directory, and follows no symbolic link;
what is made is made new (``O_EXCL`` and its kin).

One directory is open at a time, however deep it is: down is to open a name in it, up is to open
``..`` of it and to see that this is where it came from.  Hence there is no path that could be too
long, and no descriptor for each level.

Errors are ``OSError`` as the system gives it; :meth:`Target.placed` adds the path.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_T = TypeVar("_T")


class Folder:
    """A directory in the target; its ancestors tell its path."""

    __slots__ = ("identity", "name", "parent")

    def __init__(self, fd: int, name: bytes = b"", parent: Folder | None = None) -> None:
        self.name = name
        self.parent = parent
        self.identity = _identity(fd)

    def path(self, *name: bytes) -> bytes:
        """The path of it, or of a name in it, relative to the target."""
        parts = list(name)
        folder = self
        while folder.parent is not None:
            parts.append(folder.name)
            folder = folder.parent
        return b"/".join(reversed(parts))


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


class Handle:
    """What metadata is set on: an open file, or a name in an open directory, never followed."""

    def __init__(self, fd: int, name: bytes | None = None) -> None:
        self._file: int | bytes = fd if name is None else name
        self._how: dict[str, Any] = {}
        self._attributes: int | bytes = fd
        self._attributes_how: dict[str, Any] = {}
        if name is not None:
            self._how = {"dir_fd": fd, "follow_symlinks": False}
            # os.setxattr takes no dir_fd; what this path begins with is the open directory.
            self._attributes = b"/proc/self/fd/%d/%s" % (fd, name)
            self._attributes_how = {"follow_symlinks": False}

    def chown(self, uid: int, gid: int) -> None:
        """Give it to an owner."""
        os.chown(self._file, uid, gid, **self._how)

    def chmod(self, mode: int) -> None:
        """Set the permission bits."""
        try:
            os.chmod(self._file, mode, **self._how)
        except NotImplementedError:  # an old kernel without /proc
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from None

    def owner(self) -> tuple[int, int]:
        """User and group."""
        status = os.stat(self._file, **self._how)
        return status.st_uid, status.st_gid

    def utime(self, nanoseconds: int) -> None:
        """Set the times of modification and of the last access."""
        try:
            os.utime(self._file, ns=(nanoseconds, nanoseconds), **self._how)
        except OverflowError:
            raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW)) from None

    def setxattr(self, name: bytes, value: bytes) -> None:
        """Set an extended attribute."""
        if b"\0" in name:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if not hasattr(os, "setxattr"):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        os.setxattr(self._attributes, name, value, **self._attributes_how)


class Target:
    """A directory to fill, and the place in it where one is.

    It is made if it is missing, with ``mode``.  A name that is there already raises
    ``FileExistsError``; with ``overwrite``, a directory is entered as it is, and anything else
    makes room for what is made.  Names are single components, neither ``.`` nor ``..``.
    """

    def __init__(self, path: str | os.PathLike[str], *, mode: int, overwrite: bool) -> None:
        self._path = os.fsencode(path)
        self._overwrite = overwrite
        with suppress(FileExistsError):
            os.mkdir(path, mode)
        # The user may well have given a symbolic link: this one is followed.
        self._top = os.open(path, _DIRECTORY & ~os.O_NOFOLLOW)
        self._fd = os.dup(self._top)
        self.here = Folder(self._top)
        """The directory that names are made in."""

    def close(self) -> None:
        """Close the directories."""
        os.close(self._fd)
        os.close(self._top)

    def placed(self, error: OSError, folder: Folder, *name: bytes) -> OSError:
        """The error with the path of a directory, or of a name in it."""
        inner = folder.path(*name)
        path = os.path.join(self._path, inner) if inner else self._path
        return OSError(error.errno, error.strerror, os.fsdecode(path))

    # --- directories ----------------------------------------------------------------------------

    def enter(self, name: bytes) -> None:
        """Make a directory, for this process alone as yet, and go into it."""
        try:
            os.mkdir(name, 0o700, dir_fd=self._fd)
        except FileExistsError:
            if not self._overwrite:
                raise
            status = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(name, dir_fd=self._fd)
                os.mkdir(name, 0o700, dir_fd=self._fd)
        fd = os.open(name, _DIRECTORY, dir_fd=self._fd)
        os.close(self._fd)
        self._fd = fd
        self.here = Folder(fd, name, self.here)

    def leave(self) -> int:
        """Go up, as far as there is an up.

        Answers with the descriptor of the directory that was left, for the caller to close.
        """
        left = self._fd
        if self.here.parent is None:
            self._fd = os.dup(self._top)
        else:
            self._fd = self._open(self.here.parent, b"..", left)
            self.here = self.here.parent
        return left

    def _open(self, folder: Folder, step: bytes, dir_fd: int) -> int:
        """Open the directory that ``folder`` was, one step from another."""
        try:
            fd = os.open(step, _DIRECTORY, dir_fd=dir_fd)
        except OSError as error:
            raise self.placed(error, folder) from None
        if _identity(fd) != folder.identity:
            os.close(fd)
            moved = OSError(errno.ESTALE, "the directory was moved while it was filled")
            raise self.placed(moved, folder)
        return fd

    def _reopen(self, folder: Folder) -> int:
        """Open a directory that may have been left."""
        if folder is self.here:
            return os.dup(self._fd)
        way: list[Folder] = []
        while folder.parent is not None:
            way.append(folder)
            folder = folder.parent
        fd = os.dup(self._top)
        for folder in reversed(way):
            try:
                below = self._open(folder, folder.name, fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    # --- files ----------------------------------------------------------------------------------

    def _make(self, name: bytes, make: Callable[[], _T]) -> _T:
        try:
            return make()
        except FileExistsError:
            if not self._overwrite:
                raise
        os.unlink(name, dir_fd=self._fd)
        return make()

    def create(self, name: bytes) -> int:
        """Make an empty regular file; answers with its descriptor, open for writing."""
        return self._make(name, lambda: os.open(name, _NEW_FILE, 0o600, dir_fd=self._fd))

    def symlink(self, name: bytes, target: bytes) -> Handle:
        """Make a symbolic link."""
        self._make(name, lambda: os.symlink(target, name, dir_fd=self._fd))
        return Handle(self._fd, name)

    def mknod(self, name: bytes, mode: int, device: int) -> Handle:
        """Make a device, a FIFO or a socket."""
        self._make(name, lambda: os.mknod(name, mode, device, dir_fd=self._fd))
        return Handle(self._fd, name)

    def link(self, folder: Folder, first: bytes, name: bytes) -> None:
        """Make a hard link to what is named ``first`` in a directory."""
        source = self._reopen(folder)
        try:
            self._make(
                name,
                lambda: os.link(
                    first, name, src_dir_fd=source, dst_dir_fd=self._fd, follow_symlinks=False
                ),
            )
        finally:
            os.close(source)

    def discard(self, folder: Folder, name: bytes) -> None:
        """Take a file away, if that is possible."""
        with suppress(OSError):
            fd = self._reopen(folder)
            try:
                os.unlink(name, dir_fd=fd)
            finally:
                os.close(fd)
