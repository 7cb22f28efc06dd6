"""Extract: files of an image become files of a local directory.

The walk goes depth first, without recursion.  A directory gets its metadata when it is left, so
that neither a mode without write permission nor an mtime is in the way of what goes into it.
That nothing outside the target is touched is the work of :mod:`~iasfs.read.target`.

A regular file is made, and stays open, when the walk meets it.  Contents follow a batch at a
time, so that the three verbs of reading run once for many small files; a file that is larger than
a batch is read in pieces.  Blocks of zeros are not written, so they become holes.

Some of what an image holds only root may make.  What the system refuses for want of a privilege,
and extended attributes that it does not take, are *skipped*: reported and left out.  Everything
else that goes wrong is an error.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

from iasfs import paths
from iasfs.errors import FormatError, IasfsError
from iasfs.format.dirent import Entry
from iasfs.format.inode import Inode
from iasfs.format.table import Kind
from iasfs.paths import AnyPath
from iasfs.read.data import Read
from iasfs.read.image import Image
from iasfs.read.resolve import Resolver
from iasfs.read.target import Folder, Handle, Target

OnError = Callable[[OSError | IasfsError], object]
"""Called with the error of a file that could not be extracted; raise from it to stop."""
OnSkip = Callable[[str, str], object]
"""Called with the path of a file in the image and what of it was left out."""
Progress = Callable[[int, int | None], object]
"""Called with the number of names done, and how many there are if that is known."""

BATCH_SIZE = 16 << 20
"""Bytes of file data that are in memory at once."""
BATCH_FILES = 128
"""Files that are open at once."""
_LARGE = BATCH_SIZE // 2
"""A longer file is read in pieces, by itself; so one more file always fits a batch."""
_BLOCK_SIZE = 4096
_ZEROS = bytes(_BLOCK_SIZE)
_PROGRESS_STEP = 64
_SET_ID = stat.S_ISUID | stat.S_ISGID
_NO_ID = (1 << 32) - 1
"""As an owner this says "leave it as it is" to the system, so no file can have it."""


class Extracted(NamedTuple):
    """What an extraction has made."""

    directories: int = 0
    files: int = 0
    symlinks: int = 0
    specials: int = 0
    """Devices, FIFOs and sockets."""
    links: int = 0
    """Further names of what is counted above."""
    size: int = 0
    """Bytes of the files, holes included."""
    skipped: int = 0
    """How many things were left out for want of a privilege."""
    failed: int = 0
    """How many errors ``on_error`` has heard of."""


def extract(
    image: Image,
    target: str | os.PathLike[str],
    path: AnyPath = "/",
    *,
    same_owner: bool | None = None,
    overwrite: bool = False,
    on_error: OnError | None = None,
    on_skip: OnSkip | None = None,
    progress: Progress | None = None,
) -> Extracted:
    """Write files of an image to the directory ``target``, which is made if it is missing.

    A directory at ``path`` becomes ``target``, with all that is below it; a file of another type
    is put into ``target`` under its own name.  Restored are types, modes, mtimes, extended
    attributes, hard links, holes, and owners: by root, or if ``same_owner`` says so.  A file
    whose owner is not restored keeps no setuid or setgid bit.

    What has a name that is in ``target`` already raises ``FileExistsError``; with ``overwrite``,
    directories are filled and anything else, a symbolic link too, is replaced.

    The first error ends the extraction, and what has been extracted by then stays:
    :class:`~iasfs.errors.FormatError` and :class:`~iasfs.errors.StorageError` with the path in
    the image, any other ``OSError`` with the path in ``target``.  Given ``on_error``, that is
    called instead, and the file or the rest of the directory left out.  What could not be
    restored for want of a privilege is no error: ``on_skip`` hears of it.
    """
    inode = image.inode(path)
    filled = Target(target, mode=0o700 if inode.is_dir else 0o777, overwrite=overwrite)
    if same_owner is None:
        same_owner = os.geteuid() == 0
    base = b"/".join(paths.split(paths.encode(path)))
    with _Extraction(image, filled, same_owner, on_error, on_skip, progress) as extraction:
        extraction.run(base, inode)
        return extraction.done


class _Level(NamedTuple):
    """A directory that is being filled."""

    inode: Inode | None
    """``None`` for a target that is not in the image and keeps the metadata it has."""
    entries: Iterator[Entry]


class _Place(NamedTuple):
    """A name in the target, and what it is a name of."""

    folder: Folder
    name: bytes
    """Empty for the directory itself."""
    inode: Inode


class _Pending(NamedTuple):
    """A regular file that waits for its content, which goes to ``at`` in the batch."""

    place: _Place
    fd: int
    at: int

    @property
    def read(self) -> Read:
        return Read(self.place.inode, 0, self.place.inode.size, self.at)


class _Extraction:
    """One run of :func:`extract`.

    Inodes are told apart by where they lie in the image: several nids may lead to one place.
    """

    def __init__(
        self,
        image: Image,
        target: Target,
        same_owner: bool,
        on_error: OnError | None,
        on_skip: OnSkip | None,
        progress: Progress | None,
    ) -> None:
        self.done = Extracted()
        self._image = image
        self._symlinks = Resolver(image.volume, image.data, image.directories)
        self._target = target
        self._same_owner = same_owner
        self._on_error = on_error
        self._on_skip = on_skip
        self._progress = progress
        self._base = b""
        self._levels: list[_Level] = []
        self._entered: set[int] = set()
        self._linked: dict[int, _Place | None] = {}
        """What has several names: the first of them, or ``None`` if it was skipped."""
        self._pending: dict[int, _Pending] = {}
        self._pending_size = 0
        self._buffer = bytearray(BATCH_SIZE)
        self._names = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for pending in self._pending.values():
            os.close(pending.fd)
            self._target.discard(pending.place.folder, pending.place.name)
        self._target.close()

    def run(self, base: bytes, top: Inode) -> None:
        """Extract ``top``, which is at the path ``base`` of the image."""
        if top.is_dir:
            self._base = base
            self._descend(top)
        else:
            self._base, _, name = base.rpartition(b"/")
            self._levels.append(_Level(None, iter([Entry(name, top.nid, 0)])))
        while self._levels:
            place = self._next()
            if place is None:
                self._leave()
                continue
            if self._must_flush(place):
                self._flush()
            try:
                self._take(place)
            except (OSError, IasfsError) as error:
                self._fail(error, place.folder, place.name)
        self._flush()

    def _next(self) -> _Place | None:
        """The next name in the directory, or ``None`` at its end."""
        self._names += 1
        if self._progress is not None and self._names % _PROGRESS_STEP == 0:
            self._progress(self._names, None if self._base else self._image.superblock.inos)
        while True:
            name = b""
            try:
                entry = next(self._levels[-1].entries, None)
                if entry is None:
                    return None
                name = entry.name
                _check_name(name)
                return _Place(self._target.here, name, self._image.volume.inode(entry.nid))
            except (OSError, IasfsError) as error:
                self._fail(error, self._target.here, name)

    def _must_flush(self, place: _Place) -> bool:
        if len(self._pending) == BATCH_FILES or self._pending_size > _LARGE:
            return True
        # A file gets a second name when it is complete: if it cannot be had, it has none.
        return place.inode.offset in self._pending

    # --- directories ----------------------------------------------------------------------------

    def _take(self, place: _Place) -> None:
        """Extract one name."""
        if place.inode.is_dir:
            self._enter(place)
        elif not self._link(place):
            self._make(place)

    def _enter(self, place: _Place) -> None:
        if place.inode.offset in self._entered:
            # To go in again would have no end, or one that comes too late.
            raise FormatError("a directory has two names", nid=place.inode.nid)
        self._target.enter(place.name)
        self._descend(place.inode)

    def _descend(self, directory: Inode) -> None:
        self._entered.add(directory.offset)
        entries = self._image.directories.entries(directory)
        below = (entry for entry in entries if entry.name not in (b".", b".."))
        self._levels.append(_Level(directory, below))

    def _leave(self) -> None:
        """Go up, and restore the metadata of the directory that is left."""
        folder = self._target.here
        inode = self._levels.pop().inode
        fd = self._target.leave()
        try:
            if inode is not None:
                self._restore(Handle(fd), _Place(folder, b"", inode))
                self._count(directories=1)
        except (OSError, IasfsError) as error:
            self._fail(error, folder)
        finally:
            os.close(fd)

    # --- files of every type --------------------------------------------------------------------

    def _link(self, place: _Place) -> bool:
        """Give what was made before one more name; whether there was such a thing."""
        if place.inode.offset not in self._linked:
            return False
        first = self._linked[place.inode.offset]
        if first is None:
            self._skip(place, "one more name of what was left out")
            return True
        try:
            self._target.link(first.folder, first.name, place.name)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            return False  # this file system wants another copy for more names
        self._count(links=1)
        return True

    def _make(self, place: _Place) -> None:
        inode, name = place.inode, place.name
        if inode.is_file:
            self._make_file(place)
        elif inode.is_symlink:
            handle = self._target.symlink(name, self._symlinks.target(inode))
            with self._completing(place):
                self._restore(handle, place)
            self._count(symlinks=1)
        else:
            mode = stat.S_IFMT(inode.mode) | stat.S_IRUSR | stat.S_IWUSR
            try:
                handle = self._target.mknod(name, mode, os.makedev(*inode.device))
            except PermissionError as error:
                if error.errno != errno.EPERM:
                    raise
                if inode.nlink > 1:
                    self._linked[inode.offset] = None
                self._skip(place, f"a device, FIFO or socket: {error.strerror}")
                return
            with self._completing(place):
                self._restore(handle, place)
            self._count(specials=1)

    @contextmanager
    def _completing(self, place: _Place) -> Iterator[None]:
        """What was made there vanishes if the block fails; else its further names are links."""
        try:
            yield
        except BaseException:
            self._target.discard(place.folder, place.name)
            raise
        if place.inode.nlink > 1:
            self._linked[place.inode.offset] = place

    # --- contents -------------------------------------------------------------------------------

    def _make_file(self, place: _Place) -> None:
        pending = _Pending(place, self._target.create(place.name), self._pending_size)
        if place.inode.size > _LARGE:
            self._complete(pending, self._fill_in_pieces)
        else:
            self._pending[place.inode.offset] = pending
            self._pending_size += place.inode.size

    def _flush(self) -> None:
        """Read and write the contents of the files that wait for theirs."""
        fill = self._fill
        try:
            reads = [pending.read for pending in self._pending.values()]
            self._image.data.read_into(reads, memoryview(self._buffer))
        except (OSError, IasfsError):
            fill = self._fill_alone  # to know which it is
        for pending in list(self._pending.values()):
            place = pending.place
            del self._pending[place.inode.offset]
            try:
                self._complete(pending, fill)
            except (OSError, IasfsError) as error:
                self._fail(error, place.folder, place.name)
        self._pending_size = 0

    def _complete(self, pending: _Pending, fill: Callable[[_Pending], None]) -> None:
        """Give a file its content and its metadata."""
        place, fd, _ = pending
        try:
            with self._completing(place):
                fill(pending)
                os.truncate(fd, place.inode.size)  # for what ends with a hole
                self._restore(Handle(fd), place)
        finally:
            os.close(fd)
        self._count(files=1, size=place.inode.size)

    def _fill(self, pending: _Pending) -> None:
        """Write what the batch has read."""
        _write(pending.fd, self._buffer, pending.at, pending.place.inode.size, 0)

    def _fill_alone(self, pending: _Pending) -> None:
        self._image.data.read_into([pending.read], memoryview(self._buffer))
        self._fill(pending)

    def _fill_in_pieces(self, pending: _Pending) -> None:
        """Read and write what lies between the holes of a large file."""
        view = memoryview(self._buffer)
        for start, end in self._data_runs(pending.place.inode):
            for offset in range(start, end, BATCH_SIZE):
                size = min(BATCH_SIZE, end - offset)
                self._image.data.read_into([Read(pending.place.inode, offset, size, 0)], view)
                _write(pending.fd, self._buffer, 0, size, offset)

    def _data_runs(self, inode: Inode) -> Iterator[tuple[int, int]]:
        """``(start, end)`` of the parts of a file between its holes."""
        start = end = 0
        for extent in self._image.volume.extents(inode):
            if extent.kind == Kind.HOLE:
                if end > start:
                    yield start, end
                start = extent.logical + extent.size
            end = extent.logical + extent.size
        if end > start:
            yield start, end

    # --- metadata -------------------------------------------------------------------------------

    def _restore(self, handle: Handle, place: _Place) -> None:
        """Set everything but the content.

        The order matters: a new owner clears setuid bits and capabilities, and a mode may forbid
        to set attributes.
        """
        inode = place.inode
        if self._same_owner:
            if _NO_ID in (inode.uid, inode.gid):
                self._skip(place, f"the owner {inode.uid}:{inode.gid}, which no file can have")
            else:
                handle.chown(inode.uid, inode.gid)
        for name, value in self._image.xattrs_of(inode).items():
            try:
                handle.setxattr(name, value)
            except OSError as error:
                self._skip(place, f"the attribute {paths.decode(name)}: {error.strerror}")
        if not inode.is_symlink:
            mode = stat.S_IMODE(inode.mode)
            if mode & _SET_ID and handle.owner() != (inode.uid, inode.gid):
                mode &= ~_SET_ID
                self._skip(place, "setuid and setgid, since the owner is another")
            handle.chmod(mode)
        handle.utime(inode.mtime * 1_000_000_000 + inode.mtime_nsec)

    # --- reports --------------------------------------------------------------------------------

    def _count(self, **counts: int) -> None:
        self.done = self.done._replace(
            **{name: getattr(self.done, name) + count for name, count in counts.items()}
        )

    def _image_path(self, folder: Folder, name: bytes) -> str:
        parts = self._base, folder.path(), name
        return "/" + paths.decode(b"/".join(part for part in parts if part))

    def _skip(self, place: _Place, what: str) -> None:
        self._count(skipped=1)
        if self._on_skip is not None:
            self._on_skip(self._image_path(place.folder, place.name), what)

    def _fail(self, error: OSError | IasfsError, folder: Folder, name: bytes = b"") -> None:
        """Say where the error is; raise it, unless somebody listens."""
        if isinstance(error, IasfsError):
            error.at(self._image_path(folder, name))
        else:
            error = self._target.placed(error, folder, *([name] if name else []))
        if self._on_error is None:
            raise error
        self._count(failed=1)
        self._on_error(error)


def _check_name(name: bytes) -> None:
    # The reader has seen to it already; this is where it would hurt.
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise FormatError(f"{name!r} cannot be the name of a file")


def _write(fd: int, buffer: bytearray, at: int, size: int, offset: int) -> None:
    """Write ``size`` bytes of a buffer to ``offset`` of a file, but no blocks of zeros."""
    view = memoryview(buffer)
    start, end = at, at + size
    for block in range(at, end, _BLOCK_SIZE):
        stop = min(block + _BLOCK_SIZE, end)
        if buffer[block:stop] == _ZEROS[: stop - block]:
            _write_all(fd, view[start:block], offset + start - at)
            start = stop
    _write_all(fd, view[start:end], offset + start - at)


def _write_all(fd: int, data: memoryview, offset: int) -> None:
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done
