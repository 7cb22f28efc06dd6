"""Data: the bytes of inodes.  Map, fetch, decode, once for any number of reads.

*Map*: each read is cut at the borders of extents; a piece of a fragment becomes a piece of the
packed inode.  *Fetch*: every stored range that some piece needs, once,
in one ``read_many`` a device.  *Decode*: an extent that a read wants whole goes straight into
its place; one that is wanted in parts (small files in one pcluster, random reads) is decoded
once and kept for a while.

A long read runs the three verbs in rounds, so what is in flight stays bounded.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from iasfs.buffers import Buffer, Range
from iasfs.errors import FormatError, StorageError
from iasfs.format import disk
from iasfs.format.codec import DecodeError, Decoder, Job
from iasfs.format.inode import Inode
from iasfs.format.table import Extent, Kind, resolve
from iasfs.read.recent import Recent
from iasfs.read.volume import Volume

ROUND_SIZE = 8 << 20
"""Bytes that one round holds in memory, fetched and decoded, or those of one extent."""
DECODED_KEPT = 4 << 20
"""Bytes of decoded extents that are kept for reads of their other parts."""


class Read(NamedTuple):
    """``size`` bytes of an inode from ``offset`` on, into a destination from ``at`` on."""

    inode: Inode
    offset: int
    size: int
    at: int


class _Piece(NamedTuple):
    """``size`` bytes of one extent, ``skip`` bytes into it, into the destination from ``at`` on."""

    extent: Extent
    skip: int
    size: int
    at: int
    nid: int
    """Of the inode that is read, for errors."""

    @property
    def whole(self) -> bool:
        """Whether all of the extent is wanted."""
        return self.size == self.extent.size


_Key = tuple[int, int, int, int, int]
"""What tells decoded extents apart: device, address, stored bytes, kind and phase."""
_Stored = dict[tuple[int, int, int], Buffer]
"""Fetched bytes by ``(device, address, size)``."""


class Data:
    """Reads file contents of a volume; safe for threads and across ``fork``."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        block = volume.superblock
        self._decoder = Decoder(
            block_size=block.block_size,
            lzma_dict_size=block.lzma_dict_size,
            zstd_windowlog=block.zstd_windowlog,
            zero_padding=block.has(disk.FEATURE_INCOMPAT_ZERO_PADDING),
        )
        self._decoded: Recent[_Key, Buffer] = Recent(DECODED_KEPT, len)

    def read(self, inode: Inode, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on, fewer only where the file ends."""
        size = max(min(size, inode.size - offset), 0)
        if size:
            self._volume.extents(inode)  # if the size is a lie, it shows before memory is taken
        target = allocate(size)
        self.read_into([Read(inode, offset, size, 0)], memoryview(target))
        return bytes(target)

    def read_into(self, reads: Sequence[Read], destination: memoryview) -> None:
        """Carry out reads, each of which lies inside its file.

        Raises :class:`~iasfs.errors.FormatError` or :class:`~iasfs.errors.StorageError`.
        """
        found: Iterable[_Piece] = self._map(reads)
        if len(reads) > 1:
            # What lies in one extent comes together, so that no round fetches it again.
            found = sorted(found, key=lambda piece: (piece.extent.device, piece.extent.address))
        for pieces in self._rounds(found):
            self._decode(pieces, destination)

    def _map(self, reads: Iterable[Read]) -> Iterator[_Piece]:
        for inode, offset, size, at in reads:
            for extent in self._volume.extents(inode).overlapping(offset, size):
                low = max(offset, extent.logical)
                high = min(offset + size, extent.logical + extent.size)
                skip = low - extent.logical
                piece = _Piece(extent, skip, high - low, at + low - offset, inode.nid)
                if extent.kind == Kind.FRAGMENT:
                    yield from self._map_fragment(inode, piece)
                else:
                    yield piece

    def _map_fragment(self, inode: Inode, piece: _Piece) -> Iterator[_Piece]:
        packed = self._volume.packed_inode
        start = piece.extent.address + piece.skip
        if packed is None or inode.nid == packed.nid:
            raise FormatError("a fragment, but no packed inode for it", nid=inode.nid)
        if start + piece.size > packed.size:
            raise FormatError("a fragment ends behind the packed inode", nid=inode.nid)
        for part in self._map([Read(packed, start, piece.size, piece.at)]):
            yield part._replace(nid=inode.nid)

    def _rounds(self, pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
        """Pieces in groups that take a bounded memory; a long plain extent is cut."""
        group: list[_Piece] = []
        keys: set[_Key] = set()
        size = 0
        for piece in pieces:
            for part in _cut(piece):
                key = self._key(part.extent)
                cost = 0 if key in keys else _cost(part)
                if group and size + cost > ROUND_SIZE:
                    yield group
                    group, keys, size = [], set(), 0
                group.append(part)
                size += cost
                if part.extent.kind != Kind.PLAIN:  # of plain data each piece fetches its own
                    keys.add(key)
        if group:
            yield group

    def _place(self, piece: _Piece) -> tuple[int, int, int]:
        """Device, offset and size of the stored bytes of a piece: of plain data just its own."""
        extent = piece.extent
        device, address = resolve(extent, self._volume.geometry)
        if extent.kind == Kind.PLAIN:
            return device, address + piece.skip, piece.size
        return device, address, extent.stored

    def _phase(self, extent: Extent) -> int:
        """Where in a block an interlaced extent begins; the other kinds do not care."""
        if extent.kind != Kind.INTERLACED:
            return 0
        return extent.logical % self._volume.superblock.block_size

    def _key(self, extent: Extent) -> _Key:
        return extent.device, extent.address, extent.stored, extent.kind, self._phase(extent)

    def _decode(self, pieces: Sequence[_Piece], destination: memoryview) -> None:
        """Fetch and decode one round."""
        straight: list[_Piece] = []
        parts: dict[_Key, list[_Piece]] = {}
        for piece in pieces:
            if piece.extent.kind == Kind.HOLE:
                destination[piece.at : piece.at + piece.size] = bytes(piece.size)
                continue
            if piece.whole or piece.extent.kind == Kind.PLAIN:
                straight.append(piece)
            else:
                parts.setdefault(self._key(piece.extent), []).append(piece)
        # Files may share a pcluster (dedupe) of which each uses as much as it likes.
        longest = {
            key: max(group, key=lambda piece: piece.extent.size) for key, group in parts.items()
        }
        decoded: dict[_Key, Buffer] = {}
        for key, piece in longest.items():
            kept = self._decoded.get(key)
            if kept is not None and len(kept) >= piece.extent.size:
                decoded[key] = kept
        stored = self._fetch(
            [*straight, *(piece for key, piece in longest.items() if key not in decoded)]
        )
        self._decode_whole(straight, stored, destination)
        for key, group in parts.items():
            data = decoded.get(key)
            if data is None:
                data = self._decode_extent(longest[key], stored[self._place(longest[key])])
                self._decoded.put(key, data)
            view = memoryview(data)
            for piece in group:
                destination[piece.at : piece.at + piece.size] = view[
                    piece.skip : piece.skip + piece.size
                ]

    def _fetch(self, pieces: Iterable[_Piece]) -> _Stored:
        """The stored bytes that the pieces need, each range once.

        What lies in the metadata zone, such as the targets of links, is here already.
        """
        stored: _Stored = {}
        wanted: dict[int, dict[Range, None]] = {}
        for piece in pieces:
            device, offset, size = self._place(piece)
            kept = self._volume.metadata.kept(offset, size) if device == 0 else None
            if kept is not None:
                stored[device, offset, size] = kept
            else:
                wanted.setdefault(device, {})[offset, size] = None
        for device, ranges in wanted.items():
            answers = self._volume.blobs[device].read_many(list(ranges))
            for (offset, size), data in zip(ranges, answers):
                if len(data) != size:  # a blob that breaks its promise
                    name = getattr(self._volume.blobs[device], "name", None)
                    raise StorageError(f"{len(data)} bytes came for {size} at {offset}", name=name)
                stored[device, offset, size] = data
        return stored

    def _decode_whole(
        self, pieces: Sequence[_Piece], stored: _Stored, destination: memoryview
    ) -> None:
        """Extents that are wanted whole, and plain data, straight into the destination."""
        jobs: list[Job] = []
        owners: list[_Piece] = []
        for piece in pieces:
            source = stored[self._place(piece)]
            if piece.extent.kind == Kind.PLAIN:
                destination[piece.at : piece.at + piece.size] = source
            else:
                jobs.append(self._job(piece.extent, source, piece.at))
                owners.append(piece)
        if jobs:
            self._run(jobs, owners, destination)

    def _decode_extent(self, piece: _Piece, source: Buffer) -> bytearray:
        data = bytearray(piece.extent.size)
        self._run([self._job(piece.extent, source, 0)], [piece], memoryview(data))
        return data

    def _run(self, jobs: list[Job], owners: list[_Piece], destination: memoryview) -> None:
        try:
            self._decoder.decode(jobs, destination)
        except DecodeError as error:
            piece = owners[error.job]
            error.nid = piece.nid
            error.offset = resolve(piece.extent, self._volume.geometry)[1]
            raise

    def _job(self, extent: Extent, source: Buffer, at: int) -> Job:
        return Job(
            source=source,
            algorithm=extent.kind,
            size=extent.size,
            skip=0,
            length=extent.size,
            at=at,
            partial=extent.partial,
            phase=self._phase(extent),
        )


def allocate(size: int) -> bytearray:
    """Memory for what is read; ``OSError`` (ENOMEM) where there is not that much."""
    try:
        return bytearray(size)
    except (MemoryError, OverflowError):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from None


def _cost(piece: _Piece) -> int:
    """Bytes of memory that a piece takes besides its place in the destination."""
    extent = piece.extent
    if extent.kind == Kind.PLAIN:
        return piece.size
    return extent.stored + (0 if piece.whole else extent.size)


def _cut(piece: _Piece) -> Iterator[_Piece]:
    """A piece of plain data, or of a hole, in parts of at most a round; any other as it is."""
    if piece.extent.kind not in (Kind.PLAIN, Kind.HOLE) or piece.size <= ROUND_SIZE:
        yield piece
        return
    for start in range(0, piece.size, ROUND_SIZE):
        size = min(ROUND_SIZE, piece.size - start)
        yield piece._replace(skip=piece.skip + start, size=size, at=piece.at + start)
