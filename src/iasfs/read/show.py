"""dump: an image as a text that a person can read.

Of the whole image: what the superblock says, in the words of the format, and what is in the
tree, counted.  Of one path: its inode, its extended attributes and its extents.

The text is made of sections of aligned columns, tells only what is in the image (no time, no
name of the machine) and has one line for a thing, whatever bytes a name or a value holds.  What
cannot be read is counted as that; :func:`~iasfs.read.check.fsck` says what is wrong with it.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from iasfs import paths
from iasfs.errors import FormatError
from iasfs.format import disk
from iasfs.format.inode import Inode, file_type
from iasfs.format.superblock import ALGORITHM_NAMES, Superblock
from iasfs.format.table import Kind
from iasfs.paths import AnyPath
from iasfs.read.image import Image
from iasfs.read.survey import Overspent, Survey

_TYPES = {
    disk.FT_REG_FILE: "regular file",
    disk.FT_DIR: "directory",
    disk.FT_CHRDEV: "character device",
    disk.FT_BLKDEV: "block device",
    disk.FT_FIFO: "FIFO",
    disk.FT_SOCK: "socket",
    disk.FT_SYMLINK: "symbolic link",
}
_LAYOUTS = {
    disk.INODE_FLAT_PLAIN: "flat plain",
    disk.INODE_COMPRESSED_FULL: "compressed, full index",
    disk.INODE_FLAT_INLINE: "flat inline",
    disk.INODE_COMPRESSED_COMPACT: "compressed, compact index",
    disk.INODE_CHUNK_BASED: "chunk based",
}
_VALUE_SHOWN = 32
"""Bytes of an attribute that are shown."""
_EXTENTS_SHOWN = 10_000

_Row = tuple[object, ...]
_Section = tuple[str, list[_Row]]


def dump(image: Image, path: AnyPath | None = None) -> str:
    """Describe an image, or what is at one path of it (a symbolic link itself).

    Raises what :class:`~iasfs.read.image.Image` raises for a path that is not there or whose
    inode is not sound.
    """
    if path is None:
        sections = [*_superblock(image), *_tree(image)]
    else:
        sections = list(_file(image, path))
    return "\n".join(_text(title, rows) for title, rows in sections if rows)


def readable(text: str) -> str:
    """``text`` in one line for a terminal: what cannot be printed is escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def _text(title: str, rows: list[_Row]) -> str:
    """A section: numbers to the right, the last column as it is."""
    cells = [[readable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = [readable(title)]
    for row, texts in zip(rows, cells):
        padded = [
            text.rjust(width) if isinstance(cell, int) else text.ljust(width)
            for cell, text, width in zip(row, texts, widths)
        ]
        lines.append("  " + "  ".join(padded).rstrip())
    return "\n".join(lines) + "\n"


# --- the image as a whole -----------------------------------------------------------------------


def _superblock(image: Image) -> Iterator[_Section]:
    block, packed = image.superblock, image.volume.packed_inode
    yield (
        "superblock",
        [
            ("image size", f"{image.size} bytes"),
            ("block size", f"{block.block_size} bytes"),
            ("blocks", str(block.blocks)),
            ("inodes", str(block.inos)),
            ("root inode", f"nid {block.root_nid}"),
            ("packed inode", "none" if packed is None else f"nid {packed.nid}"),
            ("nid 0", f"at block {block.meta_blkaddr}"),
            ("shared xattrs", f"from block {block.xattr_blkaddr}"),
            ("epoch", f"{block.epoch}.{block.fixed_nsec:09}"),
            ("build time", f"epoch + {block.build_time} s"),
            ("uuid", _uuid(block.uuid)),
            ("label", paths.decode(block.volume_name) or "none"),
            ("checksum", "none" if block.checksum is None else f"{block.checksum:#010x}"),
            ("features", " ".join(block.features) or "none"),
        ],
    )
    yield "compression", [(name, _config(block, n)) for n, name in _algorithms(block)]
    yield (
        "extra devices",
        [
            (number, f"{device.blocks} blocks from block {device.uniaddr}", repr(device.tag)[1:])
            for number, device in enumerate(image.volume.geometry.devices, 1)
        ],
    )
    header = image.volume.metadata.header
    if header is not None:
        yield (
            "header",
            [
                ("file system", f"{header.image_size} bytes"),
                ("metadata zone", f"{header.metadata_size} bytes"),
            ],
        )


def _uuid(raw: bytes) -> str:
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _algorithms(block: Superblock) -> Iterator[tuple[int, str]]:
    if block.has(disk.FEATURE_INCOMPAT_COMPR_CFGS) or block.has(disk.FEATURE_INCOMPAT_ZERO_PADDING):
        for number, name in ALGORITHM_NAMES.items():
            if block.algorithms >> number & 1:
                yield number, name


def _config(block: Superblock, algorithm: int) -> str:
    if algorithm == disk.COMPRESSION_LZ4:
        distance, blocks = block.lz4_max_distance or 65535, block.lz4_max_pclusterblks
        return f"distance up to {distance} bytes, pclusters up to {blocks} blocks"
    if algorithm == disk.COMPRESSION_LZMA:
        return f"dictionary of {block.lzma_dict_size} bytes"
    if algorithm == disk.COMPRESSION_DEFLATE:
        return f"window of {1 << block.deflate_windowbits} bytes"
    return f"window of {1 << block.zstd_windowlog} bytes"


@dataclass
class _Counts:
    """What is in a tree.  By file type, layout and kind of extent: how many, and of what size."""

    types: Counter[int] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)
    layouts: Counter[int] = field(default_factory=Counter)
    extents: Counter[int] = field(default_factory=Counter)
    logical: Counter[int] = field(default_factory=Counter)
    stored: Counter[int] = field(default_factory=Counter)
    """Bytes stored, what several extents share once."""
    names: int = 0
    xattrs: int = 0
    shared_xattrs: int = 0
    unreadable: int = 0
    unfinished: bool = False


def _count(image: Image) -> _Counts:
    counts = _Counts()
    survey = Survey(image.volume)
    seen: set[int] = set()
    places: set[tuple[int, int, int]] = set()
    waiting = [image.superblock.root_nid]
    try:
        while waiting:
            try:
                inode = image.volume.inode(waiting.pop())
                if inode.offset not in seen:
                    seen.add(inode.offset)
                    _count_inode(inode, survey, counts, places)
                    if inode.is_dir:
                        waiting += _children(image, inode, survey, counts)
            except FormatError:
                counts.unreadable += 1
    except Overspent:
        counts.unfinished = True
    return counts


def _children(image: Image, directory: Inode, survey: Survey, counts: _Counts) -> Iterator[int]:
    for entry in image.directories.entries(directory):
        survey.name()
        if entry.name not in (b".", b".."):
            counts.names += 1
            yield entry.nid


def _count_inode(
    inode: Inode, survey: Survey, counts: _Counts, places: set[tuple[int, int, int]]
) -> None:
    kind = file_type(inode.mode)
    counts.types[kind] += 1
    counts.sizes[kind] += inode.size
    counts.layouts[inode.layout] += 1
    entries, ids = survey.xattrs(inode)
    counts.xattrs += len(entries)
    counts.shared_xattrs += len(ids)
    for extent in survey.extents(inode):
        counts.extents[extent.kind] += 1
        counts.logical[extent.kind] += extent.size
        place = extent.device, extent.address, extent.stored
        if extent.kind not in (Kind.HOLE, Kind.FRAGMENT) and place not in places:
            places.add(place)
            counts.stored[extent.kind] += extent.stored


def _packed(image: Image) -> Iterator[_Row]:
    packed = image.volume.packed_inode
    if packed is None:
        return
    try:
        table = image.volume.extents(packed)
    except FormatError:
        yield packed.size, "bytes, which cannot be read"
        return
    stored = sum(extent.stored for extent in table)
    yield packed.size, f"bytes in {len(table)} extents, {stored} bytes stored"


def _tree(image: Image) -> Iterator[_Section]:
    counts = _count(image)
    yield (
        "inodes",
        [
            (counts.types[kind], name, f"{counts.sizes[kind]} bytes")
            for kind, name in _TYPES.items()
            if counts.types[kind]
        ],
    )
    yield (
        "layouts",
        [(counts.layouts[n], name) for n, name in _LAYOUTS.items() if counts.layouts[n]],
    )
    yield (
        "extents",
        [
            (
                counts.extents[kind],
                kind.name.lower(),
                f"{counts.logical[kind]} bytes of files",
                f"{counts.stored[kind]} bytes stored" if counts.stored[kind] else "",
            )
            for kind in Kind
            if counts.extents[kind]
        ],
    )
    yield "packed inode", list(_packed(image))
    rows: list[_Row] = [
        (counts.names, "names"),
        (counts.xattrs, "extended attributes behind inodes"),
        (counts.shared_xattrs, "uses of shared extended attributes"),
        (counts.unreadable, "inodes or directories that cannot be read"),
    ]
    rows = [row for row in rows if row[0]]
    if counts.unfinished:
        rows.append(("", "inodes or directories share bytes: not all is counted"))
    yield "tree", rows


# --- one file -----------------------------------------------------------------------------------


def _file(image: Image, path: AnyPath) -> Iterator[_Section]:
    inode = image.inode(path, follow_symlinks=False)
    try:
        yield paths.decode(paths.encode(path)), list(_fields(image, inode, path))
        yield (
            "extended attributes",
            [
                (paths.decode(name), f"{len(value)} bytes", _value(value))
                for name, value in sorted(image.xattrs_of(inode).items())
            ],
        )
        rows: list[_Row] = [("offset", "size", "kind", "address", "stored", "device", "")]
        table = image.volume.extents(inode)
        for extent in islice(table, _EXTENTS_SHOWN):
            where = ("", "", "") if extent.kind == Kind.HOLE else extent[2:4] + extent[5:6]
            note = "partial" if extent.partial else ""
            rows.append((*extent[:2], Kind(extent.kind).name.lower(), *where, note))
        if len(table) > _EXTENTS_SHOWN:
            rows.append((f"and {len(table) - _EXTENTS_SHOWN} more", *[""] * 6))
        yield "extents", rows if inode.size else []
    except FormatError as error:
        raise error.at(paths.decode(paths.encode(path))) from None


def _fields(image: Image, inode: Inode, path: AnyPath) -> Iterator[_Row]:
    yield "type", _TYPES[file_type(inode.mode)]
    yield "mode", f"{stat.S_IMODE(inode.mode):04o}, {stat.filemode(inode.mode)}"
    yield "owner", f"{inode.uid}:{inode.gid}"
    yield "size", f"{inode.size} bytes"
    yield "links", str(inode.nlink)
    yield "mtime", f"{inode.mtime}.{inode.mtime_nsec:09}"
    if inode.is_symlink:
        yield "target", paths.decode(paths.encode(image.readlink(path)))
    if stat.S_ISCHR(inode.mode) or stat.S_ISBLK(inode.mode):
        yield "device", "{}:{}".format(*inode.device)
    form = "extended" if inode.extended else "compact"
    yield "inode", f"nid {inode.nid} at {inode.offset}, {form}"
    yield "layout", _LAYOUTS[inode.layout]
    yield "body", f"at {inode.body}, behind {inode.xattr_size} bytes of attributes"


def _value(value: bytes) -> str:
    """The value of an attribute: as text if it is one, else in hexadecimal."""
    shown = value[:_VALUE_SHOWN]
    text = shown.decode("ascii", "replace")
    more = "..." if len(value) > len(shown) else ""
    return (repr(text) if text.isprintable() else shown.hex(" ", 4)) + more
