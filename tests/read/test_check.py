"""fsck lists every violation, each with path, nid and offset; dump is a text for people."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable
from typing import Any

import pytest

from craft import (
    CHUNKS,
    DIR,
    FULL,
    INLINE,
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
    u64,  # fmt: skip
    xattr_area,
    xattr_entry,
)
from helpers import ROOT as CHECKOUT
from helpers import require_vectors
from hostile import HEAD, ZSTD, full_index
from iasfs.blob import BytesBlob, FileBlob
from iasfs.errors import FormatError, StorageError
from iasfs.format import dirent, disk, seal, xattr
from iasfs.format.dirent import Entry
from iasfs.read.check import Problem, dump, fsck
from iasfs.read.image import Image
from iasfs.testing import FaultyBlob, RecordingBlob
from iasfs.tree import Node
from trees import PROFILES, file, image_of, local_tree, packed, symlink, tree_of

WORDS = b"".join(b"%d bottles of beer on the wall\n" % number for number in range(9000))


def lines(image: Image | Craft, *, contents: bool = True) -> list[str]:
    """What fsck says, a line each."""
    if isinstance(image, Craft):
        image = image.open()
    return [str(problem) for problem in fsck(image, contents=contents)]


# --- what is sound ------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_what_we_write_is_sound(profile: str) -> None:
    assert lines(image_of(local_tree(), **PROFILES[profile])) == []


def test_what_another_tool_writes_is_sound() -> None:
    vectors = require_vectors()
    for path in sorted(vectors.glob("*.erofs")):
        devices = [FileBlob(vectors / "device.blob")] if path.stem == "device" else []
        with Image(FileBlob(path), devices=devices) as image:
            assert lines(image) == [], path.stem
            assert "cannot be read" not in dump(image)


def test_an_image_without_its_extra_device() -> None:
    """What lies on a device that is not there is named, file by file."""
    with Image(FileBlob(require_vectors() / "device.erofs")) as image:
        found = list(fsck(image))
    assert len(found) > 100
    assert all("lies outside the image" in problem.what for problem in found)


def test_links_counts_and_dots_that_linux_accepts() -> None:
    """A directory may omit ".", a count of inodes may be 0."""
    craft = Craft(inos=0)
    craft.directory(ROOT, {b"d": 56})
    content = dirent.pack([Entry(b"..", ROOT, disk.FT_DIR)], 4096)
    craft.inode(56, DIR, content, nlink=2)
    craft.modes[56] = DIR
    craft.directory(ROOT, {b"d": 56})
    assert lines(craft) == ["/d, nid 56: the entry '.' is missing"]
    craft.poke(56 * 32, u16(INLINE << 1 | 1 | disk.I_DOT_OMITTED))
    assert lines(craft) == []


# --- violations ---------------------------------------------------------------------------------


def sample() -> Craft:
    """A sound image: directories /d and /d/e, files /f and /d/f that are one, a link /l."""
    craft = Craft(blocks=3, inos=5)
    craft.modes.update({56: DIR, 64: DIR, 80: LNK})
    craft.directory(ROOT, {b"d": 56, b"f": 72, b"l": 80})
    craft.directory(56, {b"e": 64, b"f": 72}, parent=ROOT)
    craft.directory(64, {}, parent=56)
    craft.inode(72, REG, b"data", nlink=2)
    craft.inode(80, LNK, b"d/f")
    return craft


def test_the_sample_is_sound() -> None:
    assert lines(sample()) == []


def entry_at(nid: int, index: int) -> int:
    """Where an entry of an inline directory lies."""
    return nid * 32 + 64 + 12 * index


VIOLATIONS: dict[str, tuple[Callable[[Craft], object], str]] = {
    "the blocks are more than there are": (
        lambda craft: craft.poke(SUPER + 0x24, u32(4)),
        "offset 1060: 16384 bytes of blocks, the image has 12288",
    ),
    "another number of inodes": (
        lambda craft: craft.poke(SUPER + 0x10, u64(6)),
        "offset 1040: 6 inodes, but 5 found",
    ),
    "a label of 16 bytes": (
        lambda craft: craft.poke(SUPER + 0x40, b"l" * 16),
        "offset 1088: no NUL behind the label",
    ),
    "nanoseconds for all": (
        lambda craft: craft.poke(SUPER + 0x20, u32(1_000_000_000)),
        "offset 1056: 1000000000 nanoseconds",
    ),
    "nanoseconds for one": (
        lambda craft: craft.poke(72 * 32 + 40, u32(1_000_000_000)),
        "/f, nid 72, offset 2304: 1000000000 nanoseconds",
    ),
    "'.' leads elsewhere": (
        lambda craft: craft.poke(entry_at(64, 0), u64(56)),
        "/d/e, nid 64: '.' leads to nid 56, not 64",
    ),
    "'..' leads elsewhere": (
        lambda craft: craft.poke(entry_at(64, 1), u64(ROOT)),
        "/d/e, nid 64: '..' leads to nid 48, not 56",
    ),
    "'..' of the root leads elsewhere": (
        lambda craft: craft.poke(entry_at(ROOT, 1), u64(56)),
        "/, nid 48: '..' leads to nid 56, not 48",
    ),
    "no '..'": (
        lambda craft: craft.poke(entry_at(64, 2) + 1, b"-."),
        "/d/e, nid 64: the entry '..' is missing",
    ),
    "a '.' that the inode omits": (
        lambda craft: craft.poke(64 * 32, u16(INLINE << 1 | 1 | disk.I_DOT_OMITTED)),
        "/d/e, nid 64: the entry '.' is there, which the inode denies",
    ),
    "another type in the entry": (
        lambda craft: craft.poke(entry_at(ROOT, 3) + 10, b"\x03"),
        "/f, nid 72: file type 3 in the entry, 1 in the inode",
    ),
    "no type in the entry": (
        lambda craft: craft.poke(entry_at(ROOT, 0) + 10, b"\0"),
        "/., nid 48: file type 0 in the entry, 2 in the inode",
    ),
    "a second name of a directory": (
        lambda craft: craft.poke(entry_at(ROOT, 3), u64(56)),
        "/f, nid 56: a second name for a directory",
    ),
    "more names than links": (
        lambda craft: craft.poke(72 * 32 + 44, u32(1)),
        "/d/f, nid 72: 1 links, but 2 names",
    ),
    "more links than names": (
        lambda craft: craft.poke(80 * 32 + 44, u32(2)),
        "/l, nid 80: 2 links, but 1 names",
    ),
    "no link": (
        lambda craft: craft.poke(80 * 32 + 44, u32(0)),
        "/l, nid 80: 0 links, but 1 names",
    ),
    "links of a directory": (
        lambda craft: craft.poke(56 * 32 + 44, u32(2)),
        "/d, nid 56: 2 links, but 1 subdirectories",
    ),
    "names out of order": (
        lambda craft: craft.poke(entry_at(64, 2), b"z.."),
        "/d/e, nid 64: b'..' stands behind b'z'",
    ),
    "a nid of nothing": (
        lambda craft: craft.poke(entry_at(ROOT, 4), u64(127)),
        "/l, nid 127, offset 4068: mode 0o0 has no known type",
    ),
    "an empty directory": (
        lambda craft: craft.poke(64 * 32 + 8, u64(0)),
        "/d/e, nid 64, offset 2048: an empty directory without '..'",
    ),
    "an empty link": (
        lambda craft: craft.poke(80 * 32 + 8, u64(0)),
        "/l, nid 80, offset 2560: a symbolic link of 0 bytes",
    ),
    "a link with a NUL": (
        lambda craft: craft.poke(80 * 32 + 65, b"\0"),
        "/l, nid 80, offset 2560: a symbolic link with a NUL",
    ),
    "a device with a size": (
        lambda craft: craft.poke(80 * 32 + 4, u16(0o020600)),
        "/l, nid 80, offset 2560: a special file of 3 bytes",
    ),
    "data behind the image": (
        lambda craft: craft.inode(72, REG, layout=PLAIN, size=4, u=9, nlink=2),
        "/f, nid 72, offset 2304: 4 bytes of data at 36864 lie outside the image",
    ),
    "a header of another image": (
        lambda craft: craft.poke(0, seal.pack(seal.Header(8192, 8192))),
        "offset 0: the header says 8192 bytes, not 12288",
    ),
    "an inode behind the metadata zone": (
        lambda craft: craft.poke(0, seal.pack(seal.Header(12288, 2600))),
        "/l, nid 80, offset 2560: the inode lies behind the metadata zone",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_named(name: str) -> None:
    change, line = VIOLATIONS[name]
    craft = sample()
    change(craft)
    assert line in lines(craft)


def test_all_violations_are_listed() -> None:
    """What is wrong is passed by: the rest is looked at all the same."""
    apart = (
        "a label of 16 bytes", "nanoseconds for one", "'..' leads elsewhere",
        "'..' of the root leads elsewhere", "another type in the entry", "more links than names",
        "links of a directory", "a link with a NUL",
    )  # fmt: skip
    craft = sample()
    for name in apart:
        VIOLATIONS[name][0](craft)
    assert sorted(lines(craft)) == sorted(VIOLATIONS[name][1] for name in apart)


def test_what_cannot_be_read_spoils_nothing_else() -> None:
    """Of a directory with a block that is lost the others are checked, and no link is missed."""
    names = {f"d/{number:03}": file(mode=0o600 + number % 8) for number in range(400)}
    data = packed(tree_of({**names, "z": symlink(b"d")}), compression="none")
    image = Image(BytesBlob(data))
    directory, last = image.inode("/d"), image.inode("/d/399")
    first = image.volume.extents(directory)[0].address
    broken = bytearray(data)
    broken[first + 8] = 1  # where the first name in the first block is
    broken[last.offset + 4 : last.offset + 6] = bytes(2)
    found = list(fsck(Image(BytesBlob(reseal(broken)))))
    assert [problem[:2] for problem in found[:2]] == [("/d", directory.nid), ("/d/399", last.nid)]
    assert [problem.what for problem in found[2:]] == ["403 inodes, but 131 found"]


def test_zeros_behind_the_last_name() -> None:
    """Linux takes it up to a NUL or the end of the block."""
    craft = Craft(inos=2)
    entries = [Entry(b".", ROOT, 2), Entry(b"..", ROOT, 2), Entry(b"f", 56, 1)]
    content = dirent.pack(entries, 4096)
    craft.inode(ROOT, DIR, layout=PLAIN, size=len(content), u=1, nlink=2)
    craft.inode(56, REG)
    craft.put(4096, content)
    assert lines(craft) == []
    craft.put(4096 + len(content), b"x")
    (line,) = lines(craft)
    assert line == f"/, nid 48, offset {4096 + len(content)}: no zeros behind the last name"


def test_an_lz4_pcluster_beyond_the_limit_that_the_superblock_says() -> None:
    """Linux sizes its buffers by it."""
    data = bytearray(packed(tree_of({"f": WORDS}), compression="lz4"))
    assert lines(Image(BytesBlob(data))) == []
    at = SUPER + disk.SUPER_BLOCK.size + 4
    data[at : at + 2] = u16(2)
    (line,) = lines(Image(BytesBlob(reseal(data))))
    assert line.endswith("the limit said is 8192")


def test_lz4_pclusters_that_linux_has_no_room_for() -> None:
    craft = Craft(feature_incompat=3, algorithms=1, lz4_max_pclusterblks=257)
    craft.directory(ROOT, {})
    assert lines(craft) == ["offset 1152: LZ4 pclusters of 257 blocks"]


def test_a_link_whose_target_does_not_decode() -> None:
    craft = one_file(mode=LNK, **ZSTD)
    craft.inode(56, LNK, full_index((HEAD, 0, 1)), layout=FULL, size=10)
    (line,) = lines(craft)
    assert line.startswith("/file, nid 56, offset 4096: the first block")


# --- extended attributes ------------------------------------------------------------------------


def with_xattrs(area: bytes, **fields: Any) -> list[str]:
    craft = one_file(**fields)
    craft.inode(56, REG, xattrs=area)
    craft.put(4096, xattr_entry(1, b"shared", b"1") + xattr_entry(9, b"other", b""))
    return lines(craft)


def test_attributes_twice() -> None:
    one, shared = xattr_entry(1, b"a", b"1"), xattr_entry(1, b"shared", b"2")
    where = "/file, nid 56, offset 1856: "
    assert with_xattrs(xattr_area(one, one)) == [where + "two attributes user.a"]
    assert with_xattrs(xattr_area(shared, ids=(1024,))) == [where + "two attributes user.shared"]


def test_a_shared_attribute_that_is_not_there() -> None:
    (line,) = with_xattrs(xattr_area(ids=(2048,)))
    assert line == "/file, nid 56, offset 8192: 4 bytes wanted, the image ends at 8192"


@pytest.mark.parametrize(
    ("stored", "what"),
    [
        (xattr_entry(9, b"a", b""), "an attribute whose name has the unknown prefix 9"),
        (xattr_entry(0x80, b"a", b""), "an attribute whose name has the unknown prefix 128"),
        (xattr_entry(2, b"a", b""), "an attribute whose name has the unknown prefix 2"),
        (xattr_entry(1, b"", b"v"), "an attribute with no name behind user."),
        (xattr_entry(1, b"n" * 251, b""), "an attribute with a name of 256 bytes"),
        (xattr_entry(1, b"a\0b", b""), "NUL in the name of an attribute, b'user.a\\x00b'"),
    ],
)
def test_names_of_attributes(stored: bytes, what: str) -> None:
    assert with_xattrs(xattr_area(stored)) == [f"/file, nid 56, offset 1856: {what}"]


def test_the_name_filter() -> None:
    """A bit that is set says that there is no such name, and Linux believes it."""
    compat = {"feature_compat": disk.FEATURE_COMPAT_XATTR_FILTER}
    stored = xattr_entry(1, b"a", b"1"), xattr_entry(6, b"b", b"2")
    clear = ~(xattr.filter_bit(1, b"a") | xattr.filter_bit(6, b"b")) & 0xFFFFFFFF
    assert with_xattrs(xattr_area(*stored, name_filter=clear), **compat) == []
    assert with_xattrs(xattr_area(*stored, name_filter=0), **compat) == []
    hidden = with_xattrs(xattr_area(*stored, name_filter=0xFFFFFFFF), **compat)
    assert [line.partition(": ")[2] for line in hidden] == [
        "the name filter hides user.a",
        "the name filter hides security.b",
    ]
    assert with_xattrs(xattr_area(*stored, name_filter=0xFFFFFFFF)) == []  # without the feature


def test_the_name_filter_of_every_attribute_that_other_tools_store() -> None:
    """Long prefixes, shared attributes and ACLs: their filters are right, and are looked at."""
    for name in ("prefix", "plain"):
        data = bytearray((require_vectors() / f"{name}.erofs").read_bytes())
        image = Image(BytesBlob(data))
        inodes = {}
        for top, dirs, files in image.walk():
            for path in (os.path.join(top, name) for name in dirs + files):
                inode = image.inode(path, follow_symlinks=False)
                if image.xattrs_of(inode):
                    inodes[inode.nid] = inode
        for inode in inodes.values():
            start = inode.body - inode.xattr_size
            data[start : start + 4] = b"\xff" * 4
        found = fsck(Image(BytesBlob(reseal(data))))
        hidden = {problem.nid for problem in found if "the name filter hides" in problem.what}
        assert hidden == inodes.keys()


# --- contents -----------------------------------------------------------------------------------


@pytest.fixture
def text_image() -> Image:
    """Longer than what opening an image reads."""
    digits = random.Random(1).randbytes(150_000).hex().encode()
    return image_of(tree_of({"a/text": digits, "b": WORDS[:5000], "c": b"x"}), extent_size=65536)


def test_every_pcluster_is_decoded(text_image: Image) -> None:
    """A changed byte in any of them is found, with the place of the pcluster."""
    data = bytes(text_image.volume.blobs[0].read_at(0, text_image.size))
    table = text_image.volume.extents(text_image.inode("/a/text"))
    assert len(table) > 3
    for extent in table:
        changed = bytearray(data)
        changed[extent.address : extent.address + 4096] = bytes(4096)
        (problem,) = fsck(Image(BytesBlob(changed)))
        assert (problem.path, problem.offset) == ("/a/text", extent.address)
        assert problem.what == "the first block of a compressed extent is all zeros"
        assert list(fsck(Image(BytesBlob(changed)), contents=False)) == []


def test_a_pcluster_of_the_packed_inode(text_image: Image) -> None:
    data = bytearray(text_image.volume.blobs[0].read_at(0, text_image.size))
    packed_inode = text_image.volume.packed_inode
    assert packed_inode is not None
    place = text_image.volume.extents(packed_inode)[0].address
    data[place : place + 4096] = bytes(4096)
    (problem,) = fsck(Image(BytesBlob(data)))
    assert problem[:3] == ("", packed_inode.nid, place)


def test_only_metadata_is_read_unless_contents_are_wanted(text_image: Image) -> None:
    blob = RecordingBlob(text_image.volume.blobs[0])
    image = Image(blob)
    opened = len(blob.calls)
    assert list(fsck(image, contents=False)) == []
    assert len(blob.calls) == opened
    assert list(fsck(image)) == []
    assert len(blob.calls) == opened + 1  # all of them at once


def test_what_files_share_is_decoded_once() -> None:
    nodes = {f"{number}": file(WORDS, uid=number) for number in range(20)}
    blob = RecordingBlob(BytesBlob(packed(tree_of(nodes), pack_limit=0)))
    image = Image(blob)
    del blob.calls[:]
    assert list(fsck(image)) == []
    assert sum(size for _, size in blob.ranges) < blob.size


def test_an_error_of_the_store_is_no_violation(text_image: Image) -> None:
    blob = FaultyBlob(text_image.volume.blobs[0], ["none", StorageError("the store is gone")])
    image = Image(blob)
    with pytest.raises(StorageError, match="gone"):
        list(fsck(image))


# --- one problem --------------------------------------------------------------------------------


def test_a_problem_is_one_line() -> None:
    odd = str(Problem("/a\nb\udcff\x1b", 7, 9, "what\n"))
    assert odd == "/a\\nb\\xff\\x1b, nid 7, offset 9: what\\n"
    assert str(Problem("", None, None, "what")) == "image: what"
    assert str(Problem("/é", None, 0, "what")) == "/é, offset 0: what"


# --- dump ---------------------------------------------------------------------------------------

KEPT = CHECKOUT / "fuzz" / "corpus" / "image"

IMAGE_TEXT = """\
superblock
  image size     5632 bytes
  block size     512 bytes
  blocks         11
  inodes         17
  root inode     nid 37
  packed inode   nid 85
  nid 0          at block 0
  shared xattrs  from block 2
  epoch          1000.000000000
  build time     epoch + 0 s
  uuid           11111111-2222-3333-4444-555555555555
  label          none
  checksum       none
  features       MTIME XATTR_FILTER ZERO_PADDING COMPR_CFGS FRAGMENTS XATTR_PREFIXES

compression
  lzma  dictionary of 32768 bytes

inodes
  11  regular file   28311 bytes
   3  directory      543 bytes
   1  FIFO           0 bytes
   1  symbolic link  9 bytes

layouts
   2  flat plain
  10  compressed, full index
   4  flat inline

extents
   4  plain     552 bytes of files    552 bytes stored
  10  fragment  28311 bytes of files

packed inode
  28327  bytes in 2 extents, 2560 bytes stored

tree
  16  names
   1  extended attributes behind inodes
   3  uses of shared extended attributes
"""

FILE_TEXT = """\
/d/mixed
  type    regular file
  mode    0644, -rw-r--r--
  owner   0:0
  size    6000 bytes
  links   1
  mtime   1000.000000000
  inode   nid 259 at 8288, compact
  layout  compressed, full index
  body    at 8320, behind 0 bytes of attributes

extents
  offset  size  kind   address  stored  device
       0   512  plain     3584     512       0
     512  1033  lz4       4096    1024       0
    1545  2955  lz4       5120    1024       0  partial
    4500   512  plain     3584     512       0
    5012   988  lz4       4096    1024       0  partial
"""

XATTR_TEXT = """\
/e/z
  type    regular file
  mode    0644, -rw-r--r--
  owner   0:0
  size    9000 bytes
  links   1
  mtime   1000.000000000
  inode   nid 82 at 2624, compact
  layout  compressed, full index
  body    at 2680, behind 24 bytes of attributes

extended attributes
  trusted.overlay.opaque  1 bytes  'y'

extents
  offset  size  kind      address  stored  device
       0  9000  fragment    19327    9000       0
"""


def test_an_image_is_shown() -> None:
    with Image(FileBlob(KEPT / "mkfs-prefix.erofs")) as image:
        assert dump(image) == IMAGE_TEXT


def test_a_file_is_shown() -> None:
    with Image(FileBlob(KEPT / "mkfs-dedupe.erofs")) as image:
        assert dump(image, "/d/mixed") == FILE_TEXT
        assert dump(image, b"d/mixed") == FILE_TEXT.replace("/d", "d", 1)


def test_attributes_and_fragments_are_shown() -> None:
    with Image(FileBlob(KEPT / "mkfs-prefix.erofs")) as image:
        assert dump(image, "/e/z") == XATTR_TEXT


def test_what_a_terminal_would_obey_is_escaped() -> None:
    craft = Craft(volume_name=b"\x1b]0;")
    craft.modes[56] = LNK
    name = b"\xff\x1b[m"
    craft.directory(ROOT, {name: 56})
    craft.inode(56, LNK, b"to\n", xattrs=xattr_area(xattr_entry(1, b"\x07", b"\x1b" * 50)))
    image = craft.open()
    texts = [dump(image), dump(image, b"/" + name)]
    assert "label          \\x1b]0;\n" in texts[0]
    assert texts[1].startswith("/\\xff\\x1b[m\n")
    assert "  target  to\\n\n" in texts[1]
    assert "  user.\\x07  50 bytes  1b1b1b1b " in texts[1]
    assert all(line.isprintable() for text in texts for line in text.split("\n"))


def test_a_symbolic_link_is_shown_not_followed() -> None:
    image = image_of(tree_of({"l": symlink(b"nowhere")}))
    assert "  target  nowhere\n" in dump(image, "l")


def test_devices_are_shown() -> None:
    tree = tree_of({"null": Node(stat.S_IFCHR | 0o666, rdev=os.makedev(1, 3))})
    text = dump(image_of(tree), "/null")
    assert "  mode    0666, crw-rw-rw-\n" in text
    assert "  device  1:3\n" in text


def test_extra_devices_are_shown() -> None:
    with Image(FileBlob(require_vectors() / "device.erofs")) as image:
        assert "extra devices\n  1  527 blocks from block 18  ''\n" in dump(image)


def test_the_header_is_shown() -> None:
    made = image_of(tree_of({"f": b"x"}))
    assert "header\n  file system    4096 bytes\n  metadata zone  4096 bytes\n" in dump(made)


def test_no_person_reads_a_million_extents() -> None:
    craft = one_file(blocks=20)
    craft.inode(56, REG, u32(1) * 12_000, layout=CHUNKS, size=12_000 << 12)
    text = dump(craft.open(), "/file")
    assert text.count("plain") == 10_000
    assert text.endswith("\n  and 2000 more\n")


def test_what_cannot_be_read_is_counted() -> None:
    craft = sample()
    craft.poke(entry_at(ROOT, 4), u64(127))
    craft.poke(64 * 32 + 64 + 8, b"\x01")
    assert "  2  inodes or directories that cannot be read\n" in dump(craft.open())


def test_a_path_that_is_not_there_or_not_sound() -> None:
    craft = sample()
    craft.poke(entry_at(ROOT, 4), u64(127))
    image = craft.open()
    with pytest.raises(FileNotFoundError):
        dump(image, "/nothing")
    with pytest.raises(FormatError, match=r"^/l, nid 127"):
        dump(image, "/l")
