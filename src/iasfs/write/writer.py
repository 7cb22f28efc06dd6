"""A tree becomes an image: Writer, and what it shares with mkfs.

The three steps run here: contents into a spool, a plan, the bytes.  The target appears under its
name when it is complete and on disk, or not at all.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, Self

from iasfs import paths
from iasfs.blob import Blob, BytesBlob
from iasfs.buffers import Buffer
from iasfs.errors import IasfsError, WriteError
from iasfs.paths import AnyPath
from iasfs.tree import Node, Tree
from iasfs.write import emit, plan, profile, store
from iasfs.write.scan import ScannedFile
from iasfs.write.store import Progress

VOLUME_NAME_MAX = 15
"""Bytes of a label; Linux before 6.15 wants a NUL behind it."""

Target = str | os.PathLike[str] | BinaryIO


class Made(NamedTuple):
    """What was written; sizes in bytes."""

    size: int
    """Of the image."""
    metadata_size: int
    """Of the zone at the front that holds everything but file contents."""
    inodes: int


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an image is made.

    ``compression``
        ``"zstd"``, ``"deflate"``, ``"lz4"`` or ``"none"``; left out: the best that
        ``min_kernel`` mounts, which is zstd if that is left out too.
    ``level``
        the codec's own; left out: 9.
    ``min_kernel``
        the oldest Linux that shall mount the image, such as ``"6.1"`` (not before 5.4).
    ``order``
        paths whose data comes first, in this order: what a start-up reads.
    ``mtime``
        seconds since the epoch that every inode gets; left out: its own.
    ``volume_name``
        a label of up to 15 bytes.
    ``uuid``
        16 bytes; left out: derived from the content.
    ``workers``
        threads that compress; left out: one for each core that this process may use.  The
        bytes are the same whatever their number.
    ``extent_size``, ``pack_extent_size``, ``pack_limit``
        bytes of file data in a pcluster of a large file and of the packed inode, and the size
        below which a file, or the end of one, is packed; see the page on defaults.
    ``spool_dir``
        where temporary files go; left out: beside a target that is a file, else the system's
        place.
    ``progress``
        called with ``(bytes done, bytes in all)`` of file content.
    """

    compression: str | None = None
    level: int | None = None
    min_kernel: str | None = None
    order: Sequence[AnyPath] = ()
    mtime: int | None = None
    volume_name: str = ""
    uuid: bytes | None = None
    workers: int | None = None
    extent_size: int = profile.EXTENT_SIZE
    pack_extent_size: int = profile.PACK_EXTENT_SIZE
    pack_limit: int = profile.PACK_LIMIT
    spool_dir: str | os.PathLike[str] | None = None
    progress: Progress | None = None

    def profile(self) -> profile.Profile:
        """The features and sizes these options lead to; ``WriteError`` if they clash."""
        return profile.choose(
            self.compression,
            self.level,
            self.min_kernel,
            self.extent_size,
            self.pack_extent_size,
            self.pack_limit,
        )

    def identity(self) -> plan.Identity:
        """What the image says of itself."""
        name = self.volume_name.encode()
        if len(name) > VOLUME_NAME_MAX or b"\0" in name:
            raise WriteError(f"volume name {self.volume_name!r} is not up to 15 bytes without NUL")
        if self.uuid is not None and (len(self.uuid) != 16 or not any(self.uuid)):
            raise WriteError("a UUID has 16 bytes, not all of them zero")
        mtime_ns = None
        if self.mtime is not None:
            if not -(1 << 63) <= self.mtime < 1 << 63:
                raise WriteError(f"mtime {self.mtime} does not fit 64 bits")
            mtime_ns = self.mtime * 1_000_000_000
        return plan.Identity(name, self.uuid, mtime_ns)


def write_tree(tree: Tree, target: Target, options: Options) -> Made:
    """Write a tree to an image."""
    tree.check()
    identity = options.identity()
    chosen = options.profile()
    workers = options.workers if options.workers is not None else _cores()
    if workers < 1:
        raise WriteError(f"{workers} workers")
    folder = spool_folder(options, target)
    with tempfile.TemporaryFile(dir=folder) as spool:
        try:
            contents = store.store(
                tree,
                chosen,
                spool,
                order=options.order,
                workers=workers,
                progress=options.progress,
            )
            planned = plan.plan(tree, contents, chosen, identity)
            _emit(planned, spool, target)
        except OSError as error:
            if error.filename is None and not isinstance(error, IasfsError):
                # A full disk does not say where it is.
                error.filename = folder
            raise
    return Made(planned.size, planned.metadata_size, planned.superblock.inos)


def _emit(planned: plan.Plan, spool: BinaryIO, target: Target) -> None:
    if isinstance(target, (str, os.PathLike)):
        with replacing(target) as file:
            emit.emit(planned, spool, file)
    else:
        emit.emit(planned, spool, target)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def spool_folder(options: Options, target: Target) -> str | os.PathLike[str] | None:
    """Where temporary files go; ``None`` for the system's place."""
    if options.spool_dir is None and isinstance(target, (str, os.PathLike)):
        path = os.path.realpath(target)
        if os.path.isfile(path) or not os.path.exists(path):
            return os.path.dirname(path)
    return options.spool_dir


@contextmanager
def replacing(target: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that takes the name ``target`` when the block ends, and vanishes if it fails.

    What is no regular file, such as a device or a FIFO, is written to as it is.
    """
    path = os.path.abspath(target)
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        with open(path, "wb") as file:
            yield file
        return
    folder, name = os.path.split(os.path.realpath(path))
    temporary = os.path.join(folder, f".iasfs-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, os.path.join(folder, name))
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
    _sync_directory(folder)


def _sync_directory(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Writer:
    """An image made file by file; written when the ``with`` block ends, not if it fails.

    ::

        with Writer("motd.erofs") as writer:
            writer.add_file("/etc/motd", b"hello", mode=0o644)

    Missing parent directories are made.  Times are nanoseconds since the epoch.  The options are
    those of :class:`Options`.
    """

    def __init__(self, target: Target, **options: Any) -> None:
        self._target = target
        self._options = Options(**options)
        self.tree = Tree()
        """What has been added; may be changed directly until the image is written."""
        self.made: Made | None = None
        """What was written, once it was."""

    def add_file(
        self,
        path: AnyPath,
        content: Buffer | Blob | os.PathLike[str],
        *,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        xattrs: dict[str, bytes] | None = None,
    ) -> Node:
        """A regular file from bytes, a blob, or a path of the local system.

        A local file is open only while it is read, so there may be any number of them.
        """
        if isinstance(content, os.PathLike):
            local = os.path.realpath(os.fsencode(content))
            content = ScannedFile(local, os.stat(local))
        elif isinstance(content, (bytes, bytearray, memoryview)):
            content = BytesBlob(bytes(content))
        elif not isinstance(content, Blob):
            raise TypeError(f"content is bytes, a Blob or a Path, not {type(content).__name__}")
        node = Node(_typed(stat.S_IFREG, mode), uid, gid, mtime_ns, content=content)
        return self._add(path, node, xattrs)

    def add_dir(
        self,
        path: AnyPath,
        *,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        xattrs: dict[str, bytes] | None = None,
    ) -> Node:
        """A directory; one that is there keeps its children and takes this metadata."""
        return self._add(path, Node(_typed(stat.S_IFDIR, mode), uid, gid, mtime_ns), xattrs)

    def add_symlink(
        self,
        path: AnyPath,
        target: AnyPath,
        *,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        xattrs: dict[str, bytes] | None = None,
    ) -> Node:
        """A symbolic link that holds ``target``."""
        raw = paths.encode(target)
        node = Node(stat.S_IFLNK | 0o777, uid, gid, mtime_ns, target=raw)
        return self._add(path, node, xattrs)

    def add_link(self, path: AnyPath, existing: AnyPath) -> Node:
        """A second name for a file that has been added."""
        node = self.tree.get(existing)
        if node is None or node.is_dir:
            raise WriteError(f"no file {os.fspath(existing)!r} to link to").at(os.fsdecode(path))
        return self.tree.add(path, node)

    def add_special(
        self,
        path: AnyPath,
        mode: int,
        *,
        rdev: int = 0,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        xattrs: dict[str, bytes] | None = None,
    ) -> Node:
        """A device, FIFO or socket: ``mode`` with its type, ``rdev`` by :func:`os.makedev`."""
        return self._add(path, Node(mode, uid, gid, mtime_ns, rdev), xattrs)

    def _add(self, path: AnyPath, node: Node, xattrs: dict[str, bytes] | None) -> Node:
        node.xattrs = {paths.encode(name): value for name, value in (xattrs or {}).items()}
        return self.tree.add(path, node)

    def close(self) -> Made:
        """Write the image."""
        if self.made is None:
            self.made = write_tree(self.tree, self._target, self._options)
        return self.made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            self.close()


def _typed(kind: int, mode: int) -> int:
    """A mode of one file type; a mode that already has another one is a ``WriteError``."""
    if stat.S_IFMT(mode) not in (0, kind):
        raise WriteError(f"mode {mode:#o} is of another file type")
    return kind | stat.S_IMODE(mode)
