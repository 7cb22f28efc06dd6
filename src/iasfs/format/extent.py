"""File offset to where its bytes are, for every data layout.

:func:`table` answers for any inode: its whole :class:`~iasfs.format.table.ExtentTable`, checked,
or the range of metadata that it wants to see first::

    answer = extent.table(inode, geometry)
    while isinstance(answer, tuple):
        answer = extent.table(inode, geometry, read_at(*answer))

* *flat plain*: one run of blocks, or one hole;
* *flat inline*: the same without its last part, which stands behind the inode;
* *chunk based*: an array of block addresses behind the inode, chunks back to back joined;
* *compressed*: an index behind the inode, see :mod:`~iasfs.format.zmap`.

Every address is checked against the image or its extra devices, and the metadata that a size
calls for must exist before anything is made for it; :class:`~iasfs.errors.FormatError` says
which inode is at fault, and :class:`~iasfs.errors.UnsupportedFeature` what is unknown here.

Source of the rules: ``erofs_map_blocks`` in ``fs/erofs/data.c``.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import iter_unpack

from iasfs.buffers import Buffer, Range
from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.format import disk, zmap
from iasfs.format.inode import Inode
from iasfs.format.table import Extent, ExtentTable, Geometry, Kind, TableBuilder, resolve
from iasfs.format.zindex import HEADER_SIZE, index_size
from iasfs.format.zwrite import can_be_compact
from iasfs.format.zwrite import encode as encode_index

__all__ = [
    "HEADER_SIZE",
    "Extent",
    "ExtentTable",
    "Geometry",
    "Kind",
    "can_be_compact",
    "encode_index",
    "index_size",
    "resolve",
    "table",
]

_HOLE_48BIT = (1 << 48) - 1


def table(inode: Inode, geometry: Geometry, data: Buffer | None = None) -> ExtentTable | Range:
    """The extents of an inode, or the range ``(offset, size)`` of the image that it needs for it.

    ``data`` is what was asked for by the call before: the bytes of that range.  At most two are
    asked for, and both lie inside the image.
    """
    if not inode.size:
        return ExtentTable()
    if inode.layout in (disk.INODE_FLAT_PLAIN, disk.INODE_FLAT_INLINE):
        return _flat(inode, geometry)
    if inode.layout == disk.INODE_CHUNK_BASED:
        wanted = _chunk_range(inode, geometry)
        return wanted if data is None else _chunks(inode, geometry, data)
    if inode.layout not in (disk.INODE_COMPRESSED_FULL, disk.INODE_COMPRESSED_COMPACT):
        raise UnsupportedFeature(f"data layout {inode.layout}", nid=inode.nid, offset=inode.offset)
    if data is None:
        return zmap.header_range(inode, geometry)
    header = zmap.unpack_header(data, inode, geometry)
    if len(data) < header.size:
        return header.offset, header.size
    return zmap.decode(data, header, inode, geometry)


def _flat(inode: Inode, geometry: Geometry) -> ExtentTable:
    block_size = geometry.block_size
    tail = 0
    if inode.layout == disk.INODE_FLAT_INLINE:
        tail = (inode.size - 1) % block_size + 1
    body = inode.size - tail
    extents = []
    if not tail and inode.u == _hole_address(inode):
        extents.append(Extent(0, body, 0, 0, Kind.HOLE))
    elif body:
        address = inode.u << geometry.blkszbits
        if geometry.place(address, body) is None:
            raise FormatError(
                f"{body} bytes of data at {address} lie outside the image",
                nid=inode.nid,
                offset=inode.offset,
            )
        extents.append(Extent(0, body, address, body, Kind.PLAIN))
    if tail:
        at = inode.body
        if at % block_size + tail > block_size:
            raise FormatError(
                f"inline tail of {tail} bytes crosses a block", nid=inode.nid, offset=at
            )
        if not geometry.on_primary(at, tail):
            raise FormatError("inline tail outside the image", nid=inode.nid, offset=at)
        extents.append(Extent(body, tail, at, tail, Kind.PLAIN))
    return ExtentTable.of(extents)


def _hole_address(inode: Inode) -> int:
    """The start block that makes the file a hole: all ones, in the bits that the inode has."""
    return _HOLE_48BIT if inode.u > disk.NULL_ADDR or inode.extended else disk.NULL_ADDR


# --- chunk based --------------------------------------------------------------------------------


def _chunk_format(inode: Inode) -> int:
    form = inode.u & 0xFFFF
    if form & ~disk.CHUNK_FORMAT_KNOWN:
        raise UnsupportedFeature(f"chunk format {form:#x}", nid=inode.nid, offset=inode.offset)
    return form


def _chunk_range(inode: Inode, geometry: Geometry) -> Range:
    form = _chunk_format(inode)
    entry = 8 if form & disk.CHUNK_FORMAT_INDEXES else 4
    chunkbits = geometry.blkszbits + (form & disk.CHUNK_FORMAT_BLKBITS_MASK)
    offset = inode.body + entry - 1 & -entry
    size = entry * -(-inode.size >> chunkbits)
    if offset + size > geometry.image_size:
        raise FormatError(
            f"the chunk array of {size} bytes ends behind the image", nid=inode.nid, offset=offset
        )
    return offset, size


def _chunks(inode: Inode, geometry: Geometry, data: Buffer) -> ExtentTable:
    offset, size = _chunk_range(inode, geometry)
    form = _chunk_format(inode)
    chunk = geometry.block_size << (form & disk.CHUNK_FORMAT_BLKBITS_MASK)
    builder = TableBuilder()
    logical = 0
    for block, device in _chunk_entries(memoryview(data)[:size], form, geometry):
        length = min(chunk, inode.size - logical)
        if block is None:
            builder.add(Extent(logical, length, 0, 0, Kind.HOLE))
        else:
            address = block << geometry.blkszbits
            region = None
            if device <= len(geometry.devices):
                region = geometry.place(address, length, device)
            if region is None:
                raise FormatError(
                    f"chunk at {logical} lies outside the image, at {address} of device {device}",
                    nid=inode.nid,
                    offset=offset,
                )
            extent = Extent(logical, length, address, length, Kind.PLAIN, device)
            builder.add(extent, region)
        logical += length
    return ExtentTable(builder.records())


def _chunk_entries(
    rows: memoryview, form: int, geometry: Geometry
) -> Iterator[tuple[int | None, int]]:
    """``(block, device)`` of each chunk, block ``None`` for a hole."""
    if not form & disk.CHUNK_FORMAT_INDEXES:
        for (block,) in iter_unpack("<I", rows):
            yield None if block == disk.NULL_ADDR else block, 0
        return
    mask = (1 << len(geometry.devices).bit_length()) - 1
    wide = form & disk.CHUNK_FORMAT_48BIT
    hole = _HOLE_48BIT if wide else disk.NULL_ADDR
    for high, device, block in iter_unpack("<HHI", rows):
        if wide:
            block |= high << 32
        yield None if block == hole else block, device & mask
