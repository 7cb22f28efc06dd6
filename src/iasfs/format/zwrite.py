"""The classic index of a compressed file, encoded: from extents to header and entries.

The extents become heads (a plain extent one for each block), the heads become the stream of
entries that :mod:`~iasfs.format.zindex` reads, and the stream becomes a full or a compact index.

What older kernels want is kept to: a plain pcluster is one block long, and a file that ends
inside an lcluster has a terminator there, a head that begins at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from struct import Struct
from typing import NamedTuple

from iasfs.errors import WriteError
from iasfs.format import disk
from iasfs.format.table import Extent, Kind
from iasfs.format.zindex import BIG, CBLKCNT, D0_MAX, FULL_START, HEADER_SIZE, NONHEAD, Packs, packs

_LI_HEAD = Struct("<HHI")
_LI_NONHEAD = Struct("<HHHH")


class _Head(NamedTuple):
    lcn: int
    kind: int
    """Type of the lcluster."""
    clusterofs: int
    block: int | None
    """Address of the pcluster; ``None`` where nothing will look at it."""
    blocks: int = 1
    partial: bool = False


class _Entry(NamedTuple):
    """One lcluster; of the last three a NONHEAD has the first two only, a HEAD the last."""

    kind: int
    low: int
    """``clusterofs`` or d0."""
    ahead: int = 0
    """d1."""
    head: _Head | None = None


def can_be_compact(extents: Iterable[Extent]) -> bool:
    """Whether the compact index can hold these extents, wherever it will stand in the image.

    It can when they lie back to back on disk and none is partial.  Only the differences of
    addresses matter, so it may be asked before the final ones are known.
    """
    end: int | None = None
    for extent in extents:
        if extent.kind == Kind.FRAGMENT:
            continue
        if extent.partial or end not in (None, extent.address):
            return False
        end = extent.address + extent.stored
    return True


def encode(
    extents: Iterable[Extent],
    *,
    size: int,
    header_offset: int,
    compact: bool,
    blkszbits: int = 12,
    algorithm: int = Kind.ZSTD,
    big_pclusters: bool = True,
) -> bytes:
    """Map header and index of a compressed file of ``size`` bytes.

    ``header_offset`` is the byte offset of the header in the image, a multiple of 8: the compact
    index depends on it.  ``algorithm`` is the first of the two that a file may use, and
    ``big_pclusters`` whether the image declares COMPR_CFGS, so that a compressed extent may take
    more than one block.  The result has :func:`~iasfs.format.zindex.index_size` bytes; where the
    only extent is a fragment it has :data:`~iasfs.format.zindex.HEADER_SIZE`, and serves as
    either layout.

    Extents begin on whole blocks on disk.  :class:`~iasfs.errors.WriteError` if they do not
    follow each other from 0 to ``size``, or if the form cannot express them (if two begin in one
    lcluster, say).
    """
    extents = list(extents)
    _check_sequence(extents, size)
    last = extents[-1]
    if extents[0].kind == Kind.FRAGMENT:
        return (last.address | 1 << 63).to_bytes(HEADER_SIZE, "little")
    others = {extent.kind for extent in extents if extent.kind <= Kind.ZSTD} - {algorithm}
    if len(others) > 1:
        raise WriteError(f"{len(others) + 1} compression algorithms in one file")
    heads = _heads(extents, size, blkszbits, algorithm)
    if compact and any(head.partial for head in heads):
        raise WriteError("a compact index cannot say that an extent is partial")
    advise = 0
    if big_pclusters:
        advise = disk.Z_ADVISE_BIG_PCLUSTER_1
        if compact or others:
            advise |= disk.Z_ADVISE_BIG_PCLUSTER_2
    if compact and blkszbits <= 12:
        advise |= disk.Z_ADVISE_COMPACTED_2B
    if any(extent.kind == Kind.INTERLACED for extent in extents):
        advise |= disk.Z_ADVISE_INTERLACED_PCLUSTER
    fragment = 0
    if last.kind == Kind.FRAGMENT:
        advise |= disk.Z_ADVISE_FRAGMENT_PCLUSTER
        fragment = last.address
    if fragment >> (32 if compact else 64):
        raise WriteError(f"a fragment at {fragment}, too far for the index")
    header = disk.Z_MAP_HEADER.pack(fragment & 0xFFFFFFFF, advise, algorithm | sum(others) << 4, 0)
    total = -(-size >> blkszbits)
    entries = _entries(heads, total, advise)
    if not compact:
        return header + bytes(FULL_START - HEADER_SIZE) + _encode_full(entries, fragment >> 32)
    cut = packs(total, header_offset, bool(advise & disk.Z_ADVISE_COMPACTED_2B))
    return header + _encode_compact(entries, cut, max(blkszbits, 12), bool(advise & BIG))


def _check_sequence(extents: Sequence[Extent], size: int) -> None:
    end = 0
    for extent in extents:
        if extent.logical != end or extent.size <= 0:
            raise WriteError(f"an extent of {extent.size} bytes at {extent.logical} behind {end}")
        if extent.kind == Kind.HOLE or extent.device:
            raise WriteError("a compressed file has neither holes nor device numbers")
        if extent.kind == Kind.FRAGMENT and extent is not extents[-1]:
            raise WriteError("only the last extent may be a fragment")
        end += extent.size
    if end != size or not extents:
        raise WriteError(f"the extents end at {end}, not at {size}")


# --- heads --------------------------------------------------------------------------------------


def _heads(extents: Sequence[Extent], size: int, blkszbits: int, algorithm: int) -> list[_Head]:
    block_size = 1 << blkszbits
    interlaced = any(extent.kind == Kind.INTERLACED for extent in extents)
    heads: list[_Head] = []
    for extent in extents:
        lcn, clusterofs = divmod(extent.logical, block_size)
        if extent.kind == Kind.FRAGMENT:
            heads.append(_Head(lcn, disk.Z_LCLUSTER_HEAD1, clusterofs, None, 0))
            continue
        block, odd = divmod(extent.address, block_size)
        if odd or block >> 32:
            raise WriteError(f"a pcluster at {extent.address} does not begin on a block")
        if extent.kind in (Kind.PLAIN, Kind.INTERLACED):
            rotated = extent.kind == Kind.INTERLACED
            if (rotated and extent.stored != block_size) or (interlaced != rotated and clusterofs):
                raise WriteError("interlaced and plain blocks mixed, or interlaced ones joined")
            if extent.size > extent.stored:
                raise WriteError(f"{extent.size} plain bytes in {extent.stored}")
            heads += (
                _Head(lcn + n, disk.Z_LCLUSTER_PLAIN, clusterofs, block + n)
                for n in range(-(-extent.size >> blkszbits))
            )
            continue
        blocks = -(-extent.stored >> blkszbits)
        if blocks << blkszbits > disk.Z_PCLUSTER_MAX_SIZE:
            raise WriteError(f"a pcluster of {blocks} blocks")
        if extent.size > disk.Z_PCLUSTER_MAX_DSIZE:
            raise WriteError(f"an extent of {extent.size} bytes")
        first = extent.kind == algorithm
        kind = disk.Z_LCLUSTER_HEAD1 if first else disk.Z_LCLUSTER_HEAD2
        heads.append(_Head(lcn, kind, clusterofs, block, blocks, extent.partial))
    if size % block_size and heads[-1].lcn < size >> blkszbits:
        terminator = divmod(size, block_size)
        heads.append(_Head(terminator[0], disk.Z_LCLUSTER_PLAIN, terminator[1], None))
    return heads


def _big_bit(kind: int) -> int:
    if kind == disk.Z_LCLUSTER_HEAD1:
        return disk.Z_ADVISE_BIG_PCLUSTER_1
    return disk.Z_ADVISE_BIG_PCLUSTER_2


# --- entries ------------------------------------------------------------------------------------


def _entries(heads: Sequence[_Head], total: int, advise: int) -> Iterator[_Entry]:
    end = _Head(total, disk.Z_LCLUSTER_PLAIN, 0, None)
    for head, following in pairwise([*heads, end]):
        span = following.lcn - head.lcn
        if span < 1:
            raise WriteError(f"two extents begin in lcluster {head.lcn}")
        if head.blocks > 1 and (span == 1 or not advise & _big_bit(head.kind)):
            raise WriteError(f"{head.blocks} blocks for the {span} lclusters from {head.lcn} on")
        yield _Entry(head.kind, head.clusterofs, 0, head)
        for distance in range(1, span):
            behind = min(distance, D0_MAX)
            if distance == 1 and advise & _big_bit(head.kind):
                behind = CBLKCNT | head.blocks
            yield _Entry(NONHEAD, behind, span - distance)


def _encode_full(entries: Iterable[_Entry], fragment_high: int) -> bytes:
    """``fragment_high``: the high half of the fragment's offset, which its head holds."""
    index = bytearray()
    for entry in entries:
        head = entry.head
        if head is None:
            index += _LI_NONHEAD.pack(NONHEAD, 0, entry.low, min(entry.ahead, 0xFFFF))
            continue
        block = head.block
        if block is None:
            block = fragment_high if head.kind == disk.Z_LCLUSTER_HEAD1 else 0
        flags = disk.Z_LI_PARTIAL_REF if head.partial else 0
        index += _LI_HEAD.pack(head.kind | flags, head.clusterofs, block)
    return bytes(index)


def _encode_compact(entries: Iterator[_Entry], cut: Packs, low_bits: int, big: bool) -> bytes:
    index = bytearray()
    done, end = 0, 0
    owner = _Head(0, disk.Z_LCLUSTER_PLAIN, 0, None)  # the pcluster that the next entry belongs to
    while done < cut.total:
        count, size = cut.pack_at(done)
        pack = list(islice(entries, count))
        base, end = _base(pack, owner, end, big)
        width = (size - 4) * 8 // count
        bits = 0
        for slot, entry in enumerate(pack):
            low = entry.low
            if entry.kind == NONHEAD and slot + 1 == count and not low & CBLKCNT:
                low = min(entry.ahead, D0_MAX)
            bits |= (low | entry.kind << low_bits) << slot * width
            owner = entry.head or owner
        index += bits.to_bytes(size - 4, "little") + (base & 0xFFFFFFFF).to_bytes(4, "little")
        done += count
    return bytes(index)


def _base(pack: Sequence[_Entry], owner: _Head, end: int, big: bool) -> tuple[int, int]:
    """The base of a pack, and the block behind the last pcluster that has begun.

    ``owner`` and ``end`` are those of the entry before.  The pclusters of a pack follow each
    other from the base on; with big ones the first that counts has its head or its block count
    here.  Only in a pack that begins with neither is the base free, and then it is the block of
    the first head, or where the last pcluster ended.
    """
    block = None
    if big and pack[0].head is None and pack[0].low & CBLKCNT:
        block = owner.block
    start = block
    if block is not None:
        block += owner.blocks
    for entry in pack:
        if entry.head is None or entry.head.block is None:
            continue
        if block is not None and block != entry.head.block:
            raise WriteError("pclusters that do not lie back to back in a compact index")
        if start is None:
            start = entry.head.block
        block = entry.head.block + entry.head.blocks
        end = block
    if start is None:
        start = end
    return start - (not big), end
