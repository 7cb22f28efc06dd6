"""A directory as an Image Attach Storage: a local disk, or whatever is mounted.

What is published is written beside its final place under a hidden name, brought to the disk, and
renamed.  A rename replaces no directory that holds something, so of many who publish the same
layer the first one wins, without a lock.  A directory without a mark, which somebody else must
have left, is completed file by file, the mark last.  What a crash leaves behind is hidden: names
that begin with a dot are nobody's.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from iasfs.blob import Blob, FileBlob
from iasfs.errors import BlobExists, BlobNotFound, StorageError
from iasfs.ias import layout
from iasfs.ias.backend import Backend


class PosixBackend(Backend):
    """The directory ``root``, made when something is first written."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.name = os.path.abspath(root)

    def _path(self, name: str) -> str:
        return os.path.join(self.name, *layout.check_name(name).split("/"))

    def read(self, name: str, limit: int) -> bytes:
        path = self._path(name)
        with _translated(path), open(path, "rb") as file:
            return file.read(limit)

    def blob(self, name: str, size: int) -> Blob:
        blob = FileBlob(self._path(name))
        if blob.size != size:
            blob.close()
            raise StorageError(f"{blob.size} bytes, not {size}", name=blob.name)
        return blob

    def names(self, directory: str) -> Iterator[str]:
        prefix = len(self.name) + 1
        for folder, folders, files in os.walk(self._path(directory)):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if not name.startswith("."):
                    yield os.path.join(folder, name)[prefix:].replace(os.sep, "/")

    def write(self, name: str, data: bytes) -> None:
        path = self._path(name)
        folder = os.path.dirname(path)
        temporary = _hidden(path)
        with _translated(path):
            _make_directories(folder)
            try:
                with open(temporary, "xb") as file:
                    file.write(data)
                _sync(temporary)
                os.replace(temporary, path)
            except BaseException:
                if os.path.lexists(temporary):
                    os.unlink(temporary)
                raise
            _sync(folder)

    @contextmanager
    def publishing(self, directory: str) -> Iterator[str]:
        target = self._path(directory)
        parent = os.path.dirname(target)
        staging = _hidden(target)
        with _translated(target):
            _make_directories(parent)
            os.mkdir(staging)
        try:
            yield staging
            with _translated(target):
                for name in os.listdir(staging):
                    _sync(os.path.join(staging, name))
                _sync(staging)
                _commit(staging, target)
                _sync(parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def remove(self, directory: str) -> None:
        target = self._path(directory)
        trash = _hidden(target)
        try:
            os.rename(target, trash)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _storage_error(error, target) from error
        with _translated(target):
            _sync(os.path.dirname(target))
            shutil.rmtree(trash)


def _commit(staging: str, target: str) -> None:
    try:
        os.rename(staging, target)
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    if os.path.exists(os.path.join(target, layout.DESCRIPTOR)):
        raise BlobExists("was published by somebody else", name=target)
    for name in sorted(os.listdir(staging), key=lambda name: name == layout.DESCRIPTOR):
        os.replace(os.path.join(staging, name), os.path.join(target, name))
        _sync(target)


def _hidden(path: str) -> str:
    """A new name beside ``path`` that no listing shows."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name[:64]}.{secrets.token_hex(8)}.tmp")


def _make_directories(path: str) -> None:
    """As :func:`os.makedirs`, each new one brought to the disk."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        _make_directories(parent)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    _sync(parent)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise _storage_error(error, path) from error


def _storage_error(error: OSError, path: str) -> StorageError:
    if isinstance(error, FileNotFoundError):
        return BlobNotFound("no such file", name=path)
    return StorageError(error.strerror or str(error), name=path, errno=error.errno)
