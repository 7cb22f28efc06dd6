"""Every exception that iasfs raises of its own.

::

    IasfsError
    ├── FormatError (also ValueError)     the bytes are not what the format allows
    │   ├── DecodeError                   the stored bytes of an extent do not decode
    │   └── UnsupportedFeature            allowed by the format, but unknown to us
    ├── WriteError (also ValueError)      this tree (or tar) cannot become an image
    └── StorageError (also OSError)       the store did not give or take the bytes
        ├── BlobNotFound (also FileNotFoundError)
        ├── BlobExists (also FileExistsError)
        └── DigestMismatch                the bytes are not the ones that were promised

POSIX mistakes made with a good image (a missing path, a directory opened as a file) are not
here: they are the builtin exceptions, ``FileNotFoundError`` and its kin, with ``errno`` and
``filename`` set.

A low floor raises without knowing in which file or under which path it works; the floor that
knows adds it through :meth:`IasfsError.at`.
"""

from __future__ import annotations

import errno
from typing import Self


class IasfsError(Exception):
    """Base of all errors of iasfs."""

    path: str | None = None
    """The path inside the image (or the name of the file) at fault, where a floor knew it."""

    def at(self, path: str) -> Self:
        """Say where it happened, unless a lower floor already has; returns ``self``."""
        if self.path is None:
            self.path = path
        return self


class FormatError(IasfsError, ValueError):
    """The bytes are not what the format allows.

    ``what`` says what is wrong, ``nid`` in which inode and ``offset`` at which byte of the
    image (or of the archive), each where it is known.
    """

    def __init__(self, what: str, *, nid: int | None = None, offset: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.nid = nid
        self.offset = offset

    def __str__(self) -> str:
        where = []
        if self.path is not None:
            where.append(self.path)
        if self.nid is not None:
            where.append(f"nid {self.nid}")
        if self.offset is not None:
            where.append(f"offset {self.offset}")
        return f"{', '.join(where)}: {self.what}" if where else self.what


class DecodeError(FormatError):
    """The stored bytes of an extent do not decode; ``job`` tells which of a list of them."""

    def __init__(self, what: str, job: int = 0) -> None:
        super().__init__(what)
        self.job = job


class UnsupportedFeature(FormatError):
    """Allowed by the format, but unknown to this reader; ``feature`` is its name."""

    def __init__(self, feature: str, *, nid: int | None = None, offset: int | None = None) -> None:
        super().__init__(f"unsupported feature: {feature}", nid=nid, offset=offset)
        self.feature = feature


class WriteError(IasfsError, ValueError):
    """This tree, or this combination of options, cannot become an image."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.path}: {self.what}" if self.path is not None else self.what


class StorageError(IasfsError, OSError):
    """The store did not give, or did not take, the bytes; ``errno`` is set (``EIO`` if unknown)."""

    default_errno = errno.EIO

    def __init__(self, what: str, *, name: str | None = None, errno: int | None = None) -> None:
        OSError.__init__(self, errno or self.default_errno, what, name)
        self.what = what

    def __str__(self) -> str:
        return f"{self.filename}: {self.what}" if self.filename is not None else self.what

    def __reduce__(self) -> tuple[object, ...]:
        return _storage_error, (type(self), self.what, self.filename, self.errno)


def _storage_error(
    kind: type[StorageError], what: str, name: str | None, number: int
) -> StorageError:
    return kind(what, name=name, errno=number)


class BlobNotFound(StorageError, FileNotFoundError):
    """No blob of that name is in the store."""

    default_errno = errno.ENOENT


class BlobExists(StorageError, FileExistsError):
    """A blob of that name is there already, and blobs are never overwritten."""

    default_errno = errno.EEXIST


class DigestMismatch(StorageError):
    """The bytes are not the ones that were promised."""
