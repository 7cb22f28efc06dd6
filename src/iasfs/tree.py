"""Tree: files in memory, before they are an image.

A scanner (a directory, a tar) or a caller's own code fills a tree; the planner reads it.  A
:class:`Node` is one inode, not one name: a hard link is the same node under a second name, and
the link count is derived, never stored.  The content of a regular file is a
:class:`~iasfs.blob.Blob`, so a tree of a 10 GB tar costs some hundred bytes a file.

The tree takes whatever it is given; :meth:`Tree.check` says whether it can be an image, and the
planner calls it, so nothing that fails there goes further.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from iasfs import paths
from iasfs.blob import Blob, BytesBlob
from iasfs.errors import WriteError

_EMPTY = BytesBlob(b"")
_TIME_LIMIT = 1 << 63
_XATTR_VALUE_MAX = 65535
_SYMLINK_HOPS_MAX = 40


@dataclass(slots=True, eq=False)
class Node:
    """One inode.

    ``mode`` holds the file type and the permission bits, as ``st_mode``; ``mtime_ns`` counts
    nanoseconds since the epoch and may be negative; ``rdev`` is a device number as made by
    :func:`os.makedev`.  ``content`` belongs to regular files, ``target`` to symbolic links,
    ``children`` to directories; the others leave them alone.
    """

    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    rdev: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    content: Blob = _EMPTY
    target: bytes = b""
    children: dict[bytes, Node] = field(default_factory=dict)

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_device(self) -> bool:
        """Whether it is a character or a block device."""
        return stat.S_ISCHR(self.mode) or stat.S_ISBLK(self.mode)

    @property
    def device(self) -> tuple[int, int]:
        """``(major, minor)`` of ``rdev``."""
        return os.major(self.rdev), os.minor(self.rdev)


class Tree:
    """Directories and files in memory, under one root directory.

    Paths are ``str`` (surrogateescape) or ``bytes``, with or without a leading ``/``; ``..`` is
    refused with ``ValueError``.
    """

    def __init__(self, root: Node | None = None) -> None:
        self.root = root if root is not None else Node(stat.S_IFDIR | 0o755)

    @staticmethod
    def _parts(path: paths.AnyPath) -> list[bytes]:
        parts = paths.split(paths.encode(path))
        if b".." in parts:
            raise ValueError(f"'..' in a path of a tree: {path!r}")
        return parts

    def get(self, path: paths.AnyPath) -> Node | None:
        """The node at ``path``, no symbolic link followed; ``None`` if there is none."""
        node = self.root
        for part in self._parts(path):
            found = node.children.get(part)
            if found is None:
                return None
            node = found
        return node

    def follow(self, path: paths.AnyPath) -> Node | None:
        """What a path leads to, symbolic links followed inside the root; ``None`` if nowhere."""
        trail = [self.root]
        left = paths.split(paths.encode(path))[::-1]
        hops = 0
        while left:
            part = left.pop()
            if part == b"..":
                del trail[max(len(trail) - 1, 1) :]
                continue
            node = trail[-1].children.get(part)
            if node is None:
                return None
            if not node.is_symlink:
                trail.append(node)
                continue
            hops += 1
            if hops > _SYMLINK_HOPS_MAX:
                return None
            if node.target.startswith(b"/"):
                del trail[1:]
            left += paths.split(node.target)[::-1]
        return trail[-1]

    def add(self, path: paths.AnyPath, node: Node) -> Node:
        """Put ``node`` at ``path`` and return it.

        A directory that is put where one is already keeps the children and takes the new
        metadata; anything else that was there is replaced.  Missing parents are made as
        directories of mode 0755, owned by root, with mtime 0.  A parent that is not a
        directory raises ``WriteError``.
        """
        parts = self._parts(path)
        if not parts:
            if not node.is_dir:
                raise WriteError("the root must be a directory").at("/")
            node.children = {**self.root.children, **node.children}
            self.root = node
            return node
        parent = self._make_parents(parts[:-1])
        old = parent.children.get(parts[-1])
        if old is not None and old is not node and old.is_dir and node.is_dir:
            node.children = {**old.children, **node.children}
        parent.children[parts[-1]] = node
        return node

    def _make_parents(self, parts: list[bytes]) -> Node:
        node = self.root
        for depth, part in enumerate(parts):
            child = node.children.get(part)
            if child is None:
                child = node.children[part] = Node(stat.S_IFDIR | 0o755)
            elif not child.is_dir:
                where = paths.decode(b"/" + b"/".join(parts[: depth + 1]))
                raise WriteError("not a directory, but a file lies below it").at(where)
            node = child
        return node

    def remove(self, path: paths.AnyPath) -> Node | None:
        """Take away what is at ``path`` and return it; ``None`` if nothing was."""
        parts = self._parts(path)
        if not parts:
            raise ValueError("the root cannot be removed")
        parent = self.get(b"/".join(parts[:-1]))
        return parent.children.pop(parts[-1], None) if parent is not None else None

    def walk(self) -> Iterator[tuple[bytes, Node]]:
        """``(path, node)`` of every name: a directory before its children, children by bytes.

        The root comes first, as ``b"/"``; a hard-linked node comes once for each name.
        """
        stack: list[tuple[bytes, Node]] = [(b"/", self.root)]
        while stack:
            path, node = stack.pop()
            yield path, node
            if node.children:
                base = path if path.endswith(b"/") else path + b"/"
                stack.extend(
                    (base + name, node.children[name])
                    for name in sorted(node.children, reverse=True)
                )

    def __len__(self) -> int:
        return sum(1 for _ in self.walk())

    def check(self) -> None:
        """Raise :class:`~iasfs.errors.WriteError`, with the path, if this cannot be an image."""
        if not self.root.is_dir:
            raise WriteError("the root must be a directory").at("/")
        seen: set[int] = set()
        for path, node in self.walk():
            if node.is_dir:
                if id(node) in seen:
                    raise WriteError("a directory has two names").at(paths.decode(path))
                seen.add(id(node))
            try:
                _check_node(node)
                for name in node.children:
                    _check_name(name)
            except WriteError as error:
                raise error.at(paths.decode(path)) from None


def _check_name(name: bytes) -> None:
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise WriteError(f"{name!r} cannot be the name of a directory entry")
    if len(name) > paths.NAME_MAX:
        raise WriteError(f"a name of {len(name)} bytes, longer than {paths.NAME_MAX}: {name!r}")


def _check_node(node: Node) -> None:
    kind = stat.S_IFMT(node.mode)
    if not 0 <= node.mode <= 0xFFFF or kind not in _KINDS:
        raise WriteError(f"mode {node.mode:#o} has no known file type")
    if node.children and not node.is_dir:
        raise WriteError("not a directory, but it has children")
    if not (0 <= node.uid < 1 << 32 and 0 <= node.gid < 1 << 32):
        raise WriteError(f"owner {node.uid}:{node.gid} does not fit 32 bits")
    if not -_TIME_LIMIT <= node.mtime_ns // 1_000_000_000 < _TIME_LIMIT:
        raise WriteError(f"mtime {node.mtime_ns} ns does not fit 64 bits of seconds")
    if node.is_symlink and (not 1 <= len(node.target) <= paths.SYMLINK_MAX or b"\0" in node.target):
        raise WriteError(
            f"a symbolic link's target has 1 to {paths.SYMLINK_MAX} bytes and no NUL,"
            f" not {node.target[:40]!r} ({len(node.target)} bytes)"
        )
    major, minor = node.device
    if node.is_device and (major >= 1 << 12 or minor >= 1 << 20):
        raise WriteError(f"device {major}:{minor} does not fit 12 and 20 bits")
    for name, value in node.xattrs.items():
        if not name or b"\0" in name or len(name) > paths.NAME_MAX:
            raise WriteError(f"{name!r} cannot be the name of an extended attribute")
        if len(value) > _XATTR_VALUE_MAX:
            raise WriteError(
                f"extended attribute {paths.decode(name)} has {len(value)} bytes,"
                f" more than {_XATTR_VALUE_MAX}"
            )


_KINDS = frozenset(
    (
        stat.S_IFREG,
        stat.S_IFDIR,
        stat.S_IFLNK,
        stat.S_IFCHR,
        stat.S_IFBLK,
        stat.S_IFIFO,
        stat.S_IFSOCK,
    )
)
