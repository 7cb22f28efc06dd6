"""Extended attributes: name prefixes, inline and shared entries, the name filter.

A name is stored as the number of a known prefix and the rest of it.  An inode's attributes lie
in an area behind it: a header, the ids of shared entries, then entries of its own.  A shared
entry looks alike and lies anywhere; its id counts 4-byte units from the shared area's base.
An image may bring longer prefixes of its own ("long prefixes"), numbered from 0x80.

Layout: ``struct erofs_xattr_ibody_header`` and ``struct erofs_xattr_entry``; filter: XXH32 of
the rest of the name, five bits of it select a bit that is *cleared* where such a name may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from iasfs.buffers import Buffer
from iasfs.errors import FormatError, WriteError
from iasfs.format import disk
from iasfs.paths import NAME_MAX, decode

PREFIXES = {
    disk.XATTR_INDEX_USER: b"user.",
    disk.XATTR_INDEX_POSIX_ACL_ACCESS: b"system.posix_acl_access",
    disk.XATTR_INDEX_POSIX_ACL_DEFAULT: b"system.posix_acl_default",
    disk.XATTR_INDEX_TRUSTED: b"trusted.",
    disk.XATTR_INDEX_LUSTRE: b"lustre.",
    disk.XATTR_INDEX_SECURITY: b"security.",
}
_WHOLE_NAMES = (disk.XATTR_INDEX_POSIX_ACL_ACCESS, disk.XATTR_INDEX_POSIX_ACL_DEFAULT)
SHARED_MAX = 255
"""Shared attributes one inode can have."""
AREA_MAX = disk.XATTR_IBODY_HEADER.size + 4 * (0xFFFF - 1)
"""Bytes the xattr area of an inode can have."""

LongPrefix = tuple[int, bytes]
"""``(base index, infix)``."""


def split_name(name: bytes) -> tuple[int, bytes]:
    """``(prefix index, rest)`` of a full name; ``WriteError`` for a namespace EROFS lacks."""
    for index, prefix in PREFIXES.items():
        if index in _WHOLE_NAMES:
            if name == prefix:
                return index, b""
        elif name.startswith(prefix) and len(name) > len(prefix):
            return index, name[len(prefix) :]
    raise WriteError(f"EROFS cannot store an extended attribute named {decode(name)}")


def check_names(names: Iterable[bytes]) -> None:
    """Raise :class:`~iasfs.errors.WriteError` for a name that EROFS has no place for."""
    for name in names:
        split_name(name)


def full_name(index: int, rest: bytes, long_prefixes: Sequence[LongPrefix] = ()) -> bytes | None:
    """The full name of a stored one; ``None`` for an index without meaning (Linux hides it)."""
    if index & disk.XATTR_LONG_PREFIX:
        number = index & ~disk.XATTR_LONG_PREFIX
        if number >= len(long_prefixes):
            return None
        base, infix = long_prefixes[number]
        return full_name(base, infix + rest)
    prefix = PREFIXES.get(index)
    if prefix is None or (rest and index in _WHOLE_NAMES):
        return None
    return prefix + rest


def pack_entry(name: bytes, value: bytes) -> bytes:
    """One entry, padded to 4 bytes."""
    index, rest = split_name(name)
    entry = disk.XATTR_ENTRY.pack(len(rest), index, len(value)) + rest + value
    return entry + bytes(-len(entry) % 4)


def pack_area(xattrs: dict[bytes, bytes], shared: dict[tuple[bytes, bytes], int]) -> bytes:
    """The xattr area of an inode; empty if it has no attributes.

    ``shared`` maps ``(name, value)`` to the id of a shared entry.  Raises
    :class:`~iasfs.errors.WriteError` if the area grows over :data:`AREA_MAX`.
    """
    if not xattrs:
        return b""
    ids: list[int] = []
    entries: list[bytes] = []
    name_filter = 0xFFFFFFFF
    for name, value in sorted(xattrs.items(), key=lambda item: split_name(item[0])):
        name_filter &= ~filter_bit(*split_name(name))
        shared_id = shared.get((name, value))
        if shared_id is not None and len(ids) < SHARED_MAX:
            ids.append(shared_id)
        else:
            entries.append(pack_entry(name, value))
    header = disk.XATTR_IBODY_HEADER.pack(name_filter, len(ids))
    area = b"".join([header, *(number.to_bytes(4, "little") for number in ids), *entries])
    if len(area) > AREA_MAX:
        raise WriteError(f"{len(area)} bytes of extended attributes, more than {AREA_MAX}")
    return area


def unpack_area(area: Buffer, offset: int) -> tuple[list[tuple[int, bytes, bytes]], list[int]]:
    """An inode's own entries, as ``(index, rest of the name, value)``, and its shared ids.

    ``offset`` is where the area lies in the image, for the error.
    """
    if not area:
        return [], []
    if len(area) < disk.XATTR_IBODY_HEADER.size:
        raise FormatError(f"an xattr area of {len(area)} bytes", offset=offset)
    count = disk.XATTR_IBODY_HEADER.unpack_from(area)[1]
    at = disk.XATTR_IBODY_HEADER.size + 4 * count
    if at > len(area):
        raise FormatError(f"{count} shared xattrs in an area of {len(area)} bytes", offset=offset)
    ids = [
        int.from_bytes(area[position : position + 4], "little")
        for position in range(disk.XATTR_IBODY_HEADER.size, at, 4)
    ]
    entries = []
    while at < len(area):
        size = entry_size(area[at : at + 4])
        if at + size > len(area):
            raise FormatError("an xattr entry ends behind its area", offset=offset + at)
        entries.append(unpack_entry(area[at : at + size]))
        at += size
    return entries, ids


def entry_size(header: Buffer) -> int:
    """Bytes of an entry with its padding, told by its 4-byte header."""
    name_size, _, value_size = disk.XATTR_ENTRY.unpack(header)
    return int(disk.XATTR_ENTRY.size + name_size + value_size + 3 & ~3)


def unpack_entry(entry: Buffer) -> tuple[int, bytes, bytes]:
    """``(index, rest of the name, value)`` of one entry."""
    name_size, index, value_size = disk.XATTR_ENTRY.unpack_from(entry)
    start = disk.XATTR_ENTRY.size
    name = bytes(entry[start : start + name_size])
    return index, name, bytes(entry[start + name_size : start + name_size + value_size])


def unpack_long_prefixes(table: Buffer, count: int) -> list[LongPrefix]:
    """The long prefixes from the bytes of their table.

    Each is a u16 length, the base index and the infix, aligned to 4 bytes.
    """
    prefixes: list[LongPrefix] = []
    at = 0
    for number in range(count):
        size = int.from_bytes(table[at : at + 2], "little")
        if not 1 <= size <= NAME_MAX + 1 or at + 2 + size > len(table):
            raise FormatError(f"long xattr prefix {number} has {size} bytes")
        prefixes.append((table[at + 2], bytes(table[at + 3 : at + 2 + size])))
        at = at + 2 + size + 3 & ~3
    return prefixes


LONG_PREFIX_TABLE_MAX = 128 * 260
"""Bytes the table of long prefixes can have: 128 of them, each at most 2 + 256 and padding."""


def shareable(xattrs: Iterable[dict[bytes, bytes]], minimum: int) -> list[tuple[bytes, bytes]]:
    """The ``(name, value)`` pairs that at least ``minimum`` inodes have, sorted."""
    counts: dict[tuple[bytes, bytes], int] = {}
    for attributes in xattrs:
        for pair in attributes.items():
            counts[pair] = counts.get(pair, 0) + 1
    return sorted(pair for pair, count in counts.items() if count >= minimum)


def filter_bit(index: int, rest: bytes) -> int:
    """The one bit of the name filter that stands for a name."""
    return 1 << (xxh32(rest, disk.XATTR_FILTER_SEED + index) & 31)


_P1, _P2, _P3, _P4, _P5 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1
_M32 = 0xFFFFFFFF


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> 32 - bits) & _M32


def xxh32(data: bytes, seed: int) -> int:
    """XXH32, as the xxHash specification has it; the names hashed here are short."""
    at = 0
    if len(data) >= 16:
        lanes = [seed + _P1 + _P2, seed + _P2, seed, seed - _P1]
        for at in range(0, len(data) - 15, 16):
            for lane in range(4):
                word = int.from_bytes(data[at + 4 * lane : at + 4 * lane + 4], "little")
                lanes[lane] = _rotate((lanes[lane] + word * _P2) & _M32, 13) * _P1 & _M32
        at += 16
        value = sum(_rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18)))
    else:
        value = seed + _P5
    value += len(data)
    while at + 4 <= len(data):
        word = int.from_bytes(data[at : at + 4], "little")
        value = _rotate((value + word * _P3) & _M32, 17) * _P4 & _M32
        at += 4
    for byte in data[at:]:
        value = _rotate((value + byte * _P5) & _M32, 11) * _P1 & _M32
    value &= _M32
    value = (value ^ value >> 15) * _P2 & _M32
    value = (value ^ value >> 13) * _P3 & _M32
    return value ^ value >> 16
