"""Every EROFS structure and constant, under its own name.

The one file to hold beside ``erofs_fs.h``: names, order and sizes are the kernel's, without the
``erofs_`` prefix.  All integers are little endian and no structure has implicit padding.  Each
structure is a tuple of raw fields; what they mean is decided in the modules above.  The sizes
are checked when this module is loaded.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

SUPER_OFFSET = 1024
"""Byte offset of the superblock, for every block size."""
SUPER_MAGIC_V1 = 0xE0F5E1E2

FEATURE_COMPAT_SB_CHKSUM = 0x01
FEATURE_COMPAT_MTIME = 0x02
FEATURE_COMPAT_XATTR_FILTER = 0x04
FEATURE_COMPAT_SHARED_EA_IN_METABOX = 0x08
FEATURE_COMPAT_PLAIN_XATTR_PFX = 0x10
FEATURE_COMPAT_ISHARE_XATTRS = 0x20

FEATURE_INCOMPAT_ZERO_PADDING = 0x001
FEATURE_INCOMPAT_COMPR_CFGS = 0x002
FEATURE_INCOMPAT_CHUNKED_FILE = 0x004
FEATURE_INCOMPAT_DEVICE_TABLE = 0x008
FEATURE_INCOMPAT_ZTAILPACKING = 0x010
FEATURE_INCOMPAT_FRAGMENTS = 0x020
FEATURE_INCOMPAT_XATTR_PREFIXES = 0x040
FEATURE_INCOMPAT_48BIT = 0x080
FEATURE_INCOMPAT_METABOX = 0x100

COMPRESSION_LZ4 = 0
COMPRESSION_LZMA = 1
COMPRESSION_DEFLATE = 2
COMPRESSION_ZSTD = 3

INODE_FLAT_PLAIN = 0
INODE_COMPRESSED_FULL = 1
INODE_FLAT_INLINE = 2
INODE_COMPRESSED_COMPACT = 3
INODE_CHUNK_BASED = 4

I_VERSION_EXTENDED = 0x01
I_DATALAYOUT_SHIFT = 1
I_DATALAYOUT_MASK = 0x07
I_NLINK_1 = 0x10
I_DOT_OMITTED = 0x10
I_FORMAT_KNOWN = 0x1F

ISLOT_SIZE = 32
"""Inodes lie at multiples of this; a nid counts them."""

CHUNK_FORMAT_BLKBITS_MASK = 0x1F
CHUNK_FORMAT_INDEXES = 0x20
CHUNK_FORMAT_48BIT = 0x40
CHUNK_FORMAT_KNOWN = 0x7F

NULL_ADDR = 0xFFFFFFFF
"""A block address that means "none" or "hole"."""

FT_UNKNOWN = 0
FT_REG_FILE = 1
FT_DIR = 2
FT_CHRDEV = 3
FT_BLKDEV = 4
FT_FIFO = 5
FT_SOCK = 6
FT_SYMLINK = 7

XATTR_INDEX_USER = 1
XATTR_INDEX_POSIX_ACL_ACCESS = 2
XATTR_INDEX_POSIX_ACL_DEFAULT = 3
XATTR_INDEX_TRUSTED = 4
XATTR_INDEX_LUSTRE = 5
XATTR_INDEX_SECURITY = 6
XATTR_LONG_PREFIX = 0x80
XATTR_FILTER_SEED = 0x25BBE08F

Z_ADVISE_COMPACTED_2B = 0x01
Z_ADVISE_EXTENTS = 0x01
Z_ADVISE_BIG_PCLUSTER_1 = 0x02
Z_ADVISE_BIG_PCLUSTER_2 = 0x04
Z_ADVISE_INLINE_PCLUSTER = 0x08
Z_ADVISE_INTERLACED_PCLUSTER = 0x10
Z_ADVISE_FRAGMENT_PCLUSTER = 0x20
Z_FRAGMENT_INODE_BIT = 7

Z_LCLUSTER_PLAIN = 0
Z_LCLUSTER_HEAD1 = 1
Z_LCLUSTER_NONHEAD = 2
Z_LCLUSTER_HEAD2 = 3
Z_LI_PARTIAL_REF = 0x8000
Z_LI_D0_CBLKCNT = 0x0800

Z_PCLUSTER_MAX_SIZE = 1 << 20
Z_PCLUSTER_MAX_DSIZE = 12 << 20

DEVICE_TAG_SIZE = 64


class SuperBlock(NamedTuple):
    """The first 128 bytes of ``struct erofs_super_block``."""

    magic: int
    checksum: int
    feature_compat: int
    blkszbits: int
    sb_extslots: int
    rootnid_2b: int
    inos: int
    epoch: int
    fixed_nsec: int
    blocks_lo: int
    meta_blkaddr: int
    xattr_blkaddr: int
    uuid: bytes
    volume_name: bytes
    feature_incompat: int
    available_compr_algs: int
    """Without COMPR_CFGS this field is ``lz4_max_distance``."""
    extra_devices: int
    devt_slotoff: int
    dirblkbits: int
    xattr_prefix_count: int
    xattr_prefix_start: int
    packed_nid: int
    xattr_filter_reserved: int
    ishare_xattr_prefix_id: int
    build_time: int
    rootnid_8b: int


SUPER_BLOCK = Struct("<IIIBBHQqIIII16s16sIHHHBBIQBB2xIQ8x")


class InodeCompact(NamedTuple):
    """``struct erofs_inode_compact``."""

    i_format: int
    i_xattr_icount: int
    i_mode: int
    i_nb: int
    """``i_nlink``, or the high bits of ``i_u`` when I_NLINK_1 is set."""
    i_size: int
    i_mtime: int
    i_u: int
    i_ino: int
    i_uid: int
    i_gid: int


INODE_COMPACT = Struct("<HHHHIIIIHH4x")


class InodeExtended(NamedTuple):
    """``struct erofs_inode_extended``."""

    i_format: int
    i_xattr_icount: int
    i_mode: int
    i_nb: int
    i_size: int
    i_u: int
    i_ino: int
    i_uid: int
    i_gid: int
    i_mtime: int
    i_mtime_nsec: int
    i_nlink: int


INODE_EXTENDED = Struct("<HHHHQIIIIqII16x")


class Dirent(NamedTuple):
    """``struct erofs_dirent``."""

    nid: int
    nameoff: int
    file_type: int


DIRENT = Struct("<QHBx")


class XattrIbodyHeader(NamedTuple):
    """``struct erofs_xattr_ibody_header``."""

    h_name_filter: int
    h_shared_count: int


XATTR_IBODY_HEADER = Struct("<IB7x")


class XattrEntry(NamedTuple):
    """``struct erofs_xattr_entry``: name suffix and value follow at once."""

    e_name_len: int
    e_name_index: int
    e_value_size: int


XATTR_ENTRY = Struct("<BBH")


class DeviceSlot(NamedTuple):
    """``struct erofs_deviceslot``."""

    tag: bytes
    blocks_lo: int
    uniaddr_lo: int
    blocks_hi: int
    uniaddr_hi: int


DEVICE_SLOT = Struct("<64sIIHH52x")


class ZMapHeader(NamedTuple):
    """``struct z_erofs_map_header``."""

    h_fragmentoff: int
    """Also: high half ``h_idata_size``; low half of the extent count with encoded extents."""
    h_advise: int
    h_algorithmtype: int
    h_clusterbits: int


Z_MAP_HEADER = Struct("<IHBB")

LZ4_CFGS = Struct("<HH10x")
"""``max_distance``, ``max_pclusterblks``."""
LZMA_CFGS = Struct("<IH8x")
"""``dict_size``, ``format``."""
DEFLATE_CFGS = Struct("<B5x")
"""``windowbits``."""
ZSTD_CFGS = Struct("<BB4x")
"""``format``, ``windowlog - 10``."""

for _struct, _size in (
    (SUPER_BLOCK, 128),
    (INODE_COMPACT, 32),
    (INODE_EXTENDED, 64),
    (DIRENT, 12),
    (XATTR_IBODY_HEADER, 12),
    (XATTR_ENTRY, 4),
    (DEVICE_SLOT, 128),
    (Z_MAP_HEADER, 8),
    (LZ4_CFGS, 14),
    (LZMA_CFGS, 14),
    (DEFLATE_CFGS, 6),
    (ZSTD_CFGS, 6),
):
    if _struct.size != _size:  # pragma: no cover - a typing error above
        raise AssertionError(f"{_struct.format}: {_struct.size} bytes, not {_size}")
del _struct, _size
