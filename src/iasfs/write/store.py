"""Store: file contents, compressed, into a data zone whose place in the image is still open.

Contents are cut into pieces of fixed size and every piece becomes one pcluster of its own, so
all cores compress side by side and the result does not depend on how many there are.  The end
of a file, or a whole file, that is shorter than the profile's limit goes into one stream
instead, the packed inode, which is cut and compressed the same way.  A piece that does not
shrink by at least a block is stored plain.

What comes out is :class:`Stored` for each file, with addresses counted from the beginning of the
data zone; the zone itself is written front to back into a spool file.  The order of data is
the order asked for, then path order; within each of these two groups the packed stream comes
before the bodies.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, NamedTuple

from iasfs import paths
from iasfs.blob import Blob, BytesBlob, SparseBlob
from iasfs.buffers import Buffer
from iasfs.errors import WriteError
from iasfs.format import disk
from iasfs.format.codec import Compressor
from iasfs.format.extent import can_be_compact
from iasfs.format.table import Extent, ExtentTable, Kind, TableBuilder
from iasfs.tree import Node, Tree
from iasfs.write.profile import BLOCK_SIZE, Profile

Progress = Callable[[int, int], None]
"""Called with ``(bytes done, bytes in all)`` of what is to be stored, from the calling thread."""

_BATCH_SIZE = 1 << 20
"""Bytes compressed in one call: long enough that taking the GIL again does not matter."""
_AHEAD_MAX = 8
"""Batches that wait for a worker, so that none waits for a batch."""
_HASH_SIZE = 1 << 20
_SEGMENT_SIZE = 1 << 20
"""Where no extent size cuts a file, it is still cut after so many bytes, for the cores."""
_TAIL_FILE_MAX = 4 << 20
"""Files longer than this keep their end: it would save nothing that counts, and a large file
that does not shrink can then do without an index."""
_FILLED_MAX = 1 << 35
"""A sparse file longer than this is not filled with zeros where holes cannot be stored."""
_INDEX_MAX = 16 << 20
"""Bytes of chunk addresses that a sparse file may need."""
_SPARSE_MIN = 1 << 16
"""Files shorter than this are not worth being stored as chunks with holes."""


_NONE = ExtentTable()


class Stored(NamedTuple):
    """How the content of one regular file is stored.  Addresses count from the data zone."""

    layout: int
    """One of the ``INODE_*`` data layouts."""
    size: int
    extents: ExtentTable = _NONE
    """Of a chunk-based file the runs of chunks that hold data; else without a gap."""
    inline: bytes = b""
    chunk_bits: int = 0
    """Log2 of the chunk size in bytes, for ``INODE_CHUNK_BASED``."""
    fragment: int | None = None
    """Byte offset in the packed inode of what no extent covers: the end, or all, of the file."""

    @property
    def blocks(self) -> int:
        """Blocks of the data zone that it takes."""
        return sum(-(-extent.stored // BLOCK_SIZE) for extent in self.extents)


class Contents(NamedTuple):
    """The data zone: what each file became, by ``id(node)``, and the packed inode."""

    files: dict[int, Stored]
    packed: Stored | None
    size: int
    """Bytes of the data zone, a multiple of the block size."""
    digest: bytes = b""
    """SHA-256 of the data zone."""


_Pcluster = tuple[int, bytes | None]
"""Bytes of a piece that one pcluster holds, and its payload; no payload: they stay plain."""


class _Piece(NamedTuple):
    """A run of one stream, compressed on its own."""

    stream: int
    logical: int
    data: Buffer
    compress: bool


def store(
    tree: Tree,
    profile: Profile,
    spool: BinaryIO,
    *,
    order: Sequence[paths.AnyPath] = (),
    workers: int = 1,
    progress: Progress | None = None,
) -> Contents:
    """Write the contents of all regular files of ``tree`` to ``spool``.

    ``order`` names paths whose data comes first, in that order; paths that are not regular
    files of the tree are passed over.  Raises :class:`~iasfs.errors.StorageError` when a content
    cannot be read and :class:`~iasfs.errors.WriteError` for a sparse file beyond all measure.
    """
    first, rest = _in_order(tree, order)
    nodes = [*first, *rest]
    same = _duplicates(nodes)
    layout = _Layout(profile)
    for group in (first, rest):
        layout.add_group([node for node in group if id(node) not in same])
    zone = _Zone(spool, len(layout.streams))
    _run(layout, zone, profile, workers, progress)
    files = layout.finish(zone)
    files.update({duplicate: files[original] for duplicate, original in same.items()})
    return Contents(files, layout.finish_packed(zone), zone.size, zone.digest.digest())


def _in_order(tree: Tree, order: Sequence[paths.AnyPath]) -> tuple[list[Node], list[Node]]:
    """The regular files, each once: those of ``order``, and the others in path order."""
    seen: set[int] = set()

    def fresh(nodes: Iterable[Node | None]) -> Iterator[Node]:
        for node in nodes:
            if node is not None and node.is_file and id(node) not in seen:
                seen.add(id(node))
                yield node

    if isinstance(order, (str, bytes)):
        raise TypeError("order is a sequence of paths, not one path")
    first = list(fresh(tree.follow(path) for path in order))
    return first, list(fresh(node for _, node in tree.walk()))


def _duplicates(nodes: list[Node]) -> dict[int, int]:
    """``id`` of each node whose content an earlier node has too, and the ``id`` of that one."""
    by_size: dict[int, list[Node]] = {}
    for node in nodes:
        if node.content.size:
            by_size.setdefault(node.content.size, []).append(node)
    same: dict[int, int] = {}
    for group in by_size.values():
        if len(group) < 2:
            continue
        originals: dict[bytes, int] = {}
        for node in group:
            original = originals.setdefault(_digest(node.content), id(node))
            if original != id(node):
                same[id(node)] = original
    return same


def _digest(content: Blob) -> bytes:
    """What two contents of one size have in common if they are the same.

    Of a sparse one only the data is read: its holes may be as long as an archive cares to say.
    """
    digest = hashlib.sha256()
    ranges, shape = [(0, content.size)], b""
    if isinstance(content, SparseBlob):
        ranges = content.ranges
        shape = hashlib.sha256(repr(ranges).encode()).digest()
    for start, size in ranges:
        for offset in range(start, start + size, _HASH_SIZE):
            digest.update(content.read_at(offset, min(_HASH_SIZE, start + size - offset)))
    return digest.digest() + shape


class _Stream:
    """Bytes that are stored one after the other: the body of a file, or part of the pack."""

    def __init__(self, extent_size: int, compress: bool) -> None:
        self.extent_size = extent_size
        self.compress = compress
        self.start = 0
        self.size = 0
        self._parts: list[tuple[Blob, int, int]] = []

    def add(self, blob: Blob, offset: int, size: int) -> None:
        self._parts.append((blob, offset, size))
        self.size += size

    def pieces(self, number: int) -> Iterator[_Piece]:
        """The stream, cut every ``extent_size`` bytes."""
        waiting: list[Buffer] = []
        held = 0
        logical = self.start
        for blob, offset, size in self._parts:
            while size:
                count = min(size, self.extent_size - held)
                waiting.append(blob.read_at(offset, count))
                held, offset, size = held + count, offset + count, size - count
                if held == self.extent_size:
                    yield _Piece(number, logical, _joined(waiting), self.compress)
                    logical += held
                    waiting, held = [], 0
        if held:
            yield _Piece(number, logical, _joined(waiting), self.compress)


def _joined(parts: list[Buffer]) -> Buffer:
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Layout:
    """Decides what goes where: streams in the order of their data, and who takes part in each."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.streams: list[_Stream] = []
        self._files: dict[int, Stored] = {}
        self._bodies: dict[int, tuple[Node, int, int | None]] = {}
        """``id`` of a node: the node, its stream, the fragment that ends it."""
        self._chunked: dict[int, tuple[int, int, range]] = {}
        """``id`` of a node: its size, log2 of the chunk size, the stream of each chunk."""
        self._pack_streams: list[int] = []
        self._packed_size = 0

    def add_group(self, nodes: list[Node]) -> None:
        """Lay out some files; their packed parts come first, then their bodies."""
        pack = _Stream(self._profile.pack_extent_size, compress=True)
        pack.start = self._packed_size
        self._pack_streams.append(len(self.streams))
        self.streams.append(pack)
        for node in nodes:
            self._add(node, pack)
        # Extents begin at block borders: an lcluster has room for one beginning.
        padding = -pack.size % BLOCK_SIZE
        pack.add(BytesBlob(bytes(padding)), 0, padding)
        self._packed_size += pack.size

    def _add(self, node: Node, pack: _Stream) -> None:
        profile, content = self._profile, node.content
        size = content.size
        if size <= profile.inline_limit:
            inline = bytes(content.read_at(0, size))
            layout = disk.INODE_FLAT_INLINE if size else disk.INODE_FLAT_PLAIN
            self._files[id(node)] = Stored(layout, size, inline=inline)
            return
        if isinstance(content, SparseBlob) and _mostly_holes(content):
            if profile.chunk_based:
                self._add_chunked(node, content)
                return
            if size > _FILLED_MAX:
                raise WriteError(f"a sparse file of {size} bytes, for which Linux 5.15 is needed")
        packed = size
        if size >= profile.pack_limit:
            packed = size % profile.extent_size if size < _TAIL_FILE_MAX else 0
        fragment = None
        if 0 < packed < profile.pack_limit:
            fragment = pack.start + pack.size
            pack.add(content, size - packed, packed)
            if packed == size:
                self._files[id(node)] = Stored(disk.INODE_COMPRESSED_FULL, size, fragment=fragment)
                return
        compress = profile.compression != "none"
        body = _Stream(profile.extent_size if profile.big_pclusters else _SEGMENT_SIZE, compress)
        body.add(content, 0, size - packed if fragment is not None else size)
        self._bodies[id(node)] = node, len(self.streams), fragment
        self.streams.append(body)

    def _add_chunked(self, node: Node, content: SparseBlob) -> None:
        """A file that is mostly holes: data in plain chunks, holes as holes."""
        bits = _best_chunk_bits(content)
        first = len(self.streams)
        for start, end in _runs(content, bits):
            stream = _Stream(_SEGMENT_SIZE, compress=False)
            stream.start = start << bits
            stream.add(content, stream.start, min(end << bits, content.size) - stream.start)
            self.streams.append(stream)
        self._chunked[id(node)] = content.size, bits, range(first, len(self.streams))

    def finish(self, zone: _Zone) -> dict[int, Stored]:
        """What each file became, now that the data zone is written."""
        files = self._files
        for key, (node, stream, fragment) in self._bodies.items():
            table = zone.table(stream)
            # Plain pieces have been joined, so a file that did not shrink is one extent.
            if len(table) == 1 and table[0].kind == Kind.PLAIN and fragment is None:
                files[key] = Stored(disk.INODE_FLAT_PLAIN, node.content.size, table)
            else:
                files[key] = _compressed(node.content.size, table, fragment)
        for key, (size, bits, streams) in self._chunked.items():
            runs = ExtentTable(b"".join(zone.table(stream).records for stream in streams))
            files[key] = Stored(disk.INODE_CHUNK_BASED, size, runs, chunk_bits=bits)
        return files

    def finish_packed(self, zone: _Zone) -> Stored | None:
        """What the packed inode became; ``None`` if nothing is packed."""
        if not self._packed_size:
            return None
        records = b"".join(zone.table(stream).records for stream in self._pack_streams)
        return _compressed(self._packed_size, ExtentTable(records), None)


def _compressed(size: int, extents: ExtentTable, fragment: int | None) -> Stored:
    """A compressed file, with the small index where that can express it."""
    near = fragment is None or fragment < 1 << 32
    compact = near and can_be_compact(extents)
    layout = disk.INODE_COMPRESSED_COMPACT if compact else disk.INODE_COMPRESSED_FULL
    return Stored(layout, size, extents, fragment=fragment)


def _mostly_holes(content: SparseBlob) -> bool:
    data = sum(size for _, size in content.ranges)
    return content.size >= _SPARSE_MIN and data * 2 <= content.size


def _runs(content: SparseBlob, bits: int) -> list[tuple[int, int]]:
    """``(first, end)`` of each run of chunks of ``1 << bits`` bytes in which any data is."""
    runs: list[tuple[int, int]] = []
    for offset, size in content.ranges:
        first, end = offset >> bits, (offset + size - 1 >> bits) + 1
        if runs and first <= runs[-1][1]:
            runs[-1] = runs[-1][0], end
        else:
            runs.append((first, end))
    return runs


def _best_chunk_bits(content: SparseBlob) -> int:
    """The chunk size that makes index and data together smallest."""

    def index_size(bits: int) -> int:
        return (-(-content.size >> bits)) * 4

    def cost(bits: int) -> tuple[bool, int]:
        data = sum(
            (offset + size + (1 << bits) - 1 >> bits) - (offset >> bits) << bits
            for offset, size in content.ranges
        )
        return index_size(bits) > _INDEX_MAX, index_size(bits) + data

    best = min(range(BLOCK_SIZE.bit_length() - 1, 31), key=cost)
    if index_size(best) > _INDEX_MAX:
        raise WriteError(f"a sparse file of {content.size} bytes, too long for chunks of 1 GiB")
    return best


class _Zone:
    """The data zone as it grows in the spool, and the extents of each stream in it."""

    def __init__(self, spool: BinaryIO, streams: int) -> None:
        self._spool = spool
        self.size = 0
        self.digest = hashlib.sha256()
        self._extents = [TableBuilder() for _ in range(streams)]

    def write(self, pieces: Iterable[tuple[_Piece, list[_Pcluster]]], kind: Kind) -> None:
        """Append what some pieces were compressed to."""
        parts: list[Buffer] = []
        for piece, outputs in pieces:
            at = 0
            for size, payload in outputs:
                data = payload if payload is not None else piece.data[at : at + size]
                padding = bytes(-len(data) % BLOCK_SIZE)
                # Compressed data stands at the end of its blocks, plain data at the beginning.
                parts.extend((padding, data) if payload is not None else (data, padding))
                stored = len(data) + len(padding)
                extent = Extent(
                    piece.logical + at,
                    size,
                    self.size,
                    stored,
                    kind if payload is not None else Kind.PLAIN,
                )
                self._extents[piece.stream].add(extent)
                self.size += stored
                at += size
        run = b"".join(parts)
        self.digest.update(run)
        self._spool.write(run)

    def table(self, stream: int) -> ExtentTable:
        """The extents of a stream, when all of it is written; plain ones joined."""
        return ExtentTable(self._extents[stream].records())


class _Encoder:
    """Turns pieces into pcluster payloads, in any thread."""

    def __init__(self, profile: Profile) -> None:
        self._compressor: Compressor | None = None
        self.kind = Kind.PLAIN
        self._fixed_output = not profile.big_pclusters
        if profile.compression != "none":
            self._compressor = Compressor(
                profile.compression,
                level=profile.level,
                max_input=max(profile.extent_size, profile.pack_extent_size),
            )
            self.kind = Kind(self._compressor.algorithm)

    def encode(self, batch: list[_Piece]) -> list[list[_Pcluster]]:
        """What each piece becomes."""
        if self._compressor is None:
            return [[(len(piece.data), None)] for piece in batch]
        if self._fixed_output:
            return [self._fill(self._compressor, piece) for piece in batch]
        wanted = [piece.data for piece in batch if piece.compress]
        payloads = iter(self._compressor.compress(wanted))
        return [
            [(len(piece.data), _if_shorter(next(payloads), len(piece.data)))]
            if piece.compress
            else [(len(piece.data), None)]
            for piece in batch
        ]

    @staticmethod
    def _fill(compressor: Compressor, piece: _Piece) -> list[_Pcluster]:
        """Pclusters of one block each, holding as much as fits."""
        if not piece.compress:
            return [(len(piece.data), None)]
        data = memoryview(piece.data)
        outputs: list[_Pcluster] = []
        while data:
            consumed, payload = compressor.fill(data, BLOCK_SIZE)
            if consumed <= BLOCK_SIZE:
                consumed = min(BLOCK_SIZE, len(data))
                outputs.append((consumed, None))
            else:
                outputs.append((consumed, payload))
            data = data[consumed:]
        return outputs


def _if_shorter(payload: bytes, size: int) -> bytes | None:
    """The payload, if it saves at least a block."""
    return payload if -(-len(payload) // BLOCK_SIZE) * BLOCK_SIZE < size else None


def _run(
    layout: _Layout,
    zone: _Zone,
    profile: Profile,
    workers: int,
    progress: Progress | None,
) -> None:
    """Compress all streams into the zone: many batches at once, written in order."""
    encoder = _Encoder(profile)
    done, total = 0, sum(stream.size for stream in layout.streams)
    waiting: deque[tuple[list[_Piece], Future[list[list[_Pcluster]]]]] = deque()

    def write_oldest() -> None:
        nonlocal done
        batch, future = waiting.popleft()
        zone.write(zip(batch, future.result()), encoder.kind)
        done += sum(len(piece.data) for piece in batch)
        if progress is not None:
            progress(done, total)

    with ThreadPoolExecutor(workers, "iasfs-compress") as pool:
        try:
            for batch in _batches(layout.streams):
                waiting.append((batch, pool.submit(encoder.encode, batch)))
                if len(waiting) > workers + min(workers, _AHEAD_MAX):
                    write_oldest()
            while waiting:
                write_oldest()
        finally:
            for _, future in waiting:
                future.cancel()


def _batches(streams: Iterable[_Stream]) -> Iterator[list[_Piece]]:
    batch: list[_Piece] = []
    size = 0
    for number, stream in enumerate(streams):
        for piece in stream.pieces(number):
            batch.append(piece)
            size += len(piece.data)
            if size >= _BATCH_SIZE:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
