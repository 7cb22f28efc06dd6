"""Backend: what a place for bytes has to do to be an Image Attach Storage.

It holds *files* under *names* (see :mod:`~iasfs.ias.layout`), and *directories* of few files
that belong together.  The promises:

* A directory is published whole.  Its mark, the file named ``layer.json``, is there only when
  the others are, and nobody asks for the others before it has seen the mark.  A directory that has
  its mark is never overwritten.
* Nothing changes once it is published, until it is removed.
* A read gives exactly the bytes asked for, or raises :class:`~iasfs.errors.StorageError`;
  :class:`~iasfs.errors.BlobNotFound` for a name that is not there.
* A backend may be used by any thread, survives ``fork``, and pickles by what it was made with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager

from iasfs.blob import Blob


class Backend(ABC):
    """A place for files."""

    name: str
    """What to call it in an error: a path or a URL without secrets."""

    @abstractmethod
    def read(self, name: str, limit: int) -> bytes:
        """All bytes of a small file, or the first ``limit`` if it has more; one request."""

    @abstractmethod
    def blob(self, name: str, size: int) -> Blob:
        """A file of ``size`` bytes, to be read by ranges; no request yet where one costs."""

    @abstractmethod
    def names(self, directory: str) -> Iterator[str]:
        """The names of all files below a directory, in any order; none if it is not there."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a small file, whole or not at all, in place of what was there."""

    @abstractmethod
    def publishing(self, directory: str) -> AbstractContextManager[str]:
        """A new local directory whose files become ``directory`` when the block ends.

        If the block fails nothing is published.  Raises :class:`~iasfs.errors.BlobExists` at
        its end if ``directory`` has its mark by then: what is there stays.
        """

    @abstractmethod
    def remove(self, directory: str) -> None:
        """Take a directory away, its mark first; nothing if it is not there."""
