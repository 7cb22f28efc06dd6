"""For tests, ours and those of plug-in authors: doubles of a blob, and random trees.

The doubles stand between an image and the blob it reads from.  :class:`RecordingBlob` counts,
:class:`SlowBlob` is as far away as a store, :class:`FaultyBlob` fails on command.  They hold no
lock (a list that grows and an iterator that advances are atomic steps), so they may be read by
many threads and across ``fork``.

:func:`trees` is a hypothesis strategy: trees of few files that have, in all their combinations,
what has hurt file systems before.  hypothesis is imported when a strategy is asked for.
"""

from __future__ import annotations

import os
import random
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from iasfs.blob import BaseBlob, Blob, BytesBlob, SparseBlob, coalesce
from iasfs.buffers import Buffer, Range
from iasfs.paths import NAME_MAX, SYMLINK_MAX
from iasfs.tree import Node, Tree
from iasfs.write.profile import BLOCK_SIZE, EXTENT_SIZE, PACK_LIMIT

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

# --- doubles of a blob ---------------------------------------------------------------------------


class RecordingBlob(BaseBlob):
    """Notes what is read from another blob.

    A *call* is one ``read_at`` or ``read_many``: a round trip, since a store answers the ranges
    of one call side by side.  A *request* is what ranges of one call are merged into, by the
    other blob's ``merge_gap`` and ``merge_limit`` unless they are given here.
    """

    def __init__(
        self, blob: Blob, *, merge_gap: int | None = None, merge_limit: int | None = None
    ) -> None:
        self.blob = blob
        self.name = getattr(blob, "name", None)
        self.merge_gap = getattr(blob, "merge_gap", 0) if merge_gap is None else merge_gap
        if merge_limit is None:
            merge_limit = getattr(blob, "merge_limit", BaseBlob.merge_limit)
        self.merge_limit = merge_limit
        self.calls: list[tuple[Range, ...]] = []
        """The ranges of each call, in the order the calls came."""

    @property
    def size(self) -> int:
        return self.blob.size

    @property
    def ranges(self) -> list[Range]:
        """All ranges that were asked for."""
        return [one for call in self.calls for one in call]

    @property
    def requests(self) -> list[Range]:
        """What the ranges of each call were merged into."""
        return [
            request
            for call in self.calls
            for request, _ in coalesce(call, gap=self.merge_gap, limit=self.merge_limit)
        ]

    @property
    def bytes_read(self) -> int:
        """Bytes of all requests."""
        return sum(size for _, size in self.requests)

    def clear(self) -> None:
        """Forget what has been read so far."""
        self.calls.clear()

    def read_at(self, offset: int, size: int) -> Buffer:
        self.calls.append(((offset, size),))
        return self.blob.read_at(offset, size)

    def read_many(self, ranges: Sequence[Range]) -> list[Buffer]:
        if ranges:
            self.calls.append(tuple(ranges))
        return self.blob.read_many(ranges)

    def close(self) -> None:
        self.blob.close()


class SlowBlob(BaseBlob):
    """Another blob, far away: each call waits ``latency`` seconds and for its bytes to arrive.

    ``bandwidth`` counts bytes a second; left out, the bytes take no time.
    """

    def __init__(self, blob: Blob, *, latency: float = 0.02, bandwidth: float | None = None):
        self.blob = blob
        self.name = getattr(blob, "name", None)
        self.latency = latency
        self.bandwidth = bandwidth

    @property
    def size(self) -> int:
        return self.blob.size

    def read_at(self, offset: int, size: int) -> Buffer:
        self._wait(size)
        return self.blob.read_at(offset, size)

    def read_many(self, ranges: Sequence[Range]) -> list[Buffer]:
        if ranges:
            self._wait(sum(size for _, size in ranges))
        return self.blob.read_many(ranges)

    def _wait(self, size: int) -> None:
        time.sleep(self.latency + (size / self.bandwidth if self.bandwidth else 0))

    def close(self) -> None:
        self.blob.close()


Fault = Literal["none", "short", "long", "flip"] | BaseException
"""What becomes of a range: right, a byte short, a byte too long, a bit changed, or an error."""


class FaultyBlob(BaseBlob):
    """Another blob that breaks its promises: range after range meets the next of ``faults``.

    When they are used up everything is right again.
    """

    def __init__(self, blob: Blob, faults: Iterable[Fault]) -> None:
        self.blob = blob
        self.name = getattr(blob, "name", None)
        self._faults: Iterator[Fault] = iter(list(faults))

    @property
    def size(self) -> int:
        return self.blob.size

    def read_at(self, offset: int, size: int) -> Buffer:
        fault = next(self._faults, "none")
        if isinstance(fault, BaseException):
            raise fault
        data = bytearray(self.blob.read_at(offset, size))
        if fault == "short":
            del data[-1:]
        elif fault == "long":
            data += b"\0"
        elif fault == "flip" and data:
            data[len(data) // 2] ^= 0x10
        return bytes(data)

    def read_many(self, ranges: Sequence[Range]) -> list[Buffer]:
        return [self.read_at(offset, size) for offset, size in ranges]

    def close(self) -> None:
        self.blob.close()


# --- random trees --------------------------------------------------------------------------------

ContentKind = Literal["zeros", "text", "random", "mixed", "sparse"]
_ODD_NAMES = (
    b" ",
    b"...",
    b"-rf",
    b"a\nb",
    b"*?[]\\",
    b".wh.name",
    "é".encode(),
    "e\u0301".encode(),
    "名前".encode(),
    b"\xff\xfe",
    b"caf\xe9",
    b"\x01",
    b"x" * NAME_MAX,
    b"\xf0" * NAME_MAX,
    b"y" * (NAME_MAX - 1),
)
_CAPABILITY = bytes.fromhex("0100000200240000000000000000000000000000")
"""``security.capability``: version 2, ``cap_net_raw`` and ``cap_net_admin``, effective."""
_ACL = bytes.fromhex("0200000001000600ffffffff02000400e803000004000400ffffffff") + bytes.fromhex(
    "10000600ffffffff20000400ffffffff"
)
"""A POSIX ACL, version 2: owner rw, user 1000 r, group r, mask rw, others r."""
_XATTRS = (
    (b"user.a", b""),
    (b"user.a", b"1"),
    (b"user.mime_type", b"text/plain"),
    (b"user.\xff\xfe", b"\0\xff\0"),
    (b"user." + b"n" * 250, b"name of 255 bytes"),
    (b"user.large", b"v" * 5000),
    (b"trusted.overlay.opaque", b"y"),
    (b"trusted.overlay.redirect", b"/usr/lib"),
    (b"security.capability", _CAPABILITY),
    (b"security.selinux", b"system_u:object_r:etc_t:s0\0"),
    (b"system.posix_acl_access", _ACL),
    (b"system.posix_acl_default", _ACL),
)
_TIMES = (0, 1, -1, 999_999_999, -1_000_000_001, 1 << 31, 1_700_000_000_123_456_789)
_SECONDS_MAX = (1 << 63) - 1

_Entry = tuple[int, bytes, Node | int]
"""A parent among the directories so far, a name, and a node, or a file so far to link to."""


def trees(
    *,
    max_files: int = 12,
    max_size: int = 3 * EXTENT_SIZE,
    extent_size: int = EXTENT_SIZE,
    pack_limit: int = PACK_LIMIT,
) -> SearchStrategy[Tree]:
    """Random trees that can be images: all file types, links, attributes, odd names and sizes.

    At most ``max_files`` names besides the root, but for a directory of some hundred files now
    and then; no file longer than ``max_size`` bytes.  Sizes lie around the borders of blocks, of
    ``extent_size`` and of ``pack_limit``, which a test sets as it does for ``mkfs``.
    """
    from hypothesis import strategies as st

    regular = files(max_size, extent_size=extent_size, pack_limit=pack_limit)
    folder = _nodes(stat.S_IFDIR)
    symlink = _nodes(stat.S_IFLNK, target=_targets())
    hard_link = st.integers(0, max_files)
    # The special ones are four; the others are named again to come as often.
    node = st.one_of(*[regular] * 5, folder, folder, symlink, hard_link, hard_link, _specials())
    entry = st.tuples(st.integers(0, max_files), names(), node)
    return st.builds(
        _assemble,
        root=_nodes(stat.S_IFDIR),
        entries=st.lists(entry, max_size=max_files),
        crowd=st.sampled_from((0, 0, 0, 0, 150, 400)),
    )


def names() -> SearchStrategy[bytes]:
    """Names of directory entries, also such as nobody would choose."""
    from hypothesis import strategies as st

    return st.one_of(
        st.sampled_from(_ODD_NAMES),
        st.text("abAB01._-", min_size=1, max_size=8).map(str.encode),
        st.binary(min_size=1, max_size=NAME_MAX),
    ).filter(lambda name: name not in (b".", b"..") and not set(name) & set(b"/\0"))


def files(
    max_size: int, *, extent_size: int = EXTENT_SIZE, pack_limit: int = PACK_LIMIT
) -> SearchStrategy[Node]:
    """Regular files of up to ``max_size`` bytes, with sizes around every border."""
    from hypothesis import strategies as st

    borders = (0, 32, 512, BLOCK_SIZE, pack_limit, extent_size, extent_size + pack_limit)
    around = {border + step for border in (*borders, 2 * extent_size) for step in (-1, 0, 1)}
    sizes = st.one_of(
        st.sampled_from(sorted(size for size in around if 0 <= size <= max_size)),
        st.integers(0, min(3 * BLOCK_SIZE, max_size)),
        st.integers(0, max_size),
    )
    kinds = st.sampled_from(("zeros", "text", "random", "mixed", "sparse"))
    return _nodes(stat.S_IFREG, content=st.builds(content, sizes, kinds, st.integers(0, 3)))


def content(size: int, kind: ContentKind, seed: int = 0) -> Blob:
    """``size`` bytes that shrink well, not at all or in parts; the same for the same arguments."""
    if kind == "zeros":
        return BytesBlob(bytes(size))
    generator = random.Random(seed)
    if kind == "random":
        return BytesBlob(generator.randbytes(size))
    if kind == "mixed":
        head = generator.randbytes(min(size, generator.randrange(size + 1)))
        return BytesBlob(head + bytes(size - len(head)))
    if kind == "sparse":
        run = min(size // 3, 1 << 16) & -BLOCK_SIZE
        data = [(0, run), (size - run, run)] if run else [(size // 2, size - size // 2)]
        return SparseBlob(
            size, [(offset, BytesBlob(generator.randbytes(length))) for offset, length in data]
        )
    words = [generator.randbytes(6).hex().encode() for _ in range(40)]
    text = b" ".join(generator.choices(words, k=size // 13 + 1))
    return BytesBlob(text[:size].ljust(size, b"\n"))


def _nodes(kind: int, **fields: SearchStrategy[object]) -> SearchStrategy[Node]:
    """Inodes of one file type, with random owner, time, permissions and attributes."""
    from hypothesis import strategies as st

    owners = st.sampled_from((0, 1000, 65535, 65536, (1 << 32) - 1))
    nanoseconds = st.one_of(
        st.sampled_from(_TIMES),
        st.integers(-_SECONDS_MAX * 1_000_000_000, _SECONDS_MAX * 1_000_000_000),
    )
    xattrs: SearchStrategy[dict[bytes, bytes]] = st.one_of(
        st.just({}),
        st.lists(st.sampled_from(_XATTRS), max_size=5).map(dict),
        st.dictionaries(
            st.binary(min_size=1, max_size=20)
            .filter(lambda name: b"\0" not in name)
            .map(lambda name: b"user." + name),
            st.binary(max_size=40),
            max_size=3,
        ),
    )
    return st.builds(
        Node,
        mode=st.integers(0, 0o7777).map(lambda mode: kind | mode),
        uid=owners,
        gid=owners,
        mtime_ns=nanoseconds,
        xattrs=xattrs.map(dict),  # a copy, for no two nodes may share one
        **fields,
    )


def _specials() -> SearchStrategy[Node]:
    """Devices, FIFOs and sockets."""
    from hypothesis import strategies as st

    device = st.builds(
        os.makedev,
        st.sampled_from((0, 1, 8, 255, 256, 4095)),
        st.sampled_from((0, 3, 255, 256, (1 << 20) - 1)),
    )
    return st.one_of(
        _nodes(stat.S_IFCHR, rdev=device),
        _nodes(stat.S_IFBLK, rdev=device),
        _nodes(stat.S_IFIFO),
        _nodes(stat.S_IFSOCK),
    )


def _targets() -> SearchStrategy[bytes]:
    from hypothesis import strategies as st

    return st.one_of(
        st.sampled_from((b".", b"/", b"../../..", b"nowhere", b"\xff", b"t" * SYMLINK_MAX)),
        st.integers(1, SYMLINK_MAX).map(lambda size: b"u" * size),
    )


def _assemble(root: Node, entries: list[_Entry], crowd: int) -> Tree:
    """A tree; an entry whose name is taken, or that links to nothing, is left out."""
    root.children = {}
    directories, others = [root], list[Node]()
    for parent, name, node in entries:
        siblings = directories[parent % len(directories)].children
        if isinstance(node, int):
            if others:
                siblings.setdefault(name, others[node % len(others)])
            continue
        if name in siblings:
            continue
        siblings[name] = node
        (directories if node.is_dir else others).append(node)
    siblings = directories[-1].children
    for number in range(crowd):
        siblings.setdefault(b"%d-%s" % (number, b"n" * (number % 50)), Node(stat.S_IFREG | 0o644))
    return Tree(root)
