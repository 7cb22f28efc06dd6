"""Members: an archive's bytes, cut into what each file is and where its content lies.

A member is a header with everything that extension headers, long names and sparse maps say about
it; its content is a slice of the archive.  Nothing here knows of other members, of directories
or of links: that is :mod:`~iasfs.write.tar`.  What the headers mean is
:mod:`~iasfs.write.tarheader`.

What overrides what, the weakest first: the header's own fields, global pax records, GNU long
names, the member's own pax records.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass

from iasfs import paths
from iasfs.blob import Blob, BytesBlob, SliceBlob, SparseBlob
from iasfs.buffers import Range
from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.write import tarheader
from iasfs.write.tarheader import BLOCK_SIZE, Header, Records
from iasfs.write.tarstream import Archive

HARD_LINK = b"1"
KINDS = {
    b"2": stat.S_IFLNK,
    b"3": stat.S_IFCHR,
    b"4": stat.S_IFBLK,
    b"5": stat.S_IFDIR,
    b"6": stat.S_IFIFO,
    b"D": stat.S_IFDIR,
}
"""Types without content; whatever their size field says, only ``D`` has data behind it."""

_PLAIN = frozenset((b"0", b"\0", b"7", b"S", HARD_LINK)) | KINDS.keys()
_PASSED_OVER = frozenset((b"V", b"A", b"E"))
_RECORDS_LIMIT = 1 << 24
"""Bytes of a member's pax headers, or of a sparse file's map."""
_EMPTY = BytesBlob(b"")


@dataclass(slots=True)
class Member:
    """A member: its header with all overrides, its content, and where its first header lies."""

    header: Header
    content: Blob
    offset: int

    def fault(self, error: FormatError) -> FormatError:
        """The error, knowing where it happened."""
        if error.offset is None:
            error.offset = self.offset
        return error.at(paths.decode(self.header.name))


class Reader:
    """The members of an archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._at = 0
        self._globals: Records = {}

    def __iter__(self) -> Iterator[Member]:
        while (member := self._next_member()) is not None:
            yield member

    def _next_member(self) -> Member | None:
        start = self._at
        try:
            header, records = self._extended_header()
        except FormatError as error:
            if error.offset is None:
                error.offset = start
            raise
        if header is None:
            return None
        member = Member(header, _EMPTY, start)
        try:
            if records:
                tarheader.apply_pax(header, records)
            header.check()
            if not header.name:
                raise FormatError("a member without a name")
            if header.kind in KINDS:
                if header.kind == b"D":
                    self._take(header.size)
            elif header.size or header.sparse is not None:
                member.content = self._content(header)
        except FormatError as error:
            raise member.fault(error) from error.__cause__
        return member

    def _extended_header(self) -> tuple[Header | None, Records]:
        """The next header that is a file's, and the records that override it."""
        names: Records = {}
        records: Records = {}
        room = _RECORDS_LIMIT
        is_extended = False
        while (header := self._header()) is not None:
            kind = header.kind
            if kind in _PLAIN:
                break
            if kind in (b"x", b"X"):
                records |= tarheader.parse_pax(self._extension(header, room))
                room -= header.size
            elif kind == b"g":
                data = self._extension(header, _RECORDS_LIMIT)
                self._globals |= tarheader.parse_global_pax(data)
                continue
            elif kind in (b"L", b"K"):
                data = self._extension(header, tarheader.NAME_LIMIT + 1)
                names[b"path" if kind == b"L" else b"linkpath"] = data.partition(b"\0")[0]
            elif kind == b"M":
                raise UnsupportedFeature("a tar of several volumes")
            elif kind in _PASSED_OVER:
                header.check()
                self._take(header.size)
                continue
            else:
                break
            is_extended = True
        if header is None and is_extended:
            raise FormatError("the archive ends behind an extension header", offset=self._at)
        if header is not None:
            header.is_pax = bool(records)
        return header, {**self._globals, **names, **records}

    def _header(self) -> Header | None:
        """The next header; ``None`` at the archive's end."""
        block = self._archive.read(self._at, BLOCK_SIZE)
        if block == tarheader.ZERO_BLOCK:
            block = self._archive.read(self._at + BLOCK_SIZE, BLOCK_SIZE)
            if block and block != tarheader.ZERO_BLOCK:
                raise FormatError("data behind a single zero block", offset=self._at + BLOCK_SIZE)
            return None
        if not block and self._at:
            return None
        if len(block) < BLOCK_SIZE:
            raise FormatError("the archive ends inside a header", offset=self._at)
        try:
            header = tarheader.unpack_header(block)
        except FormatError as error:
            error.offset = self._at
            raise
        self._at += BLOCK_SIZE
        return header

    def _take(self, size: int) -> int:
        """Step over ``size`` bytes of data and their padding; the offset where they begin."""
        start = self._at
        end = start + size + -size % BLOCK_SIZE
        if not self._archive.reaches(end):
            raise FormatError(f"the archive ends before offset {end}, inside a member's data")
        self._at = end
        return start

    def _extension(self, header: Header, limit: int) -> bytes:
        if not 0 <= header.size <= limit:
            raise FormatError(f"an extension header of {header.size} bytes, at most {limit}")
        return self._archive.read(self._take(header.size), header.size)

    def _content(self, header: Header) -> Blob:
        if header.kind == HARD_LINK and not header.is_pax and not self._link_has_data(header):
            return _EMPTY
        if header.sparse is not None and header.kind == b"S":
            self._read_sparse_extensions(header)
        start = self._take(header.size)
        end = start + header.size
        if header.sparse is None:
            return SliceBlob(self._archive.blob, start, header.size)
        if header.more_sparse:
            header.sparse, size = self._read_sparse_map(start, header.size)
            start += size
        return _sparse_blob(self._archive.blob, start, end, header)

    def _link_has_data(self, header: Header) -> bool:
        """Whether data follows a hard link that has a size but no pax header.

        Old tars give the size of the file linked to, others mean it: the next block tells, for it
        is a header if there is no data.
        """
        block = self._archive.read(self._at, BLOCK_SIZE)
        if len(block) < BLOCK_SIZE or block == tarheader.ZERO_BLOCK:
            return False
        try:
            tarheader.unpack_header(block)
        except FormatError:
            return True
        return False

    def _read_sparse_extensions(self, header: Header) -> None:
        """The blocks between an ``S`` header and its data."""
        assert header.sparse is not None
        while header.more_sparse:
            block = self._archive.read(self._take(BLOCK_SIZE), BLOCK_SIZE)
            pieces, header.more_sparse = tarheader.unpack_sparse_extension(block)
            header.sparse += pieces
            if len(header.sparse) > tarheader.SPARSE_LIMIT:
                raise FormatError(f"a sparse file of more than {tarheader.SPARSE_LIMIT} pieces")

    def _read_sparse_map(self, start: int, size: int) -> tuple[list[Range], int]:
        """The map in front of a sparse file's data, and the bytes it takes."""
        limit = min(size, _RECORDS_LIMIT)
        wanted = 0
        while wanted < limit:
            wanted = min(limit, max(2 * wanted, 8 * BLOCK_SIZE))
            found = tarheader.parse_sparse_map(self._archive.read(start, wanted))
            if found is not None:
                return found
        raise FormatError(f"the map of a sparse file does not end within {limit} bytes")


def _sparse_blob(blob: Blob, start: int, end: int, header: Header) -> Blob:
    """The pieces, whose data lie one behind the other from ``start`` on, at their places."""
    runs: list[list[int]] = []  # offset in the file, offset in the archive, size
    file_end = 0
    for offset, size in header.sparse or ():
        if offset < file_end or size < 0 or offset + size > header.real_size:
            raise FormatError(f"a piece {offset}+{size} of a sparse file is out of place")
        if size > end - start:
            raise FormatError("a sparse file has less data than its map says")
        if runs and runs[-1][0] + runs[-1][2] == offset:
            runs[-1][2] += size
        elif size:
            runs.append([offset, start, size])
        file_end = offset + size
        start += size
    pieces = [(offset, SliceBlob(blob, at, size)) for offset, at, size in runs]
    return SparseBlob(header.real_size, pieces)
