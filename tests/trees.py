"""Trees for tests, images of them in memory, and contents of any size that nobody stores."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from typing import Any

from iasfs.blob import BaseBlob, Blob, BytesBlob
from iasfs.buffers import Buffer
from iasfs.read.image import Image
from iasfs.testing import content
from iasfs.tree import Node, Tree
from iasfs.write.writer import mkfs

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


def nasty_tree() -> Tree:
    """What file systems trip over, as far as Linux itself shows it unchanged."""
    tree = Tree()
    tree.root = directory(0o1755, uid=3, gid=4, mtime_ns=1_650_000_000 * NS + 7)
    for kind in ("text", "random", "mixed", "sparse"):
        for number, size in enumerate(SIZES):
            blob = content(size, kind, seed=number)
            tree.add(f"sizes/{kind}/{size}", file(blob, mtime_ns=number * NS + size))
    _add_big_files(tree)
    _add_names(tree)
    _add_links(tree)
    _add_metadata(tree)
    return tree


def _add_big_files(tree: Tree) -> None:
    tree.add("big/text", file(content((4 << 20) + 4097, "text")))
    tree.add("big/random", file(content(600_001, "random", seed=9)))
    tree.add("big/zeros", file(content(3_000_000, "zeros")))
    tree.add("big/holes", file(content(40 << 20, "sparse", seed=5)))
    tree.add("big/copy", file(content(600_001, "random", seed=9)))


def _add_names(tree: Tree) -> None:
    odd = [b"!", b"+", b"-", b".a", b"...", b"\x01", b"a", b"a\x01", b"aa", b"a\xff", b"\xff\xfe"]
    odd += ["名前".encode(), b"with space", b"*?[]\\", b"z" * 255, b"\xf0" * 255]
    for name in odd:
        tree.add(b"names/" + name, file(name))
    for number in range(3000):
        tree.add(f"many/{number:x}" + number % 40 * "n", file(b"%d" % number if number % 2 else b""))
    for count in (1, 14, 15, 16, 17):  # entries of 12 + 244 bytes: 15 of them and the dots fill 3,867
        for number in range(count):
            tree.add(f"full/{count}/{number:0244}", file())
    tree.add("/".join(["deep", *(str(level % 10) for level in range(60)), "leaf"]), file(b"leaf"))
    tree.add("empty", directory())


def _add_links(tree: Tree) -> None:
    for size in (1, 100, 3000, 4000, 4031, 4032, 4033, 4094, 4095):
        tree.add(f"links/{size}", symlink(b"t" * size, mtime_ns=size))
    for name, target in {"rel": b"../sizes/text/33", "abs": b"/big/text", "up": b"../../.."}.items():
        tree.add(f"links/{name}", symlink(target))
    for path in ("sizes/text/20000", "links/rel", "special/fifo", "special/block"):
        if path.startswith("special"):
            continue
        node = tree.get(path)
        assert node is not None
        tree.add(f"hard/{path.replace('/', '-')}", node)
        tree.add(f"sizes/other-{path.replace('/', '-')}", node)


def _add_metadata(tree: Tree) -> None:
    for name, rdev in {"zero": (0, 0), "large": (4095, (1 << 20) - 1), "disk": (259, 300)}.items():
        tree.add(f"special/c-{name}", Node(stat.S_IFCHR | 0o640, rdev=os.makedev(*rdev)))
        tree.add(f"special/b-{name}", Node(stat.S_IFBLK | 0o601, rdev=os.makedev(*rdev)))
    fifo = tree.add("special/fifo", Node(stat.S_IFIFO | 0o600, gid=7))
    tree.add("special/socket", Node(stat.S_IFSOCK | 0o777, uid=8))
    tree.add("special/other-fifo", fifo)
    for mode in (0, 0o4755, 0o2755, 0o1777, 0o7777):
        tree.add(f"modes/file-{mode:o}", file(b"x", mode))
        tree.add(f"modes/dir-{mode:o}", directory(mode))
    for number, mtime_ns in enumerate((0, 1, -1, -5 * NS - 1, (1 << 32) * NS, 1 << 62, -(1 << 62))):
        tree.add(f"times/{number}", file(b"", mtime_ns=mtime_ns))
    tree.add("owner", file(b"x", uid=(1 << 32) - 2, gid=(1 << 32) - 2))
    _add_xattrs(tree)


def _add_xattrs(tree: Tree) -> None:
    shared = {b"security.selinux": b"system_u:object_r:etc_t:s0\0", b"user.common": b"c" * 100}
    for number in range(5):
        node = file(b"x" * 1000 * number, xattrs={**shared, b"user.own": b"%d" % number})
        tree.add(f"xattrs/shared-{number}", node)
    for number in range(2):  # more shared ones than one inode can refer to
        many = {b"user.%d" % index: b"v%d" % index for index in range(300)}
        tree.add(f"xattrs/many-{number}", file(b"x" * 20, xattrs=many))
    single: dict[str, dict[bytes, bytes]] = {
        "empty": {b"user.empty": b""},
        "large": {b"user.large": bytes(range(256)) * 255},
        "largest": {b"user.largest": b"l" * 65535},
        "name": {b"user." + b"n" * 250: b"255"},
        "binary": {b"user.\xff\xfe": b"\0\xff\0"},
        "capability": {b"security.capability": CAPABILITY, b"trusted.overlay.redirect": b"/x"},
        "acl": {b"system.posix_acl_access": ACL},
    }
    for name, xattrs in single.items():
        mode = 0o664 if name == "acl" else 0o644
        tree.add(f"xattrs/{name}", file(b"x" * len(name), mode, xattrs=xattrs))
    opaque = {b"trusted.overlay.opaque": b"y", b"system.posix_acl_default": ACL}
    tree.add("xattrs/dir", directory(xattrs=opaque))
    tree.add("xattrs/link", symlink(b"x", xattrs={b"trusted.t": b"1", b"security.s": b"2"}))
    tree.add("special/xattrs", Node(stat.S_IFCHR, xattrs={b"trusted.t": b"1"}))
