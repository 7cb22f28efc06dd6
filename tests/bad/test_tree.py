"""Hostile trees: directories, symbolic links and attributes that lie.

Each image is made by hand to hurt in one way.
"""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest

from craft import (
    CHUNKS,
    DIR,
    LNK,
    PLAIN,
    REG,
    ROOT,
    Craft,
    one_file,
    u16,
    u32,
    xattr_area,
    xattr_entry,
)
from hostile import (
    bounded,
    check,
    fails,
    quick,
    read_file,
)
from iasfs.blob import BytesBlob
from iasfs.errors import FormatError
from iasfs.format import dirent, disk
from iasfs.format.dirent import Entry
from iasfs.read.image import Image
from trees import packed, symlink, tree_of

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
    """Each of 60 links goes 600 times through the next: only 40 are followed in all."""
    names = {f"{n:02}": b"/".join([b"%02d/.." % (n + 1)] * 600)[:4095] for n in range(60)}
    names |= {"60": b"."}
    data = packed(tree_of({name: symlink(target) for name, target in names.items()}))
    image = Image(BytesBlob(data))
    with pytest.raises(OSError, match="symbolic links"):
        quick(lambda: image.stat("00"))
    with pytest.raises(OSError, match="symbolic links"):
        quick(lambda: image.stat("59"))
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


# --- extended attributes ------------------------------------------------------------------------


XATTR_TRAPS = {
    "an xattr entry ends behind": xattr_area(xattr_entry(1, b"a", b"1", size=60000)),
    "an xattr entry ends behind its area": xattr_area(struct.pack("<BBH", 255, 1, 0)),
    "255 shared xattrs": xattr_area(xattr_entry(1, b"a", b"1"), count=255),
    "bytes wanted": xattr_area(ids=[0xFFFFFFFF]),
    "wanted, the image ends": xattr_area(ids=[2047]),
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
    craft.inode(128, REG, xattrs=xattr_area(ids=range(50_000, 50_255)))
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
