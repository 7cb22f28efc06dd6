"""Metadata: small reads all over an image, few requests to its blob.

Inodes, directory blocks and indexes are read through here.  Where the metadata zone is known to
be at the front (our own images say so), it is fetched once and kept whole; any other place is
read by pages, and the recent ones are kept.
"""

from __future__ import annotations

from iasfs.blob import Blob
from iasfs.buffers import Buffer
from iasfs.errors import FormatError
from iasfs.format import seal
from iasfs.format.superblock import FRONT_SIZE
from iasfs.read.recent import Recent

PAGE_SIZE = 1 << 16
PAGES_KEPT = 256
"""Pages kept of what lies outside the front: 16 MiB."""
FRONT_MAX = 64 << 20
"""A metadata zone larger than this is read by pages, not kept whole."""


class Metadata:
    """The bytes of an image for small reads; safe for threads and across ``fork``.

    ``front`` is the image from byte 0 on: the whole metadata zone where its size is known.
    Whoever knows that size beforehand gives it as ``expected`` and saves a request.
    """

    def __init__(self, blob: Blob, expected: int = 0) -> None:
        self._blob = blob
        self.size = blob.size
        self._pages: Recent[int, Buffer] = Recent(PAGES_KEPT)
        guess = expected or getattr(blob, "front_size", 0)
        front = blob.read_at(0, min(self.size, max(FRONT_SIZE, min(guess, FRONT_MAX))))
        self.header = seal.unpack(front)
        if self.header is not None:
            end = min(self.header.metadata_size, self.size)
            if len(front) < end <= FRONT_MAX:
                front = b"".join([front, blob.read_at(len(front), end - len(front))])
        self.front = bytes(front)

    def kept(self, offset: int, size: int) -> Buffer | None:
        """``size`` bytes from ``offset``, if they lie in the front: no request."""
        end = offset + size
        return self.front[offset:end] if end <= len(self.front) else None

    def read(self, offset: int, size: int) -> Buffer:
        """``size`` bytes from ``offset``; ``FormatError`` if the image ends before."""
        kept = self.kept(offset, size)
        if kept is not None:
            return kept
        end = offset + size
        if end > self.size:
            raise FormatError(f"{size} bytes wanted, the image ends at {self.size}", offset=offset)
        first, last = offset // PAGE_SIZE, (end - 1) // PAGE_SIZE
        pages = self._read_pages(range(first, last + 1))
        start = offset - first * PAGE_SIZE
        if len(pages) == 1:
            return pages[0][start : start + size]
        return b"".join(pages)[start : start + size]

    def _read_pages(self, numbers: range) -> list[Buffer]:
        found = {number: self._pages.get(number) for number in numbers}
        missing = [number for number, page in found.items() if page is None]
        fetched = self._blob.read_many(
            [(n * PAGE_SIZE, min(PAGE_SIZE, self.size - n * PAGE_SIZE)) for n in missing]
        )
        for number, page in zip(missing, fetched):
            found[number] = page
            self._pages.put(number, page)
        return [page for page in found.values() if page is not None]
