"""Inodes: the compact and the extended form become one value.

A nid says where an inode lies (32-byte slots); the inode says how its data is laid out, and
behind it follow the xattr area and then what the layout needs.  :attr:`Inode.body` is where
that begins.

Layout: ``struct erofs_inode_compact`` (32 bytes) and ``struct erofs_inode_extended`` (64).  We
read both and write the extended one alone: compact inodes lose their mtime on Linux before 6.15.
"""

from __future__ import annotations

import stat
from typing import NamedTuple

from iasfs.buffers import Buffer
from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.format import disk
from iasfs.format.superblock import Superblock

SIZE_MAX = disk.INODE_EXTENDED.size
"""Bytes that :func:`unpack` may want."""

_FILE_TYPES = {
    stat.S_IFREG: disk.FT_REG_FILE,
    stat.S_IFDIR: disk.FT_DIR,
    stat.S_IFCHR: disk.FT_CHRDEV,
    stat.S_IFBLK: disk.FT_BLKDEV,
    stat.S_IFIFO: disk.FT_FIFO,
    stat.S_IFSOCK: disk.FT_SOCK,
    stat.S_IFLNK: disk.FT_SYMLINK,
}


class Inode(NamedTuple):
    """One inode, whichever form it has on disk.  Times in seconds and nanoseconds."""

    nid: int
    offset: int
    """Byte offset of the inode in the image."""
    layout: int
    """One of the ``INODE_*`` data layouts."""
    mode: int
    nlink: int
    size: int
    uid: int
    gid: int
    mtime: int
    mtime_nsec: int
    u: int
    """``i_u`` with its high bits: start block, chunk format, device number or block count."""
    ino: int
    body: int
    """Byte offset of what follows the inode and its xattr area."""
    xattr_size: int
    """Bytes of the xattr area, which ends at ``body``."""
    extended: bool

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def device(self) -> tuple[int, int]:
        """``(major, minor)`` of a character or block device (Linux ``new_decode_dev``)."""
        if stat.S_ISCHR(self.mode) or stat.S_ISBLK(self.mode):
            return self.u >> 8 & 0xFFF, self.u & 0xFF | self.u >> 12 & 0xFFF00
        return 0, 0


def disk_device(major: int, minor: int) -> int:
    """``i_u`` of a device (``new_encode_dev``): 12 bits of major and 20 of minor."""
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12


def file_type(mode: int) -> int:
    """The ``FT_*`` of a mode, as directory entries hold it; ``FT_UNKNOWN`` for no known type."""
    return _FILE_TYPES.get(stat.S_IFMT(mode), disk.FT_UNKNOWN)


def unpack(data: Buffer, nid: int, superblock: Superblock) -> Inode:
    """Read the inode ``nid`` from its bytes (:data:`SIZE_MAX` of them, or 32 of a compact one).

    Raises :class:`~iasfs.errors.FormatError` or :class:`~iasfs.errors.UnsupportedFeature`.
    """
    offset = superblock.inode_offset(nid)
    i_format = int.from_bytes(data[:2], "little")
    extended = bool(i_format & disk.I_VERSION_EXTENDED)
    layout = i_format >> disk.I_DATALAYOUT_SHIFT & disk.I_DATALAYOUT_MASK
    if i_format & ~disk.I_FORMAT_KNOWN:
        raise UnsupportedFeature(f"inode format {i_format:#x}", nid=nid, offset=offset)
    if layout > disk.INODE_CHUNK_BASED:
        raise UnsupportedFeature(f"data layout {layout}", nid=nid, offset=offset)
    need = disk.INODE_EXTENDED.size if extended else disk.INODE_COMPACT.size
    if len(data) < need:
        raise FormatError("the inode ends behind the image", nid=nid, offset=offset)
    raw: disk.InodeExtended | disk.InodeCompact
    if extended:
        raw = disk.InodeExtended._make(disk.INODE_EXTENDED.unpack_from(data))
        nlink, high = raw.i_nlink, raw.i_nb
        mtime, nsec = raw.i_mtime, raw.i_mtime_nsec
    else:
        raw = disk.InodeCompact._make(disk.INODE_COMPACT.unpack_from(data))
        nlink, high = raw.i_nb, 0
        if i_format & disk.I_NLINK_1 and not stat.S_ISDIR(raw.i_mode):
            nlink, high = 1, raw.i_nb
        mtime, nsec = superblock.epoch + raw.i_mtime, superblock.fixed_nsec
    if file_type(raw.i_mode) == disk.FT_UNKNOWN:
        raise FormatError(f"mode {raw.i_mode:#o} has no known type", nid=nid, offset=offset + 4)
    if raw.i_size >> 63:
        raise FormatError(f"size {raw.i_size}", nid=nid, offset=offset + 8)
    if raw.i_xattr_icount == 1:
        raise FormatError("an xattr area without entries", nid=nid, offset=offset + 2)
    xattr_size = 0
    if raw.i_xattr_icount:
        xattr_size = disk.XATTR_IBODY_HEADER.size + 4 * (raw.i_xattr_icount - 1)
    return Inode(
        nid=nid,
        offset=offset,
        layout=layout,
        mode=raw.i_mode,
        nlink=nlink,
        size=raw.i_size,
        uid=raw.i_uid,
        gid=raw.i_gid,
        mtime=mtime,
        mtime_nsec=nsec,
        u=raw.i_u | high << 32 if _has_address(raw.i_mode, layout) else raw.i_u,
        ino=raw.i_ino,
        body=offset + need + xattr_size,
        xattr_size=xattr_size,
        extended=extended,
    )


def _has_address(mode: int, layout: int) -> bool:
    """Whether the high bits beside ``i_u`` belong to it: they do for block addresses and counts."""
    return layout != disk.INODE_CHUNK_BASED and not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode))


def pack(inode: Inode) -> bytes:
    """The 64 bytes of an extended inode; the xattr area and the body are the caller's."""
    icount = 0
    if inode.xattr_size:
        icount = (inode.xattr_size - disk.XATTR_IBODY_HEADER.size) // 4 + 1
    return disk.INODE_EXTENDED.pack(
        disk.I_VERSION_EXTENDED | inode.layout << disk.I_DATALAYOUT_SHIFT,
        icount,
        inode.mode,
        inode.u >> 32,
        inode.size,
        inode.u & 0xFFFFFFFF,
        inode.ino,
        inode.uid,
        inode.gid,
        inode.mtime,
        inode.mtime_nsec,
        inode.nlink,
    )
