"""fsck: walk everything, trust nothing, list every violation.

The walk goes down from the root.  Each inode is looked at once, known by its place in the image
(several nids can lead to one place), whatever the number of its names.  A directory is gone
into once: its second name is a violation, which is how a cycle shows.  What is wrong is
reported and passed by, so that the next thing can be looked at; only an error of the store
ends the check early.

What the image says of itself as a whole (how many inodes, how many names each) is compared at
the end with what was found.

The work has an end for hostile images too: see :mod:`~iasfs.read.survey` for metadata; of
contents each pcluster is decoded once, in batches, up to a limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from iasfs import paths
from iasfs.errors import FormatError
from iasfs.format import dirent, disk, superblock, xattr
from iasfs.format.dirent import Entry
from iasfs.format.inode import Inode, file_type
from iasfs.format.table import Extent, ExtentTable, Kind, resolve
from iasfs.read.attributes import Attributes
from iasfs.read.data import Read
from iasfs.read.image import Image
from iasfs.read.show import dump, readable
from iasfs.read.survey import Overspent, Survey

__all__ = ["Problem", "dump", "fsck"]

DECODED_FACTOR = 256
DECODED_FLOOR = 64 << 20
"""Contents are decoded up to so many times the size of the image, at least so many bytes."""
_BATCH_SIZE = 4 << 20
_BATCH_COUNT = 1024
_PATH_SHOWN = 4096
_NANOSECOND = 1_000_000_000


class Problem(NamedTuple):
    """One violation; as text, one line."""

    path: str
    """Where in the tree; empty for the image as a whole and for the packed inode."""
    nid: int | None
    """Which inode, if it is one."""
    offset: int | None
    """The byte of the image at fault, if it is known."""
    what: str
    """What is wrong."""

    def __str__(self) -> str:
        where = [readable(self.path)] if self.path else []
        if self.nid is not None:
            where.append(f"nid {self.nid}")
        if self.offset is not None:
            where.append(f"offset {self.offset}")
        return f"{', '.join(where) or 'image'}: {readable(self.what)}"


def fsck(image: Image, *, contents: bool = True) -> Iterator[Problem]:
    """Every violation of the format in an image, as it is found.

    With ``contents=False`` files are not decoded, and only metadata is read.  An image that lies
    so much that to check it all would have no end is checked in part, which is a problem too.
    One whose superblock has a wrong checksum has to be opened as ``lenient`` for this.
    Raises :class:`~iasfs.errors.StorageError` if the store does not give the bytes.
    """
    check = _Check(image, contents)
    for _ in check.steps():
        if check.problems:
            yield from check.problems
            check.problems.clear()


@dataclass(slots=True, eq=False)
class _Found:
    """An inode and the first name that led to it."""

    inode: Inode
    name: bytes
    """``/`` for the root, nothing for the packed inode."""
    parent: _Found | None = None

    @property
    def path(self) -> str:
        """The path; its end only, where it is longer than any program can use."""
        parts: list[bytes] = []
        node, size = self, 0
        while node.parent is not None and size < _PATH_SHOWN:
            parts.append(node.name)
            size += len(node.name) + 1
            node = node.parent
        start = node.name if node.parent is None else b".../"
        return paths.decode(start + b"/".join(reversed(parts)))


class _Check:
    """The state of one check; ``problems`` are those found since they were last taken."""

    def __init__(self, image: Image, contents: bool) -> None:
        self.problems: list[Problem] = []
        self._image = image
        self._volume = image.volume
        self._metadata = image.volume.metadata
        self._block = image.superblock
        self._raw = disk.SuperBlock._make(
            disk.SUPER_BLOCK.unpack_from(self._metadata.front, disk.SUPER_OFFSET)
        )
        self._survey = Survey(image.volume)
        self._contents = _Contents(self, image) if contents else None
        self._seen: set[int] = set()
        """Where the inodes lie that have been looked at."""
        self._names: dict[int, tuple[_Found, int]] = {}
        """By place: how many names were found of what has, or should have, several."""
        self._shared: dict[int, tuple[int, bytes]] = {}
        """By id: index and rest of the name of shared attributes."""
        self._long_prefixes: list[xattr.LongPrefix] = []
        self._lz4_stored = 0
        """Bytes of the largest LZ4 pcluster."""

    def report(
        self,
        found: _Found | None,
        what: str,
        offset: int | None = None,
        entry: Entry | None = None,
    ) -> None:
        """Note a violation in an inode, in an entry of that directory, or (``None``) elsewhere."""
        path, nid = "", None
        if found is not None:
            path, nid = found.path, found.inode.nid
        if entry is not None:
            path, nid = path.rstrip("/") + "/" + paths.decode(entry.name), entry.nid
        self.problems.append(Problem(path, nid, offset, what))

    def failed(self, found: _Found, error: FormatError, entry: Entry | None = None) -> None:
        """Note what the reader says of an inode, or of the one that an entry leads to."""
        if entry is None:
            self.report(found, error.what, error.offset)
        else:
            self.report(found, error.what, error.offset, entry)

    def steps(self) -> Iterator[None]:
        """Check everything; after each step problems can be taken."""
        self._check_superblock()
        yield
        try:
            yield from self._walk()
            self._check_packed_inode()
            self._check_totals()
        except Overspent:
            what = "inodes or directories share bytes: more than fit into the image"
            self.report(None, f"{what}; the rest was not checked")
        if self._contents is not None:
            self._contents.finish()
        yield

    # --- the image as a whole -------------------------------------------------------------------

    def _check_superblock(self) -> None:
        block, raw, size = self._block, self._raw, self._image.size
        start = disk.SUPER_OFFSET
        if block.checksum is not None:
            found = superblock.checksum(self._metadata.front, block.blkszbits)
            if found != block.checksum:
                what = f"superblock checksum {found:#010x}, stored {block.checksum:#010x}"
                self.report(None, what, start + 4)
        end = block.blocks << block.blkszbits
        if end > size:
            self.report(None, f"{end} bytes of blocks, the image has {size}", start + 0x24)
        if len(block.volume_name) == len(raw.volume_name):
            self.report(None, "no NUL behind the label", start + 0x40)
        if block.fixed_nsec >= _NANOSECOND:
            self.report(None, f"{block.fixed_nsec} nanoseconds", start + 0x20)
        if block.lz4_max_pclusterblks << block.blkszbits > disk.Z_PCLUSTER_MAX_SIZE:
            at = start + disk.SUPER_BLOCK.size
            self.report(None, f"LZ4 pclusters of {block.lz4_max_pclusterblks} blocks", at)
        header = self._metadata.header
        if header is not None and header.image_size != end:
            self.report(None, f"the header says {header.image_size} bytes, not {end}", 0)
        try:
            self._long_prefixes = Attributes(self._volume, self._image.data).long_prefixes
        except FormatError as error:
            self.report(None, f"long xattr prefixes: {error.what}", error.offset)

    def _check_packed_inode(self) -> None:
        packed = self._volume.packed_inode
        if packed is None:
            return
        found = _Found(packed, b"")
        if packed.offset in self._seen:
            self.report(found, "the packed inode has a name")
            return
        self._seen.add(packed.offset)
        self._check_inode(found)

    def _check_totals(self) -> None:
        for found, count in self._names.values():
            if found.inode.nlink != count:
                self.report(found, f"{found.inode.nlink} links, but {count} names")
        inos, count = self._block.inos, len(self._seen)
        if inos not in (0, count):  # 0: it does not say
            self.report(None, f"{inos} inodes, but {count} found", disk.SUPER_OFFSET + 0x10)
        limit = self._block.lz4_max_pclusterblks << self._block.blkszbits
        if self._lz4_stored > limit:
            self.report(
                None, f"an LZ4 pcluster of {self._lz4_stored} bytes, the limit said is {limit}"
            )

    # --- the tree -------------------------------------------------------------------------------

    def _walk(self) -> Iterator[None]:
        root = _Found(self._volume.inode(self._block.root_nid), b"/")
        self._seen.add(root.inode.offset)
        self._check_inode(root)
        waiting = [root]
        while waiting:
            below: list[_Found] = []
            yield from self._check_directory(waiting.pop(), below)
            waiting += reversed(below)

    def _check_directory(self, directory: _Found, below: list[_Found]) -> Iterator[None]:
        """Check names and what they lead to; ``below`` takes the directories to go into."""
        names: set[bytes] = set()
        subdirs = 0
        known = True
        for entry in self._entries(directory):
            if entry is None:
                known = False
            elif entry.name in (b".", b".."):
                names.add(entry.name)
                self._check_dot(directory, entry)
            else:
                kind = self._check_name(directory, entry, below)
                known = known and kind is not None
                subdirs += kind == disk.FT_DIR
            yield
        if not known:  # what is missing may be among what could not be read
            return
        expected = {b".."} if self._omits_dot(directory.inode) else {b".", b".."}
        for name in sorted(expected ^ names):
            wrong = "missing" if name in expected else "there, which the inode denies"
            self.report(directory, f"the entry '{name.decode()}' is {wrong}")
        nlink = directory.inode.nlink
        if nlink != 2 + subdirs:
            self.report(directory, f"{nlink} links, but {subdirs} subdirectories")

    def _omits_dot(self, directory: Inode) -> bool:
        form = self._metadata.read(directory.offset, 2)
        return bool(int.from_bytes(form, "little") & disk.I_DOT_OMITTED)

    def _entries(self, directory: _Found) -> Iterator[Entry | None]:
        """The entries of a directory, ``None`` for one (or a block of them) that is not sound."""
        inode = directory.inode
        last = b""
        try:
            blocks = self._image.directories.count(inode)
        except FormatError as error:
            self.failed(directory, error)
            blocks = 0
            yield None
        for number in range(blocks):
            try:
                block = self._image.directories.block(inode, number)
                count = dirent.count(block)
            except FormatError as error:
                self._survey.spend(self._block.block_size)
                self.failed(directory, error)
                yield None
                continue
            for index in range(count):
                self._survey.name()
                try:
                    entry = dirent.unpack(block, index, count)
                except FormatError as error:
                    self.failed(directory, error)
                    yield None
                    continue
                if entry.name <= last:
                    self.report(directory, f"{entry.name!r} stands behind {last!r}")
                last = entry.name
                yield entry

    def _check_dot(self, directory: _Found, entry: Entry) -> None:
        target = directory
        if entry.name == b".." and directory.parent is not None:
            target = directory.parent
        if entry.nid != target.inode.nid:
            self.report(
                directory,
                f"'{entry.name.decode()}' leads to nid {entry.nid}, not {target.inode.nid}",
            )
        self._check_type(directory, entry, disk.FT_DIR)

    def _check_type(self, directory: _Found, entry: Entry, kind: int) -> None:
        if entry.file_type != kind:
            what = f"file type {entry.file_type} in the entry, {kind} in the inode"
            self.report(directory, what, entry=entry)

    def _check_name(self, directory: _Found, entry: Entry, below: list[_Found]) -> int | None:
        """Check what a name leads to; its file type, ``None`` if it leads to nothing."""
        try:
            inode = self._volume.inode(entry.nid)
        except FormatError as error:
            self.failed(directory, error, entry)
            return None
        if entry.nid * disk.ISLOT_SIZE >= 1 << 64:
            self.report(directory, "the nid wraps around to another's place", entry=entry)
        kind = file_type(inode.mode)
        self._check_type(directory, entry, kind)
        found = _Found(inode, entry.name, directory)
        first = inode.offset not in self._seen
        if not first and inode.is_dir:
            self.report(found, "a second name for a directory")
        elif not first:
            known, count = self._names.get(inode.offset, (found, 1))
            self._names[inode.offset] = known, count + 1
        else:
            self._seen.add(inode.offset)
            if inode.is_dir:
                below.append(found)
            elif inode.nlink != 1:
                self._names[inode.offset] = found, 1
            self._check_inode(found)
        return kind

    # --- one inode ------------------------------------------------------------------------------

    def _check_inode(self, found: _Found) -> None:
        inode = found.inode
        self._check_place(found)
        if inode.extended and inode.mtime_nsec >= _NANOSECOND:
            self.report(found, f"{inode.mtime_nsec} nanoseconds", inode.offset)
        if inode.xattr_size:
            self._check_xattrs(found)
        if not (inode.is_file or inode.is_dir or inode.is_symlink):
            if inode.size:
                self.report(found, f"a special file of {inode.size} bytes", inode.offset)
            return
        if inode.is_symlink and not 1 <= inode.size <= paths.SYMLINK_MAX:
            self.report(found, f"a symbolic link of {inode.size} bytes", inode.offset)
            return
        try:
            table = self._survey.extents(inode)
        except FormatError as error:
            self.failed(found, error)
            return
        if inode.is_symlink:
            self._check_symlink(found)
        elif inode.is_dir:
            self._check_end(found, table)
        else:
            self._check_data(found, table)

    def _check_place(self, found: _Found) -> None:
        inode, header = found.inode, self._metadata.header
        end = disk.SUPER_OFFSET + disk.SUPER_BLOCK.size
        if inode.offset < end and inode.body > disk.SUPER_OFFSET:
            self.report(found, "the inode lies in the superblock", inode.offset)
        if header is not None and inode.body > header.metadata_size:
            self.report(found, "the inode lies behind the metadata zone", inode.offset)

    def _check_symlink(self, link: _Found) -> None:
        inode = link.inode
        self._survey.spend(inode.size)
        try:
            target = self._image.data.read(inode, 0, inode.size)
        except FormatError as error:
            self.failed(link, error)
            return
        if b"\0" in target:
            self.report(link, "a symbolic link with a NUL", inode.offset)

    def _check_end(self, directory: _Found, table: ExtentTable) -> None:
        """Linux takes the last name of a directory up to a NUL or the end of the block."""
        inode = directory.inode
        if not inode.size:
            self.report(directory, "an empty directory without '..'", inode.offset)
            return
        rest = -inode.size % self._block.block_size
        last = table[-1]
        if inode.layout != disk.INODE_FLAT_PLAIN or last.kind != Kind.PLAIN or not rest:
            return
        device, address = resolve(last, self._volume.geometry)
        at = address + last.stored
        if not device and at + rest <= self._image.size and any(self._metadata.read(at, rest)):
            self.report(directory, "no zeros behind the last name", at)

    def _check_data(self, file: _Found, table: ExtentTable) -> None:
        for extent in table:
            if extent.kind == Kind.LZ4:
                self._lz4_stored = max(self._lz4_stored, extent.stored)
            if extent.kind <= Kind.ZSTD and self._contents is not None:
                self._contents.add(file, extent)

    # --- extended attributes --------------------------------------------------------------------

    def _check_xattrs(self, found: _Found) -> None:
        inode = found.inode
        start = inode.body - inode.xattr_size
        try:
            entries, ids = self._survey.xattrs(inode)
        except FormatError as error:
            self.failed(found, error)
            return
        stored = [(index, rest) for index, rest, _ in entries]
        for number in ids:
            try:
                stored.append(self._shared_name(number))
            except FormatError as error:
                self.failed(found, error)
        name_filter = 0
        if self._has_filter():
            name_filter = int.from_bytes(self._metadata.read(start, 4), "little")
        names: set[bytes] = set()
        for index, rest in stored:
            name = xattr.full_name(index, rest, self._long_prefixes)
            what = _name_fault(index, name)
            if what is None and name is not None:
                if name in names:
                    what = f"two attributes {paths.decode(name)}"
                elif name_filter & xattr.filter_bit(*xattr.split_name(name)):
                    what = f"the name filter hides {paths.decode(name)}"
                names.add(name)
            if what is not None:
                self.report(found, what, start)

    def _has_filter(self) -> bool:
        has = self._block.feature_compat & disk.FEATURE_COMPAT_XATTR_FILTER
        return bool(has) and not self._raw.xattr_filter_reserved

    def _shared_name(self, number: int) -> tuple[int, bytes]:
        """Index and rest of the name of a shared attribute."""
        if number not in self._shared:
            offset = (self._block.xattr_blkaddr << self._block.blkszbits) + 4 * number
            size = xattr.entry_size(self._metadata.read(offset, disk.XATTR_ENTRY.size))
            entry = self._metadata.read(offset, size)
            self._survey.spend(size)
            self._shared[number] = xattr.unpack_entry(entry)[:2]
        return self._shared[number]


def _name_fault(index: int, name: bytes | None) -> str | None:
    """What is wrong with the name of an attribute, as stored under a prefix index."""
    if name is None:
        return f"an attribute whose name has the unknown prefix {index}"
    if len(name) > paths.NAME_MAX:
        return f"an attribute with a name of {len(name)} bytes"
    if b"\0" in name:
        return f"NUL in the name of an attribute, {name!r}"
    if name.endswith(b".") and name in xattr.PREFIXES.values():
        return f"an attribute with no name behind {paths.decode(name)}"
    return None


class _Contents:
    """Decodes every pcluster once, many at a time."""

    def __init__(self, check: _Check, image: Image) -> None:
        self._check = check
        self._data = image.data
        stored = sum(blob.size for blob in image.volume.blobs)
        self._limit = max(DECODED_FACTOR * stored, DECODED_FLOOR)
        self._left = self._limit
        self._done: set[tuple[int, ...]] = set()
        self._waiting: list[tuple[_Found, Extent]] = []
        self._waiting_size = 0
        self._buffer = bytearray()

    def add(self, file: _Found, extent: Extent) -> None:
        """Decode an extent, now or with others."""
        key = extent[1:]  # all but where it is in the file
        if key in self._done or self._left < 0:
            return
        self._done.add(key)
        self._left -= max(extent.size, extent.stored)
        if self._left < 0:
            return
        self._waiting.append((file, extent))
        self._waiting_size += extent.size
        if self._waiting_size >= _BATCH_SIZE or len(self._waiting) >= _BATCH_COUNT:
            self._decode()

    def finish(self) -> None:
        """Decode what is left."""
        self._decode()
        if self._left < 0:
            self._check.report(
                None,
                f"files hold more than {self._limit} bytes, out of proportion to the image;"
                " the rest was not decoded",
            )

    def _decode(self) -> None:
        if len(self._buffer) < self._waiting_size:
            self._buffer = bytearray(self._waiting_size)
        reads, at = [], 0
        for file, extent in self._waiting:
            reads.append(Read(file.inode, extent.logical, extent.size, at))
            at += extent.size
        try:
            self._data.read_into(reads, memoryview(self._buffer))
        except FormatError:
            self._decode_each()
        self._waiting.clear()
        self._waiting_size = 0

    def _decode_each(self) -> None:
        """Find out which of them do not decode."""
        for file, extent in self._waiting:
            read = Read(file.inode, extent.logical, extent.size, 0)
            try:
                self._data.read_into([read], memoryview(self._buffer))
            except FormatError as error:
                self._check.report(file, error.what, extent.address)
