"""Listing: directory entries, ``walk`` and ``glob`` over an image, as :mod:`os` has them."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, AnyStr, Generic, NamedTuple, Self

from iasfs import paths
from iasfs.errors import FormatError, IasfsError
from iasfs.format import disk
from iasfs.format.dirent import Entry
from iasfs.format.inode import Inode, file_type

if TYPE_CHECKING:
    from iasfs.read.image import Image

_MAGIC = re.compile(r"[*?[]")


class DirEntry(Generic[AnyStr]):
    """One name in a directory, as :class:`os.DirEntry`."""

    __slots__ = ("_entry", "_image", "name", "path")

    def __init__(self, image: Image, base: AnyStr, name: AnyStr, entry: Entry) -> None:
        self._image = image
        self._entry = entry
        self.name: AnyStr = name
        self.path: AnyStr = os.path.join(base, name)

    def inode(self) -> int:
        """The nid."""
        return self._entry.nid

    def _inode(self, follow_symlinks: bool) -> Inode:
        try:
            inode = self._image.volume.inode(self._entry.nid)
        except FormatError as error:
            raise error.at(paths.decode(paths.encode(self.path))) from None
        if follow_symlinks and inode.is_symlink:
            return self._image.inode(self.path)
        return inode

    def _is(self, kind: int, follow_symlinks: bool) -> bool:
        try:
            return file_type(self._inode(follow_symlinks).mode) == kind
        except FileNotFoundError as error:
            if isinstance(error, IasfsError):  # the blob is gone, not the file
                raise
            return False

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a directory, or a link to one."""
        return self._is(disk.FT_DIR, follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a regular file, or a link to one."""
        return self._is(disk.FT_REG_FILE, follow_symlinks)

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return self._is(disk.FT_SYMLINK, False)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """As ``Image.stat``."""
        return self._image.stat_of(self._inode(follow_symlinks))

    def __fspath__(self) -> AnyStr:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"


class ScandirIterator:
    """Iterator and context manager over :class:`DirEntry`, as :func:`os.scandir` gives."""

    def __init__(self, entries: Iterator[DirEntry[Any]]) -> None:
        self._entries = entries

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> DirEntry[Any]:
        return next(self._entries)

    def close(self) -> None:
        """End the iteration."""
        self._entries = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def scandir(image: Image, directory: Inode, path: Any) -> ScandirIterator:
    """``Image.scandir`` of the directory at ``path``."""
    return ScandirIterator(
        DirEntry(image, path, paths.like(path, entry.name), entry)
        for entry in image.entries_of(directory, path)
    )


class _Visit(NamedTuple):
    """A directory that :func:`walk` is about to enter."""

    path: Any
    inode: Inode | None
    """``None`` for a symbolic link, and for a name that the caller has added."""
    seen: set[int]
    """Where the directories lie that were come to without another symbolic link."""


def walk(
    image: Image,
    top: Any,
    topdown: bool,
    onerror: Callable[[OSError], object] | None,
    followlinks: bool,
) -> Iterator[tuple[Any, list[Any], list[Any]]]:
    """``Image.walk``; the stack holds directories to visit, or with ``topdown=False`` results."""
    stack: list[Any] = [_Visit(top, None, set())]
    while stack:
        item = stack.pop()
        if not isinstance(item, _Visit):
            yield item
            continue
        path, directory, seen = item
        try:
            directory = directory or image.directory(path)
            if directory.offset in seen:
                raise FormatError("a second name of a directory", nid=directory.nid).at(
                    paths.decode(paths.encode(path))
                )
            seen.add(directory.offset)
            entries = list(scandir(image, directory, path))
        except OSError as error:
            if onerror is not None:
                onerror(error)
            continue
        below = {entry.name: entry for entry in entries if _leads_to_dir(entry)}
        dirs = list(below)
        result = path, dirs, [entry.name for entry in entries if entry.name not in below]
        if topdown:
            yield result
        else:
            stack.append(result)
        for name in reversed(dirs):
            child = os.path.join(path, name)
            entry = below.get(name)
            if entry is not None and not entry.is_symlink():
                stack.append(_Visit(child, image.volume.inode(entry.inode()), seen))
            elif entry is None or followlinks:
                stack.append(_Visit(child, None, set()))


def _leads_to_dir(entry: DirEntry[Any]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that loops, say: os.walk lists it among the files too.
        return False


def glob(image: Image, pattern: str, recursive: bool, include_hidden: bool) -> list[str]:
    """``Image.glob``: one component of the pattern after the other, on what matched so far."""
    parts = [part for part in pattern.split("/") if part]
    found = {"/" if pattern.startswith("/") else ""}
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        matched: set[str] = set()
        for base in found:
            matched.update(_expand(image, base, part, recursive, include_hidden, last))
        found = matched
    if pattern.endswith("/"):
        found = {path.rstrip("/") + "/" for path in found if image.isdir(path)}
    return sorted(found - {""}, key=paths.encode)


def _expand(
    image: Image, base: str, part: str, recursive: bool, include_hidden: bool, last: bool
) -> Iterator[str]:
    """The paths below ``base`` that one component of a pattern matches."""
    if part == "**" and recursive:
        if image.isdir(base or "/"):
            yield os.path.join(base, "") if last else base
            yield from _below(image, base, include_hidden, last)
    elif _MAGIC.search(part) is None:
        path = os.path.join(base, part)
        if image.lexists(path):
            yield path
    elif image.isdir(base or "/"):
        matches = re.compile(fnmatch.translate(part)).match
        hidden = include_hidden or part.startswith(".")
        for name in image.listdir(base or "/"):
            if matches(name) and (hidden or not name.startswith(".")):
                yield os.path.join(base, name)


def _below(image: Image, base: str, include_hidden: bool, last: bool) -> Iterator[str]:
    """All that is below ``base``, or only the directories to look on in, if more has to match."""
    for path, dirs, files in image.walk(base or "/"):
        if not include_hidden:
            dirs[:] = [name for name in dirs if not name.startswith(".")]
        prefix = path if base else path.lstrip("/")
        for name in [*dirs, *(files if last else ())]:
            child = os.path.join(prefix, name)
            if (include_hidden or not name.startswith(".")) and (last or not image.islink(child)):
                yield child
