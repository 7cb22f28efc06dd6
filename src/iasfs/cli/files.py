"""Files of an image as the commands show them: found, listed, described."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from iasfs import paths
from iasfs.cli.output import text_members
from iasfs.errors import FormatError

if TYPE_CHECKING:
    from iasfs.format.inode import Inode
    from iasfs.read.image import Image

_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


class File:
    """A name in an image; what it is a name of is looked at when that is wanted."""

    def __init__(self, image: Image, path: bytes, nid: int) -> None:
        self.image = image
        self.path = path
        """From the root, without a superfluous slash."""
        self.nid = nid

    @property
    def name(self) -> bytes:
        """The last part of the path; the root is ``/``."""
        return self.path.rpartition(b"/")[2] or b"/"

    @cached_property
    def inode(self) -> Inode:
        try:
            return self.image.volume.inode(self.nid)
        except FormatError as error:
            raise error.at(paths.decode(self.path)) from None

    @property
    def target(self) -> bytes | None:
        """What it points to, if it is a symbolic link."""
        if not self.inode.is_symlink:
            return None
        target: bytes = self.image.readlink(self.path)
        return target

    @property
    def type_name(self) -> str:
        return _TYPES[stat.S_IFMT(self.inode.mode)]

    def record(self) -> dict[str, Any]:
        """What JSON says of it."""
        inode = self.inode
        record: dict[str, Any] = {
            **text_members("path", self.path),
            "type": self.type_name,
            "mode": inode.mode,
            "nlink": inode.nlink,
            "uid": inode.uid,
            "gid": inode.gid,
            "size": inode.size,
            "mtime_ns": inode.mtime * 1_000_000_000 + inode.mtime_nsec,
            "nid": inode.nid,
        }
        target = self.target
        if target is not None:
            record.update(text_members("target", target))
        if self.type_name in ("character", "block"):
            record["rdev"] = list(inode.device)
        return record

    def xattrs(self) -> dict[bytes, bytes]:
        """Its extended attributes."""
        try:
            return self.image.xattrs_of(self.inode)
        except FormatError as error:
            raise error.at(paths.decode(self.path)) from None

    def xattr_records(self) -> list[dict[str, str]]:
        """What JSON says of them."""
        return [
            {**text_members("name", name), "value_base64": base64.b64encode(value).decode()}
            for name, value in sorted(self.xattrs().items())
        ]


def find(image: Image, path: str, follow_symlinks: bool = True) -> File:
    """The file at a path as it stands on the command line."""
    raw = os.fsencode(path)
    inode = image.inode(raw, follow_symlinks)
    return File(image, b"/" + b"/".join(paths.split(raw)), inode.nid)


class Walk:
    """Lists directories, but none of them twice: those of a hostile image may form a ring."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def enter(self, directory: File) -> Iterator[File]:
        """What is in a directory, in byte order of the names."""
        inode = directory.inode
        if inode.offset in self._seen:
            error = FormatError("a directory has two names", nid=inode.nid)
            raise error.at(paths.decode(directory.path))
        self._seen.add(inode.offset)
        base = directory.path.rstrip(b"/") + b"/"
        for entry in directory.image.entries_of(inode, directory.path):
            yield File(directory.image, base + entry.name, entry.nid)


def time_text(inode: Inode, fraction: bool = False) -> str:
    """The mtime in UTC; where the calendar ends, ``@`` and the seconds since 1970."""
    nanoseconds = f".{inode.mtime_nsec:09d}" if fraction else ""
    try:
        moment = datetime(1970, 1, 1) + timedelta(seconds=inode.mtime)
    except OverflowError:
        return f"@{inode.mtime}{nanoseconds}"
    return f"{moment:%Y-%m-%d %H:%M:%S}{nanoseconds}"
