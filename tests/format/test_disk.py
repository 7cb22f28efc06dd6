"""Every structure, both directions, on bytes that a kernel has mounted."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from iasfs.format import disk


class Case(NamedTuple):
    layout: struct.Struct
    make: Callable[..., tuple[Any, ...]]
    """The tuple's type, or ``tuple`` where there is none."""
    fields: dict[str, Any]
    """All fields, in order; those that are missing are 0."""
    data: str


def no_name(*fields: int) -> tuple[int, ...]:
    return fields


# The example image of the format's reference, and images of mkfs.erofs.
CASES = {
    "superblock": Case(
        disk.SUPER_BLOCK,
        disk.SuperBlock,
        {
            "magic": 0xE0F5E1E2,
            "checksum": 0x663EA044,
            "feature_compat": 3,
            "blkszbits": 12,
            "rootnid_2b": 37,
            "inos": 6,
            "epoch": 1_700_000_000,
            "blocks_lo": 23,
            "uuid": bytes.fromhex("4cd605e7afa25360b5b9c5e9fb5c76f4"),
            "volume_name": b"mini" + bytes(12),
            "feature_incompat": 3,
            "available_compr_algs": 8,
        },
        "e2e1 f5e0 44a0 3e66 0300 0000 0c00 2500 0600 0000 0000 0000 00f1 5365 0000 0000"
        "0000 0000 1700 0000 0000 0000 0000 0000 4cd6 05e7 afa2 5360 b5b9 c5e9 fb5c 76f4"
        "6d69 6e69 0000 0000 0000 0000 0000 0000 0300 0000 0800" + 42 * "00",
    ),
    "superblock-full": Case(
        disk.SUPER_BLOCK,
        disk.SuperBlock,
        {
            **{"magic": 0x04030201, "checksum": 0x08070605, "feature_compat": 0x0C0B0A09},
            **{"blkszbits": 0x0D, "sb_extslots": 0x0E, "rootnid_2b": 0x100F},
            **{"inos": 0x1817161514131211, "epoch": -2, "fixed_nsec": 0x24232221},
            **{"blocks_lo": 0x28272625, "meta_blkaddr": 0x2C2B2A29, "xattr_blkaddr": 0x302F2E2D},
            **{"uuid": bytes(range(0x31, 0x41)), "volume_name": bytes(range(0x41, 0x51))},
            **{"feature_incompat": 0x54535251, "available_compr_algs": 0x5655},
            **{"extra_devices": 0x5857, "devt_slotoff": 0x5A59, "dirblkbits": 0x5B},
            **{"xattr_prefix_count": 0x5C, "xattr_prefix_start": 0x605F5E5D},
            **{"packed_nid": 0x6867666564636261, "xattr_filter_reserved": 0x69},
            **{"ishare_xattr_prefix_id": 0x6A, "build_time": 0x706F6E6D},
            "rootnid_8b": 0x7877767574737271,
        },
        bytes(range(1, 0x19)).hex()
        + "feffffffffffffff"
        + bytes(range(0x21, 0x6B)).hex()
        + "0000"
        + bytes(range(0x6D, 0x79)).hex()
        + "0000000000000000",
    ),
    "inode-extended": Case(
        disk.INODE_EXTENDED,
        disk.InodeExtended,
        {
            **{"i_format": 7, "i_xattr_icount": 0, "i_mode": 0o100644, "i_nb": 0},
            **{"i_size": 200_000, "i_u": 22, "i_ino": 42, "i_uid": 0, "i_gid": 0},
            **{"i_mtime": 1_700_000_000, "i_mtime_nsec": 123_456_789, "i_nlink": 1},
        },
        "0700 0000 a481 0000 400d 0300 0000 0000 1600 0000 2a00 0000 0000 0000 0000 0000"
        "00f1 5365 0000 0000 15cd 5b07 0100 0000" + 16 * "00",
    ),
    "inode-extended-before-1970": Case(
        disk.INODE_EXTENDED,
        disk.InodeExtended,
        {
            **{"i_format": 5, "i_xattr_icount": 4, "i_mode": 0o40755, "i_nb": 0x0201},
            **{"i_size": 1 << 62, "i_u": 0xFFFFFFFF, "i_ino": 3, "i_uid": 0xFFFFFFFE},
            **{"i_gid": 65536, "i_mtime": -1, "i_mtime_nsec": 5, "i_nlink": 1 << 31},
        },
        "0500 0400 ed41 0102 0000 0000 0000 0040 ffff ffff 0300 0000 feff ffff 0000 0100"
        "ffff ffff ffff ffff 0500 0000 0000 0080" + 16 * "00",
    ),
    "inode-compact": Case(
        disk.INODE_COMPACT,
        disk.InodeCompact,
        {
            **{"i_format": 4, "i_xattr_icount": 0, "i_mode": 0o100644, "i_nb": 1},
            **{"i_size": 90_000, "i_mtime": 1_663_309_684, "i_u": 87, "i_ino": 19},
            **{"i_uid": 0, "i_gid": 0},
        },
        "0400 0000 a481 0100 905f 0100 7417 2463 5700 0000 1300 0000 0000 0000 0000 0000",
    ),
    "dirent": Case(
        disk.DIRENT,
        disk.Dirent,
        {"nid": 42, "nameoff": 75, "file_type": 1},
        "2a00 0000 0000 0000 4b00 0100",
    ),
    "xattr-header": Case(
        disk.XATTR_IBODY_HEADER,
        disk.XattrIbodyHeader,
        {"h_name_filter": 0xFFFFD7FF, "h_shared_count": 2},
        "ffd7 ffff 0200 0000 0000 0000",
    ),
    "xattr-entry": Case(
        disk.XATTR_ENTRY,
        disk.XattrEntry,
        {"e_name_len": 7, "e_name_index": 6, "e_value_size": 27},
        "0706 1b00",
    ),
    "device-slot": Case(
        disk.DEVICE_SLOT,
        disk.DeviceSlot,
        {
            **{"tag": bytes(64), "blocks_lo": 527, "uniaddr_lo": 18},
            **{"blocks_hi": 0, "uniaddr_hi": 0},
        },
        64 * "00" + "0f02 0000 1200 0000" + 56 * "00",
    ),
    "map-header": Case(
        disk.Z_MAP_HEADER,
        disk.ZMapHeader,
        {"h_fragmentoff": 0, "h_advise": 7, "h_algorithmtype": 3, "h_clusterbits": 0},
        "0000 0000 0700 0300",
    ),
    "lz4-config": Case(
        disk.LZ4_CFGS,
        no_name,
        {"max_distance": 65535, "max_pclusterblks": 16},
        "ffff 1000" + 10 * "00",
    ),
    "lzma-config": Case(
        disk.LZMA_CFGS, no_name, {"dict_size": 262_144, "format": 0}, "0000 0400" + 10 * "00"
    ),
    "deflate-config": Case(disk.DEFLATE_CFGS, no_name, {"windowbits": 15}, "0f" + 5 * "00"),
    "zstd-config": Case(disk.ZSTD_CFGS, no_name, {"format": 0, "windowlog": 9}, "0009" + 4 * "00"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_structure_is_what_the_kernel_reads(name: str) -> None:
    """Values to bytes and bytes to values."""
    case = CASES[name]
    data = bytes.fromhex(case.data)
    names = getattr(case.make, "_fields", tuple(case.fields))
    values = tuple(case.fields.get(field, 0) for field in names)
    assert set(case.fields) <= set(names)
    assert case.layout.pack(*values) == data
    assert case.make(*case.layout.unpack(data)) == values


def test_every_structure_is_shown() -> None:
    structures = {value for value in vars(disk).values() if isinstance(value, struct.Struct)}
    assert {case.layout for case in CASES.values()} == structures


def test_bits_of_one_field_do_not_overlap() -> None:
    for prefix in ("FEATURE_COMPAT_", "FEATURE_INCOMPAT_"):
        bits = [value for name, value in vars(disk).items() if name.startswith(prefix)]
        assert len(set(bits)) == len(bits)
        assert all(bit.bit_count() == 1 for bit in bits)
