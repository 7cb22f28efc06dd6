"""Listing: directory entries, ``walk`` and ``glob`` over an image, as :mod:`os` has them."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, AnyStr, Generic, Self

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
        inode = self._image.volume.inode(self._entry.nid)
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


def walk(
    image: Image,
    top: Any,
    topdown: bool,
    onerror: Callable[[OSError], object] | None,
    followlinks: bool,
) -> Iterator[tuple[Any, list[Any], list[Any]]]:
    """``Image.walk``.

    The stack holds directories to visit, and with ``topdown=False`` results to hand out; each
    directory carries the nids above it since the last symbolic link, among which it must not be.
    """
    stack: list[Any] = [(top, frozenset[int]())]
    while stack:
        item = stack.pop()
        if len(item) == 3:
            yield item
            continue
        path, above = item
        try:
            directory = image.inode(path)
            if directory.nid in above:
                raise FormatError("a directory inside itself", nid=directory.nid).at(
                    os.fsdecode(path)
                )
            with image.scandir(path) as entries:
                found = [(entry, _leads_to_dir(entry)) for entry in entries]
        except OSError as error:
            if onerror is not None:
                onerror(error)
            continue
        dirs = [entry.name for entry, is_dir in found if is_dir]
        links = {entry.name for entry, is_dir in found if is_dir and entry.is_symlink()}
        result = path, dirs, [entry.name for entry, is_dir in found if not is_dir]
        if topdown:
            yield result
        else:
            stack.append(result)
        below = above | {directory.nid}
        for name in reversed(dirs):
            if name not in links:
                stack.append((os.path.join(path, name), below))
            elif followlinks:
                stack.append((os.path.join(path, name), frozenset()))


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
        yield base
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


def _below(image: Image, base: str, include_hidden: bool, files_too: bool) -> Iterator[str]:
    if not image.isdir(base or "/"):
        return
    for path, dirs, files in image.walk(base or "/"):
        if not include_hidden:
            dirs[:] = [name for name in dirs if not name.startswith(".")]
        prefix = path if base else path.lstrip("/")
        for name in [*dirs, *(files if files_too else ())]:
            if include_hidden or not name.startswith("."):
                yield os.path.join(prefix, name)
