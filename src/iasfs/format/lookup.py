"""Names to inodes, where the metadata lies in one buffer.

A path is walked in one call, without a Python object for each step.  The walk knows the common
case only: directories that are flat and lie inside the buffer.  Symbolic links, and whatever is
missing, unknown or not well formed, it hands back with a :class:`Status`; the caller goes on
from there by way of :mod:`~iasfs.format.inode` and :mod:`~iasfs.format.dirent`, which raise the
error that says what is wrong.

All is done in C where the extension was compiled; the functions whose names end in ``_py`` are
the twins.  Those in C keep the GIL: each takes less than a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from iasfs.buffers import Buffer
from iasfs.errors import FormatError
from iasfs.format import dirent, disk, inode
from iasfs.format.codec import fast
from iasfs.format.inode import Inode
from iasfs.format.superblock import Superblock
from iasfs.paths import NAME_MAX

_DEPTH_MAX = 64

Found = tuple[int, int]
"""``(nid, file_type)``."""
Walk = tuple[int, int, int, int]
"""``(status, nid, file_type, consumed)``; see :func:`resolve_py`."""


class Status(IntEnum):
    """How a walk along a path ended."""

    FOUND = 0
    ABSENT = 1
    """A component is not in its directory."""
    SYMLINK = 2
    """There is more behind a component that is a symbolic link."""
    NOTDIR = 3
    """There is more behind a component that is neither a directory nor a symbolic link."""
    OUTSIDE = 4
    """Bytes outside the buffer are wanted, or what is there is not the common case."""


def find_py(block: Buffer, name: bytes) -> Found | int:
    """Look for ``name`` in one directory block.

    Answers with nid and file type; or with -1 if the name sorts before the block's first, 1 if
    it sorts behind that and is not there, 0 if the block is not well formed.
    """
    try:
        order, entry = dirent.search(block, name)
    except FormatError:
        return 0
    return (entry.nid, entry.file_type) if entry is not None else order


def dir_find_py(data: Buffer, blkszbits: int, name: bytes) -> Found | int:
    """Look for ``name`` in a whole directory, ``data``, of blocks of ``1 << blkszbits`` bytes.

    As :func:`find_py`, but 1 for a name that is not there, wherever it sorts.
    """
    size = 1 << blkszbits
    view = memoryview(data)
    return _search(-(-len(data) >> blkszbits), lambda k: view[k * size : (k + 1) * size], name)


def _search(count: int, block: Callable[[int], Buffer], name: bytes) -> Found | int:
    """The last block that does not begin behind the name has it, if one has."""
    answer: Found | int = 1
    low, high = 0, count - 1
    while low <= high:
        middle = (low + high) // 2
        here = find_py(block(middle), name)
        if here == 0 or isinstance(here, tuple):
            return here
        if here == -1:
            high = middle - 1
        else:
            answer = here
            low = middle + 1
    return answer


def resolve_py(meta: Buffer, blkszbits: int, meta_blkaddr: int, root_nid: int, path: bytes) -> Walk:
    """Walk ``path`` from the root; ``meta`` is the image from byte 0, as far as it is there.

    ``meta`` must not reach into the addresses of an extra device.  Empty components and ``.``
    are skipped, ``..`` leads to the directory before (from the root to itself).  A slash at the
    end asks for a directory.

    Answers with a :class:`Status`, the nid and file type (from the inode, not the name) that the
    walk came to, and how many bytes of the path led there.  With ABSENT that is the directory in
    which the next component is not; with SYMLINK the link, which is followed by
    ``path[consumed:]``; with NOTDIR the file; with OUTSIDE all three are 0.
    """
    superblock = Superblock(blkszbits=blkszbits, meta_blkaddr=meta_blkaddr)
    parents: list[int] = []
    consumed = at = 0
    nid, kind = root_nid, disk.FT_DIR
    try:
        node = _read_inode(meta, nid, superblock)
        while at < len(path):
            kind = inode.file_type(node.mode)
            if kind != disk.FT_DIR:
                status = Status.SYMLINK if kind == disk.FT_SYMLINK else Status.NOTDIR
                return status, nid, kind, consumed
            start = at + len(path[at:]) - len(path[at:].lstrip(b"/"))
            end = path.find(b"/", start)
            at = end if end >= 0 else len(path)
            name = path[start:at]
            if name == b"..":
                nid = parents.pop() if parents else nid
            elif name not in (b"", b"."):
                found = _step(meta, node, name, superblock)
                if found is None:
                    return Status.ABSENT, nid, kind, consumed
                if len(parents) == _DEPTH_MAX:
                    return Status.OUTSIDE, 0, 0, 0
                parents.append(nid)
                nid = found[0]
            node = _read_inode(meta, nid, superblock)
            consumed = at
    except FormatError:
        return Status.OUTSIDE, 0, 0, 0
    return Status.FOUND, nid, inode.file_type(node.mode), consumed


def _read_inode(meta: Buffer, nid: int, superblock: Superblock) -> Inode:
    offset = superblock.inode_offset(nid)
    return inode.unpack(meta[offset : offset + inode.SIZE_MAX], nid, superblock)


def _step(meta: Buffer, node: Inode, name: bytes, superblock: Superblock) -> Found | None:
    """Look for ``name`` in a directory; :class:`FormatError` for what the walk does not know."""
    bits = superblock.blkszbits
    if node.layout not in (disk.INODE_FLAT_PLAIN, disk.INODE_FLAT_INLINE) or len(name) > NAME_MAX:
        raise FormatError("not the common case")
    whole = node.size - 1 >> bits
    last = node.size - (whole << bits)

    def block(number: int) -> Buffer:
        start, size = (node.u + number) << bits, 1 << bits
        if number == whole:
            size = last
            if node.layout == disk.INODE_FLAT_INLINE:
                start = node.body
                if start % (1 << bits) + size > 1 << bits:
                    raise FormatError("inline tail crosses a block")
        if start + size > len(meta):
            raise FormatError("outside")
        return meta[start : start + size]

    found = _search(whole + 1, block, name)
    if found == 0:
        raise FormatError("directory block not well formed")
    return found if isinstance(found, tuple) else None


def inode_py(
    data: Buffer, at: int, nid: int, offset: int, epoch: int, fixed_nsec: int
) -> tuple[int, ...] | None:
    """Return the fields of an :class:`~iasfs.format.inode.Inode`, ``None`` if it is not sound.

    ``at`` is where the inode begins in ``data``, ``offset`` where it does in the image.  Times of
    a compact inode are completed by ``epoch`` and ``fixed_nsec``.
    """
    superblock = Superblock(epoch=epoch, fixed_nsec=fixed_nsec)
    try:
        node = inode.unpack(data[at : at + inode.SIZE_MAX], offset // disk.ISLOT_SIZE, superblock)
    except FormatError:
        return None
    return tuple(node._replace(nid=nid))


find: Callable[[Buffer, bytes], Found | int]
dir_find: Callable[[Buffer, int, bytes], Found | int]
resolve: Callable[[Buffer, int, int, int, bytes], Walk]
inode_fields: Callable[[Buffer, int, int, int, int, int], tuple[int, ...] | None]
if fast is not None:
    find, dir_find, resolve, inode_fields = fast.find, fast.dir_find, fast.resolve, fast.inode
else:
    find, dir_find, resolve, inode_fields = find_py, dir_find_py, resolve_py, inode_py
