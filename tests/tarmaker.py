"""Tars by hand: one block at a time, for what no tool writes (any more)."""

from __future__ import annotations

import struct

from iasfs.blob import BytesBlob
from iasfs.tree import Node, Tree
from iasfs.write.tar import Whiteouts, read_tar

V7, USTAR, GNU = b"\0" * 8, b"ustar\x0000", b"ustar  \0"
END = bytes(1024)


def octal(number: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, number)


def base256(number: int, width: int) -> bytes:
    data = bytearray(number.to_bytes(width, "big", signed=True))
    data[0] |= 0x80
    return bytes(data)


def block(
    name: bytes = b"file",
    *,
    kind: bytes = b"0",
    size: int = 0,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    magic: bytes = USTAR,
    device: tuple[int, int] | None = None,
    patches: dict[int, bytes] | None = None,
) -> bytes:
    """A header; ``patches`` are put at their offsets before the checksum is made."""
    data = bytearray(512)
    fields = [(0, name), (100, octal(mode, 8)), (108, octal(uid, 8)), (116, octal(gid, 8))]
    fields += [(124, octal(size, 12)), (136, octal(mtime, 12)), (156, kind), (157, link)]
    fields += [(257, magic)]
    if device is not None:
        fields += [(329, octal(device[0], 8)), (337, octal(device[1], 8))]
    for offset, field in [*fields, *(patches or {}).items()]:
        data[offset : offset + len(field)] = field
    return seal(bytes(data))


def seal(data: bytes, *, signed: bool = False) -> bytes:
    """The header with its checksum."""
    blanked = data[:148] + b" " * 8 + data[156:]
    total = sum(struct.unpack("512b", blanked) if signed else blanked)
    return data[:148] + b"%06o\0 " % total + data[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes = b"file", data: bytes = b"", **fields: object) -> bytes:
    """A header and its data."""
    return block(name, **{"size": len(data), **fields}) + padded(data)  # type: ignore[arg-type]


def record(key: bytes, value: bytes) -> bytes:
    """A pax record: its length counts its own digits."""
    size = len(key) + len(value) + 3
    while len(b"%d" % size) + len(key) + len(value) + 3 != size:
        size = len(b"%d" % size) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (size, key, value)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """A pax header."""
    return member(b"pax", b"".join(record(key, value) for key, value in records), kind=kind)


def read(*parts: bytes, whiteouts: Whiteouts = "keep", end: bytes = END) -> Tree:
    """The tree of an archive."""
    return read_tar(BytesBlob(b"".join(parts) + end), whiteouts=whiteouts)


def node_of(*parts: bytes, path: str = "file") -> Node:
    """One node of an archive."""
    node = read(*parts).get(path)
    assert node is not None
    return node


def content_of(node: Node | None) -> bytes:
    assert node is not None
    return bytes(node.content.read_at(0, node.content.size))
