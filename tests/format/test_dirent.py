"""Directory blocks: packing, walking and searching them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from example import BIG_TXT, BLOCK, HELLO, LINK, ROOT, SUB, SUB_A
from iasfs.errors import FormatError
from iasfs.format import dirent, disk
from iasfs.format.dirent import Entry

SIZES = (512, 1024, 4096)
DIR, REG, LNK = disk.FT_DIR, disk.FT_REG_FILE, disk.FT_SYMLINK

# offset in the example image, bytes, entries
DIRECTORIES = {
    ROOT: (
        0x4E0,
        94,
        [
            Entry(b".", ROOT, DIR),
            Entry(b"..", ROOT, DIR),
            Entry(b"big.txt", BIG_TXT, REG),
            Entry(b"hello", HELLO, REG),
            Entry(b"link", LINK, LNK),
            Entry(b"sub", SUB, DIR),
        ],
    ),
    SUB: (
        0x740,
        40,
        [Entry(b".", SUB, DIR), Entry(b"..", ROOT, DIR), Entry(b"a", SUB_A, REG)],
    ),
}

Names = set[bytes]
names = st.binary(min_size=1, max_size=255).filter(lambda name: not set(name) & {0, 0x2F})
directories = st.one_of(
    st.sets(names, min_size=1, max_size=40),
    st.sets(st.text("ab", min_size=1, max_size=9).map(str.encode), min_size=1, max_size=300),
)


def entries_of(names: Iterable[bytes]) -> list[Entry]:
    """Entries in order, each with a nid of its own."""
    return [Entry(name, 1000 + number, REG) for number, name in enumerate(sorted(names))]


def blocks_of(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("nid", DIRECTORIES)
def test_the_example(nid: int) -> None:
    """Both directions."""
    offset, size, entries = DIRECTORIES[nid]
    data = BLOCK[offset : offset + size]
    assert list(dirent.iterate(data)) == entries
    assert dirent.pack(entries, 4096) == data


@given(directories, st.sampled_from(SIZES))
def test_what_is_packed_is_there(names: Names, size: int) -> None:
    """In order, in blocks that are full but for what the next entry would have needed."""
    entries = entries_of(names)
    blocks = blocks_of(dirent.pack(entries, size), size)
    read = [list(dirent.iterate(block)) for block in blocks]
    assert [entry for block in read for entry in block] == entries
    for block, following in pairwise(read):
        used = sum(12 + len(entry.name) for entry in block)
        assert used <= size < used + 12 + len(following[0].name)
    assert len(blocks[-1]) == sum(12 + len(entry.name) for entry in read[-1])
    assert all(len(block) == size for block in blocks[:-1])


@given(directories, st.sampled_from(SIZES), st.lists(names, max_size=20))
def test_a_search_finds_what_a_dict_finds(names: Names, size: int, others: list[bytes]) -> None:
    """It reads no more blocks than a binary search must."""
    entries = entries_of(names)
    blocks = blocks_of(dirent.pack(entries, size), size)
    known = {entry.name: entry for entry in entries}
    read: list[int] = []

    def read_block(number: int) -> bytes:
        read.append(number)
        return blocks[number]

    for name in [*names, *others, *(name + b"\1" for name in names), *(n[:-1] for n in names)]:
        read.clear()
        assert dirent.find(len(blocks), read_block, name) == known.get(name)
        assert len(set(read)) == len(read) <= len(blocks).bit_length()


@given(directories, names)
def test_a_search_in_a_block_tells_the_direction(names: Names, name: bytes) -> None:
    block = dirent.pack(entries_of(sorted(names)[:10]), 4096)[:4096]
    first = next(dirent.iterate(block)).name
    order, entry = dirent.search(block, name)
    assert (order < 0) == (name < first)
    assert (order == 0) == (name == first)
    assert (entry is not None) == (name in {found.name for found in dirent.iterate(block)})


def test_nothing_is_found_in_an_empty_directory() -> None:
    assert dirent.find(0, lambda number: b"", b"a") is None
    assert dirent.pack([], 4096) == b""


def test_the_last_name_ends_at_a_nul_or_at_the_end() -> None:
    """Of a full block it is the zero fill that ends it; of a cut one the size."""
    data = dirent.pack(entries_of([b"a", b"bc"]), 512)
    for block in (data, data + b"\0", data.ljust(512, b"\0"), data + b"\0rest"):
        assert [entry.name for entry in dirent.iterate(block)] == [b"a", b"bc"]


def test_order() -> None:
    """Names ascend as unsigned bytes, a prefix before what it begins."""
    entries = entries_of([b"\xff", b"a", b"a\x01", b"aa", b"\x01", b"Z"])
    assert list(dirent.check_order(entries)) == entries
    assert [entry.name for entry in entries] == [b"\x01", b"Z", b"a", b"a\x01", b"aa", b"\xff"]
    for wrong in (entries[::-1], [entries[0], entries[0]]):
        with pytest.raises(FormatError, match="stands behind"):
            list(dirent.check_order(wrong))


# --- what is refused ----------------------------------------------------------------------------

GOOD = dirent.pack(entries_of([b"a", b"bb", b"ccc"]), 4096)


def changed(offset: int, value: int, size: int = 2) -> bytes:
    return GOOD[:offset] + value.to_bytes(size, "little") + GOOD[offset + size :]


BROKEN = {
    "empty": b"",
    "cut": GOOD[:9],
    "no-entries": changed(8, 0),
    "odd-start": changed(8, 13),
    "start-at-the-end": changed(8, len(GOOD) + 6),
    "more-entries-than-bytes": changed(8, 60),
    "name-inside-the-entries": changed(20, 24),
    "descending": changed(32, 37),
    "empty-name": changed(20, 36),
    "name-behind-the-end": changed(20, 4000),
    "empty-last-name": changed(39, 0, 1),
    "nul-in-a-name": changed(37, 0, 1),
    "slash": changed(38, 0x2F, 1),
    "long-name": dirent.pack([Entry(b"n" * 256, 1, REG)], 4096),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_block_is_refused(name: str) -> None:
    """By a walk over it; a search looks at fewer entries and may find what it looks for."""
    with pytest.raises(FormatError):
        list(dirent.iterate(BROKEN[name]))
    for wanted in (b"a", b"bb", b"ccc", b"x"):
        with contextlib.suppress(FormatError):
            dirent.search(BROKEN[name], wanted)


@given(directories, st.data())
def test_a_changed_block_is_a_directory_or_an_error(names: Names, data: st.DataObject) -> None:
    """No other exception, and no name that could not be one."""
    block = bytearray(dirent.pack(entries_of(names), 4096)[:4096])
    for _ in range(data.draw(st.integers(1, 4))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    size = data.draw(st.integers(0, len(block)))
    for cut in (bytes(block), memoryview(block)[:size]):
        with contextlib.suppress(FormatError):
            for entry in dirent.iterate(cut):
                assert 1 <= len(entry.name) <= 255
                assert not set(entry.name) & {0, 0x2F}
        for name in sorted(names)[:5]:
            with contextlib.suppress(FormatError):
                dirent.search(cut, name)


@given(st.binary(max_size=600))
def test_any_bytes_are_a_directory_or_an_error(block: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert len(list(dirent.iterate(block))) == dirent.count(block)
    with contextlib.suppress(FormatError):
        dirent.search(block, b"name")
