"""Emit: a plan becomes bytes.

The metadata zone is made in memory, every address now known, and written first; the data zone
follows from the spool as it is.  Nothing is decided here.
"""

from __future__ import annotations

import errno
import hashlib
from typing import BinaryIO

from iasfs.buffers import Buffer
from iasfs.format import disk, inode, seal, superblock
from iasfs.format.extent import encode_index
from iasfs.format.table import Extent, Kind
from iasfs.write.plan import Placed, Plan, directory, index_offset
from iasfs.write.profile import BLKSZBITS, BLOCK_SIZE
from iasfs.write.store import Stored

_COPY_SIZE = 1 << 20
_NANOSECOND = 1_000_000_000


def emit(plan: Plan, spool: BinaryIO, target: BinaryIO) -> None:
    """Write the image: ``spool`` holds the data zone from its beginning on."""
    _write_all(target, metadata(plan))
    spool.seek(0)
    while data := spool.read(_COPY_SIZE):
        _write_all(target, data)


def _write_all(target: BinaryIO, data: Buffer) -> None:
    """Write every byte: an unbuffered file may take fewer than it is given."""
    view = memoryview(data)
    while view:
        written = target.write(view)
        if written is None:
            raise BlockingIOError(errno.EAGAIN, "the target does not wait for what it is given")
        view = view[written:]


def metadata(plan: Plan) -> bytearray:
    """The image from byte 0 up to the data zone."""
    zone = bytearray(plan.metadata_size)
    zone[plan.shared_offset : plan.shared_offset + len(plan.shared)] = plan.shared
    for placed in plan.inodes:
        _put(zone, placed.offset, inode.pack(_inode(placed, plan)) + placed.xattrs)
        _put_body(zone, placed, plan)
    _put(zone, 0, seal.pack(seal.Header(plan.size, plan.metadata_size)))
    block = plan.superblock._replace(blocks=plan.size >> BLKSZBITS)
    if not any(block.uuid):
        _put(zone, disk.SUPER_OFFSET, superblock.pack(block))
        block = block._replace(uuid=_uuid_of(zone, plan.data_digest))
    _put(zone, disk.SUPER_OFFSET, superblock.pack(block))
    zone[:BLOCK_SIZE] = superblock.with_checksum(zone[:BLOCK_SIZE], BLKSZBITS)
    return zone


def _put(zone: bytearray, offset: int, data: bytes) -> None:
    zone[offset : offset + len(data)] = data


def _uuid_of(zone: bytearray, data_digest: bytes) -> bytes:
    """A UUID of version 8 (RFC 9562) made of what is in the image: the same has the same."""
    raw = bytearray(hashlib.sha256(zone + data_digest).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return bytes(raw)


def _inode(placed: Placed, plan: Plan) -> inode.Inode:
    node = placed.node
    mtime_ns = plan.mtime_ns if plan.mtime_ns is not None else node.mtime_ns
    seconds, nanoseconds = divmod(mtime_ns, _NANOSECOND)
    return inode.Inode(
        nid=placed.nid,
        offset=placed.offset,
        layout=placed.layout,
        mode=node.mode,
        nlink=placed.nlink,
        size=placed.size,
        uid=node.uid,
        gid=node.gid,
        mtime=seconds,
        mtime_nsec=nanoseconds,
        u=_u(placed, plan),
        ino=placed.nid & 0xFFFFFFFF,
        body=placed.body,
        xattr_size=len(placed.xattrs),
        extended=True,
    )


def _u(placed: Placed, plan: Plan) -> int:
    """``i_u``: a start block, a chunk format, a device number or a count of blocks."""
    node, stored = placed.node, placed.stored
    if node.is_device:
        return inode.disk_device(*node.device)
    if placed.blocks_offset is not None:
        return placed.blocks_offset >> BLKSZBITS
    if stored is None:
        return disk.NULL_ADDR if placed.layout == disk.INODE_FLAT_INLINE else 0
    if placed.layout == disk.INODE_CHUNK_BASED:
        return stored.chunk_bits - BLKSZBITS
    if placed.layout == disk.INODE_FLAT_PLAIN:
        return _moved(stored, plan)[0].address >> BLKSZBITS if stored.extents else 0
    return disk.NULL_ADDR if placed.layout == disk.INODE_FLAT_INLINE else stored.blocks


def _moved(stored: Stored, plan: Plan) -> list[Extent]:
    """The extents of a file with addresses in the image."""
    return [
        extent._replace(address=extent.address + plan.metadata_size) for extent in stored.extents
    ]


def _put_body(zone: bytearray, placed: Placed, plan: Plan) -> None:
    """What stands behind the inode, and the full blocks of directories and symlinks."""
    node, stored = placed.node, placed.stored
    if node.is_dir or node.is_symlink:
        data = directory(placed, plan.by_node) if node.is_dir else node.target
        tail = len(data) % BLOCK_SIZE if placed.layout == disk.INODE_FLAT_INLINE else 0
        body = len(data) - tail
        if placed.blocks_offset is not None:
            _put(zone, placed.blocks_offset, data[:body])
        _put(zone, placed.body, data[body:])
    elif stored is None or placed.layout == disk.INODE_FLAT_PLAIN:
        return
    elif placed.layout == disk.INODE_FLAT_INLINE:
        _put(zone, placed.body, stored.inline)
    elif placed.layout == disk.INODE_CHUNK_BASED:
        _put(zone, index_offset(placed), _block_map(stored, plan))
    else:
        _put(zone, index_offset(placed), _index(placed, stored, plan))


def _block_map(stored: Stored, plan: Plan) -> bytes:
    entries = [disk.NULL_ADDR] * -(-stored.size >> stored.chunk_bits)
    chunk = 1 << stored.chunk_bits
    for extent in _moved(stored, plan):
        for start in range(0, extent.size, chunk):
            entries[extent.logical + start >> stored.chunk_bits] = (
                extent.address + start >> BLKSZBITS
            )
    return b"".join(entry.to_bytes(4, "little") for entry in entries)


def _index(placed: Placed, stored: Stored, plan: Plan) -> bytes:
    extents = _moved(stored, plan)
    if stored.fragment is not None:
        covered = sum(extent.size for extent in extents)
        rest = stored.size - covered
        extents.append(Extent(covered, rest, stored.fragment, rest, Kind.FRAGMENT))
    return encode_index(
        extents,
        size=stored.size,
        header_offset=index_offset(placed),
        compact=placed.layout == disk.INODE_COMPRESSED_COMPACT,
        blkszbits=BLKSZBITS,
        algorithm=plan.superblock.algorithms.bit_length() - 1,  # our images have one
        big_pclusters=plan.superblock.has(disk.FEATURE_INCOMPAT_COMPR_CFGS),
    )
