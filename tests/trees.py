"""Trees for tests, images of them in memory, and contents of any size that nobody stores."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from typing import Any

from iasfs.blob import BaseBlob, Blob, BytesBlob, SparseBlob
from iasfs.buffers import Buffer
from iasfs.making import mkfs
from iasfs.read.image import Image
from iasfs.testing import content
from iasfs.tree import Node, Tree

PROFILES: dict[str, dict[str, Any]] = {
    "zstd": {"compression": "zstd"},
    "lz4-5.4": {"compression": "lz4", "min_kernel": "5.4"},
    "lz4-5.13": {"compression": "lz4", "min_kernel": "5.13"},
    "lz4-5.15": {"compression": "lz4", "min_kernel": "5.15"},
    "lz4-6.1": {"compression": "lz4", "min_kernel": "6.1"},
    "deflate-6.6": {"compression": "deflate", "min_kernel": "6.6"},
    "none-5.4": {"compression": "none", "min_kernel": "5.4"},
    "none-6.10": {"compression": "none", "min_kernel": "6.10"},
}
"""Options of ``mkfs``: every codec, and every set of features that some kernel asks for."""

NS = 1_000_000_000
ACL = bytes.fromhex(
    "02000000"  # version; then tag, permissions, id
    "01000600ffffffff 02000400e8030000 04000400ffffffff 10000600ffffffff 20000400ffffffff"
)
"""``rw`` for the owner, ``r`` for user 1000, the group and others; mask ``rw``."""
CAPABILITY = bytes.fromhex("0100000200240000000000000000000000000000")


def file(data: Buffer | Blob = b"", mode: int = 0o644, **fields: Any) -> Node:
    blob = data if isinstance(data, Blob) else BytesBlob(data)
    return Node(stat.S_IFREG | mode, content=blob, **fields)


def directory(mode: int = 0o755, **fields: Any) -> Node:
    return Node(stat.S_IFDIR | mode, **fields)


def symlink(target: bytes, **fields: Any) -> Node:
    return Node(stat.S_IFLNK | 0o777, target=target, **fields)


def tree_of(nodes: Mapping[str | bytes, Node | Buffer | Blob]) -> Tree:
    """A tree of nodes by path; bytes or a blob stand for a file with that content."""
    tree = Tree()
    for path, node in nodes.items():
        tree.add(path, node if isinstance(node, Node) else file(node))
    return tree


def packed(tree: Tree, **options: Any) -> bytes:
    """The image of a tree."""
    target = io.BytesIO()
    mkfs(tree, target, **options)
    return target.getvalue()


def image_of(tree: Tree, **options: Any) -> Image:
    """The image of a tree, opened."""
    return Image(BytesBlob(packed(tree, **options)))


class PatternBlob(BaseBlob):
    """``size`` bytes that follow from their offset; every ``period`` bytes they differ a little."""

    def __init__(self, size: int, period: int = 1 << 16) -> None:
        self._size = size
        self._period = period
        self._filling = bytes(range(64)) * (period // 64)

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, size: int) -> bytes:
        self.check_range(offset, size)
        first, skip = divmod(offset, self._period)
        count = -(-(skip + size) // self._period)
        data = b"".join(
            (number.to_bytes(8, "little") + self._filling)[: self._period]
            for number in range(first, first + count)
        )
        return data[skip : skip + size]


SIZES = (
    *(0, 1, 31, 32, 33, 511, 512, 513, 4095, 4096, 4097, 12288, 20000),
    *(step + border for border in (1 << 15, 1 << 18, (1 << 18) + (1 << 15)) for step in (-1, 0, 1)),
    3 * (1 << 18) + 5000,
)
"""Sizes on both sides of every border: inline, block, packed, extent, and an extent and a tail."""


def local_tree() -> Tree:
    """What file systems trip over, as far as every local one can hold it."""
    tree = Tree()
    tree.root = directory(0o1755, uid=3, gid=4, mtime_ns=1_650_000_000 * NS + 7)
    for kind in ("text", "random", "mixed", "sparse"):
        for number, size in enumerate(SIZES):
            blob = content(size, kind, seed=number)
            tree.add(f"sizes/{kind}/{size}", file(blob, mtime_ns=(1 << 30) * NS + size))
    tree.add("sizes/copy", file(content(SIZES[-1], "random", seed=len(SIZES) - 1)))
    _add_names(tree)
    _add_links(tree)
    _add_metadata(tree)
    return tree


def nasty_tree() -> Tree:
    """What file systems trip over, as far as Linux shows it unchanged from an image."""
    tree = local_tree()
    tree.add("big/text", file(content((4 << 20) + 4097, "text")))
    tree.add("big/random", file(content(600_001, "random", seed=9)))
    tree.add("big/zeros", file(content(3_000_000, "zeros")))
    tree.add("big/holes", file(content(40 << 20, "sparse", seed=5)))
    for number, mtime_ns in enumerate((1, -1, -5 * NS - 1, (1 << 35) * NS, 1 << 62, -(1 << 62))):
        tree.add(f"times/{number}", file(mtime_ns=mtime_ns))
    for size in (4000, 4031, 4032, 4033, 4094, 4095):
        tree.add(f"links/{size}", symlink(b"t" * size))
    opaque = {b"trusted.overlay.opaque": b"y", b"system.posix_acl_default": ACL}
    tree.add("overlay", directory(xattrs=opaque))
    tree.add("overlay/whiteout", Node(stat.S_IFCHR))
    _add_many_xattrs(tree)
    return tree


def _add_names(tree: Tree) -> None:
    odd = [b"!", b"+", b"-", b".a", b"...", b"\x01", b"a", b"a\x01", b"aa", b"a\xff", b"\xff\xfe"]
    odd += ["名前".encode(), b"with space", b"*?[]\\", b"z" * 255, b"\xf0" * 255]
    for name in odd:
        tree.add(b"names/" + name, file(name))
    for number in range(1500):
        data = b"%d" % number if number % 2 else b""
        tree.add(f"many/{number:x}" + number % 40 * "n", file(data))
    for count in (14, 15, 16, 17):  # entries of 256 bytes: with the dots 15 of them fill a block
        for number in range(count):
            tree.add(f"full/{count}/{number:0244}", file())
    tree.add("/".join(["deep", *(str(level % 10) for level in range(70)), "leaf"]), file(b"leaf"))
    tree.add("empty", directory())


def _add_links(tree: Tree) -> None:
    for size in (1, 59, 60, 61, 200, 3000):
        tree.add(f"links/{size}", symlink(b"t" * size, mtime_ns=size * NS))
    for name, target in (("rel", b"../sizes/text/33"), ("abs", b"/sizes/text"), ("up", b"../..")):
        tree.add(f"links/{name}", symlink(target))
    for path in ("sizes/text/20000", "links/rel", "names/-"):
        node = tree.get(path)
        assert node is not None
        tree.add(f"hard/{path.replace('/', '-')}", node)
        tree.add(f"sizes/other-{path.replace('/', '-')}", node)


def _add_metadata(tree: Tree) -> None:
    for name, rdev in (("large", (4095, (1 << 20) - 1)), ("disk", (259, 300)), ("null", (1, 3))):
        tree.add(f"special/c-{name}", Node(stat.S_IFCHR | 0o640, rdev=os.makedev(*rdev)))
        tree.add(f"special/b-{name}", Node(stat.S_IFBLK | 0o601, rdev=os.makedev(*rdev)))
    fifo = tree.add("special/fifo", Node(stat.S_IFIFO | 0o600, gid=7))
    tree.add("special/other-fifo", fifo)
    tree.add("special/socket", Node(stat.S_IFSOCK | 0o777, uid=8))
    for mode in (0, 0o4755, 0o2755, 0o1777, 0o7777):
        tree.add(f"modes/file-{mode:o}", file(b"x", mode))
        tree.add(f"modes/dir-{mode:o}", directory(mode))
    tree.add("owner", file(b"x", uid=(1 << 32) - 2, gid=(1 << 32) - 2))
    shared = {b"security.selinux": b"system_u:object_r:etc_t:s0\0", b"user.common": b"c" * 100}
    for number in range(5):
        node = file(b"x" * 1000 * number, xattrs={**shared, b"user.own": b"%d" % number})
        tree.add(f"xattrs/shared-{number}", node)
    single: dict[str, dict[bytes, bytes]] = {
        "empty": {b"user.empty": b""},
        "name": {b"user." + b"n" * 250: b"255"},
        "binary": {b"user.\xff\xfe": b"\0\xff\0"},
        "capability": {b"security.capability": CAPABILITY, b"trusted.t": b"1"},
        "acl": {b"system.posix_acl_access": ACL},
    }
    for name, xattrs in single.items():
        tree.add(f"xattrs/{name}", file(name.encode(), 0o664, xattrs=xattrs))
    tree.add("xattrs/dir", directory(xattrs={b"system.posix_acl_default": ACL, b"user.d": b"1"}))
    tree.add("xattrs/link", symlink(b"x", xattrs={b"trusted.t": b"1", b"security.s": b"2"}))
    tree.add("special/xattrs", Node(stat.S_IFIFO, xattrs={b"trusted.t": b"1"}))


def _add_many_xattrs(tree: Tree) -> None:
    for number in range(2):  # more that are shared than one inode can refer to
        many = {b"user.%d" % index: b"v%d" % index for index in range(300)}
        tree.add(f"xattrs/many-{number}", file(b"x" * 20, xattrs=many))
    for size in (5000, 65280, 65535):
        value = (bytes(range(256)) * 256)[:size]
        tree.add(f"xattrs/{size}", file(b"x", xattrs={b"user.large": value}))


def put_on_disk(tree: Tree, root: str | os.PathLike[str]) -> None:
    """Make the files of a tree below ``root``, a new directory; needs root."""
    made: dict[int, bytes] = {}
    os.mkdir(root)
    nodes = [(os.fsencode(root) + path, node) for path, node in tree.walk()]
    for path, node in nodes[1:]:
        if id(node) in made:
            os.link(made[id(node)], path, follow_symlinks=False)
            continue
        made[id(node)] = path
        if node.is_dir:
            os.mkdir(path)
        elif node.is_symlink:
            os.symlink(node.target, path)
        elif node.is_file:
            _write(path, node.content)
        else:
            os.mknod(path, node.mode, node.rdev)
    for path, node in reversed(nodes):
        os.chown(path, node.uid, node.gid, follow_symlinks=False)
        if not node.is_symlink:
            os.chmod(path, stat.S_IMODE(node.mode))
        for name, value in node.xattrs.items():
            os.setxattr(path, name, value, follow_symlinks=False)
        os.utime(path, ns=(node.mtime_ns, node.mtime_ns), follow_symlinks=False)


def _write(path: bytes, content: Blob) -> None:
    """Write a file, with the holes that its content has."""
    ranges = content.ranges if isinstance(content, SparseBlob) else [(0, content.size)]
    with open(path, "wb") as target:
        for offset, size in ranges:
            target.seek(offset)
            target.write(content.read_at(offset, size))
        target.truncate(content.size)
