"""The classic index of a compressed file: one entry for each lcluster, decoded.

An lcluster is a slice of the file, as a rule one block.  Its entry is a HEAD, in which one
extent begins at ``clusterofs``, or a NONHEAD, which says how far its head lies behind (d0) and
the next one ahead (d1).  An extent ends where the next begins.  The first NONHEAD of an extent
of more than one block holds the number of its blocks (CBLKCNT) in place of d0.

The entries come in two forms: the *full* index has 8 bytes for each, the *compact* one 4 or 2,
by packs that share one block address.  Both are read into the same stream of entries;
:mod:`~iasfs.format.zwrite` goes the other way.

A reader that follows the distances alone sees only what it meets.  Here all entries are read
once, in order, and each must agree with the others.  That is done in C where the extension was
compiled: :func:`decode_py` is its twin, and both give the same records or the same fault.

Layout: ``struct z_erofs_lcluster_index``; source of the rules: ``fs/erofs/zmap.c``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from struct import iter_unpack
from typing import NamedTuple

from iasfs.buffers import Buffer
from iasfs.format import disk
from iasfs.format.codec import fast
from iasfs.format.table import REGION, Extent, Kind, TableBuilder, place

HEADER_SIZE = disk.Z_MAP_HEADER.size
"""Bytes of the map header that stands before the index."""
FULL_START = HEADER_SIZE + 8
"""Where the full index begins, from the header on; eight bytes between are unused."""
FULL = disk.INODE_COMPRESSED_FULL
COMPACT = disk.INODE_COMPRESSED_COMPACT

NONHEAD = disk.Z_LCLUSTER_NONHEAD
CBLKCNT = disk.Z_LI_D0_CBLKCNT
D0_MAX = CBLKCNT - 1  # an entry farther from its head holds this
BIG = disk.Z_ADVISE_BIG_PCLUSTER_1 | disk.Z_ADVISE_BIG_PCLUSTER_2
_LI_HOLE = 0x4000
_INLINE = -2  # the "region" of inline data, which joins with nothing


# --- sizes: the one place that knows where an entry stands --------------------------------------


class Packs(NamedTuple):
    """How a compact index is cut: packs of 2 entries, then of 16, then of 2 again."""

    total: int
    """Entries in all."""
    first: int
    """Entries up to the first pack of 16, which is aligned to its 32 bytes."""
    packed: int
    """Entries in packs of 16."""

    def pack_at(self, entry: int) -> tuple[int, int]:
        """``(count, size)`` of the pack that begins with an entry: its entries and bytes."""
        if self.first <= entry < self.first + self.packed:
            return 16, 32
        return 2, 8

    @property
    def size(self) -> int:
        """Bytes of all packs; a last pack that is not full counts whole."""
        return 2 * self.packed + (self.total - self.packed + 1) // 2 * 8

    def offset(self, entry: int) -> int:
        """The byte, from the first pack on, where the pack of an entry begins."""
        if entry < self.first:
            return entry // 2 * 8
        entry -= self.first
        if entry < self.packed:
            return self.first * 4 + entry // 16 * 32
        return self.first * 4 + self.packed * 2 + (entry - self.packed) // 2 * 8


def packs(total: int, header_offset: int, two_bytes: bool) -> Packs:
    """The packs of a compact index behind the header at ``header_offset`` of the image."""
    first = (32 - (header_offset + HEADER_SIZE) % 32) // 4 % 8
    if not two_bytes or first >= total:
        return Packs(total, 0, 0)
    return Packs(total, first, (total - first) // 16 * 16)


def index_size(size: int, *, blkszbits: int, header_offset: int, compact: bool) -> int:
    """Bytes of header and classic index of a file of ``size`` bytes, as the writer makes them."""
    total = -(-size >> blkszbits)
    if compact:
        two_bytes = blkszbits <= 12
        return HEADER_SIZE + packs(total, header_offset, two_bytes).size
    return FULL_START + 8 * total


# --- what all kinds of extents have to obey -----------------------------------------------------

FIRST, CLUSTEROFS, D0, D1, BLOCKS_STRAY = 1, 2, 3, 4, 5
BLOCKS_MISSING, BLOCKS_ZERO, BLOCKS_MANY = 6, 7, 8
EXTENT_LONG, PLAIN_LONG, EXTENT_SHORT, ALGORITHM, ADDRESS = 9, 10, 11, 12, 13

FAULTS = {
    FIRST: "no extent begins at the start of the file",
    CLUSTEROFS: "clusterofs behind the lcluster",
    D0: "d0 does not lead to the head",
    D1: "a d1 before it leads beyond this head",
    BLOCKS_STRAY: "a block count where none may be",
    BLOCKS_MISSING: "no block count follows",
    BLOCKS_ZERO: "a pcluster of no block",
    BLOCKS_MANY: "a pcluster of more than 1 MiB",
    EXTENT_LONG: "an extent of more than 12 MiB",
    PLAIN_LONG: "an uncompressed extent longer than its pcluster",
    EXTENT_SHORT: "a compressed extent shorter than its pcluster",
    ALGORITHM: "an algorithm that the superblock does not declare",
    ADDRESS: "the pcluster lies outside the image",
}
"""What is wrong with an lcluster, by the number that both decoders answer with."""


def compressed_fault(size: int, stored: int, algorithm: int, bitmap: int, short: bool) -> int:
    """What is wrong with a compressed extent, or 0; ``short``: it may be shorter than stored."""
    if not bitmap >> algorithm & 1:
        return ALGORITHM
    if size > disk.Z_PCLUSTER_MAX_DSIZE:
        return EXTENT_LONG
    if size < stored and not short:
        return EXTENT_SHORT
    return 0


def plain_kind(interlaced: bool, logical: int, stored: int, block_size: int) -> Kind:
    """Rotating by nothing within one block leaves it as it is."""
    if interlaced and (logical % block_size or stored > block_size):
        return Kind.INTERLACED
    return Kind.PLAIN


def has_inline_tail(advise: int, tail: int) -> bool:
    """Whether the last extent stands behind the index; a fragment takes precedence."""
    both = disk.Z_ADVISE_FRAGMENT_PCLUSTER | disk.Z_ADVISE_INLINE_PCLUSTER
    return advise & both == disk.Z_ADVISE_INLINE_PCLUSTER and tail > 0


# --- decode -------------------------------------------------------------------------------------


class _Fault(Exception):  # noqa: N818 - never leaves this module
    pass


def decode_py(
    data: Buffer,
    form: int,
    header_offset: int,
    size: int,
    blkszbits: int,
    lclusterbits: int,
    advise: int,
    algorithmtype: int,
    tail: int,
    algorithms: int,
    regions: bytes,
) -> bytes | tuple[int, int]:
    """Decode a full or compact index; the twin of ``zindex.c``, and its reference.

    ``data`` begins with the map header, which has been checked; ``regions`` are pairs of start
    and end (native ``u64``) in which stored bytes may lie.  Answers with the packed records, or
    with ``(fault, lcn)``.
    """
    total = -(-size >> lclusterbits)
    if form == FULL:
        index_size = FULL_START + 8 * total
        entries = _full_entries(data, total)
    else:
        cut = packs(total, header_offset, bool(advise & disk.Z_ADVISE_COMPACTED_2B))
        index_size = HEADER_SIZE + cut.size
        entries = _compact_entries(data, cut, lclusterbits, bool(advise & BIG))
    walk = _Walk(
        form,
        size,
        blkszbits,
        lclusterbits,
        advise,
        algorithmtype,
        tail,
        algorithms,
        index_end=header_offset + index_size,
        regions=[(start, end, 0) for start, end in REGION.iter_unpack(regions)],
    )
    try:
        for lcn, (kind, low, value, flags) in enumerate(entries):
            if kind == NONHEAD:
                walk.nonhead(lcn, low, value)
            else:
                walk.head(lcn, kind, low, value, flags)
        walk.end(total)
    except _Fault as fault:
        code, lcn = fault.args
        return code, lcn
    return walk.builder.records()


_Entry = tuple[int, int, int, int]
"""A HEAD: type, clusterofs, block address, flags.  A NONHEAD: type, d0, d1, 0; d0 is -1 and d1
is 1 where the entry does not hold them."""


def _full_entries(data: Buffer, total: int) -> Iterator[_Entry]:
    for flags, clusterofs, value in iter_unpack(
        "<HHI", memoryview(data)[FULL_START : FULL_START + 8 * total]
    ):
        kind = flags & 3
        if kind == NONHEAD:
            yield kind, value & 0xFFFF, value >> 16, 0
        else:
            yield kind, clusterofs, value, flags


def _compact_entries(data: Buffer, cut: Packs, lclusterbits: int, big: bool) -> Iterator[_Entry]:
    low_bits = max(lclusterbits, 12)
    lcn = 0
    while lcn < cut.total:
        count, size = cut.pack_at(lcn)
        start = HEADER_SIZE + cut.offset(lcn)
        pack = int.from_bytes(data[start : start + size], "little")
        yield from _pack_entries(pack, count, min(count, cut.total - lcn), low_bits, big)
        lcn += count


def _pack_entries(pack: int, count: int, used: int, low_bits: int, big: bool) -> Iterator[_Entry]:
    """Yield the first ``used`` of the ``count`` entries of a pack.

    The pclusters of a pack lie back to back.  With big ones its base is the block of the first
    that has its head or its block count here; otherwise the block before the first head.
    """
    width = 14 if count == 16 else 16
    block = (pack >> width * count) + (not big)
    head_before = False
    for slot in range(used):
        bits = pack >> slot * width
        low, kind = bits & (1 << low_bits) - 1, bits >> low_bits & 3
        if kind != NONHEAD:
            block += big and head_before
            yield kind, low, block, 0
            block += not big
            head_before = True
            continue
        head_before = False
        if low & CBLKCNT:
            block += low & D0_MAX
            yield kind, low, 1, 0
        elif slot + 1 < count:
            yield kind, low, 1, 0
        else:
            yield kind, -1, low, 0


@dataclass(slots=True)
class _Walk:
    """The state while the entries go by; raises :class:`_Fault` at the first that is wrong."""

    form: int
    size: int
    blkszbits: int
    lclusterbits: int
    advise: int
    algorithmtype: int
    tail: int
    algorithms: int
    index_end: int
    """Where the index ends in the image, and the inline tail begins."""
    regions: list[tuple[int, int, int]]

    open: bool = False
    """Whether an extent has begun and not ended; these are of the one that began last:"""
    lcn: int = 0
    kind: int = 0
    logical: int = 0
    block: int = 0
    flags: int = 0
    blocks: int = -1
    """Its CBLKCNT; -1 if it has none."""
    reach: int = 0
    """The farthest lcluster of which a d1 says that it is the next head."""
    builder: TableBuilder = field(default_factory=TableBuilder)

    def is_big(self) -> bool:
        if self.kind == disk.Z_LCLUSTER_HEAD1:
            return bool(self.advise & disk.Z_ADVISE_BIG_PCLUSTER_1)
        return bool(self.advise & disk.Z_ADVISE_BIG_PCLUSTER_2)

    def nonhead(self, lcn: int, d0: int, d1: int) -> None:
        if not self.open:
            raise _Fault(FIRST, lcn)
        distance = lcn - self.lcn
        if d0 >= 0 and d0 & CBLKCNT:
            if distance != 1 or not self.is_big():
                raise _Fault(BLOCKS_STRAY, lcn)
            self.blocks = d0 & D0_MAX
        elif d0 >= 0 and d0 != min(distance, D0_MAX):
            raise _Fault(D0, lcn)
        self.reach = max(self.reach, lcn + max(d1, 1))

    def head(self, lcn: int, kind: int, clusterofs: int, block: int, flags: int) -> None:
        if clusterofs >> self.lclusterbits:
            raise _Fault(CLUSTEROFS, lcn)
        if lcn == 0 and clusterofs:
            raise _Fault(FIRST, lcn)
        if self.reach > lcn:
            raise _Fault(D1, lcn)
        logical = (lcn << self.lclusterbits) + clusterofs
        if self.open:
            self.close(min(logical, self.size), lcn)
        # A head at the end of the file only ends the extent before it.
        self.open = logical < self.size
        self.lcn, self.kind, self.logical = lcn, kind, logical
        self.block, self.flags, self.blocks = block, flags, -1

    def end(self, total: int) -> None:
        if self.reach > total:
            raise _Fault(D1, total - 1)
        if self.open:
            self.close(self.size, total)

    def close(self, end: int, next_lcn: int) -> None:
        """Add the extent that ends at ``end``; the next head is ``next_lcn``."""
        logical, length = self.logical, end - self.logical
        at_end = end == self.size
        if at_end and self.advise & disk.Z_ADVISE_FRAGMENT_PCLUSTER:
            address = self.tail | (self.block << 32 if self.form == FULL else 0)
            self.builder.add(Extent(logical, length, address, length, Kind.FRAGMENT))
            return
        inline = at_end and has_inline_tail(self.advise, self.tail)
        if not inline and self.flags & _LI_HOLE:
            self.builder.add(Extent(logical, length, 0, 0, Kind.HOLE))
            return
        if inline:
            stored, address = self.tail, self.index_end
        else:
            stored = self.count_blocks(next_lcn) << self.blkszbits
            address = self.block << self.blkszbits
        kind, partial = self.decoding(length, stored, inline, at_end)
        region = _INLINE if inline else place(self.regions, address, stored)
        if region is None:
            raise _Fault(ADDRESS, self.lcn)
        self.builder.add(Extent(logical, length, address, stored, kind, 0, partial), region)

    def count_blocks(self, next_lcn: int) -> int:
        if not self.is_big() or next_lcn == self.lcn + 1:
            return 1
        if self.blocks < 0:
            raise _Fault(BLOCKS_MISSING, self.lcn)
        if not self.blocks:
            raise _Fault(BLOCKS_ZERO, self.lcn)
        if self.blocks << self.blkszbits > disk.Z_PCLUSTER_MAX_SIZE:
            raise _Fault(BLOCKS_MANY, self.lcn)
        return self.blocks

    def decoding(self, length: int, stored: int, inline: bool, at_end: bool) -> tuple[int, bool]:
        """``(kind, partial)`` of the open extent."""
        if self.kind == disk.Z_LCLUSTER_PLAIN:
            if length > stored:
                raise _Fault(PLAIN_LONG, self.lcn)
            # Inline data is never rotated.
            interlaced = not inline and bool(self.advise & disk.Z_ADVISE_INTERLACED_PCLUSTER)
            return plain_kind(interlaced, self.logical, stored, 1 << self.blkszbits), False
        shift = 0 if self.kind == disk.Z_LCLUSTER_HEAD1 else 4
        algorithm = self.algorithmtype >> shift & 15
        partial = bool(self.flags & disk.Z_LI_PARTIAL_REF)
        fault = compressed_fault(length, stored, algorithm, self.algorithms, at_end or partial)
        if fault:
            raise _Fault(fault, self.lcn)
        return algorithm, partial


decode: Callable[..., bytes | tuple[int, int]]
"""The decoder in C, or :func:`decode_py` where there is none."""
decode = fast.decode_index if fast is not None else decode_py
