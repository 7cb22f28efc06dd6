"""Hostile bytes: images that lie cost a clear error, in bounded time and memory.

Each image here is made by hand to hurt in one way, or is one that did hurt (fuzz/corpus/image).
The bound: a second of CPU and 100 MB for an image under 1 MB.
"""

from __future__ import annotations

import importlib.util
import os
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from types import ModuleType
from typing import TypeVar

import pytest

from craft import (
    CHUNKS,
    COMPACT,
    DIR,
    FULL,
    LNK,
    PLAIN,
    REG,
    ROOT,
    SUPER,
    Craft,
    one_file,
    reseal,
    u16,
    u32,
    u64,
)  # fmt: skip
from helpers import ROOT as CHECKOUT
from iasfs.blob import BytesBlob
from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.format import dirent, disk, seal
from iasfs.format.codec import Compressor
from iasfs.format.dirent import Entry
from iasfs.read.check import dump, fsck
from iasfs.read.image import Image
from trees import PROFILES, packed, symlink, tree_of

T = TypeVar("T")
SECONDS = 1.0
MEMORY = 100 << 20
COMPR = disk.FEATURE_INCOMPAT_COMPR_CFGS
CFGS = disk.FEATURE_INCOMPAT_ZERO_PADDING | COMPR
ZSTD: dict[str, object] = {"feature_incompat": CFGS, "algorithms": 8, "zstd_windowlog": 20}
HEAD, NONHEAD = disk.Z_LCLUSTER_HEAD1, disk.Z_LCLUSTER_NONHEAD
BIG = disk.Z_ADVISE_BIG_PCLUSTER_1 | disk.Z_ADVISE_BIG_PCLUSTER_2


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    """The fuzz target, whose invariant is the one of this file."""
    spec = importlib.util.spec_from_file_location("fuzz_image", CHECKOUT / "fuzz" / "fuzz_image.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def quick(action: Callable[[], T]) -> T:
    """What ``action`` gives, within the time."""
    start = time.process_time()
    result = action()
    took = time.process_time() - start
    assert took < SECONDS, f"{took:.2f} s"
    return result


def bounded(action: Callable[[], T]) -> T:
    """What ``action`` gives, within the time and, when it is done again, within the memory."""
    quick(action)
    tracemalloc.start()
    try:
        result = action()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY, f"{peak >> 20} MB"
    return result


def walk(data: bytes) -> list[bytes]:
    """Every path of an image."""
    image = Image(BytesBlob(data))
    return [os.path.join(top, name) for top, _, names in image.walk(b"/") for name in names]


def check(data: bytes, *, contents: bool = True) -> str:
    """What fsck says, and that dump can say something too."""
    image = Image(BytesBlob(data))
    dump(image)
    return "\n".join(map(str, fsck(image, contents=contents)))


def fails(craft: Craft, what: str, action: Callable[[Image], object]) -> FormatError:
    """``action`` on the image fails, says so with path and place, and fsck finds it as well."""
    data = craft.image()

    def run() -> FormatError:
        with pytest.raises(FormatError, match=what) as caught:
            action(Image(BytesBlob(data)))
        return caught.value

    error = bounded(run)
    assert error.path is not None
    assert error.nid is not None
    assert what.replace("\\", "") in bounded(lambda: check(data))
    return error


def read_file(image: Image) -> bytes:
    """The first megabyte of /file, as one reads what one does not trust."""
    with image.open("/file") as file:
        data: bytes = file.read(1 << 20)
        return data


# --- directories --------------------------------------------------------------------------------


def test_a_directory_inside_itself() -> None:
    """/a/b is / again: the walk ends, paths through it are found."""
    craft = Craft()
    craft.directory(ROOT, {b"a": 56})
    craft.directory(56, {b"b": ROOT}, parent=ROOT)
    error = fails(craft, "second name", lambda image: list(image.walk()))
    assert error.path == "/a/b"
    assert error.nid == ROOT
    assert craft.open().lstat("/a/b/a/b/a").st_ino == 56


def test_a_directory_inside_itself_by_other_numbers() -> None:
    """32 nids lead to one place, since addresses wrap at 64 bits."""
    craft = Craft()
    aliases = {b"%02d" % n: ROOT + (n << 59) for n in range(1, 32)}
    craft.modes.update(dict.fromkeys(aliases.values(), DIR))
    craft.directory(ROOT, aliases)
    fails(craft, "second name", lambda image: list(image.walk()))


def test_directories_that_share_their_children() -> None:
    """60 levels of two names for one directory are 2^60 paths."""
    craft = Craft(blocks=8)
    nids = [ROOT, *range(128, 128 + 60 * 8, 8)]
    craft.modes.update(dict.fromkeys(nids, DIR))
    for nid, child in pairwise(nids):
        craft.directory(nid, {b"x": child, b"y": child})
    craft.directory(nids[-1], {})
    fails(craft, "second name", lambda image: list(image.walk()))


def test_many_directories_that_share_a_block() -> None:
    """Thousands of directories with the same thousands of names: the work is not their product."""
    craft = Craft(blocks=60)
    first, count = 128, 800
    names = [Entry(b"%05d" % n, first + 2 * n, disk.FT_DIR) for n in range(count)]
    content = dirent.pack(
        [Entry(b".", ROOT, disk.FT_DIR), Entry(b"..", ROOT, disk.FT_DIR), *names], 4096
    )
    craft.put(52 << 12, content)
    for nid in (ROOT, *(entry.nid for entry in names)):
        craft.inode(nid, DIR, layout=PLAIN, size=len(content), u=52, nlink=2 + count)
    data = craft.image()
    assert "share bytes" in quick(lambda: check(data))


def test_a_directory_of_one_block_again_and_again() -> None:
    """Chunks that are all the same block would list its names without an end."""
    craft = Craft(blocks=8)
    names = [Entry(b"%04d" % n, 56, disk.FT_REG_FILE) for n in range(250)]
    craft.put(7 << 12, dirent.pack([Entry(b".", ROOT, 2), Entry(b"..", ROOT, 2), *names], 4096))
    chunks = u32(7) * 4000
    craft.inode(ROOT, DIR, chunks, layout=CHUNKS, size=4000 << 12)
    craft.inode(56, REG)
    fails(craft, "out of proportion", lambda image: image.listdir("/"))
    craft.inode(ROOT, DIR, chunks, layout=CHUNKS, size=10 << 12)
    fails(craft, "stands behind", lambda image: image.listdir("/"))


def test_a_directory_that_is_an_endless_hole() -> None:
    craft = Craft()
    craft.directory(ROOT, {b"d": 56})
    craft.inode(56, DIR, u32(disk.NULL_ADDR), layout=CHUNKS, size=1 << 43, u=31)
    craft.modes[56] = DIR
    fails(craft, "out of proportion", lambda image: image.listdir("/d"))
    fails(craft, "out of proportion", lambda image: image.stat("/d/x"))


def test_a_very_deep_tree() -> None:
    """2,500 levels cost as much as 2,500 directories side by side."""
    craft = Craft(blocks=100)
    nids = [ROOT, *range(128, 128 + 4 * 2500, 4)]
    for nid, child, parent in zip(nids, [*nids[1:], 0], [ROOT, *nids]):
        craft.modes[child] = DIR
        craft.directory(nid, {b"d": child} if child else {}, parent=parent)
    data = craft.image()
    assert len(quick(lambda: [dirs for _, dirs, _ in Image(BytesBlob(data)).walk()])) == 2501
    assert quick(lambda: check(data)) == ""
    assert quick(lambda: Image(BytesBlob(data)).exists("d/" * 2500))


@pytest.mark.parametrize("nid", [(1 << 64) - 1, (1 << 59) - 1, 1 << 32, 256])
def test_a_nid_behind_the_image(nid: int) -> None:
    craft = Craft()
    craft.directory(ROOT, {b"file": nid})
    error = fails(craft, "the inode lies behind the image", read_file)
    assert error.nid == nid


def test_an_inode_that_the_end_of_the_image_cuts() -> None:
    craft = Craft()
    craft.directory(ROOT, {b"file": 255})
    craft.put(255 * 32, bytes([disk.I_VERSION_EXTENDED]))
    fails(craft, "the inode ends behind the image", read_file)


def test_a_nid_that_wraps_around_to_a_sound_inode() -> None:
    """As Linux computes it: the address is taken modulo 2^64."""
    craft = Craft()
    craft.directory(ROOT, {b"file": 56 + (1 << 59)})
    craft.inode(56, REG, b"data")
    assert read_file(craft.open()) == b"data"
    assert "wraps around" in check(craft.image())


def test_a_nid_inside_the_superblock() -> None:
    craft = Craft()
    craft.directory(ROOT, {b"file": 33})
    craft.poke(33 * 32 + 4, u16(REG))
    assert "/file, nid 33, offset 1056: the inode lies in the superblock" in check(craft.image())


def directory_block(*entries: tuple[int, bytes]) -> bytes:
    """A directory block of (nameoff, nothing else) entries and then names, as they are given."""
    heads = b"".join(struct.pack("<QHBB", 56, nameoff, 1, 0) for nameoff, _ in entries)
    return heads + b"".join(name for _, name in entries)


NAMEOFF_TRAPS = {
    "0": directory_block((0, b"abc")),
    "not a multiple of 12": directory_block((13, b"_abc")),
    "behind the block": directory_block((4096, b"abc")),
    "at the end of the directory": directory_block((15, b"abc"))[:15],
    "65,532": directory_block((0xFFFC, b"abc")),
    "into the entries": directory_block((24, b"abc"), (12, b"def")),
    "decreasing": directory_block((36, b"abc"), (30, b"def"), (40, b"g")),
    "behind the directory": directory_block((24, b"abc"), (100, b"def")),
    "an empty name": directory_block((24, b""), (24, b"abc")),
    "NUL in a name": directory_block((24, b"a\0c"), (27, b"def")),
    "NUL at the start of the last name": directory_block((24, b"abc"), (27, b"\0ef")),
    "a slash": directory_block((24, b"a/c"), (27, b"def")),
    "a name of 256 bytes": directory_block((12, b"n" * 256)),
    "no entry": b"",
    "less than an entry": b"\0" * 9,
}


@pytest.mark.parametrize("trap", NAMEOFF_TRAPS)
def test_names_that_lie_elsewhere(trap: str) -> None:
    craft = Craft()
    craft.directory(ROOT, {b"d": 64})
    craft.inode(56, REG)
    craft.inode(64, DIR, NAMEOFF_TRAPS[trap], nlink=2)
    data = craft.image()
    assert "/d, nid 64" in bounded(lambda: check(data))
    if trap == "no entry":
        return
    with pytest.raises(FormatError) as caught:
        craft.open().listdir("/d")
    assert (caught.value.path, caught.value.nid) == ("/d", 64)


@pytest.mark.parametrize("names", [(b"b", b"a"), (b"a", b"a"), (b"ab", b"a")])
def test_names_out_of_order(names: tuple[bytes, bytes]) -> None:
    craft = Craft()
    craft.directory(ROOT, {b"d": 64})
    craft.inode(56, REG, nlink=2)
    craft.inode(64, DIR, directory_block((24, names[0]), (24 + len(names[0]), names[1])))
    fails(craft, "stands behind", lambda image: image.listdir("/d"))


def test_an_inline_directory_across_blocks() -> None:
    craft = Craft()
    craft.directory(ROOT, {b"d": 120})
    craft.directory(120, {b"n" * 250: 56}, parent=ROOT)
    craft.inode(56, REG)
    fails(craft, "crosses a block", lambda image: image.listdir("/d"))


# --- inodes and layouts -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1 << 63, (1 << 64) - 1])
def test_a_negative_size(size: int) -> None:
    craft = one_file()
    craft.inode(56, REG, layout=PLAIN)
    craft.poke(56 * 32 + 8, u64(size))
    fails(craft, "size", read_file)


@pytest.mark.parametrize("size", [8193, 1 << 32, (1 << 63) - 1])
def test_a_size_behind_the_image(size: int) -> None:
    """Found out before any memory is taken for it."""
    craft = one_file()
    craft.inode(56, REG, layout=PLAIN, size=size)
    fails(craft, "outside the image", lambda image: image.read_bytes("/file"))


@pytest.mark.parametrize("block", [2, 0xFFFFFFFF, 0x100000000, 0xFFFF_FFFF_FFFE])
def test_data_behind_the_image(block: int) -> None:
    craft = one_file()
    craft.inode(56, REG, layout=PLAIN, size=1, u=block)
    fails(craft, "outside the image", read_file)


@pytest.mark.parametrize("form", [0x20, 0x8000, 0x0A, 0x0C, 0x0E])
def test_an_inode_format_that_is_not_known(form: int) -> None:
    craft = one_file()
    craft.inode(56, REG, b"data")
    craft.poke(56 * 32, u16(form | 1))
    error = fails(craft, "unsupported feature", read_file)
    assert isinstance(error, UnsupportedFeature)


@pytest.mark.parametrize("mode", [0, 0o644, 0o170000, 0o030000])
def test_a_mode_without_a_type(mode: int) -> None:
    craft = one_file()
    craft.inode(56, REG)
    craft.poke(56 * 32 + 4, u16(mode))
    fails(craft, "no known type", lambda image: image.stat("/file"))


def test_an_inline_tail_across_blocks() -> None:
    craft = one_file()
    craft.inode(120, REG, b"x" * 500)
    craft.directory(ROOT, {b"file": 120})
    fails(craft, "crosses a block", read_file)


def test_an_inline_tail_behind_the_image() -> None:
    craft = Craft()
    craft.directory(ROOT, {b"file": 254})
    craft.inode(254, REG, size=100)
    fails(craft, "inline tail outside the image", read_file)


# --- chunks -------------------------------------------------------------------------------------


def test_a_hole_of_petabytes_is_right() -> None:
    """It is read in pieces; all at once there is no memory for it, and that is said."""
    craft = one_file(feature_incompat=disk.FEATURE_INCOMPAT_CHUNKED_FILE)
    craft.inode(56, REG, u32(disk.NULL_ADDR) * 512, layout=CHUNKS, size=(1 << 52) - 5, u=31)
    image = craft.open()
    assert bounded(lambda: image.open("/file").read(1 << 20)) == bytes(1 << 20)
    with image.open("/file") as file:
        file.seek(-7, os.SEEK_END)
        assert file.read(100) == bytes(7)
    with pytest.raises(OSError, match="memory"):
        image.read_bytes("/file")
    with pytest.raises(OSError, match="memory"):
        image.read_many([("/file", 0, None)] * 2100)
    assert bounded(lambda: check(craft.image())) == ""


@pytest.mark.parametrize("u", [0x80, 0x8000, 0x1F00])
def test_a_chunk_format_that_is_not_known(u: int) -> None:
    craft = one_file()
    craft.inode(56, REG, bytes(64), layout=CHUNKS, size=4096, u=u)
    fails(craft, "chunk format", read_file)


@pytest.mark.parametrize("size", [1 << 24, 1 << 40, (1 << 63) - 1])
def test_a_chunk_array_behind_the_image(size: int) -> None:
    craft = one_file()
    craft.inode(56, REG, layout=CHUNKS, size=size)
    fails(craft, "chunk array", lambda image: image.read_bytes("/file"))


@pytest.mark.parametrize(
    ("u", "entry"),
    [
        (0, u32(2)),
        (0, u32(0xFFFFFFFE)),
        (0x20, struct.pack("<HHI", 0, 0xFFFF, 2)),
        (0x60, struct.pack("<HHI", 1, 0, 0)),
        (0x60, struct.pack("<HHI", 0, 0, 0xFFFFFFFF)),
    ],
)
def test_a_chunk_behind_the_image(u: int, entry: bytes) -> None:
    craft = one_file()
    craft.inode(56, REG, entry, layout=CHUNKS, size=1, u=u)
    fails(craft, "chunk at 0 lies outside", read_file)


def test_many_chunks_of_one_block_are_right() -> None:
    """Sharing is legal: 40,000 chunks say that a file is 160 MB of one block."""
    craft = one_file(blocks=100, feature_incompat=disk.FEATURE_INCOMPAT_CHUNKED_FILE)
    craft.put(1 << 12, b"x" * 4096)
    craft.directory(ROOT, {b"file": 512})
    craft.inode(512, REG, u32(1) * 40_000, layout=CHUNKS, size=40_000 << 12)
    data = craft.image()
    assert bounded(lambda: read_file(Image(BytesBlob(data)))) == b"x" * (1 << 20)
    assert quick(lambda: check(data)) == ""


def test_many_inodes_with_one_chunk_array() -> None:
    """Each reaches it across an xattr area of its own length; looking at all of them has an end."""
    craft = Craft(blocks=100)
    nids = list(range(48, 7000, 2))
    craft.directory(8192, {b"%04d" % nid: nid for nid in nids[:20]})
    end = 8000 * 32
    for nid in nids:
        craft.inode(nid, REG, layout=CHUNKS, size=30_000 << 12)
        icount = (end - nid * 32 - 64 - 12) // 4 + 1
        craft.poke(nid * 32 + 2, u16(icount))
    names = {b"%04d" % nid: nid for nid in nids}
    content = dirent.pack(
        [Entry(name, nid, 1) for name, nid in [(b".", ROOT), (b"..", ROOT), *names.items()]], 4096
    )
    craft.put(70 << 12, content)
    craft.block = craft.block._replace(root_nid=8960)
    craft.inode(8960, DIR, layout=PLAIN, size=len(content), u=70, nlink=2)
    data = craft.image()
    assert "share bytes" in bounded(lambda: check(data))


# --- compressed files ---------------------------------------------------------------------------


def full_index(
    *entries: tuple[int, int, int],
    advise: int = 0,
    algorithms: int = 0x33,
    word: int = 0,
    bits: int = 0,
) -> bytes:
    """A map header and a full index: (type, clusterofs, block) or (NONHEAD, 0, d0 and d1)."""
    header = struct.pack("<IHBB8x", word, advise, algorithms, bits)
    return header + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def frame(data: bytes, level: int = 3) -> bytes:
    """A zstd frame whose window is at most a megabyte."""
    return Compressor("zstd", level, max_input=max(len(data), 1)).compress([data])[0]


def compressed(index: bytes, size: int, *, layout: int = FULL, **fields: object) -> Craft:
    """/file has an index, and a pcluster in block 1 that holds 64 KiB of the letter a."""
    craft = one_file(**{**ZSTD, **fields})
    craft.inode(56, REG, index, layout=layout, size=size, u=1)
    craft.put(1 << 12, frame(b"a" * 65536).rjust(4096, b"\0"))
    return craft


INDEX_TRAPS = {
    "no extent begins": (full_index((NONHEAD, 0, 1)), 4096),
    "no extent begins at the start": (full_index((HEAD, 5, 1)), 4096),
    "clusterofs behind": (full_index((HEAD, 0, 1), (HEAD, 4096, 1)), 8192),
    "d0 does not lead": (full_index((HEAD, 0, 1), (NONHEAD, 0, 7 | 1 << 16)), 8192),
    "a d1 before it leads": (full_index((HEAD, 0, 1), (NONHEAD, 0, 1 | 50 << 16)), 8192),
    "a block count where": (full_index((HEAD, 0, 1), (NONHEAD, 0, 0x802 | 1 << 16)), 8192),
    "a pcluster of no block": (
        full_index((HEAD, 0, 1), (NONHEAD, 0, 0x800 | 1 << 16), advise=BIG),
        8192,
    ),
    "more than 1 MiB": (
        full_index((HEAD, 0, 1), (NONHEAD, 0, 0x800 | 257 | 1 << 16), advise=BIG),
        8192,
    ),
    "no block count": (full_index((HEAD, 0, 1), (NONHEAD, 0, 1 | 1 << 16), advise=BIG), 8192),
    "outside the image": (full_index((HEAD, 0, 2)), 4096),
    "uncompressed extent longer": (full_index((0, 0, 1), (NONHEAD, 0, 1 | 1 << 16)), 8192),
    "not declare": (full_index((HEAD, 0, 1), algorithms=0), 4096),
    "compression algorithm 4": (full_index((HEAD, 0, 1), algorithms=4), 4096),
    "compression algorithm 15": (full_index((HEAD, 0, 1), algorithms=0xF3), 4096),
    "map advise": (full_index((HEAD, 0, 1), advise=0x40), 4096),
    "more than 12 MiB": (full_index((HEAD, 0, 1), bits=15), 13 << 20),
    "crosses a block": (full_index((HEAD, 0, 1), advise=8, word=5000 << 16), 4096),
    "without 48BIT": (full_index((HEAD, 0, 1), advise=1), 4096),
    "an index behind": (full_index(), 1 << 40),
}


@pytest.mark.parametrize("trap", INDEX_TRAPS)
def test_an_index_that_lies(trap: str) -> None:
    index, size = INDEX_TRAPS[trap]
    what = "ends behind the image" if trap == "an index behind" else trap
    fails(compressed(index, size), what, lambda image: image.read_bytes("/file"))


@pytest.mark.parametrize("layout", [FULL, COMPACT])
@pytest.mark.parametrize("bits", range(16))
@pytest.mark.parametrize("size", [1 << 40, (1 << 63) - 1])
def test_an_endless_index(layout: int, bits: int, size: int) -> None:
    """No size is believed before an index of that length is known to be there."""
    craft = compressed(full_index(bits=bits), size, layout=layout)
    fails(craft, "index", lambda image: image.read_bytes("/file"))


@pytest.mark.parametrize(
    ("advise", "bits", "what"),
    [(2, 0, "one half"), (4, 0, "one half"), (0, 1, "lclusters"), (1, 3, "lclusters")],
)
def test_a_compact_index_that_contradicts_itself(advise: int, bits: int, what: str) -> None:
    index = full_index(advise=advise, bits=bits)
    fails(compressed(index, 4096, layout=COMPACT), what, read_file)


def test_big_pclusters_that_the_superblock_does_not_know() -> None:
    craft = compressed(full_index((HEAD, 0, 1), advise=BIG), 4096, feature_incompat=1)
    fails(craft, "big pclusters without", read_file)


def test_overlapping_extents_are_right() -> None:
    """Ten extents of one pcluster: that is what deduplication makes."""
    heads = [(HEAD, 0, 1)] + [(NONHEAD, 0, min(d, 2047) | 16 - d << 16) for d in range(1, 16)]
    craft = compressed(full_index(*heads * 10), 10 * 65536)
    assert read_file(craft.open()) == b"a" * 655360
    assert bounded(lambda: check(craft.image())) == ""


PAYLOAD_TRAPS = {
    "all zeros": b"",
    "no zstd frame": b"garbage" * 9,
    "corrupt zstd frame": frame(b"a" * 65536)[:-3] + b"\xff\xff\xff",
    "larger window": b"\x28\xb5\x2f\xfd\x00\xf0" + bytes(50),
    "wants a dictionary": b"\x28\xb5\x2f\xfd\x21\x05\x41" + bytes(50),
    "fewer bytes": frame(b"a" * 4095),
}


@pytest.mark.parametrize("trap", PAYLOAD_TRAPS)
def test_a_payload_that_lies(trap: str) -> None:
    craft = compressed(full_index((HEAD, 0, 1)), 4096)
    craft.put(1 << 12, PAYLOAD_TRAPS[trap].rjust(4096, b"\0"))
    error = fails(craft, trap, read_file)
    assert (error.path, error.nid, error.offset) == ("/file", 56, 4096)


@pytest.mark.parametrize("algorithm", ["zstd", "lz4", "deflate", "lzma"])
def test_random_payloads(algorithm: str, fuzz: ModuleType) -> None:
    """What is no stream of its codec is an error, or decodes to something."""
    number = ["lz4", "lzma", "deflate", "zstd"].index(algorithm)
    fields = {"algorithms": 15, "lzma_dict_size": 4096, "deflate_windowbits": 15}
    index = full_index((HEAD, 0, 1), algorithms=number * 0x11)
    craft = compressed(index, 4096, **fields)
    for seed in range(200):
        craft.poke(1 << 12, bytes((seed * 7 + n * n * (seed + 3)) % 255 + 1 for n in range(64)))
        fuzz.exercise(craft.image())


def bomb() -> bytes:
    """Half a megabyte that holds 800 MB: a hundred extents of 8 MiB, each with its pcluster."""
    size = 8 << 20
    craft = one_file(blocks=120, **ZSTD)
    index = full_index(*[(HEAD, 0, 2 + n) for n in range(100)], bits=11)
    craft.inode(56, REG, index, layout=FULL, size=100 * size, u=100)
    payload = frame(bytes(size)).rjust(4096, b"\0")
    for n in range(100):
        craft.put(2 + n << 12, payload)
    return craft.image()


def test_a_bomb_read_in_pieces() -> None:
    data = bomb()
    assert bounded(lambda: read_file(Image(BytesBlob(data)))) == bytes(1 << 20)
    reads = [("/file", n << 23, 1) for n in range(50)]
    assert bounded(lambda: Image(BytesBlob(data)).read_many(reads)) == [b"\0"] * 50


def test_a_bomb_that_fsck_does_not_wait_for() -> None:
    """It decodes as much as is in proportion to the image, and says that there is more."""
    data = bomb()
    assert "the rest was not decoded" in bounded(lambda: check(data))
    assert check(data, contents=False) == ""


# --- encoded extents ----------------------------------------------------------------------------


def encoded(record: int, rows: bytes, *, count: int = 0, advise: int = 0) -> bytes:
    """A map header and encoded extents in records of 4 << ``record`` bytes."""
    header = struct.pack(
        "<IHBB", count & 0xFFFFFFFF, 1 | record << 1 | advise, count >> 32 & 255, count >> 40
    )
    return header + rows


def extents_16(*rows: tuple[int, int, int], count: int | None = None, advise: int = 0) -> bytes:
    """Records of 16 bytes: where in the file, the word with the stored size, the address."""
    packed = b"".join(
        struct.pack("<IIII", word, address & 0xFFFFFFFF, address >> 32, logical)
        for logical, word, address in rows
    )
    return encoded(2, bytes(8) + packed, count=len(rows) if count is None else count, advise=advise)


ZSTD_WORD = 4 << 28
ENCODED_TRAPS = {
    "ends behind the image": extents_16((0, 10, 0), count=(1 << 47) - 1),
    "out of order": extents_16((0, 10, 4096), (10, 5, 4096), (5, 5, 4096)),
    "is out of order": extents_16((0, 5, 4096), (99, 5, 4096)),
    "two encoded extents": extents_16((0, 5, 4096), (5, 5, 4096), (5, 5, 4096)),
    "outside the image": extents_16((0, 100, 8100)),
    "lies outside the image": extents_16((0, 100, (1 << 64) - 50)),
    "uncompressed extent longer": extents_16((0, 10, 4096)),
    "compression algorithm 14": extents_16((0, 15 << 28 | 10, 4096)),
    "not declare": extents_16((0, 1 << 28 | 10, 4096)),
    "more than 1 MiB": extents_16((0, ZSTD_WORD | (1 << 20) + 1, 4096)),
    "outside": encoded(0, ((1 << 64) - 4096).to_bytes(8, "little") + u32(100)),
}


@pytest.mark.parametrize("trap", ENCODED_TRAPS)
def test_encoded_extents_that_lie(trap: str) -> None:
    incompat = CFGS | disk.FEATURE_INCOMPAT_48BIT
    craft = compressed(ENCODED_TRAPS[trap], 64, feature_incompat=incompat)
    fails(craft, trap, lambda image: image.read_bytes("/file"))


def test_many_tiny_extents_of_large_pclusters() -> None:
    """Each asks for a megabyte to be read, for one byte of the file."""
    craft = one_file(blocks=250, **{**ZSTD, "feature_incompat": CFGS | 0x80})
    craft.directory(ROOT, {b"file": 128})
    word = ZSTD_WORD | 1 << 27 | 900_000
    rows = [(n, word, 4096 * 8 + n) for n in range(1500)]
    craft.inode(128, REG, extents_16(*rows), layout=FULL, size=1500)
    craft.put(4096 * 8, frame(b"a" * 100).rjust(4096, b"\0"))
    fails(craft, "shorter than its pcluster", read_file)


# --- fragments ----------------------------------------------------------------------------------

FRAGMENTS: dict[str, object] = {**ZSTD, "feature_incompat": CFGS | 0x20, "packed_nid": 64}


def whole_fragment(offset: int) -> bytes:
    """The map header of a file that is one fragment."""
    return u64(1 << 63 | offset)


def tail_fragment(offset: int, block: int = 0) -> bytes:
    """A full index whose last extent is a fragment; its high half stands for a block."""
    return full_index((HEAD, 0, 1), (0, 0, block), advise=0x20, word=offset)


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (whole_fragment(100), 10),
        (whole_fragment(96), 6),
        (whole_fragment((1 << 63) - 1), 10),
        (whole_fragment(0), (1 << 63) - 1),
        (tail_fragment(100), 4106),
        (tail_fragment(0xFFFFFFFF), 4106),
        (tail_fragment(0, 0xFFFFFFFF), 4106),
    ],
)
def test_a_fragment_behind_the_packed_inode(body: bytes, size: int) -> None:
    craft = compressed(body, size, **FRAGMENTS)
    craft.inode(64, REG, b"p" * 100)
    fails(craft, "fragment ends at", lambda image: image.read_bytes("/file"))


def test_a_fragment_without_a_packed_inode() -> None:
    fails(compressed(whole_fragment(0), 10), "no packed inode", read_file)


def test_a_packed_inode_in_itself() -> None:
    """Linux hangs on it for ever."""
    craft = compressed(whole_fragment(0), 10, **FRAGMENTS)
    craft.inode(64, REG, whole_fragment(0), layout=FULL, size=10)
    error = fails(craft, "packed inode is its own fragment", read_file)
    assert (error.path, error.nid) == ("/file", 64)
    assert "\nnid 64, offset 2112: the packed inode" in "\n" + check(craft.image())


def test_a_packed_inode_that_ends_in_itself() -> None:
    craft = compressed(whole_fragment(4096), 10, **FRAGMENTS)
    craft.inode(64, REG, tail_fragment(0), layout=FULL, size=4110)
    fails(craft, "packed inode is its own fragment", read_file)


def test_a_packed_inode_with_other_numbers() -> None:
    """The file is the packed inode, by a nid that wraps around to it."""
    craft = one_file(**FRAGMENTS)
    craft.directory(ROOT, {b"file": 64 + (1 << 59)})
    craft.inode(64, REG, whole_fragment(0), layout=FULL, size=10)
    with pytest.raises(FormatError, match="packed inode is its own fragment"):
        read_file(craft.open())
    assert "the packed inode has a name" in check(craft.image())


def test_a_packed_inode_that_has_a_name() -> None:
    craft = one_file(**FRAGMENTS)
    craft.directory(ROOT, {b"file": 64})
    craft.inode(64, REG, b"data")
    assert "the packed inode has a name" in check(craft.image())


# --- extended attributes ------------------------------------------------------------------------


def xattr_area(entries: bytes, *ids: int, count: int | None = None) -> bytes:
    area = struct.pack("<IB7x", 0, len(ids) if count is None else count)
    return area + b"".join(map(u32, ids)) + entries


def xattr_entry(index: int, name: bytes, value: bytes, size: int | None = None) -> bytes:
    raw = struct.pack("<BBH", len(name), index, len(value) if size is None else size) + name + value
    return raw + bytes(-len(raw) % 4)


XATTR_TRAPS = {
    "an xattr entry ends behind": xattr_area(xattr_entry(1, b"a", b"1", size=60000)),
    "an xattr entry ends behind its area": xattr_area(struct.pack("<BBH", 255, 1, 0)),
    "255 shared xattrs": xattr_area(xattr_entry(1, b"a", b"1"), count=255),
    "bytes wanted": xattr_area(b"", 0xFFFFFFFF),
    "wanted, the image ends": xattr_area(b"", 2047),
    "an attribute named": xattr_area(xattr_entry(1, b"a\0b", b"1")),
}


@pytest.mark.parametrize("trap", XATTR_TRAPS)
def test_attributes_that_lie(trap: str) -> None:
    craft = one_file()
    craft.inode(56, REG, xattrs=XATTR_TRAPS[trap])
    craft.put(8188, struct.pack("<BBH", 200, 1, 60000))
    what = trap if trap != "an attribute named" else "NUL|named"
    with pytest.raises(FormatError, match=what) as caught:
        craft.open().listxattr("/file")
    assert (caught.value.path, caught.value.nid) == ("/file", 56)
    assert "/file, nid 56" in bounded(lambda: check(craft.image()))


def test_an_xattr_area_of_one_unit() -> None:
    """icount 1 is a header without entries, which Linux refuses."""
    craft = one_file()
    craft.inode(56, REG)
    craft.poke(56 * 32 + 2, u16(1))
    fails(craft, "xattr area without entries", lambda image: image.stat("/file"))


def test_an_xattr_area_behind_the_image() -> None:
    craft = one_file()
    craft.inode(56, REG)
    craft.poke(56 * 32 + 2, u16(0xFFFF))
    fails(craft, "the image ends", lambda image: image.listxattr("/file"))


def test_attributes_of_all_that_one_can_have() -> None:
    """60,000 empty ones; and 255 that are shared, of 64 KiB each, which overlap."""
    craft = one_file(blocks=100)
    craft.directory(ROOT, {b"file": 128})
    craft.inode(128, REG, xattrs=xattr_area(struct.pack("<BBH", 0, 1, 0) * 60_000))
    data = craft.image()
    assert quick(lambda: Image(BytesBlob(data)).listxattr("/file")) == ["user."]
    assert "no name behind user." in quick(lambda: check(data))
    craft.put(200_000, struct.pack("<BBH", 0, 1, 0xFFFF) * 255)
    craft.inode(128, REG, xattrs=xattr_area(b"", *range(50_000, 50_255)))
    data = craft.image()
    assert bounded(lambda: Image(BytesBlob(data)).listxattr("/file")) == ["user."]
    assert "share bytes" in bounded(lambda: check(data))


def test_a_prefix_that_does_not_exist_hides_an_attribute() -> None:
    """As Linux has it; fsck names it."""
    craft = one_file()
    craft.inode(
        56, REG, xattrs=xattr_area(xattr_entry(9, b"a", b"1") + xattr_entry(0x85, b"b", b""))
    )
    assert craft.open().listxattr("/file") == []
    assert "unknown prefix 9" in check(craft.image())
    assert "unknown prefix 133" in check(craft.image())


@pytest.mark.parametrize("start", [0, 1 << 20, 0xFFFFFFFF, 2047])
@pytest.mark.parametrize("feature", [0x40, 0x60])
def test_long_prefixes_without_a_table(start: int, feature: int) -> None:
    craft = one_file(
        feature_incompat=feature, packed_nid=64, xattr_prefix_count=255, xattr_prefix_start=start
    )
    craft.inode(56, REG, xattrs=xattr_area(xattr_entry(0x80, b"a", b"1")))
    craft.inode(64, REG, bytes(100))
    with pytest.raises(FormatError) as caught:
        craft.open().listxattr("/file")
    assert caught.value.path == "/file"
    assert "long xattr prefixes: " in bounded(lambda: check(craft.image()))


def test_a_long_prefix_of_a_long_prefix() -> None:
    craft = one_file(feature_incompat=0x40, xattr_prefix_count=1, xattr_prefix_start=1024)
    craft.put(4096, u16(3) + b"\x80xy")
    craft.inode(56, REG, xattrs=xattr_area(xattr_entry(0x80, b"a", b"1")))
    assert craft.open().listxattr("/file") == []
    assert "unknown prefix 128" in check(craft.image())


# --- symbolic links -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "size"), [(b"", 0), (b"a\0b", 3), (b"x" * 100, 4096), (b"x", (1 << 63) - 1)]
)
def test_a_link_that_is_none(target: bytes, size: int) -> None:
    craft = one_file(mode=LNK)
    craft.inode(56, LNK, target, size=size)
    fails(craft, "a symbolic link", lambda image: image.readlink("/file"))
    fails(craft, "a symbolic link", lambda image: image.stat("/file"))


def test_links_that_multiply() -> None:
    """Each of 40 links goes twelve times through the next: only 40 are followed in all."""
    names = {f"{n:02}": b"/".join([b"%02d/.." % (n + 1)] * 500)[:4095] for n in range(40)}
    data = packed(tree_of({name: symlink(target) for name, target in names.items()}))
    image = Image(BytesBlob(data))
    for path in ("00", "39", "00/x"):
        with pytest.raises(OSError, match=r"symbolic links|No such file|Not a dir"):
            quick(lambda path=path: image.stat(path))
    assert quick(lambda: check(data)) == ""
    quick(lambda: list(image.walk()))


def test_links_that_lead_in_circles() -> None:
    links = {"a": b"a", "b": b"c", "c": b"b", "d/up": b"../d/up/x", "e": b"."}
    data = packed(tree_of({name: symlink(target) for name, target in links.items()}))
    image = Image(BytesBlob(data))
    for path in ("a", "b", "c/x", "d/up"):
        with pytest.raises(OSError, match="symbolic links"):
            image.stat(path)
    assert len(list(image.walk(followlinks=True))) == 2 * 41


# --- the superblock -----------------------------------------------------------------------------

SUPER_TRAPS: dict[str, tuple[int, bytes, str]] = {
    "magic": (0x00, b"EROF", "magic"),
    "block size 2^8": (0x0C, b"\x08", "block size"),
    "block size 2^17": (0x0C, b"\x11", "block size"),
    "block size 2^255": (0x0C, b"\xff", "block size"),
    "dirblkbits": (0x5A, b"\x01", "dirblkbits"),
    "unknown incompat": (0x50, u32(1 << 31), "incompat 0x80000000"),
    "metabox": (0x50, u32(0x180), "METABOX"),
    "root is no directory": (0x0E, u16(56), "not a directory"),
    "root behind the image": (0x0E, u16(0xFFFF), "behind the image"),
    "root is nothing": (0x0E, u16(127), "no known type"),
    "48-bit root behind": (0x50, u32(0x80) + bytes(28) + u64(1 << 58), "behind the image"),
    "nid 0 behind the image": (0x28, u32(0xFFFFFFFF), "behind the image"),
    "packed inode behind": (0x50, u32(0x20) + bytes(12) + u64(1 << 40), "behind the image"),
    "packed inode is a directory": (0x50, u32(0x20) + bytes(12) + u64(ROOT), "not a regular file"),
    "algorithm 4": (0x50, u32(3) + u16(16), "compression algorithm 4"),
    "all algorithms": (0x50, u32(3) + u16(0xFFFF), "compression algorithm"),
    "a configuration of nothing": (0x50, u32(3) + u16(8), "configuration of zstd"),
    "extension slots behind the block": (0x0D, b"\xff", "extension slots"),
    "a device table behind": (0x50, u32(8) + bytes(2) + u16(1) + u16(0xFFFF), "device table"),
    "65,535 devices": (0x50, u32(8) + bytes(2) + u16(0xFFFF) + u16(0), "device table"),
}  # fmt: skip


@pytest.mark.parametrize("trap", SUPER_TRAPS)
def test_a_superblock_that_lies(trap: str) -> None:
    offset, data, what = SUPER_TRAPS[trap]
    craft = one_file()
    craft.inode(56, REG, b"data")
    craft.poke(SUPER + offset, data)
    raw = unsealed(craft)

    def run() -> FormatError:
        with pytest.raises(FormatError, match=what) as caught:
            Image(BytesBlob(raw), name="some.erofs")
        return caught.value

    assert bounded(run).path == "some.erofs"


def unsealed(craft: Craft) -> bytes:
    """The image with a checksum if one can be made, else as it is."""
    try:
        return craft.image()
    except FormatError:
        return bytes(craft.data)


CONFIG_TRAPS = {
    "windowlog 11": (8, 6, b"\0\x0b"),
    "zstd format": (8, 6, b"\x01\x06"),
    "zstd short": (8, 1, b"\0"),
    "zstd endless": (8, 0, b"\0\x06"),
    "lzma dictionary small": (2, 14, u32(4095) + u16(0)),
    "lzma dictionary large": (2, 14, u32((8 << 20) + 1) + u16(0)),
    "lzma format": (2, 14, u32(4096) + u16(1)),
    "deflate window small": (4, 6, b"\x07"),
    "deflate window large": (4, 6, b"\x10"),
    "lz4 short": (1, 13, b""),
}


@pytest.mark.parametrize("trap", CONFIG_TRAPS)
def test_a_compression_configuration_that_lies(trap: str) -> None:
    algorithms, size, payload = CONFIG_TRAPS[trap]
    craft = one_file(feature_incompat=3, algorithms=8, zstd_windowlog=15)
    craft.poke(SUPER + 0x54, u16(algorithms))
    craft.poke(SUPER + 128, u16(size) + payload)
    with pytest.raises(FormatError, match="configuration of"):
        craft.open()


def test_a_checksum_that_does_not_match() -> None:
    data = bytearray(one_file().image())
    data[2000] ^= 1
    with pytest.raises(FormatError, match="checksum"):
        Image(BytesBlob(data))


def test_devices_on_top_of_each_other() -> None:
    craft = one_file(blocks=4, feature_incompat=8)
    slot = struct.pack("<64sII56x", b"", 10, 100)
    craft.put(3 << 12, slot * 2)
    craft.poke(SUPER + 0x56, u16(2) + u16(96))
    data, device = craft.image(), BytesBlob(bytes(10 << 12))
    with pytest.raises(FormatError, match="overlap"):
        Image(BytesBlob(data), devices=[device, device])
    with pytest.raises(FormatError, match="extra devices given"):
        Image(BytesBlob(data), devices=[device])
    with pytest.raises(FormatError, match="shorter"):
        Image(BytesBlob(data), devices=[device, BytesBlob(b"")])


def test_a_device_that_only_the_table_of_an_unused_feature_names() -> None:
    """Fields of a feature that is not declared are ignored, as Linux does."""
    craft = one_file()
    craft.inode(56, REG, b"data")
    craft.poke(SUPER + 0x56, u16(0xFFFF) + u16(0xFFFF))
    assert read_file(craft.open()) == b"data"


def test_a_header_that_lies() -> None:
    """It is a hint: reading does not depend on it, and fsck compares it."""
    craft = one_file()
    craft.inode(56, REG, b"data")
    for image_size, metadata_size in [(1 << 60, 1 << 60), (8192, 0), (8192, 1), (0, 0)]:
        craft.poke(0, seal.pack(seal.Header(image_size, metadata_size)))
        assert read_file(craft.open()) == b"data"
        assert "metadata zone" in check(craft.image()) or "the header says" in check(craft.image())


# --- everything, byte by byte -------------------------------------------------------------------


def small_images() -> dict[str, bytes]:
    """One of each layout, few inodes each."""
    text = b"".join(b"%d bottles\n" % number for number in range(1000))
    nodes = {"a": b"inline", "d/text": text, "l": symlink(b"d/text"), "d/pack": text[:600]}
    tree = tree_of(nodes)
    for name in ("a", "d"):
        node = tree.get(name)
        assert node is not None
        node.xattrs = {b"user.own": name.encode(), b"security.selinux": b"label"}
    small = {"extent_size": 4096, "pack_extent_size": 4096, "pack_limit": 4096}
    return {
        "zstd": packed(tree, compression="zstd", **small),
        "lz4": packed(tree, **PROFILES["lz4-5.4"]),
        "none": packed(tree, **PROFILES["none-6.10"]),
    }


SMALL = small_images()


@pytest.mark.parametrize("name", SMALL)
def test_every_length(name: str, fuzz: ModuleType) -> None:
    """Cut anywhere, with and without the checksum that would have told."""
    data = bytearray(SMALL[name])
    for size in range(0, len(data), 61):
        fuzz.exercise(bytes(data[:size]))
    data[SUPER + 8] &= ~disk.FEATURE_COMPAT_SB_CHKSUM
    for size in (*range(0, 4096, 17), *range(4096, len(data), 97)):
        fuzz.exercise(bytes(data[:size]))


@pytest.mark.parametrize("name", SMALL)
def test_every_byte_of_metadata(name: str, fuzz: ModuleType) -> None:
    """Each becomes several other values; the checksum is made good, so that it counts."""
    data = SMALL[name]
    image = Image(BytesBlob(data))
    assert fuzz.exercise(data) is None
    header = image.volume.metadata.header
    assert header is not None
    end = len(data[: header.metadata_size].rstrip(b"\0")) + 1
    for at in (*range(32), *range(SUPER, end)):
        for value in {0, 0xFF, data[at] ^ 1, data[at] ^ 0x80} - {data[at]}:
            fuzz.exercise(mended(data, at, value))


def mended(data: bytes, at: int, value: int) -> bytes:
    changed = bytearray(data)
    changed[at] = value
    with suppress(FormatError):
        return reseal(changed)
    return bytes(changed)


@pytest.mark.parametrize("name", SMALL)
def test_fsck_finds_every_change_of_a_nid_or_type_in_a_directory(name: str) -> None:
    data = SMALL[name]
    assert check(data) == ""
    body = Image(BytesBlob(data)).inode("/d").body
    for entry in range(body, body + 4 * disk.DIRENT.size, disk.DIRENT.size):
        for at in (*range(entry, entry + 8), entry + 10):
            assert "/d" in check(mended(data, at, data[at] ^ 1)), at - body
            assert "/d" in check(mended(data, at, data[at] ^ 0x80)), at - body


def test_every_length_of_a_small_image(fuzz: ModuleType) -> None:
    """Two blocks of 512 bytes behind the superblock's, and no checksum."""
    craft = Craft(blocks=7, blkszbits=9)
    craft.modes.update({56: DIR, 72: LNK})
    craft.directory(ROOT, {b"d": 56, b"f": 64, b"l": 72})
    craft.directory(56, {b"f": 64}, parent=ROOT)
    craft.inode(
        64, REG, layout=PLAIN, size=700, u=5, nlink=2, xattrs=xattr_area(xattr_entry(1, b"a", b"1"))
    )
    craft.inode(72, LNK, b"d/f")
    craft.poke(SUPER + 8, u32(0))
    data = craft.image()
    assert check(data) == ""
    for size in range(len(data)):
        fuzz.exercise(data[:size])


# --- what the fuzzer found ----------------------------------------------------------------------


def test_the_inputs_that_are_kept(fuzz: ModuleType) -> None:
    """Those that once hurt, and small images with what our writer does not make."""
    kept = sorted(fuzz.CORPUS.iterdir())
    assert kept
    for path in kept:
        fuzz.one_input(path.read_bytes())


def test_the_inputs_that_are_kept_without_the_compiled_part(fuzz: ModuleType) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", fuzz.__file__, "--replay"],
        env={**os.environ, "IASFS_PURE_PYTHON": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert done.stdout.endswith(b" inputs\n")
