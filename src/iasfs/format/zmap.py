"""The map of a compressed file: its header, and what follows it.

A map header of 8 bytes says which of four forms follows it:

* nothing: the whole file is one fragment of the packed inode;
* the full or the compact index of :mod:`~iasfs.format.zindex`;
* *encoded extents*: records with byte addresses (48BIT images).

Everything that can be said about the header alone is checked here, so that what decodes the
rest need not know of features and files.

Layout: ``struct z_erofs_map_header``, ``z_erofs_extent``; source of the rules:
``fs/erofs/zmap.c``.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import iter_unpack
from typing import NamedTuple

from iasfs.buffers import Buffer, Range
from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.format import disk, zindex
from iasfs.format.inode import Inode
from iasfs.format.table import Extent, ExtentTable, Geometry, Kind, TableBuilder

ENCODED = -1
"""The form of encoded extents."""
FRAGMENT = -2
"""The form of a file that is one fragment."""

_ADVISE_KNOWN = 0x3F
_SIZE_MAX = (1 << 63) - 1


class Header(NamedTuple):
    """A map header, checked, with what follows from it."""

    offset: int
    """Byte offset of the header in the image; a multiple of 8."""
    size: int
    """Bytes from there to the end of the index."""
    form: int
    """``zindex.FULL``, ``zindex.COMPACT``, ``ENCODED`` or ``FRAGMENT``."""
    advise: int
    algorithmtype: int
    lclusterbits: int
    tail: int
    """Offset of the fragment, size of the inline tail, or number of encoded extents."""


# --- the header ---------------------------------------------------------------------------------


def header_range(inode: Inode, geometry: Geometry) -> Range:
    """``(offset, size)`` of the metadata to begin with: the header, and a short index with it."""
    offset = inode.body + 7 & ~7
    inside = geometry.image_size - offset
    if inside < zindex.HEADER_SIZE:
        raise FormatError("the map header lies behind the image", nid=inode.nid, offset=offset)
    total = -(-inode.size >> geometry.blkszbits)
    return offset, min(zindex.FULL_START + 8 * total, inside, 512)


def unpack_header(data: Buffer, inode: Inode, geometry: Geometry) -> Header:
    """Read and check the header; ``data`` begins with it.

    The index that it announces lies inside the image, or it is
    :class:`~iasfs.errors.FormatError`.
    """
    offset = inode.body + 7 & ~7
    word = int.from_bytes(data[: zindex.HEADER_SIZE], "little")
    if word >> 63:
        return Header(offset, zindex.HEADER_SIZE, FRAGMENT, 0, 0, 0, word & (1 << 63) - 1)
    raw = disk.ZMapHeader._make(disk.Z_MAP_HEADER.unpack_from(data))
    if raw.h_advise & ~_ADVISE_KNOWN:
        raise UnsupportedFeature(f"map advise {raw.h_advise:#x}", nid=inode.nid, offset=offset + 4)
    if inode.layout == zindex.FULL and raw.h_advise & disk.Z_ADVISE_EXTENTS:
        header = _encoded_header(raw, offset, inode, geometry)
    else:
        header = _classic_header(raw, offset, inode, geometry)
    if offset + header.size > geometry.image_size:
        raise FormatError(
            f"the index of {header.size} bytes ends behind the image", nid=inode.nid, offset=offset
        )
    return header


def _encoded_header(raw: disk.ZMapHeader, offset: int, inode: Inode, geometry: Geometry) -> Header:
    if not geometry.has(disk.FEATURE_INCOMPAT_48BIT):
        raise FormatError("encoded extents without 48BIT", nid=inode.nid, offset=offset + 4)
    record = _record_size(raw.h_advise)
    lclusterbits = geometry.blkszbits + (raw.h_clusterbits & 15)
    count = -(-inode.size >> lclusterbits)
    start = -(-(offset + zindex.HEADER_SIZE) // record) * record + (8 if record == 4 else 0)
    if record >= 16:
        count = raw.h_fragmentoff | raw.h_algorithmtype << 32 | (raw.h_clusterbits & 0x7F) << 40
    size = start + record * count - offset
    return Header(offset, size, ENCODED, raw.h_advise, 0, lclusterbits, count)


def _record_size(advise: int) -> int:
    return 4 << (advise >> 1 & 3)


def _classic_header(raw: disk.ZMapHeader, offset: int, inode: Inode, geometry: Geometry) -> Header:
    advise, nid = raw.h_advise, inode.nid
    for algorithm in (raw.h_algorithmtype & 15, raw.h_algorithmtype >> 4):
        if algorithm > disk.COMPRESSION_ZSTD:
            raise UnsupportedFeature(
                f"compression algorithm {algorithm}", nid=nid, offset=offset + 6
            )
    big = advise & (disk.Z_ADVISE_BIG_PCLUSTER_1 | disk.Z_ADVISE_BIG_PCLUSTER_2)
    if big and not geometry.has(disk.FEATURE_INCOMPAT_COMPR_CFGS):
        raise FormatError("big pclusters without COMPR_CFGS", nid=nid, offset=offset + 4)
    lclusterbits = geometry.blkszbits + (raw.h_clusterbits & 15)
    tail = 0
    if advise & disk.Z_ADVISE_FRAGMENT_PCLUSTER:
        tail = raw.h_fragmentoff
    elif advise & disk.Z_ADVISE_INLINE_PCLUSTER:
        tail = raw.h_fragmentoff >> 16
    if inode.layout == zindex.FULL:
        size = zindex.FULL_START + 8 * -(-inode.size >> lclusterbits)
    else:
        if big in (disk.Z_ADVISE_BIG_PCLUSTER_1, disk.Z_ADVISE_BIG_PCLUSTER_2):
            raise FormatError(
                "big pclusters for one half of a compact index", nid=nid, offset=offset + 4
            )
        limit = 12 if advise & disk.Z_ADVISE_COMPACTED_2B else 14
        if lclusterbits != geometry.blkszbits or lclusterbits > limit:
            raise UnsupportedFeature(
                f"compact index of lclusters of 2^{lclusterbits} bytes", nid=nid, offset=offset + 7
            )
        size = zindex.HEADER_SIZE + _packs(offset, inode.size, lclusterbits, advise).size
    if zindex.has_inline_tail(advise, tail):
        _check_inline(offset + size, tail, nid, geometry)
    return Header(offset, size, inode.layout, advise, raw.h_algorithmtype, lclusterbits, tail)


def _check_inline(address: int, size: int, nid: int, geometry: Geometry) -> None:
    block_size = geometry.block_size
    if address % block_size + size > block_size:
        raise FormatError(
            f"inline pcluster of {size} bytes crosses a block", nid=nid, offset=address
        )
    if not geometry.on_primary(address, size):
        raise FormatError("inline pcluster outside the image", nid=nid, offset=address)


def _packs(header_offset: int, size: int, lclusterbits: int, advise: int) -> zindex.Packs:
    two_bytes = bool(advise & disk.Z_ADVISE_COMPACTED_2B)
    return zindex.packs(-(-size >> lclusterbits), header_offset, two_bytes)


def _entry_offset(header: Header, size: int, lcn: int) -> int:
    if header.form == zindex.FULL:
        return header.offset + zindex.FULL_START + 8 * lcn
    cut = _packs(header.offset, size, header.lclusterbits, header.advise)
    return header.offset + zindex.HEADER_SIZE + cut.offset(lcn)


# --- all forms ----------------------------------------------------------------------------------


def decode(data: Buffer, header: Header, inode: Inode, geometry: Geometry) -> ExtentTable:
    """Return the extents of a compressed file; ``data`` is the image from the header on.

    Of ``data`` at least ``header.size`` bytes are there.  Raises
    :class:`~iasfs.errors.FormatError` for whatever is not a sound index.
    """
    if header.form == FRAGMENT:
        fragment = Extent(0, inode.size, header.tail, inode.size, Kind.FRAGMENT)
        _check_fragment(fragment, header.offset, inode, geometry)
        return ExtentTable.of([fragment])
    if header.form == ENCODED:
        return _decode_encoded(data, header, inode, geometry)
    answer = zindex.decode(
        data,
        header.form,
        header.offset,
        inode.size,
        geometry.blkszbits,
        header.lclusterbits,
        header.advise,
        header.algorithmtype,
        header.tail,
        geometry.algorithms,
        geometry.packed_regions,
    )
    if isinstance(answer, tuple):
        fault, lcn = answer
        raise FormatError(
            f"lcluster {lcn}: {zindex.FAULTS[fault]}",
            nid=inode.nid,
            offset=_entry_offset(header, inode.size, lcn),
        )
    table = ExtentTable(answer)
    if header.advise & disk.Z_ADVISE_FRAGMENT_PCLUSTER:
        _check_fragment(table[-1], header.offset, inode, geometry)
    return table


def _check_fragment(extent: Extent, offset: int, inode: Inode, geometry: Geometry) -> None:
    if not geometry.packed_nid:
        raise FormatError("fragment, but no packed inode", nid=inode.nid, offset=offset)
    if inode.nid == geometry.packed_nid:
        raise FormatError("the packed inode is its own fragment", nid=inode.nid, offset=offset)
    end = extent.address + extent.size
    limit = _SIZE_MAX if geometry.packed_size is None else geometry.packed_size
    if end > limit:
        raise FormatError(
            f"fragment ends at {end}, the packed inode at {limit} at the latest",
            nid=inode.nid,
            offset=offset,
        )


# --- encoded extents ----------------------------------------------------------------------------

_PLEN_MASK = (1 << 21) - 1
_PLEN_PARTIAL = 1 << 27
_PLEN_FORMAT = 28
_PART_FREE = 64 << 10
_PART_RATIO = 4096
"""An extent that is a part of a pcluster larger than the first number has at least this fraction of
it.  Nothing makes smaller ones, and 64 KiB of a hostile file could be the parts of 64 GiB."""


def _encoded_records(data: Buffer, header: Header, size: int) -> Iterator[tuple[int, int, int]]:
    """``(logical, plen word, address)`` of each record."""
    record = _record_size(header.advise)
    start = -(-(header.offset + zindex.HEADER_SIZE) // record) * record - header.offset
    rows = memoryview(data)[start : header.size]
    lsize = 1 << header.lclusterbits
    if record == 4:
        address = int.from_bytes(rows[:8], "little")
        for number, (plen,) in enumerate(iter_unpack("<I", rows[8:])):
            yield number * lsize, plen, address
            address += plen & _PLEN_MASK
    elif record == 8:
        for number, (plen, address) in enumerate(iter_unpack("<II", rows)):
            yield number * lsize, plen, address
    elif record == 16:
        for plen, low, high, logical in iter_unpack("<IIII", rows):
            yield logical, plen, low | high << 32
    else:
        for plen, low, high, logical in iter_unpack("<IIIQ12x", rows):
            yield logical, plen, low | high << 32


def _decode_encoded(data: Buffer, header: Header, inode: Inode, geometry: Geometry) -> ExtentTable:
    builder = TableBuilder()
    previous = (0, 0, 0)  # what lies before the first record is a hole
    for row in _encoded_records(data, header, inode.size):
        if row[0] >= inode.size or row[0] < previous[0]:
            raise FormatError(
                f"encoded extent at {row[0]} is out of order", nid=inode.nid, offset=header.offset
            )
        if row[0] > previous[0]:
            _add_encoded(builder, previous, row[0], header, inode, geometry)
        elif previous[1:] != (0, 0):
            raise FormatError(
                f"two encoded extents at {row[0]}", nid=inode.nid, offset=header.offset
            )
        previous = row
    if header.advise & disk.Z_ADVISE_FRAGMENT_PCLUSTER and header.tail:
        logical, word, address = previous
        if _record_size(header.advise) > 4:
            word |= address << 32
        length = inode.size - logical
        fragment = Extent(logical, length, word, length, Kind.FRAGMENT)
        _check_fragment(fragment, header.offset, inode, geometry)
        builder.add(fragment)
    else:
        _add_encoded(builder, previous, inode.size, header, inode, geometry)
    return ExtentTable(builder.records())


def _add_encoded(
    builder: TableBuilder,
    row: tuple[int, int, int],
    end: int,
    header: Header,
    inode: Inode,
    geometry: Geometry,
) -> None:
    logical, word, address = row
    size, stored = end - logical, word & _PLEN_MASK
    if not stored:
        builder.add(Extent(logical, size, 0, 0, Kind.HOLE))
        return
    partial = bool(word & _PLEN_PARTIAL)
    algorithm = (word >> _PLEN_FORMAT) - 1
    region = geometry.place(address, stored)
    fault = 0
    if algorithm > disk.COMPRESSION_ZSTD:
        raise UnsupportedFeature(
            f"compression algorithm {algorithm}", nid=inode.nid, offset=header.offset
        )
    if stored > disk.Z_PCLUSTER_MAX_SIZE:
        fault = zindex.BLOCKS_MANY
    elif region is None:
        fault = zindex.ADDRESS
    elif algorithm < 0:
        fault = zindex.PLAIN_LONG if size > stored else 0
    else:
        short = end == inode.size or (partial and stored <= max(_PART_FREE, size * _PART_RATIO))
        fault = zindex.compressed_fault(size, stored, algorithm, geometry.algorithms, short)
    if fault or region is None:
        raise FormatError(
            f"encoded extent at {logical}: {zindex.FAULTS[fault]}",
            nid=inode.nid,
            offset=header.offset,
        )
    kind = algorithm
    if algorithm < 0:
        interlaced = bool(header.advise & disk.Z_ADVISE_INTERLACED_PCLUSTER)
        aligned = (address | stored) % geometry.block_size == 0
        kind = zindex.plain_kind(interlaced and aligned, logical, stored, geometry.block_size)
    builder.add(Extent(logical, size, address, stored, kind, 0, partial and algorithm >= 0), region)
