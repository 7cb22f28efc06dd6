"""Directory blocks: pack, iterate, search.

A directory is a file whose content is a row of blocks; only the last may be shorter.  Each block
stands for itself::

    [dirent 0] ... [dirent n-1] [name 0] ... [name n-1] [zeros]

and n is told by where name 0 begins.  Names stand in strictly ascending byte order over the
whole directory, ``.`` and ``..`` among them, so a lookup is a binary search over the blocks'
first names and then one within a block: no other block has to be there.

Layout: ``struct erofs_dirent``; search: as ``erofs_namei``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from iasfs.buffers import Buffer
from iasfs.errors import FormatError
from iasfs.format import disk
from iasfs.paths import NAME_MAX

_SIZE = disk.DIRENT.size


class Entry(NamedTuple):
    """One name in a directory; ``file_type`` is an ``FT_*``."""

    name: bytes
    nid: int
    file_type: int


def pack(entries: Iterable[Entry], block_size: int) -> bytes:
    """The content of a directory from its entries, sorted by name, ``.`` and ``..`` included.

    Blocks are filled greedily; the last one ends with its last name.
    """
    blocks: list[bytes] = []
    batch: list[Entry] = []
    used = 0
    for entry in entries:
        size = _SIZE + len(entry.name)
        if used + size > block_size:
            blocks.append(_pack_block(batch).ljust(block_size, b"\0"))
            batch, used = [], 0
        batch.append(entry)
        used += size
    return b"".join([*blocks, _pack_block(batch)])


def _pack_block(entries: list[Entry]) -> bytes:
    nameoff = len(entries) * _SIZE
    dirents = bytearray()
    for entry in entries:
        dirents += disk.DIRENT.pack(entry.nid, nameoff, entry.file_type)
        nameoff += len(entry.name)
    return bytes(dirents) + b"".join(entry.name for entry in entries)


def count(block: Buffer) -> int:
    """How many entries a block has, as its first one tells."""
    nameoff = int.from_bytes(block[8:10], "little")
    if not nameoff or nameoff % _SIZE or nameoff >= len(block):
        raise FormatError(f"first name at {nameoff} in a directory block of {len(block)} bytes")
    return nameoff // _SIZE


def unpack(block: Buffer, index: int, count: int) -> Entry:
    """Entry ``index`` of the ``count`` of a block; looks at nothing but it and its neighbour."""
    nid, start, kind = disk.DIRENT.unpack_from(block, index * _SIZE)
    if index + 1 < count:
        end = int.from_bytes(block[index * _SIZE + 20 : index * _SIZE + 22], "little")
    else:
        end = len(block)
    if not count * _SIZE <= start < end <= len(block):
        raise FormatError(f"name of directory entry {index} from {start} to {end}")
    name = bytes(block[start:end])
    if index + 1 == count:
        name = name[: name.index(0)] if 0 in name else name
    if not 1 <= len(name) <= NAME_MAX or 0 in name or b"/" in name:
        raise FormatError(f"directory entry {index} has the name {name[:40]!r}")
    return Entry(name, nid, kind)


def iterate(block: Buffer) -> Iterator[Entry]:
    """The entries of one block, in order.

    Raises :class:`~iasfs.errors.FormatError` for a block that is not well formed; that the names
    ascend is :func:`check_order`'s to say.
    """
    total = count(block)
    for index in range(total):
        yield unpack(block, index, total)


def check_order(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Pass entries on; :class:`~iasfs.errors.FormatError` where the names do not ascend."""
    last = b""
    for entry in entries:
        if entry.name <= last:
            raise FormatError(f"directory entry {entry.name!r} stands behind {last!r}")
        last = entry.name
        yield entry


def search(block: Buffer, name: bytes) -> tuple[int, Entry | None]:
    """Look for ``name`` in one block.

    Answers with the order of ``name`` against the block's first name (negative: before it, so
    in an earlier block if anywhere) and the entry, or ``None`` if it is not in this block.
    """
    total = count(block)
    first = unpack(block, 0, total)
    if name <= first.name:
        return (0, first) if name == first.name else (-1, None)
    low, high = 1, total - 1
    while low <= high:
        middle = (low + high) // 2
        entry = unpack(block, middle, total)
        if name == entry.name:
            return 1, entry
        if name < entry.name:
            high = middle - 1
        else:
            low = middle + 1
    return 1, None


def find(count: int, read_block: Callable[[int], Buffer], name: bytes) -> Entry | None:
    """Look for ``name`` in a directory of ``count`` blocks, reading only those it must.

    ``read_block(k)`` answers with block k (the last one cut at the directory's size); at most
    ``1 + log2(count)`` blocks are asked for.
    """
    low, high = 0, count - 1
    while low <= high:
        middle = (low + high) // 2
        order, entry = search(read_block(middle), name)
        if entry is not None:
            return entry
        if order < 0:
            high = middle - 1
        else:
            low = middle + 1
    return None
