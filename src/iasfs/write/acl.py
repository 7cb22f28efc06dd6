"""POSIX ACLs: the text that tars carry becomes the attribute that Linux stores (pure).

The text is that of POSIX 1003.1e draft 17, entries parted by commas (star, libarchive) or lines
(GNU tar), each ``tag:qualifier:permissions``, for a named user or group often with the numeric id
as a fourth field.  The attribute is the value of ``system.posix_acl_access`` or
``system.posix_acl_default``: ``struct posix_acl_xattr_header`` and one
``struct posix_acl_xattr_entry`` for each entry, ordered by tag and id, all little-endian.

A name without a number is refused: what it means depends on the machine, and leaving the entry
out would let in, or keep out, somebody else.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from iasfs import paths
from iasfs.errors import FormatError, UnsupportedFeature

_HEADER = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_TAGS = {
    b"user": (_USER_OBJ, _USER),
    b"group": (_GROUP_OBJ, _GROUP),
    b"mask": (_MASK, None),
    b"other": (_OTHER, None),
}
"""Tag without and with a qualifier."""
_TAGS |= {name[:1]: tags for name, tags in _TAGS.items()}
_NO_ID = 0xFFFFFFFF
_PERMISSIONS = {ord("r"): 4, ord("w"): 2, ord("x"): 1, ord("-"): 0}
_NUMBER = re.compile(rb"[0-9]{1,10}")

_Entry = tuple[int, int, int]
"""``(tag, id, permissions)``: sorted, it is the order on disk."""


class Acl(NamedTuple):
    """An access control list."""

    value: bytes
    """Of the attribute."""
    mode: int
    """The nine permission bits that Linux shows of a file with this access ACL."""
    is_minimal: bool
    """Whether the permission bits say all of it, so that as an access ACL it is not stored."""


def parse_acl(text: bytes) -> Acl:
    """An ACL in text form.

    Raises :class:`~iasfs.errors.FormatError` for one that Linux would not take, and
    :class:`~iasfs.errors.UnsupportedFeature` for a name whose number is not given.
    """
    lines = text.replace(b",", b"\n").split(b"\n")
    words = [line.partition(b"#")[0].strip() for line in lines]
    entries = sorted(_parse_entry(word) for word in words if word)
    _check(entries)
    plain = {tag: permissions for tag, who, permissions in entries if who == _NO_ID}
    group = plain.get(_MASK, plain[_GROUP_OBJ])
    return Acl(
        _HEADER + b"".join(_ENTRY.pack(tag, permissions, who) for tag, who, permissions in entries),
        plain[_USER_OBJ] << 6 | group << 3 | plain[_OTHER],
        len(entries) == 3,
    )


def _parse_entry(word: bytes) -> _Entry:
    fields = [field.strip() for field in word.split(b":")]
    tags = _TAGS.get(fields[0])
    if tags is not None and tags[1] is None and len(fields) == 2:
        fields.insert(1, b"")  # "mask:rwx", as getfacl(1) accepts it
    if tags is None or len(fields) not in (3, 4):
        raise _malformed(word)
    plain, named = tags
    qualifier, letters = fields[1:3]
    try:
        permissions = 0
        for letter in letters:
            permissions |= _PERMISSIONS[letter]
    except KeyError:
        raise _malformed(word) from None
    if not qualifier:
        return plain, _NO_ID, permissions
    if named is None:
        raise _malformed(word)
    number = fields[3] if len(fields) == 4 else qualifier
    if not _NUMBER.fullmatch(number):
        raise UnsupportedFeature(f"an ACL names {paths.decode(qualifier)!r} without a number")
    if int(number) >= _NO_ID:
        raise _malformed(word)
    return named, int(number), permissions


def _check(entries: list[_Entry]) -> None:
    """The rules of acl_valid(3); ``entries`` are sorted."""
    keys = [(tag, who) for tag, who, _ in entries]
    tags = [tag for tag, _ in keys]
    if len(set(keys)) != len(keys):
        raise FormatError("an ACL has two entries for the same user or group")
    if any(tag not in tags for tag in (_USER_OBJ, _GROUP_OBJ, _OTHER)):
        raise FormatError("an ACL lacks its entry for the owner, the group or the others")
    if (_USER in tags or _GROUP in tags) and _MASK not in tags:
        raise FormatError("an ACL names users or groups but has no mask")


def _malformed(word: bytes) -> FormatError:
    return FormatError(f"malformed ACL entry {paths.decode(word[:80])!r}")
