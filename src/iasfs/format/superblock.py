"""The superblock: features, checksum, compression configurations, device table.

:class:`Superblock` is what the rest of the library wants to know of an image, decoded once and
checked; :func:`unpack` makes it from the first bytes of an image and :func:`pack` writes it.
The structure lies at byte 1,024; behind it stand the compression configurations, one for each
algorithm in the bitmap.  The checksum covers the rest of the block that holds the superblock,
whatever else lies there, so :func:`with_checksum` comes last.

Layout: ``struct erofs_super_block``; checksum: CRC32C without the final inversion.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from iasfs.buffers import Buffer
from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.format import disk
from iasfs.format.codec import crc32c

FRONT_SIZE = 1 << 16
"""Bytes of the image that :func:`unpack` may want: the superblock lies in the first block, and
no block is longer."""

ALGORITHM_NAMES = {
    disk.COMPRESSION_LZ4: "lz4",
    disk.COMPRESSION_LZMA: "lzma",
    disk.COMPRESSION_DEFLATE: "deflate",
    disk.COMPRESSION_ZSTD: "zstd",
}

_INCOMPAT_NAMES = {
    disk.FEATURE_INCOMPAT_ZERO_PADDING: "ZERO_PADDING",
    disk.FEATURE_INCOMPAT_COMPR_CFGS: "COMPR_CFGS",
    disk.FEATURE_INCOMPAT_CHUNKED_FILE: "CHUNKED_FILE",
    disk.FEATURE_INCOMPAT_DEVICE_TABLE: "DEVICE_TABLE",
    disk.FEATURE_INCOMPAT_ZTAILPACKING: "ZTAILPACKING",
    disk.FEATURE_INCOMPAT_FRAGMENTS: "FRAGMENTS",
    disk.FEATURE_INCOMPAT_XATTR_PREFIXES: "XATTR_PREFIXES",
    disk.FEATURE_INCOMPAT_48BIT: "48BIT",
    disk.FEATURE_INCOMPAT_METABOX: "METABOX",
}
_COMPAT_NAMES = {
    disk.FEATURE_COMPAT_SB_CHKSUM: "SB_CHKSUM",
    disk.FEATURE_COMPAT_MTIME: "MTIME",
    disk.FEATURE_COMPAT_XATTR_FILTER: "XATTR_FILTER",
    disk.FEATURE_COMPAT_SHARED_EA_IN_METABOX: "SHARED_EA_IN_METABOX",
    disk.FEATURE_COMPAT_PLAIN_XATTR_PFX: "PLAIN_XATTR_PFX",
    disk.FEATURE_COMPAT_ISHARE_XATTRS: "ISHARE_XATTRS",
}
_INCOMPAT_READABLE = sum(_INCOMPAT_NAMES) & ~disk.FEATURE_INCOMPAT_METABOX

_BLKSZBITS_MIN, _BLKSZBITS_MAX = 9, 16
_PAGE_SIZE = 4096
"""Where the blocks are smaller, the superblock may extend so far nevertheless."""
_LZMA_DICT_MAX = 8 << 20
_ZSTD_WINDOWLOG_BASE = 10


class Device(NamedTuple):
    """One extra device; ``blocks`` long, at block ``uniaddr`` of the unified address space."""

    tag: bytes
    blocks: int
    uniaddr: int


class Superblock(NamedTuple):
    """What an image says of itself.  Addresses named ``_blk`` and ``_blkaddr`` count blocks."""

    blkszbits: int = 12
    feature_compat: int = 0
    feature_incompat: int = 0
    root_nid: int = 0
    packed_nid: int = 0
    inos: int = 0
    epoch: int = 0
    fixed_nsec: int = 0
    build_time: int = 0
    blocks: int = 0
    meta_blkaddr: int = 0
    xattr_blkaddr: int = 0
    uuid: bytes = bytes(16)
    volume_name: bytes = b""
    algorithms: int = 0
    """Bitmap: bit n set means that algorithm n may be used."""
    lz4_max_distance: int = 0
    lz4_max_pclusterblks: int = 1
    lzma_dict_size: int = 0
    deflate_windowbits: int = 0
    zstd_windowlog: int = 0
    extra_devices: int = 0
    devt_slotoff: int = 0
    xattr_prefix_count: int = 0
    xattr_prefix_start: int = 0
    checksum: int | None = None
    """As stored; ``None`` if the image has none."""

    @property
    def block_size(self) -> int:
        """Bytes of a block."""
        return 1 << self.blkszbits

    def has(self, incompat: int) -> bool:
        """Whether an incompat feature bit is set."""
        return bool(self.feature_incompat & incompat)

    @property
    def features(self) -> list[str]:
        """Names of the feature bits that are set; unknown compat bits by number."""
        return [
            *(_bit_name(bit, _COMPAT_NAMES, "compat") for bit in _bits(self.feature_compat)),
            *(_bit_name(bit, _INCOMPAT_NAMES, "incompat") for bit in _bits(self.feature_incompat)),
        ]

    @property
    def device_table(self) -> tuple[int, int]:
        """``(offset, size)`` of the device table, in bytes."""
        return self.devt_slotoff * disk.DEVICE_SLOT.size, self.extra_devices * disk.DEVICE_SLOT.size

    def inode_offset(self, nid: int) -> int:
        """Byte offset of an inode.  Source: ``erofs_iloc``; the sum wraps at 64 bits."""
        return ((self.meta_blkaddr << self.blkszbits) + nid * disk.ISLOT_SIZE) % (1 << 64)


def _bits(value: int) -> list[int]:
    return [1 << n for n in range(value.bit_length()) if value >> n & 1]


def _bit_name(bit: int, names: dict[int, str], kind: str) -> str:
    return names.get(bit, f"{kind} {bit:#x}")


def _require(condition: bool, what: str, offset: int) -> None:
    if not condition:
        raise FormatError(what, offset=disk.SUPER_OFFSET + offset)


def unpack(front: Buffer, image_size: int, *, lenient: bool = False) -> Superblock:
    """Read the superblock from the front of an image.

    ``lenient`` takes one whose checksum is wrong, for who wants to see what else is.

    ``front`` is the image from byte 0, up to :data:`FRONT_SIZE` bytes (less only where the image
    is shorter).  Raises :class:`~iasfs.errors.FormatError` for anything that is not a sound
    superblock and :class:`~iasfs.errors.UnsupportedFeature` for incompat bits unknown here.
    """
    if len(front) < disk.SUPER_OFFSET + disk.SUPER_BLOCK.size:
        raise FormatError(f"{len(front)} bytes are too few for a superblock", offset=0)
    raw = disk.SuperBlock._make(disk.SUPER_BLOCK.unpack_from(front, disk.SUPER_OFFSET))
    _require(raw.magic == disk.SUPER_MAGIC_V1, f"magic {raw.magic:#010x}, not an EROFS image", 0)
    _require(
        _BLKSZBITS_MIN <= raw.blkszbits <= _BLKSZBITS_MAX,
        f"block size of 2^{raw.blkszbits} bytes",
        12,
    )
    end = disk.SUPER_OFFSET + disk.SUPER_BLOCK.size + 16 * raw.sb_extslots
    _require(end <= max(1 << raw.blkszbits, _PAGE_SIZE), f"{raw.sb_extslots} extension slots", 13)
    _require(raw.dirblkbits == 0, f"dirblkbits {raw.dirblkbits}", 90)
    unknown = raw.feature_incompat & ~_INCOMPAT_READABLE
    if unknown:
        names = ", ".join(_bit_name(bit, _INCOMPAT_NAMES, "incompat") for bit in _bits(unknown))
        raise UnsupportedFeature(names, offset=disk.SUPER_OFFSET + 80)
    if raw.feature_compat & disk.FEATURE_COMPAT_SB_CHKSUM:
        stored, found = raw.checksum, checksum(front, raw.blkszbits)
        _require(
            lenient or stored == found,
            f"superblock checksum {found:#010x}, stored {stored:#010x}",
            4,
        )
    root_nid, blocks = raw.rootnid_2b, raw.blocks_lo
    if raw.feature_incompat & disk.FEATURE_INCOMPAT_48BIT and raw.rootnid_8b:
        root_nid, blocks = raw.rootnid_8b, blocks | raw.rootnid_2b << 32
    with_devices = raw.feature_incompat & disk.FEATURE_INCOMPAT_DEVICE_TABLE
    superblock = Superblock(
        blkszbits=raw.blkszbits,
        feature_compat=raw.feature_compat,
        feature_incompat=raw.feature_incompat,
        root_nid=root_nid,
        packed_nid=raw.packed_nid,
        inos=raw.inos,
        epoch=raw.epoch,
        fixed_nsec=raw.fixed_nsec,
        build_time=raw.build_time,
        blocks=blocks,
        meta_blkaddr=raw.meta_blkaddr,
        xattr_blkaddr=raw.xattr_blkaddr,
        uuid=raw.uuid,
        volume_name=raw.volume_name.rstrip(b"\0"),
        extra_devices=raw.extra_devices if with_devices else 0,
        devt_slotoff=raw.devt_slotoff if with_devices else 0,
        xattr_prefix_count=raw.xattr_prefix_count,
        xattr_prefix_start=raw.xattr_prefix_start,
        checksum=(raw.checksum if raw.feature_compat & disk.FEATURE_COMPAT_SB_CHKSUM else None),
    )
    offset, size = superblock.device_table
    _require(offset + size <= image_size, "the device table ends behind the image", 86)
    return superblock._replace(**_unpack_configs(front, raw))


def _unpack_configs(front: Buffer, raw: disk.SuperBlock) -> dict[str, Any]:
    """The compression configurations, as fields of :class:`Superblock`."""
    if not raw.feature_incompat & disk.FEATURE_INCOMPAT_COMPR_CFGS:
        # Images of erofs-utils before 1.3, and of today with 4 KiB LZ4 pclusters.
        return {
            "algorithms": 1 << disk.COMPRESSION_LZ4,
            "lz4_max_distance": raw.available_compr_algs,
        }
    unknown = raw.available_compr_algs & ~sum(1 << n for n in ALGORITHM_NAMES)
    if unknown:
        names = ", ".join(f"compression algorithm {bit.bit_length() - 1}" for bit in _bits(unknown))
        raise UnsupportedFeature(names, offset=disk.SUPER_OFFSET + 84)
    found = {"algorithms": raw.available_compr_algs}
    at = disk.SUPER_OFFSET + disk.SUPER_BLOCK.size + 16 * raw.sb_extslots
    for algorithm, name in ALGORITHM_NAMES.items():
        if not raw.available_compr_algs >> algorithm & 1:
            continue
        at = at + 3 & ~3
        size = int.from_bytes(front[at : at + 2], "little") or 1 << 16
        payload = front[at + 2 : at + 2 + size]
        if at + 2 + size > len(front):
            raise FormatError(
                f"configuration of {name} ends behind the first block",
                offset=at,
            )
        found |= _unpack_config(algorithm, payload, at)
        at += 2 + size
    return found


def _unpack_config(algorithm: int, payload: Buffer, offset: int) -> dict[str, int]:
    name = ALGORITHM_NAMES[algorithm]
    layout = _CONFIG_STRUCTS[algorithm]
    if len(payload) < layout.size:
        raise FormatError(f"configuration of {name} has {len(payload)} bytes", offset=offset)
    fields = layout.unpack_from(payload)
    bad = FormatError(f"configuration of {name} out of range: {fields}", offset=offset)
    if algorithm == disk.COMPRESSION_LZ4:
        return {"lz4_max_distance": fields[0], "lz4_max_pclusterblks": fields[1] or 1}
    if algorithm == disk.COMPRESSION_LZMA:
        dict_size, lzma_format = fields
        if lzma_format or not 4096 <= dict_size <= _LZMA_DICT_MAX:
            raise bad
        return {"lzma_dict_size": dict_size}
    if algorithm == disk.COMPRESSION_DEFLATE:
        if not 8 <= fields[0] <= 15:
            raise bad
        return {"deflate_windowbits": fields[0]}
    zstd_format, windowlog = fields
    if zstd_format or windowlog > 10:
        raise bad
    return {"zstd_windowlog": windowlog + _ZSTD_WINDOWLOG_BASE}


_CONFIG_STRUCTS = {
    disk.COMPRESSION_LZ4: disk.LZ4_CFGS,
    disk.COMPRESSION_LZMA: disk.LZMA_CFGS,
    disk.COMPRESSION_DEFLATE: disk.DEFLATE_CFGS,
    disk.COMPRESSION_ZSTD: disk.ZSTD_CFGS,
}


def pack(superblock: Superblock) -> bytes:
    """The superblock and its compression configurations, from byte 1,024 on; no checksum yet.

    Writes what our images need: the root nid within 16 bits, no device table.
    """
    s = superblock
    with_configs = s.has(disk.FEATURE_INCOMPAT_COMPR_CFGS)
    raw = disk.SUPER_BLOCK.pack(
        disk.SUPER_MAGIC_V1,
        0,
        s.feature_compat | disk.FEATURE_COMPAT_SB_CHKSUM,
        s.blkszbits,
        0,
        s.root_nid,
        s.inos,
        s.epoch,
        s.fixed_nsec,
        s.blocks,
        s.meta_blkaddr,
        s.xattr_blkaddr,
        s.uuid,
        s.volume_name,
        s.feature_incompat,
        s.algorithms if with_configs else s.lz4_max_distance,
        0,
        0,
        0,
        s.xattr_prefix_count,
        s.xattr_prefix_start,
        s.packed_nid,
        0,
        0,
        s.build_time,
        0,
    )
    if not with_configs:
        return raw
    configs = {
        disk.COMPRESSION_LZ4: (s.lz4_max_distance, s.lz4_max_pclusterblks),
        disk.COMPRESSION_LZMA: (s.lzma_dict_size, 0),
        disk.COMPRESSION_DEFLATE: (s.deflate_windowbits,),
        disk.COMPRESSION_ZSTD: (0, s.zstd_windowlog - _ZSTD_WINDOWLOG_BASE),
    }
    for algorithm, fields in configs.items():
        if s.algorithms >> algorithm & 1:
            payload = _CONFIG_STRUCTS[algorithm].pack(*fields)
            raw += bytes(-len(raw) % 4) + len(payload).to_bytes(2, "little") + payload
    return raw


def checksum(front: Buffer, blkszbits: int) -> int:
    """The checksum of a superblock, and of what lies behind it in its block."""
    block_size = 1 << blkszbits
    size = block_size - disk.SUPER_OFFSET if block_size > disk.SUPER_OFFSET else block_size
    end = disk.SUPER_OFFSET + size
    if end > len(front):
        raise FormatError("the first block is cut short", offset=len(front))
    data = bytearray(front[disk.SUPER_OFFSET : end])
    data[4:8] = bytes(4)
    return crc32c(data)


def with_checksum(front: Buffer, blkszbits: int = 12) -> bytes:
    """The front of an image with its checksum set; the whole first block must be there."""
    value = checksum(front, blkszbits).to_bytes(4, "little")
    at = disk.SUPER_OFFSET + 4
    return bytes(front[:at]) + value + bytes(front[at + 4 :])


def unpack_devices(table: Buffer) -> list[Device]:
    """The extra devices from the bytes of the device table."""
    devices = []
    for fields in disk.DEVICE_SLOT.iter_unpack(table):
        slot = disk.DeviceSlot._make(fields)
        devices.append(
            Device(
                slot.tag.rstrip(b"\0"),
                slot.blocks_lo | slot.blocks_hi << 32,
                slot.uniaddr_lo | slot.uniaddr_hi << 32,
            )
        )
    return devices
