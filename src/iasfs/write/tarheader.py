r"""The headers of a tar: bytes in, values out, no I/O.

A tar is a row of 512-byte blocks: a header, the member's data padded to whole blocks, the next
header.  Forty years gave the header five dialects, told apart by magic numbers; what did not fit
went into *extension headers*, members of their own that speak about the next one:

=======  ====================================================================================
v7       no magic; names up to 100 bytes, octal numbers
ustar    ``ustar\0``; a name's front part in a prefix field (POSIX 1003.1-1988)
star     ustar with ``tar\0`` at 508; a shorter prefix, then atime and ctime
gnu      ``ustar  \0``; no prefix; long names in ``L`` and ``K`` members, sparse files as ``S``
pax      ustar whose ``x`` (next member) and ``g`` (all that follow) members hold records
         ``length key=value\n`` that override any field (POSIX 1003.1-2001)
=======  ====================================================================================

All of them may write a number as a big-endian two's complement, with the first bit set, instead
of in octal (GNU, star).  Sources: POSIX ``pax``, section *ustar Interchange Format* and *pax
Extended Header*; the GNU tar manual, *Tar Internals*; ``star(5)``; libarchive ``tar(5)``.

What is wrong with the bytes is a :class:`~iasfs.errors.FormatError`, here without an offset: the
reader of the archive knows it.
"""

from __future__ import annotations

import re
import struct
import zlib
from binascii import Error as Base64Error
from binascii import a2b_base64
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from iasfs import paths
from iasfs.buffers import Range
from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.write.acl import parse_acl

BLOCK_SIZE = 512
ZERO_BLOCK = bytes(BLOCK_SIZE)
NAME_LIMIT = 1 << 16
"""The longest name or link target that is read, in bytes."""
SPARSE_LIMIT = 1 << 20
"""The most pieces of data a sparse file may have."""

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_GNU_SPARSE = 386, 482, 483
_STAR_SPARSE = 356, 355, 452
"""Where an ``S`` header has its four pieces, the flag that more follow, and the real size."""
_PIECE_SIZE = 24
_SIZE_LIMIT = 1 << 63
_ID_LIMIT = 1 << 32

Records = dict[bytes, bytes]
"""pax records by key."""


@dataclass(slots=True)
class Header:
    """What is said about one member.

    ``kind`` is the type letter.  ``size`` counts the bytes that follow in the archive.  A sparse
    file has ``sparse``, where its pieces of data belong, and ``real_size``; with ``more_sparse``
    further pieces follow behind the header (kind ``S``) or the whole list is the beginning of
    the data (pax).  ``is_pax``: the member has a pax header of its own.
    """

    name: bytes
    link: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    major: int = 0
    minor: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    sparse: list[Range] | None = None
    real_size: int = 0
    more_sparse: bool = False
    is_pax: bool = False

    def check(self) -> None:
        """Raise :class:`~iasfs.errors.FormatError` for what no file can be."""
        if not (0 <= self.uid < _ID_LIMIT and 0 <= self.gid < _ID_LIMIT):
            raise FormatError(f"owner {self.uid}:{self.gid} does not fit 32 bits")
        if not (0 <= self.size < _SIZE_LIMIT and 0 <= self.real_size < _SIZE_LIMIT):
            raise FormatError(f"a size of {max(self.size, self.real_size, key=abs)} bytes")
        if not -_SIZE_LIMIT <= self.mtime_ns // 1_000_000_000 < _SIZE_LIMIT:
            raise FormatError(f"mtime {self.mtime_ns} ns does not fit 64 bits of seconds")
        if len(self.name) > NAME_LIMIT or len(self.link) > NAME_LIMIT:
            raise FormatError(f"a name longer than {NAME_LIMIT} bytes")


def unpack_header(block: bytes) -> Header:
    """One header block of any dialect."""
    fields = _HEADER.unpack(block)
    name, mode, uid, gid, size, mtime, checksum, kind, link, magic = fields[:10]
    _check_checksum(block, checksum)
    header = Header(
        name.partition(b"\0")[0],
        link.partition(b"\0")[0],
        kind,
        unpack_number(mode),
        unpack_number(uid),
        unpack_number(gid),
        unpack_number(size),
        unpack_number(mtime) * 1_000_000_000,
    )
    star = block.endswith(b"tar\0")
    if magic.startswith(b"ustar\0"):
        prefix = fields[14][: 131 if star else 155].partition(b"\0")[0]
        if prefix:
            header.name = prefix + b"/" + header.name
    if kind in b"34" and magic.startswith(b"ustar"):
        header.major, header.minor = unpack_number(fields[12]), unpack_number(fields[13])
    elif kind == b"S":
        at, more, real_size = _STAR_SPARSE if star else _GNU_SPARSE
        header.sparse = _sparse_pieces(block[at : at + 4 * _PIECE_SIZE])
        header.more_sparse = block[more] not in b"\0" + b"0"
        header.real_size = unpack_number(block[real_size : real_size + 12])
    return header


def unpack_number(field: bytes) -> int:
    """A number field of a header: octal digits, or base 256 if the first bit is set."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") - (1 << bits)
        return value - (1 << bits) if field[0] & 0x40 else value
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        digits = digits.partition(b"\0")[0].partition(b" ")[0]
        if digits.strip(b"01234567"):
            raise FormatError(f"malformed number {field!r} in a header")
    return int(digits, 8) if digits else 0


def unpack_sparse_extension(block: bytes) -> tuple[list[Range], bool]:
    """A block that continues an ``S`` header: its pieces, and whether another one follows."""
    return _sparse_pieces(block[:504]), block[504] not in b"\0" + b"0"


def _sparse_pieces(area: bytes) -> list[Range]:
    """Pairs of offset and size, 12 bytes each, up to one that has no size."""
    pieces = []
    for at in range(0, len(area), _PIECE_SIZE):
        size = area[at + 12 : at + 24]
        if not size[0]:
            break
        pieces.append((unpack_number(area[at : at + 12]), unpack_number(size)))
    return pieces


def _check_checksum(block: bytes, field: bytes) -> None:
    """The sum of all bytes, the checksum's own taken as blanks; as signed bytes in old tars."""
    # adler32's low half is 1 + the sum modulo 65521, which 256 bytes cannot reach.
    total = (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2
    try:
        stored = unpack_number(field)
    except FormatError:
        stored = -1
    if total - sum(field) + 8 * 32 == stored:
        return
    blanked = block[:148] + 8 * b" " + block[156:]
    if sum(blanked) - 256 * sum(byte > 127 for byte in blanked) != stored:
        raise FormatError("not a tar header: its checksum is wrong")


# pax records.

_DECIMAL = re.compile(rb"[0-9]{1,20}")
_TIME = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]*))?")
_TEXTS = {b"path": "name", b"linkpath": "link"}
_NUMBERS = {
    b"uid": "uid",
    b"gid": "gid",
    b"size": "size",
    b"SCHILY.devmajor": "major",
    b"SCHILY.devminor": "minor",
    b"SCHILY.realsize": "real_size",
}
_XATTR = b"SCHILY.xattr."
_LIBARCHIVE_XATTR = b"LIBARCHIVE.xattr."
_SELINUX = b"RHT.security.selinux"
_SPARSE = b"GNU.sparse."
_SPARSE_MAP = b"GNU.sparse.map"
_OF_ONE_FILE = (_XATTR, _LIBARCHIVE_XATTR, _SELINUX, b"SCHILY.acl.", _SPARSE)
"""Keys that make no sense for all files of an archive."""


def parse_pax(data: bytes) -> Records:
    """The records of one extended header; of a repeated key the last one counts.

    The repeated keys of a GNU sparse map 0.0 are made the one key of version 0.1.
    """
    records: Records = {}
    pieces: list[bytes] = []
    at, size = 0, len(data)
    while at < size:
        blank = data.find(b" ", at, at + 21)
        if blank < 0 or not _DECIMAL.fullmatch(data, at, blank):
            raise FormatError(f"a pax record has no length: {data[at : at + 20]!r}")
        end = at + int(data[at:blank])
        if end > size or end <= blank + 1 or data[end - 1] != 0x0A:
            raise FormatError(f"a pax record has a wrong length: {data[at : at + 40]!r}")
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if not key or not equals:
            raise FormatError(f"a pax record has no key: {data[at : at + 40]!r}")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            if (key == b"GNU.sparse.offset") != (len(pieces) % 2 == 0):
                raise FormatError("the sparse map of a pax header is not in pairs")
            pieces.append(value)
        else:
            records[key] = value
        at = end
    if pieces:
        records[_SPARSE_MAP] = b",".join(pieces)
    return records


def parse_global_pax(data: bytes) -> Records:
    """The records of a global extended header that this reader heeds.

    Raises :class:`~iasfs.errors.UnsupportedFeature` for what can only belong to one file.
    """
    records = parse_pax(data)
    for key in records:
        if key.startswith(_OF_ONE_FILE):
            raise UnsupportedFeature(f"{paths.decode(key[:80])} in a global pax header")
    heeded = {*_TEXTS, *_NUMBERS, b"mtime"}
    return {key: value for key, value in records.items() if key in heeded}


def apply_pax(header: Header, records: Records) -> None:
    """Let the records override the header; an empty value leaves the header's own."""
    for key, value in records.items():
        if key in _TEXTS:
            if b"\0" in value:
                raise FormatError(f"a NUL in the pax record {paths.decode(key)}")
            if value:
                setattr(header, _TEXTS[key], value)
        elif key in _NUMBERS:
            if value:
                setattr(header, _NUMBERS[key], parse_decimal(value))
        elif key == b"mtime" and value:
            header.mtime_ns = parse_time(value)
    header.xattrs = _xattrs(records)
    if acl := records.get(b"SCHILY.acl.access"):
        _apply_acl(header, acl)
    if any(key.startswith(_SPARSE) for key in records):
        _apply_sparse(header, records)


def parse_decimal(value: bytes) -> int:
    """A number of a pax record."""
    if not _DECIMAL.fullmatch(value):
        raise FormatError(f"malformed number {value[:40]!r} in a pax header")
    return int(value)


def parse_time(value: bytes) -> int:
    """Nanoseconds of a pax time, rounded towards minus infinity where it is finer."""
    match = _TIME.fullmatch(value)
    if match is None:
        raise FormatError(f"malformed time {value[:40]!r} in a pax header")
    sign, seconds, fraction = match.groups(b"")
    ns = int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    if not sign:
        return ns
    return -ns - 1 if fraction[9:].strip(b"0") else -ns


def _xattrs(records: Records) -> dict[bytes, bytes]:
    """The extended attributes; the raw form (``SCHILY.xattr``) wins over every encoded one."""
    raw: dict[bytes, bytes] = {}
    encoded: dict[bytes, bytes] = {}
    for key, value in records.items():
        if key.startswith(_XATTR):
            # GNU tar writes "%" and "=" in a name as %XX, libarchive every odd byte; a name with
            # such a sequence that nobody encoded is rarer than either.
            raw[unquote_to_bytes(key[len(_XATTR) :])] = value
        elif key.startswith(_LIBARCHIVE_XATTR):
            encoded[unquote_to_bytes(key[len(_LIBARCHIVE_XATTR) :])] = _base64(value)
        elif key == _SELINUX and value:
            encoded[b"security.selinux"] = value + b"\0"  # stored with its NUL, as setfilecon(3)
        elif key == b"SCHILY.acl.default" and value:
            encoded[b"system.posix_acl_default"] = parse_acl(value).value
    xattrs = encoded | raw
    for name in xattrs:
        if not name or b"\0" in name:
            raise FormatError(f"{name[:80]!r} cannot be the name of an extended attribute")
    return xattrs


def _apply_acl(header: Header, text: bytes) -> None:
    """As setting it does on Linux: the permission bits become those of the ACL.

    They need not be the header's: libarchive writes the owning group's, Linux shows the mask.
    """
    acl = parse_acl(text)
    header.mode = header.mode & ~0o777 | acl.mode
    if not acl.is_minimal:
        header.xattrs.setdefault(b"system.posix_acl_access", acl.value)


def _base64(value: bytes) -> bytes:
    """Base 64 with or without the padding."""
    try:
        return a2b_base64(value.rstrip(b"=") + b"=" * (-len(value.rstrip(b"=")) % 4))
    except Base64Error as error:
        raise FormatError(f"malformed base 64 in a pax header: {error}") from error


def _apply_sparse(header: Header, records: Records) -> None:
    """GNU's sparse files in pax clothes, versions 0.0, 0.1 and 1.0."""
    name = records.get(b"GNU.sparse.name")
    if name:
        if b"\0" in name:
            raise FormatError("a NUL in the pax record GNU.sparse.name")
        header.name = name
    version = records.get(b"GNU.sparse.major", b"0") + b"." + records.get(b"GNU.sparse.minor", b"0")
    size = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
    if size is None:
        raise FormatError("a sparse file without its real size")
    header.real_size = parse_decimal(size)
    if version == b"1.0":
        header.sparse, header.more_sparse = [], True
    elif version in (b"0.0", b"0.1"):
        numbers = records.get(_SPARSE_MAP, b"")
        header.sparse = _pairs(numbers.split(b",")) if numbers else []
    else:
        raise UnsupportedFeature(f"GNU sparse files of version {paths.decode(version[:20])}")


def parse_sparse_map(data: bytes) -> tuple[list[Range], int] | None:
    """The map at the beginning of a sparse file's data (version 1.0), decimal numbers in lines.

    Answers with the pieces and the bytes that the map takes, whole blocks; ``None`` if ``data``
    ends before the map does.
    """
    first = data.find(b"\n", 0, 22)
    if first < 0:
        if len(data) < 22:
            return None
        raise FormatError("the map of a sparse file does not begin with a number")
    count = parse_decimal(data[:first])
    if count > SPARSE_LIMIT:
        raise FormatError(f"a sparse file of {count} pieces, more than {SPARSE_LIMIT}")
    lines = data.split(b"\n", 2 * count + 1)
    if len(lines) < 2 * count + 2:
        return None
    size = len(data) - len(lines[-1])
    return _pairs(lines[1:-1]), size + -size % BLOCK_SIZE


def _pairs(numbers: list[bytes]) -> list[Range]:
    if len(numbers) % 2 or len(numbers) > 2 * SPARSE_LIMIT:
        raise FormatError(f"a sparse map of {len(numbers)} numbers")
    if not all(map(_DECIMAL.fullmatch, numbers)):
        raise FormatError("malformed number in a sparse map")
    values = list(map(int, numbers))
    return list(zip(values[::2], values[1::2]))
