"""The fsspec file system ``iasfs``: the files inside one image, for whatever reads through fsspec.

::

    fsspec.open("iasfs://etc/passwd::s3://bucket/app.erofs", s3={"anon": True})
    fsspec.filesystem("iasfs", fo="s3://bucket/app.erofs", target_options={"anon": True})

Names are relative to the root of the image, without a leading slash, as in fsspec's archives.
``info`` has the keys of fsspec's local file system and describes what a symbolic link leads to;
``islink`` and ``destination`` tell that it is one.  A link that leads nowhere is listed, with
the type ``other``, like devices, FIFOs and sockets, but ``info`` does not find it.  Walking does
not go through links, so it ends.

Nothing can be written: what tries raises ``OSError`` with ``EROFS``.  A file system holds no
state but its image, so it is safe for threads and across ``fork``; it pickles by what it was
opened with, and opens it anew.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn

from fsspec import AbstractFileSystem

from iasfs.errors import FormatError, IasfsError
from iasfs.format.inode import Inode
from iasfs.paths import is_url
from iasfs.read.image import Image
from iasfs.sources import Openable, open_blob

Info = dict[str, Any]
OnError = Literal["raise", "return", "omit"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""Why a symbolic link cannot be followed, without anything being wrong with the image."""


class IasFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The files of one image.

    ``fo`` is the image: a path, a URL, a seekable binary file object, a
    :class:`~iasfs.blob.Blob` or an :class:`~iasfs.read.image.Image`.  ``target_protocol`` is
    how to reach a path that does not say so itself, and ``target_options`` are what that file
    system takes.
    """

    protocol = "iasfs"
    root_marker = ""
    # An instance would be found again by its arguments, though the image there is another now.
    cachable = False

    def __init__(
        self,
        fo: Openable | Image,
        *,
        target_protocol: str | None = None,
        target_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = _open_image(fo, target_protocol, target_options or {})
        """The image itself, with the methods of :mod:`os`."""

    @property
    def fsid(self) -> str:
        """The UUID of the image."""
        return f"iasfs_{self.image.superblock.uuid.hex()}"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        return stripped.lstrip("/") if isinstance(stripped, str) else stripped

    def _inode(self, path: str, *, follow_symlinks: bool = True) -> Inode:
        return self.image.inode(_inside(path), follow_symlinks)

    # --- what is there --------------------------------------------------------------------------

    def info(self, path: str, **kwargs: Any) -> Info:
        """What is known of a path; of a symbolic link, of what it leads to."""
        path = self._strip_protocol(path)
        inode = self._inode(path, follow_symlinks=False)
        return self._info(path, inode, self._inode(path) if inode.is_symlink else inode)

    def _info(self, path: str, inode: Inode, target: Inode) -> Info:
        """The info of a path, where ``inode`` is, and which leads to ``target``."""
        status = self.image.stat_of(target)
        info: Info = {
            "name": path,
            "size": status.st_size,
            "type": _type_of(target),
            "created": status.st_ctime,
            "islink": inode.is_symlink,
            "mode": status.st_mode,
            "uid": status.st_uid,
            "gid": status.st_gid,
            "mtime": status.st_mtime,
            "ino": status.st_ino,
            "nlink": status.st_nlink,
        }
        if inode.is_symlink:
            info["destination"] = self.image.readlink(_inside(path))
        return info

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """What is in a directory, or the file itself."""
        path = self._strip_protocol(path)
        inode = self._inode(path)
        if not inode.is_dir:
            return [self.info(path)] if detail else [path]
        if detail:
            return list(self._list(path, inode))
        return [_join(path, name) for name in self.image.listdir(_inside(path))]

    def _list(self, path: str, directory: Inode) -> Iterator[Info]:
        for entry in self.image.scandir(_inside(path)):
            name = _join(path, entry.name)
            inode = target = self.image.volume.inode(entry.inode())
            if inode.is_symlink:
                try:
                    target = self._inode(name)
                except OSError as error:
                    if isinstance(error, IasfsError) or error.errno not in _NOWHERE:
                        raise
            yield self._info(name, inode, target)

    def walk(
        self,
        path: str,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: Literal["omit", "raise"] | Callable[[OSError], object] = "omit",
        **kwargs: Any,
    ) -> Iterator[tuple[str, Any, Any]]:
        """As fsspec has it; links to directories are among the directories, but not entered.

        A directory that is its own ancestor, which only a hostile image has, raises
        :class:`~iasfs.errors.FormatError`.
        """
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        found = self._walk(
            self._strip_protocol(path), maxdepth, on_error, kwargs.get("detail", False)
        )
        return found if topdown else reversed(list(found))

    def _walk(
        self, top: str, maxdepth: int | None, on_error: Any, detail: bool
    ) -> Iterator[tuple[str, Any, Any]]:
        stack = [(top, 1, frozenset[int]())]
        while stack:
            path, depth, above = stack.pop()
            try:
                inode = self._inode(path)
                infos = self.ls(path)
            except OSError as error:
                if on_error == "raise" or isinstance(error, IasfsError):
                    raise
                if callable(on_error):
                    on_error(error)
                continue
            if inode.nid in above:
                raise FormatError("a directory inside itself", nid=inode.nid).at(_inside(path))
            if not inode.is_dir:
                dirs, files = {}, {"": infos[0]}
            else:
                dirs = {_name(info): info for info in infos if info["type"] == "directory"}
                files = {_name(info): info for info in infos if info["type"] != "directory"}
            chosen: Any = dirs if detail else list(dirs)
            yield path, chosen, files if detail else list(files)
            if maxdepth is None or depth < maxdepth:
                below = above | {inode.nid}
                stack.extend(
                    (_join(path, name), depth + 1, below)
                    for name in reversed(list(chosen))
                    if name in dirs and not dirs[name]["islink"]
                )

    def du(
        self,
        path: str,
        total: bool = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        **kwargs: Any,
    ) -> int | dict[str, int]:
        """Bytes of the files below a path, not of what they take compressed.

        In the total a file counts once, under whatever names it has.
        """
        path = self._strip_protocol(path)
        found: dict[str, Info] = self.find(path, maxdepth, withdirs, detail=True)
        if withdirs:
            found.setdefault(path, self.info(path))
        if total:
            once: dict[int, int] = {info["ino"]: info["size"] for info in found.values()}
            return sum(once.values())
        sizes: dict[str, int] = {name: info["size"] for name, info in found.items()}
        return sizes

    def exists(self, path: str, **kwargs: Any) -> bool:
        """As :func:`os.path.exists`."""
        return self.image.exists(_inside(self._strip_protocol(path)))

    def lexists(self, path: str, **kwargs: Any) -> bool:
        """As :func:`os.path.lexists`."""
        return self.image.lexists(_inside(self._strip_protocol(path)))

    def isfile(self, path: str) -> bool:
        """As :func:`os.path.isfile`."""
        return self.image.isfile(_inside(self._strip_protocol(path)))

    def isdir(self, path: str) -> bool:
        """As :func:`os.path.isdir`."""
        return self.image.isdir(_inside(self._strip_protocol(path)))

    def islink(self, path: str) -> bool:
        """As :func:`os.path.islink`."""
        return self.image.islink(_inside(self._strip_protocol(path)))

    def modified(self, path: str) -> datetime:
        """The modification time, in UTC, cut to microseconds."""
        inode = self._inode(self._strip_protocol(path))
        return _EPOCH + timedelta(seconds=inode.mtime, microseconds=inode.mtime_nsec // 1000)

    def created(self, path: str) -> datetime:
        """As :meth:`modified`: EROFS has one time."""
        return self.modified(path)

    def ukey(self, path: str) -> str:
        """What tells this file, and this version of it, from others."""
        info = self.info(path)
        facts = self.fsid, info["ino"], info["size"], info["mtime"]
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def checksum(self, path: str) -> int:
        """:meth:`ukey` as a number."""
        return int(self.ukey(path), 16)

    # --- what is in it --------------------------------------------------------------------------

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        """A :class:`~iasfs.read.file.File`, which keeps the image open."""
        return self.image.open(_inside(path), mode)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """Bytes ``start`` to ``end`` of a file; they count as in a slice."""
        return self._read(self._range(path, start, end))

    def cat(
        self, path: Any, recursive: bool = False, on_error: OnError = "raise", **kwargs: Any
    ) -> Any:
        """Whole files as one batch: their bytes by path, or the bytes alone of a single path."""
        names = self.expand_path(path, recursive=recursive)
        if not isinstance(path, list) and names == [self._strip_protocol(path)]:
            return self.cat_file(names[0], **kwargs)
        if recursive:
            names = [name for name in names if self.isfile(name)]
        starts, ends = [kwargs.get("start")] * len(names), [kwargs.get("end")] * len(names)
        answers = zip(names, self._read_batch(names, starts, ends, on_error))
        return {
            name: answer
            for name, answer in answers
            if on_error != "omit" or not isinstance(answer, Exception)
        }

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: OnError = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Bytes of many files as one batch: all that is needed is fetched side by side.

        ``starts`` and ``ends`` are numbers, or lists as long as ``paths``; they count as in a
        slice.  ``max_gap`` makes no difference: what lies near each other is merged anyway.
        """
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        starts = starts if isinstance(starts, Sequence) else [starts] * len(paths)
        ends = ends if isinstance(ends, Sequence) else [ends] * len(paths)
        if len(starts) != len(paths) or len(ends) != len(paths):
            raise ValueError("paths, starts and ends differ in length")
        return self._read_batch(paths, starts, ends, on_error)

    def _range(self, path: str, start: int | None, end: int | None) -> tuple[str, int, int]:
        """Path inside the image, offset and size of a slice of a file."""
        where = _inside(self._strip_protocol(path))
        first, last, _ = slice(start, end).indices(self.image.inode(where).size)
        return where, first, max(last - first, 0)

    def _read(self, one: tuple[str, int, int]) -> bytes:
        try:
            return self.image.read_many([one])[0]
        except IasfsError as error:
            raise error.at(one[0]) from None

    def _read_batch(
        self, paths: Sequence[str], starts: Sequence[Any], ends: Sequence[Any], on_error: OnError
    ) -> list[bytes | Exception]:
        """The bytes of each slice, or the error that it met, if errors are not raised."""
        requests = list(zip(paths, starts, ends, strict=True))
        try:
            return list(self.image.read_many([self._range(*request) for request in requests]))
        except (OSError, IasfsError):
            if on_error == "raise":
                raise
        # Something is wrong with one of them; alone, each tells for itself.
        return [self._attempt(*request) for request in requests]

    def _attempt(self, path: str, start: int | None, end: int | None) -> bytes | Exception:
        try:
            return self.cat_file(path, start, end)
        except (OSError, IasfsError) as error:
            return error

    def get(self, rpath: Any, lpath: Any, recursive: bool = False, **kwargs: Any) -> None:
        """As fsspec has it; a recursive one passes over what has no bytes: devices, dead links."""
        super().get(rpath, lpath, recursive=recursive, only_files=recursive, **kwargs)

    def get_file(
        self, rpath: str, lpath: Any = None, *args: Any, only_files: bool = False, **kwargs: Any
    ) -> None:
        """Copy one file; a directory is made, without what is in it."""
        if not only_files or self.isfile(rpath) or self.isdir(rpath):
            super().get_file(rpath, lpath, *args, **kwargs)

    # --- nothing can be written -----------------------------------------------------------------

    def _refuse(self, path: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    mkdir = makedirs = rmdir = rm = rm_file = _rm = touch = pipe_file = chmod = _refuse

    def put_file(self, lpath: Any, rpath: Any, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused."""
        self._refuse(rpath)

    def cp_file(self, path1: Any, path2: Any, **kwargs: Any) -> NoReturn:
        """Refused."""
        self._refuse(path2)


def _open_image(fo: Openable | Image, protocol: str | None, options: Mapping[str, Any]) -> Image:
    if isinstance(fo, Image):
        return fo
    if protocol is not None and isinstance(fo, (str, os.PathLike)):
        fo, options = _with_protocol(os.fspath(fo), protocol, options)
    blob = open_blob(fo, options)
    try:
        return Image(blob)
    except BaseException:
        if blob is not fo:
            blob.close()
        raise


def _with_protocol(
    path: str, protocol: str, options: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any]]:
    """A path without the protocol that it was parted from, as a URL again."""
    if is_url(path):  # a cache, say, is asked for the URL of what it caches
        return path, {**options, "protocol": protocol}
    return path if protocol in ("file", "local") else f"{protocol}://{path}", options


def _inside(path: str) -> str:
    return "/" + path


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _name(info: Info) -> str:
    name: str = info["name"]
    return name.rpartition("/")[2]


def _type_of(inode: Inode) -> str:
    if stat.S_ISDIR(inode.mode):
        return "directory"
    return "file" if stat.S_ISREG(inode.mode) else "other"
