"""Every inode and every block gets a place that the format, and old kernels, allow."""

from __future__ import annotations

import io
import stat
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iasfs.errors import WriteError
from iasfs.format import disk, superblock
from iasfs.testing import content, trees
from iasfs.tree import Tree
from iasfs.write import emit
from iasfs.write.plan import Identity, Plan, body_end, plan
from iasfs.write.profile import BLOCK_SIZE, choose
from iasfs.write.store import Contents, store
from trees import PROFILES, directory, file, nasty_tree, symlink, tree_of

SIZES = {"extent_size": 8192, "pack_extent_size": 4096, "pack_limit": 2000}


def planned(tree: Tree, profile: str = "zstd", **identity: Any) -> Plan:
    chosen = choose(**PROFILES[profile], **SIZES)
    contents = store(tree, chosen, io.BytesIO())
    return plan(tree, contents, chosen, Identity(**identity))


def inode_of(tree: Tree, path: str, made: Plan) -> Any:
    return made.by_node[id(tree.get(path))]


@given(trees(max_size=30_000, extent_size=8192, pack_limit=2000), st.sampled_from(sorted(PROFILES)))
def test_everything_has_a_place_of_its_own(tree: Tree, profile: str) -> None:
    assert_sound(planned(tree, profile))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_nasty_tree_has_its_place(profile: str) -> None:
    assert_sound(planned(nasty_tree(), profile))


def assert_sound(made: Plan) -> None:
    """Inodes at slots, none across a block, inline tails inside one, nothing over another."""
    taken = [(0, made.shared_offset + len(made.shared))]
    for placed in made.inodes:
        node = placed.node
        assert placed.offset == placed.nid * disk.ISLOT_SIZE
        assert placed.offset % BLOCK_SIZE <= BLOCK_SIZE - disk.INODE_EXTENDED.size
        end = max(body_end(placed), placed.body)
        if node.is_dir or node.is_symlink:
            blocks, end = 0, placed.body
            if placed.layout == disk.INODE_FLAT_INLINE:
                tail = placed.size % BLOCK_SIZE
                end, blocks = placed.body + tail, (placed.size - tail) // BLOCK_SIZE
            else:
                blocks = -(-placed.size // BLOCK_SIZE)
            assert (placed.blocks_offset is not None) == bool(blocks)
            if placed.blocks_offset is not None:
                taken.append((placed.blocks_offset, placed.blocks_offset + blocks * BLOCK_SIZE))
                assert placed.blocks_offset % BLOCK_SIZE == 0
        elif placed.layout == disk.INODE_FLAT_INLINE:
            end = placed.body + placed.size
        if placed.layout == disk.INODE_FLAT_INLINE:
            assert end > placed.body
            assert placed.body // BLOCK_SIZE == (end - 1) // BLOCK_SIZE
        taken.append((placed.offset, end))
    taken.sort()
    assert all(end <= start for (_, end), (start, _) in pairwise(taken))
    assert taken[-1][1] <= made.metadata_size <= made.size
    assert made.metadata_size % BLOCK_SIZE == 0
    assert made.superblock.root_nid == made.inodes[0].nid <= 0xFFFF


def test_inodes_stand_in_path_order() -> None:
    """The root first; a hard link where its first name is; the packed inode last."""
    tree = tree_of({"b/z": b"1", "b/a": b"2", "a": b"3", "c": content(1000, "text")})
    node = tree.get("a")
    assert node is not None
    tree.add("b/link", node)
    made = planned(tree)
    expected = [tree.root, *(tree.get(path) for path in ("a", "b", "b/a", "b/z", "c"))]
    assert [placed.node for placed in made.inodes[:-1]] == expected
    assert made.inodes[-1].nid == made.superblock.packed_nid
    offsets = [placed.offset for placed in made.inodes]
    assert offsets == sorted(offsets)


def test_links_are_counted() -> None:
    tree = tree_of({"a/b/c": b"", "a/d": directory(), "a/e": symlink(b"x"), "f": b""})
    for path in ("g", "a/h"):
        node = tree.get("f")
        assert node is not None
        tree.add(path, node)
    made = planned(tree)
    counts = {"/": 3, "a": 4, "a/b": 2, "a/d": 2, "a/e": 1, "f": 3, "a/b/c": 1}
    assert {path: inode_of(tree, path, made).nlink for path in counts} == counts


def test_the_superblock_says_what_is_used_and_no_more() -> None:
    """An old kernel refuses what it does not know, even if no file needs it."""
    plain = tree_of({"a": b"inline", "b": content(3000, "random"), "c": symlink(b"x")})
    made = planned(plain).superblock
    assert (made.feature_incompat, made.algorithms, made.packed_nid) == (0, 0, 0)
    assert made.inos == 4
    packed = planned(tree_of({"a": content(1000, "text")})).superblock
    assert packed.feature_incompat == (
        disk.FEATURE_INCOMPAT_ZERO_PADDING
        | disk.FEATURE_INCOMPAT_COMPR_CFGS
        | disk.FEATURE_INCOMPAT_FRAGMENTS
    )
    assert packed.inos == 3
    assert packed.algorithms == 1 << disk.COMPRESSION_ZSTD
    sparse = planned(tree_of({"a": content(1 << 20, "sparse")}), "none-6.10").superblock
    assert sparse.feature_incompat == disk.FEATURE_INCOMPAT_CHUNKED_FILE
    old = planned(tree_of({"a": content(9000, "text")}), "lz4-5.4").superblock
    assert old.feature_incompat == disk.FEATURE_INCOMPAT_ZERO_PADDING


@pytest.mark.parametrize(("size", "windowlog"), [(1000, 10), (8192, 13), (5000, 13), (100_000, 13)])
def test_the_window_is_that_of_the_longest_extent(size: int, windowlog: int) -> None:
    """Declared too small, it is an error or not, depending on what was mounted before."""
    assert planned(tree_of({"a": content(size, "zeros")})).superblock.zstd_windowlog == windowlog


def test_lz4_declares_its_longest_pcluster() -> None:
    tree = tree_of({"a": content(100_000, "mixed")})
    made = planned(tree, "lz4-5.13")
    stored = inode_of(tree, "a", made).stored
    longest = max(extent.stored for extent in stored.extents if extent.kind == 0)
    assert made.superblock.lz4_max_pclusterblks * BLOCK_SIZE == longest


# --- shared attributes --------------------------------------------------------------------------


def test_what_two_inodes_have_is_shared() -> None:
    common, own = {b"user.common": b"c" * 100}, {b"user.own": b"o" * 100}
    tree = tree_of({"a": file(xattrs={**common, **own}), "b": file(xattrs=common)})
    made = planned(tree)
    assert made.shared.count(b"c" * 100) == 1
    assert b"o" * 100 not in made.shared
    assert made.shared_offset % 4 == 0
    assert len(inode_of(tree, "b", made).xattrs) == 16
    assert b"o" * 100 in inode_of(tree, "a", made).xattrs


def test_a_hard_link_does_not_count_as_another_inode() -> None:
    node = file(xattrs={b"user.a": b"1"})
    assert planned(tree_of({"a": node, "b": node})).shared == b""


def test_the_shared_area_leaves_room_for_the_root() -> None:
    """Its nid has 16 bits; what does not fit is stored with each inode."""
    nodes = {}
    for number in range(40):
        for name in "ab":
            xattrs = {b"user.v": b"%d" % number + bytes(60_000)}
            nodes[f"{number}{name}"] = file(xattrs=xattrs)
    made = planned(tree_of(nodes))
    assert 0 < len(made.shared) <= 1 << 20
    assert_sound(made)


# --- what cannot be ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xattrs", "words"),
    [
        ({b"user.%d" % n: bytes(65535) for n in range(5)}, "bytes of extended attributes"),
        ({b"system.nfs4_acl": b""}, "named system.nfs4_acl"),
        ({b"user.": b""}, "named user."),
        ({b"nothing": b""}, "named nothing"),
    ],
)
def test_attributes_that_have_no_place_name_their_file(
    xattrs: dict[bytes, bytes], words: str
) -> None:
    with pytest.raises(WriteError, match=words) as caught:
        planned(tree_of({"dir/a": b"", "dir/b": file(xattrs=xattrs)}))
    assert caught.value.path == "/dir/b"


def test_an_image_ends_at_16_tib() -> None:
    tree = Tree()
    with pytest.raises(WriteError, match="16 TiB"):
        plan(tree, Contents({}, None, 1 << 44), choose(), Identity())
    plan(tree, Contents({}, None, (1 << 44) - 2 * BLOCK_SIZE), choose(), Identity())


# --- to bytes ----------------------------------------------------------------------------------


def test_an_image_is_what_was_planned() -> None:
    """Metadata and data zone, nothing between and nothing behind."""
    tree = tree_of({"a": content(100_000, "mixed"), "b": content(500, "text")})
    chosen = choose(**SIZES)
    spool, target = io.BytesIO(), io.BytesIO()
    contents = store(tree, chosen, spool)
    made = plan(tree, contents, chosen, Identity(b"label", bytes(range(16))))
    emit.emit(made, spool, target)
    data = target.getvalue()
    assert len(data) == made.size
    assert data[made.metadata_size :] == spool.getvalue()
    assert data[: made.metadata_size] == emit.metadata(made)
    found = superblock.unpack(data, len(data))
    assert (found.volume_name, found.uuid) == (b"label", bytes(range(16)))
    assert found.blocks * BLOCK_SIZE == made.size
    assert found.root_nid == made.inodes[0].nid


def test_the_uuid_follows_from_the_metadata() -> None:
    """Another one for another tree; it is a valid UUID."""
    uuids = []
    for name in ("a", "b", "a"):
        data = emit.metadata(planned(tree_of({name: b""})))
        uuids.append(superblock.unpack(data, len(data)).uuid)
    assert uuids[0] == uuids[2] != uuids[1]
    assert (uuids[0][6] >> 4, uuids[0][8] >> 6) == (8, 2)


def test_one_mtime_for_all() -> None:
    tree = tree_of({"a": file(mtime_ns=5), "b/c": file(mtime_ns=6)})
    assert emit.metadata(planned(tree, mtime_ns=7)) == emit.metadata(
        planned(tree_of({"a": file(), "b/c": file()}), mtime_ns=7)
    )
    assert emit.metadata(planned(tree, mtime_ns=7)) != emit.metadata(planned(tree))
    assert stat.S_ISDIR(tree.root.mode)
