"""Names to inodes in one buffer: what a walk finds, and where it hands over."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import require_vectors
from iasfs.format import dirent, disk, inode, lookup, superblock
from iasfs.format.codec import fast
from iasfs.format.lookup import Status

FOUND, ABSENT, SYMLINK, NOTDIR, OUTSIDE = Status
REG, DIR, LNK = disk.FT_REG_FILE, disk.FT_DIR, disk.FT_SYMLINK

RESOLVERS = [lookup.resolve_py] + ([fast.resolve] if fast is not None else [])
FINDERS = [(lookup.find_py, lookup.dir_find_py)]
FINDERS += [(fast.find, fast.dir_find)] if fast is not None else []
INODES = [lookup.inode_py] + ([fast.inode] if fast is not None else [])

Tree = dict[bytes, "Tree | int"]
"""Names to directories, or to ``REG`` and ``LNK``."""


class Image:
    """The metadata of a tree: block 0 empty, then inodes and inline tails, then full blocks."""

    def __init__(self, tree: Tree, *, blkszbits: int = 9, compact: bool = False) -> None:
        self.blkszbits, self.meta_blkaddr = blkszbits, 1
        self._block = 1 << blkszbits
        self._size = 32 if compact else 64
        self._zone = bytearray(self._block)
        self._blocks: list[tuple[int, int, bytes]] = []
        self.nids: dict[bytes, tuple[int, int]] = {}
        self.root_nid = self._place(tree)[0]
        self._add(b"", tree, self.root_nid, self.root_nid)
        self._zone += bytes(-len(self._zone) % self._block)
        for at, size, content in self._blocks:
            start = len(self._zone) >> blkszbits
            self._zone[at + 16 : at + 20] = start.to_bytes(4, "little")
            self._zone += content[:size]
            self._zone += bytes(-len(self._zone) % self._block)
        self.data = bytes(self._zone)

    @staticmethod
    def _content(tree: Tree, nids: dict[bytes, int], block: int) -> bytes:
        entries = [
            dirent.Entry(name, nids.get(name, 0), below if isinstance(below, int) else DIR)
            for name, below in {b".": DIR, b"..": DIR, **tree}.items()
        ]
        return dirent.pack(sorted(entries), block)

    def _place(self, below: Tree | int) -> tuple[int, int]:
        """``(nid, inline size)`` of a new inode; a directory's tail is inline if it fits."""
        tail = 0
        if isinstance(below, dict):
            tail = len(self._content(below, {}, self._block)) % self._block
            tail = tail if self._size + tail <= self._block else 0
        if len(self._zone) % self._block + self._size + tail > self._block:
            self._zone += bytes(-len(self._zone) % self._block)
        at = len(self._zone)
        self._zone += bytes(self._size + tail + -(self._size + tail) % 32)
        return (at - self._block) // 32, tail

    def _add(self, path: bytes, below: Tree | int, nid: int, parent: int) -> None:
        self.nids[path] = nid, below if isinstance(below, int) else DIR
        if isinstance(below, int):
            mode = stat.S_IFREG if below == REG else stat.S_IFLNK
            self._write(nid, mode | 0o644, disk.INODE_FLAT_PLAIN, 0)
            return
        children = {name: self._place(child)[0] for name, child in below.items()}
        content = self._content(below, {b".": nid, b"..": parent, **children}, self._block)
        tail = len(content) % self._block
        layout = disk.INODE_FLAT_INLINE
        if not tail or self._size + tail > self._block:
            layout, tail = disk.INODE_FLAT_PLAIN, 0
        at = self._write(nid, stat.S_IFDIR | 0o755, layout, len(content))
        full = len(content) - tail
        self._zone[at + self._size : at + self._size + tail] = content[full:]
        if full:
            self._blocks.append((at, full, content))
        for name, child in below.items():
            self._add(path + b"/" + name, child, children[name], nid)

    def _write(self, nid: int, mode: int, layout: int, size: int) -> int:
        at = self._block + 32 * nid
        if self._size == 32:
            raw = disk.INODE_COMPACT.pack(layout << 1, 0, mode, 1, size, 0, 0, nid, 0, 0)
        else:
            raw = disk.INODE_EXTENDED.pack(layout << 1 | 1, 0, mode, 0, size, 0, nid, 0, 0, 0, 0, 1)
        self._zone[at : at + self._size] = raw
        return at

    def walk(self, path: bytes, *, resolve: object = None, data: bytes | None = None) -> tuple:
        data = self.data if data is None else data
        arguments = data, self.blkszbits, self.meta_blkaddr, self.root_nid, path
        if resolve is not None:
            return resolve(*arguments)
        answers = [tuple(resolve(*arguments)) for resolve in RESOLVERS]
        assert answers[1:] == answers[:-1]
        return answers[0]


MANY: Tree = {b"%03d" % n: REG for n in range(200)}
TREE: Tree = {
    b"etc": {b"motd": REG, b"rc.d": {b"S01": LNK}},
    b"bin": LNK,
    b"many": MANY,
    b"empty": {},
    b"!": REG,
    b"x" * 255: REG,
}
IMAGES = [Image(TREE), Image(TREE, blkszbits=12), Image(TREE, compact=True)]

# path: (status, path of the nid, consumed; all of it if None)
WALKS = {
    b"": (FOUND, b"", None),
    b"/": (FOUND, b"", None),
    b"etc": (FOUND, b"/etc", None),
    b"//etc/./motd": (FOUND, b"/etc/motd", None),
    b"/etc/rc.d/": (FOUND, b"/etc/rc.d", None),
    b"/etc/rc.d/../motd": (FOUND, b"/etc/motd", None),
    b"/../../etc/..": (FOUND, b"", None),
    b"/many/000": (FOUND, b"/many/000", None),
    b"/many/199": (FOUND, b"/many/199", None),
    b"/many/../many/101": (FOUND, b"/many/101", None),
    b"/" + b"x" * 255: (FOUND, b"/" + b"x" * 255, None),
    b"/bin": (FOUND, b"/bin", None),
    b"/etc/rc.d/S01": (FOUND, b"/etc/rc.d/S01", None),
    b"/bin/sh": (SYMLINK, b"/bin", 4),
    b"/bin/": (SYMLINK, b"/bin", 4),
    b"/bin/..": (SYMLINK, b"/bin", 4),
    b"/etc/motd/": (NOTDIR, b"/etc/motd", 9),
    b"/etc/motd/..": (NOTDIR, b"/etc/motd", 9),
    b"/etc/nothing/at/all": (ABSENT, b"/etc", 4),
    b"/ETC": (ABSENT, b"", 0),
    b"/zzz": (ABSENT, b"", 0),
    b"/ ": (ABSENT, b"", 0),
    b"/empty/x": (ABSENT, b"/empty", 6),
    b"/many/0000": (ABSENT, b"/many", 5),
    b"/many/2": (ABSENT, b"/many", 5),
}


@pytest.mark.parametrize("image", IMAGES, ids=["512", "4096", "compact"])
@pytest.mark.parametrize("path", WALKS)
def test_walks(image: Image, path: bytes) -> None:
    status, there, consumed = WALKS[path]
    nid, kind = image.nids[there]
    assert image.walk(path) == (status, nid, kind, len(path) if consumed is None else consumed)


def test_walks_that_end_outside() -> None:
    image = IMAGES[0]
    deep: Tree = {}
    for _ in range(70):
        deep = {b"d": deep}
    below = Image(deep)
    assert below.walk(b"/d" * 64)[0] == FOUND
    for walk in (
        below.walk(b"/d" * 65),
        image.walk(b"/" + b"y" * 256),
        image.walk(b"/etc", data=b""),
        image.walk(b"/etc", data=image.data[: 512 + 64]),
        # Where the blocks of "many" are cut off, what is before them is still found.
        image.walk(b"/many/150", data=image.data[:-4096]),
    ):
        assert walk == (OUTSIDE, 0, 0, 0)
    assert image.walk(b"/etc/motd", data=image.data[:-4096])[0] == FOUND


def test_a_root_that_is_no_directory() -> None:
    image = Image({b"f": REG})
    nid, _ = image.nids[b"/f"]
    for resolve in RESOLVERS:
        assert resolve(image.data, 9, 1, nid, b"")[:3] == (FOUND, nid, REG)
        assert resolve(image.data, 9, 1, nid, b"/") == (NOTDIR, nid, REG, 0)


def test_directories_of_other_layouts_go_the_long_way() -> None:
    image = Image({b"f": REG})
    at = 512 + 32 * image.root_nid
    for layout in (disk.INODE_CHUNK_BASED, disk.INODE_COMPRESSED_FULL):
        data = bytearray(image.data)
        data[at] = layout << 1 | 1
        assert image.walk(b"/f", data=bytes(data))[0] == OUTSIDE


def test_the_type_is_the_inode_s() -> None:
    image = Image({b"f": LNK})
    data = bytearray(image.data)
    data[512 + 32 * image.nids[b"/f"][0] + 4 :][:2] = b""
    at = 512 + 32 * image.nids[b"/f"][0] + 4
    data[at : at + 2] = (stat.S_IFIFO | 0o600).to_bytes(2, "little")
    assert image.walk(b"/f", data=bytes(data))[2] == disk.FT_FIFO


names = st.binary(min_size=1, max_size=12).filter(
    lambda n: b"/" not in n and b"\0" not in n and n not in (b".", b"..")
)
trees = st.recursive(
    st.sampled_from([REG, LNK]),
    lambda below: st.dictionaries(names, below, max_size=60),
    max_leaves=120,
).filter(lambda tree: isinstance(tree, dict))


@settings(max_examples=150, deadline=None)
@given(trees, st.sampled_from([9, 12]), st.booleans(), st.lists(names, max_size=3))
def test_every_path_of_any_tree(
    tree: Tree, blkszbits: int, compact: bool, absent: list[bytes]
) -> None:
    image = Image(tree, blkszbits=blkszbits, compact=compact)
    for path, (nid, kind) in image.nids.items():
        assert image.walk(path) == (FOUND, nid, kind, len(path))
        for name in absent:
            below = path + b"/" + name
            if below in image.nids:
                continue
            status = {DIR: ABSENT, LNK: SYMLINK, REG: NOTDIR}[kind]
            assert image.walk(below) == (status, nid, kind, len(path))


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_hostile_metadata(data: st.DataObject) -> None:
    """Any bytes give an answer; where both know one, C and Python give the same."""
    image = data.draw(st.sampled_from(IMAGES))
    damaged = bytearray(image.data)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(512, min(len(damaged), 6000) - 1))
        damaged[at] = data.draw(st.sampled_from([0, 1, 5, 0x0C, 0x2F, 0x41, 0xFF]))
    cut = data.draw(st.sampled_from([len(damaged), len(damaged) - 1, 1024, 700]))
    path = data.draw(st.sampled_from(sorted(WALKS)))
    answers = [
        tuple(image.walk(path, resolve=resolve, data=bytes(damaged[:cut]))) for resolve in RESOLVERS
    ]
    assert len({answer for answer in answers if answer[0] != OUTSIDE}) <= 1


# --- directories --------------------------------------------------------------------------------

ENTRIES = [
    dirent.Entry(name, nid, REG)
    for nid, name in enumerate(sorted([b".", b"..", *(b"%d" % n for n in range(300))]))
]


@pytest.mark.parametrize("finders", FINDERS, ids=["python", "c"][: len(FINDERS)])
def test_find(finders: tuple) -> None:
    find, dir_find = finders
    data = dirent.pack(ENTRIES, 512)
    for entry in ENTRIES:
        assert dir_find(data, 9, entry.name) == (entry.nid, REG)
    for name in (b"", b"!", b"300", b"99x", b"~", b"x" * 300):
        assert dir_find(data, 9, name) == 1
    assert dir_find(b"", 9, b"x") == 1
    block = data[512:1024]
    first, *_, last = list(dirent.iterate(block))
    assert find(block, first.name) == (first.nid, REG)
    assert find(block, last.name) == (last.nid, REG)
    assert find(block, b".") == -1
    assert find(block, first.name + b"\1") == find(block, b"~") == 1
    assert find(memoryview(block), last.name) == (last.nid, REG)


def dirent_block(*entries: tuple[int, int, int], names: bytes) -> bytes:
    return b"".join(disk.DIRENT.pack(*entry) for entry in entries) + names


MALFORMED = {
    "empty": b"",
    "short": bytes(11),
    "no-names": dirent_block((1, 0, 1), names=b"a"),
    "odd": dirent_block((1, 13, 1), names=b"ab"),
    "behind": dirent_block((1, 24, 1), names=b"a"),
    "empty-name": dirent_block((1, 24, 1), (2, 24, 1), names=b"b"),
    "descending": dirent_block((1, 24, 1), (2, 23, 1), names=b"ab"),
    "name-behind": dirent_block((1, 24, 1), (2, 30, 1), names=b"ab"),
    "nul": dirent_block((1, 24, 1), (2, 27, 1), names=b"a\0bc"),
    "nul-at-once": dirent_block((1, 12, 1), names=b"\0a"),
    "slash": dirent_block((1, 12, 1), names=b"a/b"),
    "long": dirent_block((1, 12, 1), names=b"a" * 256),
}


@pytest.mark.parametrize("finders", FINDERS, ids=["python", "c"][: len(FINDERS)])
@pytest.mark.parametrize("name", MALFORMED)
def test_find_in_malformed_blocks(finders: tuple, name: str) -> None:
    for find, arguments in zip(finders, ((), (9,))):
        if MALFORMED[name] or not arguments:
            assert find(MALFORMED[name], *arguments, b"b") == 0


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=100),
        st.builds(
            lambda at, value: (
                dirent.pack(ENTRIES[:9], 512)[:at]
                + bytes([value])
                + dirent.pack(ENTRIES[:9], 512)[at + 1 :]
            ),
            st.integers(0, 130),
            st.integers(0, 255),
        ),
    ),
    st.sampled_from([b".", b"0", b"1", b"107", b"11", b"z"]),
)
def test_find_agrees_on_any_block(block: bytes, name: bytes) -> None:
    answers = [find(block, name) for find, _ in FINDERS]
    assert answers[1:] == answers[:-1]


# --- inodes -------------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(
    st.binary(min_size=60, max_size=70),
    st.integers(0, 40),
    st.sampled_from(range(0x20)),
    st.sampled_from([0o100644, 0o040755, 0o020666, 0o120777, 0]),
    st.integers(-(1 << 62), 1 << 62),
)
def test_inodes(noise: bytes, layout: int, form: int, mode: int, epoch: int) -> None:
    """Half of the cases are inodes, the other half are refused by both."""
    raw = bytes([form, layout // 40, 2, 0]) + mode.to_bytes(2, "little") + noise
    if layout % 2:
        raw = raw[:15] + bytes([raw[15] & 0x7F]) + raw[16:]
    for data, at in ((raw, 0), (bytes(32) + raw, 32), (raw[:40], 0), (raw, 100)):
        answers = [read(data, at, 77, 320, epoch, 9) for read in INODES]
        assert answers[1:] == answers[:-1]
        if answers[0] is not None:
            assert inode.Inode._make(answers[0]).nid == 77


def test_the_c_functions_check_their_arguments() -> None:
    if fast is None:
        pytest.skip("not compiled")
    for call in (
        lambda: fast.dir_find(b"", 8, b""),
        lambda: fast.dir_find(b"", 17, b""),
        lambda: fast.resolve(b"", 12, 1 << 32, 0, b""),
        lambda: fast.inode(b"", 1 << 63, 0, 0, 0, 0),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - all of them are
            call()
    for function in (fast.find, fast.dir_find, fast.resolve, fast.inode):
        with pytest.raises(TypeError):
            function()
    for arguments in ((1, b""), (b"", 1), (b"", "name")):
        with pytest.raises(TypeError):
            fast.find(*arguments)
    for number in (-1, 1 << 64):
        with pytest.raises(OverflowError):
            fast.resolve(b"", 12, 0, number, b"")


# --- images by another tool ---------------------------------------------------------------------


def vectors() -> Iterator[tuple[str, bytes, superblock.Superblock]]:
    for path in sorted(require_vectors().glob("*.erofs")):
        data = path.read_bytes()
        yield path.stem, data, superblock.unpack(data[: 1 << 16], len(data))


def test_vectors() -> None:
    """Every path leads to an inode of the right type, and the inode is read alike."""
    for name, data, found in vectors():
        file = "tree-48bit.jsonl" if name.startswith("e48_") else "tree.jsonl"
        arguments = data, found.blkszbits, found.meta_blkaddr, found.root_nid
        for line in (require_vectors() / file).read_text().splitlines():
            record = json.loads(line)
            path = record["path"].encode("latin-1")
            answers = [tuple(resolve(*arguments, path)) for resolve in RESOLVERS]
            assert answers[1:] == answers[:-1]
            status, nid, kind, consumed = answers[0]
            assert (status, consumed) == (FOUND, len(path))
            assert kind == inode.file_type(record["mode"])
            offset = found.inode_offset(nid)
            node = inode.unpack(data[offset : offset + 64], nid, found)
            for read in INODES:
                fields = read(data, offset, nid, offset, found.epoch, found.fixed_nsec)
                assert inode.Inode._make(fields) == node
            assert resolve_below(arguments, path, kind) == {
                DIR: ABSENT,
                LNK: SYMLINK,
            }.get(kind, NOTDIR)


def resolve_below(arguments: tuple, path: bytes, kind: int) -> int:
    return lookup.resolve(*arguments, path + b"/no such name")[0]
