"""Plan: every inode and every block gets its address (pure).

The image, front to back::

    header · superblock, configurations · shared xattrs · inodes, each with its xattrs and its
    index or inline data · full directory blocks, long symlinks · | · data zone
                                                       metadata ends here

so a reader that has the bytes before the data zone has the whole tree.  Inodes stand in path
order, the root first: its nid must fit 16 bits.  A plan is made in two passes over the same
list: the first places (sizes are lengths of bytes made, or of an index that the codec counts),
the second, in :mod:`~iasfs.write.emit`, makes the bytes with all addresses known.

Layout rules: inodes at multiples of 32 bytes, none across a block border (Linux 5.4 to 5.8
misread those), inline data inside one block.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from iasfs import paths
from iasfs.errors import WriteError
from iasfs.format import dirent, disk, superblock, xattr
from iasfs.format.extent import HEADER_SIZE, index_size
from iasfs.format.inode import file_type
from iasfs.format.table import Kind
from iasfs.tree import Node, Tree
from iasfs.write.profile import BLKSZBITS, BLOCK_SIZE, Profile
from iasfs.write.store import Contents, Stored

_INODE_SIZE = disk.INODE_EXTENDED.size
_SHARE_MINIMUM = 2
"""Inodes that must have an attribute before it is shared."""
_SHARED_AREA_MAX = 1 << 20
"""Bytes of shared attributes in front of the root inode, whose nid must fit 16 bits."""
_PACKED_MODE = stat.S_IFREG | 0o644


@dataclass(slots=True)
class Placed:
    """A node with its place.  Offsets are bytes from the beginning of the image."""

    node: Node
    parent: Placed | None
    stored: Stored | None = None
    nlink: int = 0
    xattrs: bytes = b""
    layout: int = disk.INODE_FLAT_PLAIN
    size: int = 0
    offset: int = 0
    blocks_offset: int | None = None
    """Where the full blocks of a directory or a long symlink lie, in the metadata zone."""

    @property
    def nid(self) -> int:
        """The number of the inode."""
        return self.offset // disk.ISLOT_SIZE

    @property
    def body(self) -> int:
        """Where the bytes behind the inode and its xattr area begin."""
        return self.offset + _INODE_SIZE + len(self.xattrs)


@dataclass(slots=True)
class Plan:
    """An image with all addresses known."""

    superblock: superblock.Superblock
    mtime_ns: int | None
    data_digest: bytes
    """SHA-256 of the data zone."""
    shared: bytes
    """Shared xattr entries, as they stand on disk."""
    shared_offset: int
    inodes: list[Placed] = field(default_factory=list)
    """In the order of their offsets; the packed inode, if there is one, is the last."""
    by_node: dict[int, Placed] = field(default_factory=dict)
    metadata_size: int = 0
    """Bytes before the data zone, a multiple of the block size."""
    size: int = 0


class Identity(NamedTuple):
    """What an image is told to say of itself; ``uuid`` is derived from the content if ``None``."""

    volume_name: bytes = b""
    uuid: bytes | None = None
    mtime_ns: int | None = None
    """What every inode gets in place of its own."""


def plan(tree: Tree, contents: Contents, profile: Profile, identity: Identity) -> Plan:
    """Give everything its address.

    Raises :class:`~iasfs.errors.WriteError`, with the path, for what EROFS cannot hold.
    """
    inodes, by_node = _number(tree, contents)
    block = _superblock(contents, profile, identity, len(inodes) + (contents.packed is not None))
    front = disk.SUPER_OFFSET + len(superblock.pack(block))
    shared_offset = front + 3 & ~3
    _each(inodes, lambda placed: xattr.check_names(placed.node.xattrs))
    pairs = xattr.shareable((placed.node.xattrs for placed in inodes), _SHARE_MINIMUM)
    shared, ids = _shared_area(pairs, shared_offset)
    result = Plan(block, identity.mtime_ns, contents.digest, shared, shared_offset, inodes, by_node)
    _each(inodes, lambda placed: _pack_xattrs(placed, ids))
    if contents.packed is not None:
        inodes.append(_packed_inode(contents.packed))
    _place(result, shared_offset + len(shared))
    result.size = result.metadata_size + contents.size
    if result.size >> BLKSZBITS > 0xFFFFFFFF:
        raise WriteError(f"an image of {result.size} bytes, EROFS ends at 16 TiB")
    return result


def _number(tree: Tree, contents: Contents) -> tuple[list[Placed], dict[int, Placed]]:
    """All inodes in path order, each once, with their link counts and sizes."""
    inodes: list[Placed] = []
    by_node: dict[int, Placed] = {}
    stack: list[tuple[Node, Placed | None]] = [(tree.root, None)]
    while stack:
        node, parent = stack.pop()
        placed = by_node.get(id(node))
        if placed is None:
            placed = by_node[id(node)] = Placed(node, parent)
            placed.stored = contents.files.get(id(node))
            inodes.append(placed)
        placed.nlink += 1
        if node.is_dir:
            placed.nlink = 2 + sum(child.is_dir for child in node.children.values())
            placed.size = len(directory(placed, None))
            stack.extend(
                (node.children[name], placed) for name in sorted(node.children, reverse=True)
            )
        elif node.is_symlink:
            placed.size = len(node.target)
        elif placed.stored is not None:
            placed.size = placed.stored.size
            placed.layout = placed.stored.layout
    return inodes, by_node


def _packed_inode(stored: Stored) -> Placed:
    return Placed(Node(_PACKED_MODE), None, stored, nlink=1, layout=stored.layout, size=stored.size)


def directory(placed: Placed, by_node: dict[int, Placed] | None) -> bytes:
    """The content of a directory; without ``by_node`` with nid 0 everywhere, for its length."""

    def nid(node: Node) -> int:
        return by_node[id(node)].nid if by_node is not None else 0

    node, parent = placed.node, placed.parent
    names = {
        **node.children,
        b".": node,
        b"..": parent.node if parent is not None else node,
    }
    return dirent.pack(
        (
            dirent.Entry(name, nid(names[name]), file_type(names[name].mode))
            for name in sorted(names)
        ),
        BLOCK_SIZE,
    )


def _shared_area(
    pairs: list[tuple[bytes, bytes]], offset: int
) -> tuple[bytes, dict[tuple[bytes, bytes], int]]:
    """The shared entries and the id of each, which counts 4 bytes from byte 0 of the image."""
    area = bytearray()
    ids: dict[tuple[bytes, bytes], int] = {}
    for name, value in pairs:
        entry = xattr.pack_entry(name, value)
        if len(area) + len(entry) > _SHARED_AREA_MAX:
            break
        ids[name, value] = (offset + len(area)) // 4
        area += entry
    return bytes(area), ids


def _superblock(
    contents: Contents, profile: Profile, identity: Identity, count: int
) -> superblock.Superblock:
    """The superblock, but for addresses: features are those that something uses."""
    stored = [*contents.files.values(), *([contents.packed] if contents.packed else [])]
    pclusters = [piece for file in stored for piece in file.extents if piece.kind != Kind.PLAIN]
    incompat = algorithms = 0
    if any(file.layout in _COMPRESSED for file in stored):
        incompat |= disk.FEATURE_INCOMPAT_ZERO_PADDING
        algorithms = 1 << _ALGORITHMS[profile.compression]
        if profile.big_pclusters:
            incompat |= disk.FEATURE_INCOMPAT_COMPR_CFGS
    if contents.packed is not None:
        incompat |= disk.FEATURE_INCOMPAT_FRAGMENTS
    if any(file.layout == disk.INODE_CHUNK_BASED for file in stored):
        incompat |= disk.FEATURE_INCOMPAT_CHUNKED_FILE
    largest = max((piece.size for piece in pclusters), default=1)
    return superblock.Superblock(
        blkszbits=BLKSZBITS,
        feature_compat=disk.FEATURE_COMPAT_MTIME | disk.FEATURE_COMPAT_XATTR_FILTER,
        feature_incompat=incompat,
        inos=count,
        uuid=identity.uuid or bytes(16),
        volume_name=identity.volume_name,
        algorithms=algorithms,
        lz4_max_distance=0xFFFF if profile.compression == "lz4" else 0,
        lz4_max_pclusterblks=max((p.stored >> BLKSZBITS for p in pclusters), default=1),
        deflate_windowbits=15,
        zstd_windowlog=max((largest - 1).bit_length(), 10),
    )


_COMPRESSED = (disk.INODE_COMPRESSED_FULL, disk.INODE_COMPRESSED_COMPACT)
_ALGORITHMS = {name: number for number, name in superblock.ALGORITHM_NAMES.items()}


def _place(result: Plan, end: int) -> None:
    """Place the inodes, then the full blocks of the metadata zone."""
    full: list[Placed] = []
    for placed in result.inodes:
        try:
            end = _place_inode(placed, end, full)
        except WriteError as error:
            raise error.at(_path_of(placed)) from None
    end = _round_up(end, BLOCK_SIZE)
    for placed in full:
        placed.blocks_offset = end
        blocks = placed.size // BLOCK_SIZE
        if placed.layout == disk.INODE_FLAT_PLAIN:
            blocks = -(-placed.size // BLOCK_SIZE)
        end += blocks * BLOCK_SIZE
    result.metadata_size = end
    root = result.inodes[0]
    result.superblock = result.superblock._replace(
        root_nid=root.nid,
        packed_nid=result.inodes[-1].nid if _has_packed(result) else 0,
    )


def _has_packed(result: Plan) -> bool:
    return result.superblock.has(disk.FEATURE_INCOMPAT_FRAGMENTS)


def _place_inode(placed: Placed, end: int, full: list[Placed]) -> int:
    """Place one inode behind ``end``; answers with the new end."""
    _settle(placed, end, 0)
    node = placed.node
    if node.is_dir or node.is_symlink:
        tail = placed.size % BLOCK_SIZE
        inline = tail > 0 and _settle(placed, end, tail)
        placed.layout = disk.INODE_FLAT_INLINE if inline else disk.INODE_FLAT_PLAIN
        if not inline or placed.size > tail:
            full.append(placed)
        return placed.body + (tail if inline else 0)
    if placed.layout == disk.INODE_FLAT_INLINE:
        if not _settle(placed, end, placed.size):
            raise WriteError("its extended attributes and inline data do not fit one block")
        return placed.body + placed.size
    return body_end(placed)


def _settle(placed: Placed, end: int, tail: int) -> bool:
    """The first place behind ``end`` where the inode and its inline tail cross no block border.

    Answers whether there is one; if not, the inode stays where it was.
    """
    body = _INODE_SIZE + len(placed.xattrs)
    start = _round_up(end, disk.ISLOT_SIZE)
    for offset in range(start, start + BLOCK_SIZE, disk.ISLOT_SIZE):
        if (
            offset % BLOCK_SIZE + _INODE_SIZE <= BLOCK_SIZE
            and (offset + body) % BLOCK_SIZE + tail <= BLOCK_SIZE
        ):
            placed.offset = offset
            return True
    return False


def index_offset(placed: Placed) -> int:
    """Where the map header of a compressed file, or the block map of a chunked one, begins."""
    return _round_up(placed.body, 4 if placed.layout == disk.INODE_CHUNK_BASED else 8)


def body_end(placed: Placed) -> int:
    """Where what follows a regular or special file's inode ends."""
    stored = placed.stored
    if stored is None or placed.layout == disk.INODE_FLAT_PLAIN:
        return placed.body
    start = index_offset(placed)
    if placed.layout == disk.INODE_CHUNK_BASED:
        return start + 4 * (-(-stored.size >> stored.chunk_bits))
    if not stored.extents:
        return start + HEADER_SIZE
    return start + index_size(
        stored.size,
        blkszbits=BLKSZBITS,
        header_offset=start,
        compact=placed.layout == disk.INODE_COMPRESSED_COMPACT,
    )


def _each(inodes: Iterable[Placed], do: Callable[[Placed], None]) -> None:
    """Do something with every inode; an error says with which."""
    for placed in inodes:
        try:
            do(placed)
        except WriteError as error:
            raise error.at(_path_of(placed)) from None


def _pack_xattrs(placed: Placed, ids: dict[tuple[bytes, bytes], int]) -> None:
    placed.xattrs = xattr.pack_area(placed.node.xattrs, ids)


def _path_of(placed: Placed) -> str:
    parts: list[bytes] = []
    while placed.parent is not None:
        children = placed.parent.node.children
        parts.append(next(name for name, node in children.items() if node is placed.node))
        placed = placed.parent
    return paths.decode(b"/" + b"/".join(reversed(parts)))


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
