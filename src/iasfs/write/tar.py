"""A tar becomes a Tree.

Three steps, one behind the other, each knowing nothing of the next: :mod:`~iasfs.write.tarstream`
gives the uncompressed bytes, ``_Reader`` cuts them into members (:mod:`~iasfs.write.tarheader`
reads the headers), ``_Builder`` puts the members into a tree.  Contents are slices of the archive,
so a tree costs some hundred bytes a member, whatever the files weigh.

What an archive means, where the formats leave it open:

* Members count in their order, as if they were extracted: a directory on a directory brings new
  metadata and keeps the children, anything else replaces what was there.  What was replaced lives
  on under the other names it may have.
* A name is relative to the root, whatever it begins with; ``..`` in it is an error.  A parent that
  is a symbolic link is followed inside the tree as containerd does when it applies a layer
  (``..`` in a target stops at the root), a missing parent is made, a parent that is a file is an
  error.  A member named ``/`` or ``./`` describes the root.
* A hard link may name a member that comes later.  One that carries data (pax) brings the file's
  content, and is a file of its own if its target is nowhere.  One to a directory is an error.
* A regular file whose name ends in a slash is a directory, as old tars wrote it.  An unknown type
  letter is a regular file, as POSIX asks.  Volume labels and Solaris' ACLs and attributes (types
  ``V``, ``A``, ``E``) are passed over; a file continued from another volume (``M``) is refused.
* The archive ends at two zero blocks, or where its bytes end at a block border behind a whole
  member (the end mark was forgotten).  Whatever lies behind two zero blocks is ignored; one zero
  block in front of other data is an error, for something may be lost there.

Whiteouts are turned into overlayfs' own in the finished tree, which is why their order does not
matter: a file that a layer brings itself is never hidden by a whiteout of the same layer.

An archive is not trusted: it costs time and memory in proportion to its own bytes, and an error
is always :class:`~iasfs.errors.FormatError`, with the member's name and the offset of its header
in the *uncompressed* archive.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from iasfs import paths
from iasfs.blob import Blob, BytesBlob, SliceBlob, SparseBlob
from iasfs.errors import FormatError, StorageError, UnsupportedFeature
from iasfs.tree import Node, Tree
from iasfs.write import tarheader
from iasfs.write.tarheader import BLOCK_SIZE, Header, Records
from iasfs.write.tarstream import Archive, Digest, Progress, open_archive

Whiteouts = Literal["keep", "overlay"]

_RECORDS_LIMIT = 1 << 24
"""Bytes of a pax header, or of a sparse file's map."""
_DEPTH_LIMIT = 2048
"""Components of a path, links followed: more than any path has that Linux can name."""
_LINKS_LIMIT = 40
"""Symbolic links followed on one path, as Linux counts."""

_EMPTY = BytesBlob(b"")
_HARD_LINK = b"1"
_FILES = frozenset((b"0", b"\0", b"7", b"S"))
_KINDS = {
    b"2": stat.S_IFLNK,
    b"3": stat.S_IFCHR,
    b"4": stat.S_IFBLK,
    b"5": stat.S_IFDIR,
    b"6": stat.S_IFIFO,
    b"D": stat.S_IFDIR,
}
"""Types that have no content; whatever their size field says, only ``D`` has data behind it."""
_PLAIN = _FILES | _KINDS.keys() | {_HARD_LINK}
_PASSED_OVER = frozenset((b"V", b"A", b"E"))


def read_tar(
    source: Blob | BinaryIO,
    *,
    whiteouts: Whiteouts = "keep",
    digest: Digest | None = None,
    max_size: int | None = None,
    name: str | None = None,
    spool_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Tree:
    """Read a tar, plain or compressed with gzip, zstd, xz or bzip2, into a tree.

    An uncompressed tar in a blob is read in place: the contents of the tree are slices of the
    blob, which must stay open as long as they are read.  Anything else is read once, front to
    back, into a temporary file in ``spool_dir`` (default: the system's) that has no name and
    goes away with the tree.

    ``whiteouts``: ``"keep"`` leaves the ``.wh.`` files of an OCI layer as they are, ``"overlay"``
    makes them character devices 0/0 and opaque directories (``trusted.overlay.opaque=y``).
    ``digest``, as made by :mod:`hashlib`, takes in every byte of the uncompressed archive, also
    those behind its end: with SHA-256 it is the layer's diffID.  ``max_size`` limits the bytes
    of the uncompressed archive.  ``name`` is what to call the archive in errors.  ``progress`` is
    called with the bytes of the source that have been read and its size, ``None`` if unknown.

    Raises :class:`~iasfs.errors.FormatError` for what is not a tar or is damaged, its ``offset``
    counting bytes of the uncompressed archive, and :class:`~iasfs.errors.StorageError` if the
    source cannot be read or the temporary file not be written.
    """
    archive = open_archive(
        source,
        digest=digest,
        max_size=max_size,
        name=name,
        spool_dir=spool_dir,
        progress=progress,
    )
    try:
        builder = _Builder(skip_links=b".wh." if whiteouts == "overlay" else None)
        for member in _Reader(archive):
            builder.add(member)
        archive.finish()
        tree = builder.finish()
        if whiteouts == "overlay":
            _convert_whiteouts(tree)
    except (FormatError, StorageError) as error:
        archive.close()
        raise error.at(name) if name is not None else error
    return tree


# Bytes to members.


@dataclass(slots=True)
class _Member:
    """A member: its header with all overrides, its content, and where its first header lies."""

    header: Header
    content: Blob
    offset: int

    def fault(self, error: FormatError) -> FormatError:
        """The error, knowing where it happened."""
        if error.offset is None:
            error.offset = self.offset
        return error.at(paths.decode(self.header.name))


class _Reader:
    """The members of an archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._at = 0
        self._globals: Records = {}

    def __iter__(self) -> Iterator[_Member]:
        while (member := self._next_member()) is not None:
            yield member

    def _next_member(self) -> _Member | None:
        start = self._at
        try:
            header, records = self._extended_header()
        except FormatError as error:
            if error.offset is None:
                error.offset = start
            raise
        if header is None:
            return None
        member = _Member(header, _EMPTY, start)
        try:
            if records:
                tarheader.apply_pax(header, records)
            header.check()
            if header.kind in _KINDS:
                if header.kind == b"D":
                    self._take(header.size)
            elif header.size or header.sparse is not None:
                member.content = self._content(header, has_records=bool(records))
        except FormatError as error:
            raise member.fault(error) from error.__cause__
        return member

    def _extended_header(self) -> tuple[Header | None, Records]:
        """The next header that is a file's, and the records that override it."""
        names: Records = {}
        records: Records = {}
        is_extended = False
        while (header := self._header()) is not None:
            kind = header.kind
            if kind in _PLAIN:
                break
            if kind in (b"x", b"X"):
                records |= tarheader.parse_pax(self._extension(header, _RECORDS_LIMIT))
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
        if not (names or self._globals):
            return header, records
        return header, {**self._globals, **names, **{k: v for k, v in records.items() if v}}

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
            header = tarheader.parse_header(block)
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

    def _content(self, header: Header, *, has_records: bool) -> Blob:
        if header.kind == _HARD_LINK and not has_records and not self._link_has_data(header):
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
            tarheader.parse_header(block)
        except FormatError:
            return True
        return False

    def _read_sparse_extensions(self, header: Header) -> None:
        """The blocks between an ``S`` header and its data."""
        assert header.sparse is not None
        while header.more_sparse:
            block = self._archive.read(self._take(BLOCK_SIZE), BLOCK_SIZE)
            pieces, header.more_sparse = tarheader.sparse_extension(block)
            header.sparse += pieces
            if len(header.sparse) > tarheader.SPARSE_LIMIT:
                raise FormatError(f"a sparse file of more than {tarheader.SPARSE_LIMIT} pieces")

    def _read_sparse_map(self, start: int, size: int) -> tuple[list[tuple[int, int]], int]:
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
    pieces: list[tuple[int, int, int]] = []  # offset in the file, offset in the archive, size
    file_end = 0
    for offset, size in header.sparse or ():
        if offset < file_end or size < 0 or offset + size > header.real_size:
            raise FormatError(f"a piece {offset}+{size} of a sparse file is out of place")
        if size > end - start:
            raise FormatError("a sparse file has less data than its map says")
        if pieces and offset == file_end:
            offset, at, before = pieces.pop()
            pieces.append((offset, at, before + size))
        elif size:
            pieces.append((offset, start, size))
        file_end = max(file_end, offset + size) if not size else pieces[-1][0] + pieces[-1][2]
        start += size
    return SparseBlob(
        header.real_size, [(offset, SliceBlob(blob, at, size)) for offset, at, size in pieces]
    )


# Members to a tree.


@dataclass(slots=True, eq=False)
class _Link(Node):
    """Holds the place of a hard link whose target has not come yet."""

    to: bytes = b""
    member: _Member | None = None


class _Builder:
    """A tree that grows member by member.

    ``skip_links``: a hard link whose own name begins so is an empty file, wherever it leads
    (AUFS made all whiteouts of a layer links to one file that the layer does not have).
    """

    def __init__(self, skip_links: bytes | None) -> None:
        self._tree = Tree()
        self._skip_links = skip_links
        self._directories = {b"": self._tree.root}  # by path as written in the archive
        self._links: list[tuple[Node, bytes, _Link]] = []
