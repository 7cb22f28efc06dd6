"""Resolve: from a path to an inode, symbolic links followed inside the image's root.

The short way walks the whole path in one call of :mod:`iasfs.format.lookup`, over the metadata
that is in memory; each symbolic link on the way costs one more call.  Whatever that walk does
not know (bytes elsewhere, a compressed directory, an image that lies) is left to the long way,
which takes one component after the other, reads what it needs and raises the error that fits.
"""

from __future__ import annotations

import errno
import os

from iasfs import paths
from iasfs.errors import FormatError
from iasfs.format import disk, lookup
from iasfs.format.inode import Inode
from iasfs.format.lookup import Status
from iasfs.read.data import Data
from iasfs.read.directory import Directories
from iasfs.read.volume import Volume

SYMLINK_HOPS_MAX = 40
"""Symbolic links followed in one lookup, as Linux has it."""


class Resolver:
    """Looks paths up in one volume."""

    def __init__(self, volume: Volume, data: Data, directories: Directories) -> None:
        self._volume = volume
        self._data = data
        self._directories = directories
        self._root = volume.inode(volume.superblock.root_nid)
        block = volume.superblock
        # With extra devices an address may lead elsewhere than into the metadata at hand.
        front = volume.metadata.front if len(volume.blobs) == 1 else b""
        self._zone = front, block.blkszbits, block.meta_blkaddr, block.root_nid

    def inode(self, path: bytes, follow_symlinks: bool) -> Inode:
        """The inode at a path that is not empty.

        ``OSError`` without a file name: ENOENT, ENOTDIR, ELOOP or ENAMETOOLONG.
        """
        rest = path
        for _ in range(SYMLINK_HOPS_MAX + 1):
            status, nid, kind, consumed = lookup.resolve(*self._zone, rest)
            if status == Status.OUTSIDE:
                return self._long_way(path, follow_symlinks)
            if status == Status.ABSENT:
                raise _error(errno.ENOENT)
            if status == Status.NOTDIR:
                raise _error(errno.ENOTDIR)
            if kind != disk.FT_SYMLINK or (status == Status.FOUND and not follow_symlinks):
                return self._volume.inode(nid)
            target = self.target(self._volume.inode(nid))
            if not target.startswith(b"/"):
                target = rest[:consumed].rpartition(b"/")[0] + b"/" + target
            rest = target + rest[consumed:]
        raise _error(errno.ELOOP)

    def _long_way(self, path: bytes, follow_symlinks: bool) -> Inode:
        trail = [self._root]
        left = paths.split(path)[::-1]
        must_be_dir = path.endswith((b"/", b"/."))
        hops = 0
        while left:
            part = left.pop()
            if not trail[-1].is_dir:
                raise _error(errno.ENOTDIR)
            if part == b"..":
                if len(trail) > 1:
                    trail.pop()
                continue
            if len(part) > paths.NAME_MAX:
                raise _error(errno.ENAMETOOLONG)
            entry = self._directories.find(trail[-1], part)
            if entry is None:
                raise _error(errno.ENOENT)
            inode = self._volume.inode(entry.nid)
            if inode.is_symlink and (left or follow_symlinks or must_be_dir):
                hops += 1
                if hops > SYMLINK_HOPS_MAX:
                    raise _error(errno.ELOOP)
                target = self.target(inode)
                must_be_dir = must_be_dir or (not left and target.endswith((b"/", b"/.")))
                if target.startswith(b"/"):
                    del trail[1:]
                left += paths.split(target)[::-1]
            else:
                trail.append(inode)
        if must_be_dir and not trail[-1].is_dir:
            raise _error(errno.ENOTDIR)
        return trail[-1]

    def target(self, link: Inode) -> bytes:
        """What a symbolic link holds."""
        if not 1 <= link.size <= paths.SYMLINK_MAX:
            raise FormatError(f"a symbolic link of {link.size} bytes", nid=link.nid)
        target = self._data.read(link, 0, link.size)
        if b"\0" in target:
            raise FormatError("a symbolic link with a NUL", nid=link.nid)
        return target


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
