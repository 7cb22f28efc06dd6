"""Image: an EROFS image with paths, and the method names and results of :mod:`os`.

Paths are ``str`` (with surrogateescape) or bytes, relative to the root of the image with or
without a leading ``/``.  Symbolic links resolve inside that root: an absolute target begins
there, and ``..`` does not lead above it.  Mistakes are the builtin exceptions with ``errno`` and
``filename`` set, exactly as :mod:`os` raises them; images that lie raise
:class:`~iasfs.errors.FormatError`.

``str`` in gives ``str`` out, bytes in gives bytes out.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Self

from iasfs import paths
from iasfs.blob import Blob
from iasfs.errors import FormatError, IasfsError
from iasfs.format import disk
from iasfs.format.dirent import Entry
from iasfs.format.inode import Inode
from iasfs.format.superblock import Superblock
from iasfs.paths import AnyPath
from iasfs.read import listing
from iasfs.read.attributes import Attributes
from iasfs.read.data import Data, Read, allocate
from iasfs.read.directory import Directories
from iasfs.read.file import File
from iasfs.read.listing import ScandirIterator
from iasfs.read.resolve import Resolver
from iasfs.read.volume import Volume


class Image:
    """An opened image, read-only; safe for threads and across ``fork``.

    ``blob`` holds the image, ``devices`` its extra devices if it names any; ``name`` is what
    errors call it.  ``metadata_size`` in bytes, if it is known, lets one request bring the whole
    tree; a wrong one costs bytes or a request more.  ``lenient`` opens an image whose superblock
    has a wrong checksum, as :func:`~iasfs.read.check.fsck` wants it.

    Raises :class:`~iasfs.errors.FormatError` if it is not an EROFS image and
    :class:`~iasfs.errors.UnsupportedFeature` if it needs a feature unknown here.
    """

    def __init__(
        self,
        blob: Blob,
        *,
        devices: Sequence[Blob] = (),
        name: str | None = None,
        metadata_size: int = 0,
        lenient: bool = False,
    ) -> None:
        self.name = name if name is not None else getattr(blob, "name", None)
        self._blobs = [blob, *devices]
        try:
            self.volume = Volume(blob, devices, metadata_size=metadata_size, lenient=lenient)
            self._root = self.volume.inode(self.volume.superblock.root_nid)
            if not self._root.is_dir:
                raise FormatError("the root is not a directory", nid=self._root.nid)
        except FormatError as error:
            raise error.at(self.name) if self.name else error from None
        self.data = Data(self.volume)
        self.directories = Directories(self.volume, self.data)
        self._attributes = Attributes(self.volume, self.data)
        self._resolver = Resolver(self.volume, self.data, self.directories)
        self._device = int.from_bytes(self.superblock.uuid[:4], "little")

    # --- the image itself -----------------------------------------------------------------------

    @property
    def superblock(self) -> Superblock:
        """What the image says of itself."""
        return self.volume.superblock

    @property
    def size(self) -> int:
        """Bytes of the image, without extra devices."""
        return self._blobs[0].size

    def close(self) -> None:
        """Close the blobs of the image; its files cannot be read any more."""
        for blob in self._blobs:
            blob.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self._blobs, self.name, len(self.volume.metadata.front))

    def __repr__(self) -> str:
        return f"<iasfs.Image {self.name or ''} of {self.size} bytes>"

    # --- lookup ---------------------------------------------------------------------------------

    def _error(self, number: int, path: AnyPath) -> OSError:
        return OSError(number, os.strerror(number), os.fspath(path))

    def inode(self, path: AnyPath, follow_symlinks: bool = True) -> Inode:
        """The inode at a path; ``OSError`` if there is none."""
        if isinstance(path, int):
            raise TypeError(
                "an image has no file descriptors: path should be str, bytes or PathLike"
            )
        raw = paths.encode(path)
        if not raw:
            raise self._error(errno.ENOENT, path)
        try:
            return self._resolver.inode(raw, follow_symlinks)
        except FormatError as error:
            raise error.at(paths.decode(raw)) from None
        except OSError as error:
            if error.filename is None:
                error.filename = os.fspath(path)
            raise

    def _regular(self, path: AnyPath) -> Inode:
        inode = self.inode(path)
        if inode.is_dir:
            raise self._error(errno.EISDIR, path)
        if not inode.is_file:
            # Linux would open the device or FIFO itself, which an image only describes.
            raise self._error(errno.ENXIO, path)
        return inode

    def directory(self, path: AnyPath) -> Inode:
        """The inode of the directory at a path; ``OSError`` if there is none."""
        inode = self.inode(path)
        if not inode.is_dir:
            raise self._error(errno.ENOTDIR, path)
        return inode

    # --- as in os -------------------------------------------------------------------------------

    def stat(self, path: AnyPath, *, follow_symlinks: bool = True) -> os.stat_result:
        """As :func:`os.stat`: ``st_ino`` is the nid, all three times are the mtime."""
        return self.stat_of(self.inode(path, follow_symlinks))

    def lstat(self, path: AnyPath) -> os.stat_result:
        """As :func:`os.lstat`."""
        return self.stat(path, follow_symlinks=False)

    def stat_of(self, inode: Inode) -> os.stat_result:
        """The stat result of an inode."""
        nanoseconds = inode.mtime * 1_000_000_000 + inode.mtime_nsec
        seconds = inode.mtime + inode.mtime_nsec * 1e-9
        fields = (
            inode.mode,
            inode.nid,
            self._device,
            inode.nlink,
            inode.uid,
            inode.gid,
            inode.size,
        )
        return os.stat_result(
            (*fields, inode.mtime, inode.mtime, inode.mtime),
            {
                **dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), seconds),
                **dict.fromkeys(("st_atime_ns", "st_mtime_ns", "st_ctime_ns"), nanoseconds),
                "st_blksize": self.superblock.block_size,
                "st_blocks": self._blocks_of(inode),
                "st_rdev": os.makedev(*inode.device),
            },
        )

    def _blocks_of(self, inode: Inode) -> int:
        """512-byte units on disk; of compressed files what they take compressed, as in Linux."""
        blkszbits = self.superblock.blkszbits
        blocks = -(-inode.size >> blkszbits)
        if inode.layout in (disk.INODE_COMPRESSED_FULL, disk.INODE_COMPRESSED_COMPACT):
            blocks = inode.u
        return blocks << blkszbits >> 9

    def exists(self, path: AnyPath) -> bool:
        """As :func:`os.path.exists`."""
        return self._test(path, True, lambda inode: True)

    def lexists(self, path: AnyPath) -> bool:
        """As :func:`os.path.lexists`."""
        return self._test(path, False, lambda inode: True)

    def isdir(self, path: AnyPath) -> bool:
        """As :func:`os.path.isdir`."""
        return self._test(path, True, lambda inode: inode.is_dir)

    def isfile(self, path: AnyPath) -> bool:
        """As :func:`os.path.isfile`."""
        return self._test(path, True, lambda inode: inode.is_file)

    def islink(self, path: AnyPath) -> bool:
        """As :func:`os.path.islink`."""
        return self._test(path, False, lambda inode: inode.is_symlink)

    def _test(self, path: AnyPath, follow_symlinks: bool, test: Callable[[Inode], bool]) -> bool:
        try:
            return test(self.inode(path, follow_symlinks))
        except (OSError, ValueError) as error:
            if not _says_absent(error):
                raise
            return False

    def access(self, path: AnyPath, mode: int, *, follow_symlinks: bool = True) -> bool:
        """As :func:`os.access`, for one who may read everything.

        Nothing is writable, and executable is what has any execute bit, or is a directory.
        """
        try:
            inode = self.inode(path, follow_symlinks)
        except OSError as error:
            if not _says_absent(error):
                raise
            return False
        if mode & os.W_OK:
            return False
        return not mode & os.X_OK or inode.is_dir or bool(inode.mode & 0o111)

    def readlink(self, path: AnyPath) -> Any:
        """As :func:`os.readlink`: ``str`` for a ``str`` path, bytes for a bytes path."""
        inode = self.inode(path, follow_symlinks=False)
        if not inode.is_symlink:
            raise self._error(errno.EINVAL, path)
        try:
            return paths.like(path, self._resolver.target(inode))
        except FormatError as error:
            raise error.at(paths.decode(paths.encode(path))) from None

    def listdir(self, path: AnyPath = "/") -> list[Any]:
        """As :func:`os.listdir`, in byte order of the names."""
        entries = self.entries_of(self.directory(path), path)
        return [paths.like(path, entry.name) for entry in entries]

    def scandir(self, path: AnyPath = "/") -> ScandirIterator:
        """As :func:`os.scandir`, in byte order of the names."""
        return listing.scandir(self, self.directory(path), os.fspath(path))

    def entries_of(self, directory: Inode, path: AnyPath) -> Iterator[Entry]:
        """The entries of a directory but ``.`` and ``..``; ``path`` is for the error."""
        try:
            for entry in self.directories.entries(directory):
                if entry.name not in (b".", b".."):
                    yield entry
        except FormatError as error:
            raise error.at(paths.decode(paths.encode(path))) from None

    def walk(
        self,
        top: AnyPath = "/",
        topdown: bool = True,
        onerror: Callable[[OSError], object] | None = None,
        followlinks: bool = False,
    ) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        """As :func:`os.walk`, names in byte order.

        A directory that has two names, or is its own ancestor, as only a hostile image can have
        it, raises :class:`~iasfs.errors.FormatError`.
        """
        return listing.walk(self, os.fspath(top), topdown, onerror, followlinks)

    def getxattr(self, path: AnyPath, attribute: AnyPath, *, follow_symlinks: bool = True) -> bytes:
        """As :func:`os.getxattr`."""
        value = self._attributes_of(path, follow_symlinks).get(paths.encode(attribute))
        if value is None:
            raise self._error(errno.ENODATA, path)
        return value

    def listxattr(self, path: AnyPath = "/", *, follow_symlinks: bool = True) -> list[str]:
        """As :func:`os.listxattr`, sorted."""
        return [paths.decode(name) for name in sorted(self._attributes_of(path, follow_symlinks))]

    def _attributes_of(self, path: AnyPath, follow_symlinks: bool) -> dict[bytes, bytes]:
        inode = self.inode(path, follow_symlinks)
        try:
            return self._attributes.of(inode)
        except FormatError as error:
            raise error.at(paths.decode(paths.encode(path))) from None

    def xattrs_of(self, inode: Inode) -> dict[bytes, bytes]:
        """All extended attributes of an inode: full names and values."""
        return self._attributes.of(inode)

    def statvfs(self, path: AnyPath = "/") -> os.statvfs_result:
        """As :func:`os.statvfs`: sizes of the image, nothing free, mounted read-only."""
        self.inode(path)
        block = self.superblock
        flags = os.ST_RDONLY
        return os.statvfs_result(
            (
                block.block_size,
                block.block_size,
                block.blocks,
                0,
                0,
                block.inos,
                0,
                0,
                flags,
                paths.NAME_MAX,
            )
        )

    def glob(
        self, pattern: str, *, recursive: bool = False, include_hidden: bool = False
    ) -> list[str]:
        """As :func:`glob.glob`, sorted and each path once.

        ``**`` crosses directories if ``recursive``; it does not follow symbolic links, unlike
        there, since they may lead round in circles.
        """
        return listing.glob(self, pattern, recursive, include_hidden)

    # --- contents -------------------------------------------------------------------------------

    def open(
        self,
        path: AnyPath,
        mode: str = "rb",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """A regular file, opened for reading.

        ``"rb"`` gives a :class:`~iasfs.read.file.File`, ``"r"`` text in UTF-8 unless ``encoding``
        says otherwise.
        """
        if mode in ("rb", "br"):
            binary = File(self.data, self._regular(path), paths.decode(paths.encode(path)), self)
            return binary  # type: ignore[return-value]
        if mode in ("r", "rt", "tr"):
            raw = File(self.data, self._regular(path), paths.decode(paths.encode(path)), self)
            buffered = io.BufferedReader(raw)
            return io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)
        if set(mode) & set("wax+"):
            raise self._error(errno.EROFS, path)
        raise ValueError(f"invalid mode: {mode!r}")

    def read_bytes(self, path: AnyPath) -> bytes:
        """All bytes of a regular file.

        That is as much memory as the file is long, which can be more than the image: a hole
        takes none of it.  Where the image is not trusted, look at ``stat(path).st_size`` first,
        or read in pieces from :meth:`open`.  That the extents are sound is checked before memory
        is taken; ``OSError`` (ENOMEM) if there is not that much.
        """
        inode = self._regular(path)
        try:
            return self.data.read(inode, 0, inode.size)
        except FormatError as error:
            raise error.at(paths.decode(paths.encode(path))) from None

    def read_text(self, path: AnyPath, encoding: str = "utf-8", errors: str = "strict") -> str:
        """All text of a regular file."""
        return self.read_bytes(path).decode(encoding, errors)

    def read_many(self, reads: Sequence[tuple[AnyPath, int, int | None]]) -> list[bytes]:
        """Many reads as one: ``(path, offset, size)`` each, ``None`` for all to the end.

        All that they need is fetched side by side, what several of them need once.  A read
        that goes beyond its file answers with the bytes there are.
        """
        plans: list[Read] = []
        at = 0
        for path, offset, size in reads:
            inode = self._regular(path)
            if offset < 0 or (size is not None and size < 0):
                raise self._error(errno.EINVAL, path)
            left = max(inode.size - offset, 0)
            size = left if size is None else min(size, left)
            plans.append(Read(inode, offset, size, at))
            at += size
        target = memoryview(allocate(at))
        try:
            self.data.read_into(plans, target)
        except FormatError as error:
            for (path, _, _), plan in zip(reads, plans):
                if plan.inode.nid == error.nid:
                    raise error.at(paths.decode(paths.encode(path))) from None
            raise
        return [bytes(target[plan.at : plan.at + plan.size]) for plan in plans]


def _reopen(blobs: list[Blob], name: str | None, metadata_size: int) -> Image:
    return Image(blobs[0], devices=blobs[1:], name=name, metadata_size=metadata_size)


def _says_absent(error: Exception) -> bool:
    """Whether an error means that there is nothing at the path, as ``os.path.exists`` takes it."""
    if isinstance(error, IasfsError):
        return False
    if isinstance(error, OSError):
        return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
    return True
