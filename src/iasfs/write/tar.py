"""A tar becomes a Tree.

Three steps, one behind the other, each knowing nothing of the next:
:mod:`~iasfs.write.tarstream` gives the uncompressed bytes, :mod:`~iasfs.write.tarreader` cuts
them into members, and what lives here puts the members into a tree.  Contents are slices of the
archive, so a tree costs some hundred bytes a member, whatever the files weigh.

What an archive means, where the formats leave it open:

* Members count in their order, as if they were extracted: a directory on a directory brings new
  metadata and keeps the children, anything else replaces what was there.  What was replaced lives
  on under the other names it may have.
* A name is relative to the root, whatever it begins with; ``..`` in it is an error.  A parent that
  is a symbolic link is followed inside the tree as containerd does when it applies a layer
  (``..`` in a target stops at the root), a missing parent is made, a parent that is a file is an
  error.  A member named ``/`` or ``./`` describes the root.
* A hard link may name a member that comes later.  One that carries data (pax) brings the file's
  content, and is a file of its own if its target is nowhere.  One to a directory is an error.
* A regular file whose name ends in a slash is a directory, as old tars wrote it.  An unknown type
  letter is a regular file, as POSIX asks.  Volume labels and Solaris' ACLs and attributes (types
  ``V``, ``A``, ``E``) are passed over; a file continued from another volume (``M``) is refused.
* The archive ends at two zero blocks, or where its bytes end at a block border behind a whole
  member (the end mark was forgotten).  Whatever lies behind two zero blocks is ignored; one zero
  block in front of other data is an error, for something may be lost there.

Whiteouts are turned into overlayfs' own in the finished tree, which is why their order does not
matter: a file that a layer brings itself is never hidden by a whiteout of the same layer.

An archive is not trusted: it costs time and memory in proportion to its own bytes, and an error
is always :class:`~iasfs.errors.FormatError`, with the member's name and the offset of its header
in the *uncompressed* archive.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import BinaryIO, Literal, get_args

from iasfs import paths
from iasfs.blob import Blob
from iasfs.errors import FormatError
from iasfs.tree import Node, Tree
from iasfs.write.tarheader import Header
from iasfs.write.tarreader import HARD_LINK, KINDS, Member, Reader
from iasfs.write.tarstream import Archive, Digest, Progress, open_archive

Whiteouts = Literal["keep", "overlay"]

_DEPTH_LIMIT = 2048
"""Components of a path, links followed: more than any path has that Linux can name."""
_LINKS_LIMIT = 40
"""Symbolic links followed on one path, as Linux counts."""


def read_tar(
    source: Blob | BinaryIO,
    *,
    whiteouts: Whiteouts = "keep",
    digest: Digest | None = None,
    max_size: int | None = None,
    name: str | None = None,
    spool_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Tree:
    """Read a tar, plain or compressed with gzip, zstd, xz or bzip2, into a tree.

    An uncompressed tar in a blob is read in place: the contents of the tree are slices of the
    blob, which must stay open as long as they are read.  Anything else is read once, front to
    back, into a temporary file in ``spool_dir`` (default: the system's) that has no name and
    goes away with the tree.

    ``whiteouts``: ``"keep"`` leaves the ``.wh.`` files of an OCI layer as they are, ``"overlay"``
    makes them character devices 0/0 and opaque directories (``trusted.overlay.opaque=y``).
    ``digest``, as made by :mod:`hashlib`, takes in every byte of the uncompressed archive, also
    those behind its end: with SHA-256 it is the layer's diffID.  ``max_size`` limits the bytes
    of the uncompressed archive.  ``name`` is what to call the archive in errors.  ``progress`` is
    called with the bytes of the source that have been read and its size, ``None`` if unknown.

    Raises :class:`~iasfs.errors.FormatError` for what is not a tar or is damaged, its ``offset``
    counting bytes of the uncompressed archive, and :class:`~iasfs.errors.StorageError` if the
    source cannot be read or the temporary file not be written.
    """
    if whiteouts not in get_args(Whiteouts):
        raise ValueError(f"whiteouts {whiteouts!r} is none of {', '.join(get_args(Whiteouts))}")
    try:
        archive = open_archive(
            source,
            digest=digest,
            max_size=max_size,
            name=name,
            spool_dir=spool_dir,
            progress=progress,
        )
        try:
            return _read(archive, whiteouts)
        except BaseException:
            archive.close()
            raise
    except FormatError as error:
        if name is not None:
            error.at(name)
        raise


def _read(archive: Archive, whiteouts: Whiteouts) -> Tree:
    builder = _Builder(skip_links=_WHITEOUT if whiteouts == "overlay" else None)
    for member in Reader(archive):
        builder.add(member)
    archive.finish()
    tree = builder.finish()
    if whiteouts == "overlay":
        convert_whiteouts(tree)
    return tree


@dataclass(slots=True, eq=False)
class _Link(Node):
    """Holds the place of a hard link whose target has not come yet."""

    member: Member = field(kw_only=True)
    found: Node | None = None


class _Builder:
    """A tree that grows member by member.

    ``skip_links``: a hard link whose own name begins so is an empty file, wherever it leads
    (AUFS made all whiteouts of a layer links to one file that the layer does not have).
    """

    def __init__(self, skip_links: bytes | None) -> None:
        self._root = Node(stat.S_IFDIR | 0o755)
        self._skip_links = skip_links
        self._directories = {b"": self._root}  # by path, as the archive writes it
        self._links: list[tuple[Node, bytes, _Link]] = []

    def add(self, member: Member) -> None:
        """Put a member in its place."""
        header = member.header
        try:
            parent, name = self._place(header.name)
            if header.kind == HARD_LINK and not self._is_skipped(name):
                self._put(parent, name, self._link(parent, name, member))
            else:
                self._put(parent, name, _node(header, member.content))
        except FormatError as error:
            raise member.fault(error) from None

    def finish(self) -> Tree:
        """The tree, when all members are in it."""
        for parent, name, link in self._links:
            if parent.children.get(name) is link:
                try:
                    parent.children[name] = self._resolve(link)
                except FormatError as error:
                    raise link.member.fault(error) from None
        return Tree(self._root)

    def _is_skipped(self, name: bytes) -> bool:
        return self._skip_links is not None and name.startswith(self._skip_links)

    def _put(self, parent: Node, name: bytes, node: Node) -> None:
        old = parent.children.get(name) if name else self._root
        if old is not None:
            is_dir = old.is_dir
            if is_dir and node.is_dir:
                old.mode, old.uid, old.gid = node.mode, node.uid, node.gid
                old.mtime_ns, old.xattrs = node.mtime_ns, node.xattrs
                return
            if not name:
                raise FormatError("a member that is not a directory stands for the root")
            if is_dir or old.is_symlink:
                self._directories = {b"": self._root}
        parent.children[name] = node

    # Paths.

    def _place(self, path: bytes) -> tuple[Node, bytes]:
        """The directory of a member, made where it is missing, and the member's name there."""
        parent, name = _split(path)
        directory = self._directory(parent, make=True)
        assert directory is not None
        return directory, name

    def _find(self, path: bytes) -> Node | None:
        """What is at ``path`` now, the last component not followed."""
        parent, name = _split(path)
        directory = self._directory(parent, make=False)
        if directory is None or not name:
            return directory
        return directory.children.get(name)

    def _directory(self, path: bytes, *, make: bool) -> Node | None:
        found = self._directories.get(path)
        if found is None:
            found = self._walk(path, make=make)
            if found is not None:
                self._directories[path] = found
        return found

    def _walk(self, path: bytes, *, make: bool) -> Node | None:
        """The directory at ``path``, symbolic links followed but never out of the root."""
        stack = [self._root]
        ahead = paths.split(path)[::-1]
        if b".." in ahead:
            raise FormatError("'..' in the name of a member")
        links, steps = 0, len(ahead)
        _check_walk(steps, links)
        while ahead:
            part = ahead.pop()
            if part == b"..":
                if len(stack) > 1:
                    stack.pop()
                continue
            node = stack[-1].children.get(part)
            if node is None:
                if not make:
                    return None
                node = stack[-1].children[part] = Node(stat.S_IFDIR | 0o755)
            if node.is_dir:
                stack.append(node)
            elif node.is_symlink:
                links += 1
                steps += node.target.count(b"/") + 1
                _check_walk(steps, links)
                if node.target.startswith(b"/"):
                    del stack[1:]
                ahead += paths.split(node.target)[::-1]
            elif make:
                raise FormatError(f"{_quote(part)} on its path is not a directory")
            else:
                return None
        return stack[-1]

    # Hard links.

    def _link(self, parent: Node, name: bytes, member: Member) -> Node:
        """The node a hard link stands for, or a place holder."""
        target = self._find(member.header.link)
        if target is None:
            target = _Link(stat.S_IFREG, member=member)
        if isinstance(target, _Link):
            self._links.append((parent, name, target))
            return target
        return _linked(member, target)

    def _resolve(self, link: _Link) -> Node:
        """The node that a chain of links ends at which came before their target."""
        chain: list[_Link] = []
        seen: set[int] = set()
        node: Node | None = link
        while isinstance(node, _Link) and node.found is None:
            if id(node) in seen:
                node = None
                break
            seen.add(id(node))
            chain.append(node)
            node = self._find(node.member.header.link)
        if isinstance(node, _Link):
            node = node.found
        if node is None:
            node = _orphan(chain[-1].member)
        for link in chain:
            link.found = _linked(link.member, node)
        return node


def _check_walk(steps: int, links: int) -> None:
    if steps > _DEPTH_LIMIT:
        raise FormatError(f"a path of more than {_DEPTH_LIMIT} components, links followed")
    if links > _LINKS_LIMIT:
        raise FormatError("too many symbolic links in a path")


def _linked(member: Member, target: Node) -> Node:
    if target.is_dir:
        raise FormatError(f"a hard link to a directory, {_quote(member.header.link)}")
    if target.is_file and member.content.size:
        target.content = member.content
    return target


def _split(path: bytes) -> tuple[bytes, bytes]:
    """The parent and the last component, which is empty for the root alone."""
    parent, _, name = path.rstrip(b"/").rpartition(b"/")
    if name in (b"", b".", b".."):
        parts = paths.split(path)
        if not parts:
            return b"", b""
        name = parts.pop()
        parent = b"/".join(parts)
        if name == b"..":
            raise FormatError("'..' in the name of a member")
    return parent, name


def _orphan(member: Member) -> Node:
    """A file made of a hard link whose target is nowhere, if it brought its data along."""
    if not member.content.size:
        raise member.fault(
            FormatError(f"a hard link to {_quote(member.header.link)}, which is not in the archive")
        )
    return _node(member.header, member.content)


def _node(header: Header, content: Blob) -> Node:
    kind = KINDS.get(header.kind, stat.S_IFREG)
    if kind == stat.S_IFREG and header.name.endswith(b"/"):
        kind = stat.S_IFDIR
    mode = kind | header.mode & 0o7777
    node = Node(mode, header.uid, header.gid, header.mtime_ns, xattrs=header.xattrs)
    if kind == stat.S_IFREG:
        node.content = content
    elif kind == stat.S_IFLNK:
        if not header.link:
            raise FormatError("a symbolic link without a target")
        node.target = header.link
    elif node.is_device:
        if not (0 <= header.major < 1 << 31 and 0 <= header.minor < 1 << 31):
            raise FormatError(f"device {header.major}:{header.minor} does not fit 31 bits")
        node.rdev = os.makedev(header.major, header.minor)
    return node


def _quote(name: bytes) -> str:
    """A name as part of a message."""
    return repr(paths.decode(name[:200]))


# Whiteouts.

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."
"""What else begins so is AUFS' own bookkeeping."""
_OVERLAY_OPAQUE = b"trusted.overlay.opaque"


def convert_whiteouts(tree: Tree) -> None:
    """Make a layer's whiteout files what overlayfs understands.

    A whiteout means the layers below.  Beside a file of that name it has nothing left to say;
    beside a directory it says that nothing of the lower one shines through.
    """
    stack = [(b"/", tree.root)]
    while stack:
        path, node = stack.pop()
        children = node.children
        for name in [name for name in children if name.startswith(_WHITEOUT)]:
            mark = children.pop(name)
            hidden = name[len(_WHITEOUT) :]
            if name == _OPAQUE:
                node.xattrs[_OVERLAY_OPAQUE] = b"y"
            elif name.startswith(_AUFS):
                continue
            elif mark.children or hidden in (b"", b".", b".."):
                raise FormatError("a whiteout that hides nothing").at(paths.decode(path + name))
            elif hidden not in children:
                children[hidden] = Node(stat.S_IFCHR, mark.uid, mark.gid, mark.mtime_ns)
            elif children[hidden].is_dir:
                children[hidden].xattrs[_OVERLAY_OPAQUE] = b"y"
        stack += [(path + name + b"/", child) for name, child in children.items() if child.is_dir]
