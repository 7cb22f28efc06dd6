"""What goes into an image comes out of it, and the same input gives the same bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import compare, describe_files, describe_tree_object
from iasfs.blob import BytesBlob, SparseBlob
from iasfs.format import disk
from iasfs.format.table import Kind
from iasfs.read.image import Image
from iasfs.testing import content, trees
from iasfs.tree import Tree
from trees import (
    PROFILES,
    PatternBlob,
    directory,
    file,
    image_of,
    nasty_tree,
    packed,
    symlink,
    tree_of,
)

SMALL: dict[str, Any] = {"extent_size": 8192, "pack_extent_size": 4096, "pack_limit": 2000}
"""Sizes whose borders small files meet."""
KERNELS = ("5.4", "5.13", "5.15", "6.1", "6.6", "6.10")


def small_trees() -> st.SearchStrategy[Tree]:
    return trees(max_size=30_000, extent_size=SMALL["extent_size"], pack_limit=SMALL["pack_limit"])


def assert_holds(image: Image, tree: Tree) -> None:
    """The image has the tree, with its names in byte order."""
    assert compare(describe_tree_object(tree), describe_files(image)) == []
    for top, dirs, files in image.walk(b"/"):
        node = tree.get(top)
        assert node is not None
        assert image.listdir(top) == sorted(node.children) == sorted([*dirs, *files])


# --- random trees -------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
@given(tree=small_trees())
@settings(max_examples=settings().max_examples // 4)
def test_a_tree_comes_back_whatever_the_codec(profile: str, tree: Tree) -> None:
    assert_holds(image_of(tree, **SMALL, **PROFILES[profile]), tree)


@given(tree=small_trees(), kernel=st.sampled_from(KERNELS))
def test_a_tree_comes_back_for_every_kernel(tree: Tree, kernel: str) -> None:
    """Also with the codec that ``min_kernel`` picks."""
    assert_holds(image_of(tree, min_kernel=kernel, **SMALL), tree)


@given(
    tree=small_trees(),
    extent_size=st.sampled_from((4096, 16384, 65536)),
    pack_extent_size=st.sampled_from((4096, 16384)),
    pack_limit=st.integers(0, 4096),
)
def test_a_tree_comes_back_whatever_the_sizes(tree: Tree, **sizes: int) -> None:
    assert_holds(image_of(tree, **sizes), tree)


@given(tree=small_trees(), profile=st.sampled_from(sorted(PROFILES)))
def test_same_input_same_bytes(tree: Tree, profile: str) -> None:
    """However many threads there are, and however often it is done."""
    first, *others = [
        packed(tree, workers=workers, **SMALL, **PROFILES[profile]) for workers in (1, 1, 2, 3)
    ]
    assert all(other == first for other in others)


@given(tree=small_trees(), data=st.data())
def test_order_moves_data_and_changes_nothing_else(tree: Tree, data: st.DataObject) -> None:
    """Bodies of the files that are named come first, in the order of their names."""
    names = [path for path, _ in tree.walk()]
    order = data.draw(st.lists(st.sampled_from([*names, b"/absent"]), max_size=8))
    image = image_of(tree, order=order, **SMALL)
    assert_holds(image, tree)

    def address(path: bytes) -> int | None:
        """Where the first stored bytes of a file lie, if it has some of its own."""
        inode = image.inode(path, follow_symlinks=False)
        if not inode.is_file or inode.layout == disk.INODE_FLAT_INLINE:
            return None
        extents = image.volume.extents(inode)
        return next((extent.address for extent in extents if extent.kind < Kind.HOLE), None)

    first_order = [path for path in dict.fromkeys([*order, *names]) if path in names]
    addresses = [at for at in map(address, first_order) if at is not None]
    ascending = list(dict.fromkeys(addresses))  # equal files share theirs
    assert ascending == sorted(ascending)


# --- what random trees seldom have --------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_a_nasty_tree_comes_back(profile: str) -> None:
    tree = nasty_tree()
    assert_holds(image_of(tree, **PROFILES[profile]), tree)


def test_an_empty_tree_comes_back() -> None:
    image = image_of(Tree())
    assert_holds(image, Tree())
    assert image.size == 4096


def test_a_chain_of_a_thousand_directories() -> None:
    path = b"/d" * 1000
    image = image_of(tree_of({path + b"/leaf": b"deep"}))
    walked = list(image.walk(b"/"))
    assert [top for top, _, _ in walked[1:]] == [b"/d" * depth for depth in range(1, 1001)]
    assert walked[-1] == (path, [], [b"leaf"])
    assert image.read_bytes(path + b"/leaf") == b"deep"
    assert image.stat(path + b"/.." * 999) == image.stat("d")


@pytest.mark.parametrize("number", [1, 2, 300])
def test_names_of_255_bytes(number: int) -> None:
    """Also so many that the directory takes several blocks, all full of them."""
    tree = tree_of({b"d/%0255d" % index: b"%d" % index for index in range(number)})
    image = image_of(tree)
    assert_holds(image, tree)
    for path, _ in tree.walk():
        assert image.lexists(path)
        assert not image.lexists(path[:-1] + b"x")


def test_two_hundred_thousand_entries_in_a_directory() -> None:
    """They are listed in order, each is found, and what is not there is not."""
    nodes = [file() for _ in range(1000)]
    tree = tree_of({f"{number}/own": node for number, node in enumerate(nodes)})
    crowd = tree.add("crowd", directory())
    crowd.children = {b"%06d" % number: nodes[number % 1000] for number in range(200_000)}
    image = image_of(tree)
    assert image.listdir(b"/crowd") == sorted(crowd.children)
    assert image.stat("/crowd/199999") == image.stat("/999/own")
    assert image.stat("/999/own").st_nlink == 201
    for number in range(0, 200_000, 997):
        assert image.exists(f"/crowd/{number:06}")
        assert not image.exists(f"/crowd/{number:06}x")


@pytest.mark.parametrize("size", [1, 59, 60, 4031, 4032, 4033, 4095])
def test_symbolic_links_of_every_length(size: int) -> None:
    """Inline, and in a block of their own where that does not fit."""
    tree = tree_of({"link": symlink(b"/" * (size - 1) + b"x"), "x": b"there"})
    image = image_of(tree)
    assert_holds(image, tree)
    assert image.read_bytes("link") == b"there"


@pytest.mark.parametrize("count", [1, 2, 255, 256, 300])
def test_many_attributes(count: int) -> None:
    """One inode can refer to 255 shared ones; the others stand with it."""
    xattrs = {b"user.%d" % number: b"value %d" % number for number in range(count)}
    tree = tree_of({"a": file(b"a", xattrs=xattrs), "b": file(b"b", xattrs=dict(xattrs))})
    assert_holds(image_of(tree), tree)


def test_a_shared_attribute_is_stored_once() -> None:
    def size(sharers: int) -> int:
        value = {b"user.large": bytes(60_000)}
        return image_of(tree_of({f"{n}": file(b"", xattrs=value) for n in range(sharers)})).size

    assert size(20) == size(2)


def test_attribute_values_up_to_the_largest() -> None:
    nodes = {f"{size}": file(b"x", xattrs={b"user.v": b"v" * size}) for size in (0, 1, 4096, 65535)}
    tree = tree_of({**nodes, "dir": directory(xattrs={b"user.v": b"v" * 65535})})
    assert_holds(image_of(tree), tree)


def test_hard_links_across_directories() -> None:
    """Of files and of all that can have several names; each is one inode."""
    tree = nasty_tree()
    linked = [node for _, node in tree.walk() if not node.is_dir][::40]
    for number, node in enumerate(linked):
        tree.add(f"other/{number % 3}/{number}", node)
    image = image_of(tree)
    assert_holds(image, tree)


def test_equal_files_are_stored_once() -> None:
    """Packed or not, sparse or not, and whatever their metadata."""
    for data in (content(10_000, "random"), content(900_000, "random"), content(1 << 20, "sparse")):
        one = tree_of({"a": file(data)})
        two = tree_of({"a": file(data), "b": file(data, 0o600, uid=7), "c/d": file(data)})
        image = image_of(two)
        assert_holds(image, two)
        assert image.size == image_of(one).size


@pytest.mark.parametrize("profile", PROFILES)
def test_what_does_not_shrink_is_stored_as_it_is(profile: str) -> None:
    """A random file takes its own blocks and no index; a half random one shrinks by the rest."""
    tree = tree_of({"random": content(1 << 20, "random")})
    image = image_of(tree, **PROFILES[profile])
    assert_holds(image, tree)
    assert image.size == (1 << 20) + 4096
    assert image.volume.inode(image.stat("random").st_ino).layout == disk.INODE_FLAT_PLAIN
    half = SparseBlob(1 << 20, [(0, content(1 << 19, "random")), (1 << 19, BytesBlob(b"x"))])
    tree = tree_of({"half": half})
    image = image_of(tree, **PROFILES[profile])
    assert_holds(image, tree)
    assert PROFILES[profile]["compression"] == "none" or image.size < (1 << 19) + (1 << 16)


# --- files of more than 4 GiB -------------------------------------------------------------------

HUGE = (4 << 30) + 12345


def assert_reads(image: Image, path: str, blob: PatternBlob | SparseBlob) -> None:
    """The content, near every border that 32 bits could make."""
    assert image.stat(path).st_size == blob.size
    ranges = [(offset, 6000) for offset in (0, (1 << 31) - 3000, (1 << 32) - 3000)]
    ranges.append((blob.size - 9000, 9000))
    found = image.read_many([(path, offset, size) for offset, size in ranges])
    assert found == [bytes(blob.read_at(offset, size)) for offset, size in ranges]


def test_a_compressed_file_of_more_than_4_gib() -> None:
    blob = PatternBlob(HUGE)
    image = image_of(tree_of({"huge": blob}), level=1, extent_size=1 << 20)
    assert_reads(image, "huge", blob)
    assert image.size < HUGE // 200


@pytest.mark.parametrize("profile", ["lz4-5.15", "zstd", "none-6.10"])
def test_a_sparse_file_of_more_than_4_gib(profile: str) -> None:
    """Its holes take nothing: it is stored in chunks."""
    noise = content(1 << 16, "random")
    starts = (5000, (1 << 31) - 100, (1 << 32) - 60_000, HUGE + 100)
    blob = SparseBlob(HUGE + 100_000, [(start, noise) for start in starts])
    image = image_of(tree_of({"huge": blob}), **PROFILES[profile])
    assert_reads(image, "huge", blob)
    inode = image.inode("huge")
    assert inode.layout == disk.INODE_CHUNK_BASED
    assert image.size < 2 << 20


def test_a_file_of_nothing_but_a_hole() -> None:
    image = image_of(tree_of({"hole": SparseBlob(HUGE, [])}))
    assert_reads(image, "hole", SparseBlob(HUGE, []))
    assert image.size < 64 << 10
