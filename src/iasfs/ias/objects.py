"""Object storage, and whatever else fsspec reaches by a URL.

:class:`FsspecBlob` reads one object by ranges; :class:`ObjectBackend` is an Image Attach Storage
below a URL.  Both hold a URL and options, never a connection: fsspec keeps those, and is asked
again in each thread (some of its file systems are for one thread only) and after a ``fork``
(those that run an event loop do not survive one).

This is a door: what fsspec and the libraries behind it raise becomes a
:class:`~iasfs.errors.StorageError` here.  Options, and passwords and signatures inside URLs, are
in no message, ``repr`` or log; they are in a pickle, which could not read anything without them.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from iasfs.blob import BaseBlob, Blob, coalesce
from iasfs.buffers import Buffer, Range
from iasfs.errors import BlobExists, BlobNotFound, IasfsError, StorageError
from iasfs.ias import layout
from iasfs.ias.backend import Backend

_READ_ONLY = frozenset(("http", "https"))
"""Protocols whose file systems take a file, but not as a file: they POST it."""
_USER_INFO = re.compile(r"(?<=://)[^/@\s]*@")
_QUERY = re.compile(r"(?<=[^\s?])\?[^\s'\"<>)]+")
_SECRET_OPTION = re.compile(r"key|secret|token|pass|credential|auth|sas|connection", re.I)
_SECRET_MIN = 4
"""A shorter value is not searched for in messages: it would be found everywhere."""


def redact(text: str, options: Mapping[str, Any] | None = None) -> str:
    """``text`` without what may be secret: user information and queries of URLs, and options."""
    text = _QUERY.sub("?***", _USER_INFO.sub("***@", text))
    for secret in _secrets(options or {}):
        text = text.replace(secret, "***")
    return text


def _secrets(options: Mapping[str, Any], known: bool = False) -> Iterator[str]:
    for name, value in options.items():
        is_secret = known or bool(_SECRET_OPTION.search(str(name)))
        if isinstance(value, Mapping):
            yield from _secrets(value, is_secret)
        elif is_secret and isinstance(value, str) and len(value) >= _SECRET_MIN:
            yield value


class _Place:
    """A URL and the options to reach it; resolved once in each thread of each process."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.url = url
        self.options = options
        self.name = redact(url)
        self._resolved = threading.local()

    def resolve(self) -> tuple[Any, str]:
        """The file system, and the path that the URL has there."""
        here = self._resolved
        if getattr(here, "pid", None) != os.getpid():
            from fsspec.core import url_to_fs

            # Copies, for fsspec adds to the options of a link in a chain.
            options = {
                name: dict(value) if isinstance(value, dict) else value
                for name, value in self.options.items()
            }
            here.fs, here.path = url_to_fs(self.url, **options)
            here.pid = os.getpid()
        return here.fs, here.path

    @contextmanager
    def door(self, name: str | None = None) -> Iterator[None]:
        """Let nothing out but errors of iasfs; ``name`` is what they are about."""
        try:
            yield
        except IasfsError:
            raise
        except Exception as error:
            # A cause that tells secrets is left out of the traceback.
            cause = error if redact(str(error), self.options) == str(error) else None
            raise self._translate(error, name or self.name) from cause

    def _translate(self, error: BaseException, name: str) -> StorageError:
        if isinstance(error, FileNotFoundError):
            if not _is_trouble(error.__cause__):
                return BlobNotFound("no such object", name=name)
            error = error.__cause__ or error
        text = redact(str(error), self.options)
        number = error.errno if isinstance(error, OSError) else None
        if number is None:
            number = next((n for kind, n in _ERRNO.items() if isinstance(error, kind)), None)
        return StorageError(f"{type(error).__name__}: {text}", name=name, errno=number)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.url, self.options)


def _is_trouble(cause: BaseException | None) -> bool:
    """Whether what is said to be missing was not asked for: HTTP's file system confuses these."""
    if isinstance(cause, OSError):
        return not isinstance(cause, FileNotFoundError)
    return getattr(cause, "status", _GONE[0]) not in _GONE


_GONE = (404, 410)
_ERRNO: dict[type[Exception], int] = {
    PermissionError: errno.EACCES,
    IsADirectoryError: errno.EISDIR,
    TimeoutError: errno.ETIMEDOUT,
    NotImplementedError: errno.ENOTSUP,
    ImportError: errno.ENOTSUP,
}


class FsspecBlob(BaseBlob):
    """An object behind a URL that fsspec knows, chained ones included.

    ``size`` is the size in bytes; left out, the store is asked for it at once.  The other
    arguments are the options of the file system, as :func:`fsspec.open` takes them.  Raises
    :class:`~iasfs.errors.BlobNotFound` if nothing is there and
    :class:`~iasfs.errors.StorageError` if it cannot be reached, or has no size.
    """

    front_size = 2 << 20
    """The metadata of an ordinary image; fetching some bytes too many is cheaper than a request."""
    merge_gap = 64 << 10
    merge_limit = 8 << 20

    def __init__(self, url: str, *, size: int | None = None, **storage_options: Any) -> None:
        self._place = _Place(url, storage_options)
        self.name: str = self._place.name
        self._closed = False
        self._size = self._ask_size() if size is None else size

    def _ask_size(self) -> int:
        with self._place.door():
            fs, path = self._place.resolve()
            info = fs.info(path)
        if info["type"] == "directory":
            raise StorageError("is a directory", name=self.name, errno=errno.EISDIR)
        if info["size"] is None:
            raise StorageError("the store does not say how many bytes there are", name=self.name)
        return int(info["size"])

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, size: int) -> Buffer:
        self.check_range(offset, size)
        return self._fetch([(offset, size)])[0] if size else b""

    def read_many(self, ranges: Sequence[Range]) -> list[Buffer]:
        for offset, size in ranges:
            self.check_range(offset, size)
        found: list[Buffer] = [b""] * len(ranges)
        merged = coalesce(ranges, gap=self.merge_gap, limit=self.merge_limit)
        merged = [(request, members) for request, members in merged if request[1]]
        answers = self._fetch([request for request, _ in merged])
        for ((start, _), members), answer in zip(merged, answers):
            data = memoryview(answer)
            for index in members:
                offset, size = ranges[index]
                found[index] = data[offset - start : offset - start + size]
        return found

    def _fetch(self, requests: list[Range]) -> list[Buffer]:
        """The bytes of each request, none of them empty; all are under way at once."""
        if self._closed:
            raise StorageError("is closed", name=self.name, errno=errno.EBADF)
        if not requests:
            return []
        with self._place.door():
            fs, path = self._place.resolve()
            if len(requests) == 1:
                offset, size = requests[0]
                answers = [fs.cat_file(path, start=offset, end=offset + size)]
            else:
                starts = [offset for offset, _ in requests]
                ends = [offset + size for offset, size in requests]
                paths = [path] * len(requests)
                answers = fs.cat_ranges(paths, starts, ends, on_error="return")
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
        for (offset, size), answer in zip(requests, answers, strict=True):
            if len(answer) != size:
                raise self._wrong_length(offset, size, len(answer))
        return answers

    def _wrong_length(self, offset: int, size: int, answer: int) -> StorageError:
        what = f"{answer} bytes came for {size} at offset {offset}"
        if answer == self._size:
            what += ": the server ignores ranges; simplecache:: before the URL fetches it whole"
        return StorageError(what, name=self.name)

    def close(self) -> None:
        self._closed = True

    def __repr__(self) -> str:
        return f"<FsspecBlob {self.name} of {self._size} bytes>"

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (type(self), self._place.url, self._size, self._place.options)


def _reopen(kind: type[FsspecBlob], url: str, size: int, options: dict[str, Any]) -> FsspecBlob:
    return kind(url, size=size, **options)


class _Stream:
    """A file of fsspec, read from its beginning to its end."""

    def __init__(self, place: _Place, file: BinaryIO) -> None:
        self.name = place.name
        self._place = place
        self._file = file

    def read(self, size: int = -1) -> bytes:
        with self._place.door():
            return self._file.read(size)


@contextmanager
def open_stream(url: str, storage_options: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """An object to be read once, front to back: something with ``read(size)``."""
    place = _Place(url, dict(storage_options or {}))
    with place.door():
        fs, path = place.resolve()
        file = fs.open(path, "rb")
    try:
        yield _Stream(place, file)
    finally:
        with place.door():
            file.close()


class ObjectBackend(Backend):
    """An Image Attach Storage below a URL.

    A store replaces an object whole, but knows no directories: so the mark is uploaded last.  Of
    two who publish the same layer at the same moment the later one wins.  Made in the same way
    their bytes are the same, so nobody notices.
    """

    def __init__(self, root: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self._options = dict(storage_options or {})
        self._root = root if root.endswith("://") else root.rstrip("/")
        self._place = _Place(self._root, self._options)
        self.name = self._place.name

    def _find(self, name: str) -> tuple[Any, str, str]:
        """The file system, the path there, and what to call it."""
        layout.check_name(name)
        with self._place.door():
            fs, path = self._place.resolve()
        return fs, f"{path}/{name}", f"{self.name}/{name}"

    def read(self, name: str, limit: int) -> bytes:
        fs, path, full_name = self._find(name)
        with self._place.door(full_name):
            return bytes(fs.cat_file(path, start=0, end=limit)[:limit])

    def blob(self, name: str, size: int) -> Blob:
        return FsspecBlob(f"{self._root}/{layout.check_name(name)}", size=size, **self._options)

    def names(self, directory: str) -> Iterator[str]:
        fs, path, full_name = self._find(directory)
        prefix = path.removesuffix(directory)
        with self._place.door(full_name):
            fs.invalidate_cache()
            found = fs.find(path)
        for name in found:
            if name.startswith(prefix):
                yield name[len(prefix) :]

    def write(self, name: str, data: bytes) -> None:
        fs, path, full_name = self._find(name)
        self._check_writable(fs)
        with self._place.door(full_name):
            _put(fs, path, fs.pipe_file, path, data)

    @contextmanager
    def publishing(self, directory: str) -> Iterator[str]:
        fs, path, full_name = self._find(directory)
        self._check_writable(fs)
        with tempfile.TemporaryDirectory(prefix="iasfs-") as staging:
            yield staging
            with self._place.door(full_name):
                if _exists(fs, f"{path}/{layout.DESCRIPTOR}"):
                    raise BlobExists("was published by somebody else", name=full_name)
                for name in sorted(os.listdir(staging), key=_mark_last):
                    target = f"{path}/{name}"
                    _put(fs, target, fs.put_file, os.path.join(staging, name), target)

    def remove(self, directory: str) -> None:
        fs, path, full_name = self._find(directory)
        self._check_writable(fs)
        with self._place.door(full_name):
            fs.invalidate_cache()
            found = fs.find(path)
            for name in sorted(found, key=lambda name: not name.endswith(layout.DESCRIPTOR)):
                fs.rm_file(name)

    def _check_writable(self, fs: Any) -> None:
        protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
        if protocols & _READ_ONLY:
            raise StorageError("is only read", name=self.name, errno=errno.EROFS)


def _mark_last(name: str) -> tuple[bool, str]:
    return name == layout.DESCRIPTOR, name


def _exists(fs: Any, path: str) -> bool:
    """Whether an object is there; unlike ``fs.exists`` it does not take an error for a no."""
    fs.invalidate_cache()
    try:
        fs.info(path)
    except FileNotFoundError:
        return False
    return True


def _put(fs: Any, path: str, put: Callable[..., object], *arguments: object) -> None:
    """Call ``put``, which writes to ``path``, once more if it lacks a directory to write to."""
    try:
        put(*arguments)
    except FileNotFoundError:
        # Some stores have directories.  A bucket that is not there is not made, however.
        top = "/" if path.startswith("/") else path.partition("/")[0]
        if not _exists(fs, top):
            raise
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        put(*arguments)
