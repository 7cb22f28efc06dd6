"""Contents become a data zone: who goes where, in what order, and how little it takes."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iasfs.blob import BaseBlob, BytesBlob, SparseBlob
from iasfs.errors import StorageError, WriteError
from iasfs.format import disk
from iasfs.format.table import Kind
from iasfs.testing import content, trees
from iasfs.tree import Tree
from iasfs.write import store as store_module
from iasfs.write.profile import BLOCK_SIZE, choose
from iasfs.write.store import Contents, Stored, store
from trees import PROFILES, PatternBlob, file, symlink, tree_of

EXTENT, PACK, LIMIT = 1 << 16, 1 << 13, 6000
SIZES = {"extent_size": EXTENT, "pack_extent_size": PACK, "pack_limit": LIMIT}


def stored(tree: Tree, profile: str = "zstd", **options: Any) -> tuple[Contents, bytes]:
    """The contents of a tree, and the data zone."""
    spool = io.BytesIO()
    contents = store(tree, choose(**PROFILES[profile], **SIZES), spool, **options)
    return contents, spool.getvalue()


def stored_file(data: Any, profile: str = "zstd") -> Stored:
    tree = tree_of({"a": data})
    return next(iter(stored(tree, profile)[0].files.values()))


def text(size: int, seed: int = 0) -> bytes:
    return bytes(content(size, "text", seed).read_at(0, size))


def noise(size: int, seed: int = 0) -> bytes:
    return bytes(content(size, "random", seed).read_at(0, size))


# --- who goes where -----------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "limit"), [(1, 32), (32, 32), (512, 512)])
def test_the_smallest_files_are_inline(size: int, limit: int) -> None:
    profile = "zstd" if limit == 32 else "lz4-5.15"
    found = stored_file(text(size), profile)
    assert found == Stored(disk.INODE_FLAT_INLINE, size, inline=text(size))
    assert stored_file(text(limit + 1), profile).inline == b""


def test_an_empty_file_has_nothing() -> None:
    assert stored_file(b"") == Stored(disk.INODE_FLAT_PLAIN, 0)


@pytest.mark.parametrize("size", [33, 4096, LIMIT - 1])
def test_small_files_are_packed_whole(size: int) -> None:
    found = stored_file(text(size))
    assert found == Stored(disk.INODE_COMPRESSED_FULL, size, fragment=0)
    assert stored_file(text(size), "lz4-5.15").fragment is None


@pytest.mark.parametrize(
    ("size", "tail"),
    [
        (LIMIT, 0),
        (EXTENT - 1, 0),
        (EXTENT, 0),
        (EXTENT + 1, 1),
        (EXTENT + LIMIT - 1, LIMIT - 1),
        (EXTENT + LIMIT, 0),
        (3 * EXTENT + 5, 5),
        ((4 << 20) - EXTENT + 5, 5),
        ((4 << 20) + 5, 0),
    ],
)
def test_short_ends_are_packed(size: int, tail: int) -> None:
    """But not of large files, for which it saves nothing that counts."""
    contents, _ = stored(tree_of({"a": text(size)}))
    (found,) = contents.files.values()
    assert sum(extent.size for extent in found.extents) == size - tail
    assert (found.fragment is not None) == bool(tail)
    assert contents.packed is None or tail
    assert contents.packed is None or contents.packed.size == -(-tail // BLOCK_SIZE) * BLOCK_SIZE


def test_what_does_not_shrink_is_one_run_of_blocks() -> None:
    found = stored_file(noise(3 * EXTENT + LIMIT))
    assert found.layout == disk.INODE_FLAT_PLAIN
    (extent,) = found.extents
    assert (extent.kind, extent.size) == (Kind.PLAIN, 3 * EXTENT + LIMIT)
    assert extent.stored == -(-extent.size // BLOCK_SIZE) * BLOCK_SIZE


def test_each_piece_shrinks_by_a_block_or_stays_plain() -> None:
    """Of a file that shrinks in parts some extents are plain."""
    pieces = [text(EXTENT), noise(EXTENT), noise(EXTENT - 5000) + bytes(5000)]
    found = stored_file(b"".join([*pieces, noise(EXTENT - 3000) + bytes(3000), text(LIMIT)]))
    assert [extent.kind for extent in found.extents] == [
        *(Kind.ZSTD, Kind.PLAIN, Kind.ZSTD, Kind.PLAIN, Kind.ZSTD)
    ]
    assert all(extent.stored < extent.size for extent in found.extents if extent.kind == Kind.ZSTD)


def test_for_the_oldest_kernels_a_pcluster_is_one_block() -> None:
    """Filled with as much as it takes."""
    found = stored_file(text(10 * EXTENT), "lz4-5.4")
    assert {extent.stored for extent in found.extents} == {BLOCK_SIZE}
    assert {extent.kind for extent in found.extents} == {Kind.LZ4}
    assert min(extent.size for extent in list(found.extents)[:-1]) > BLOCK_SIZE


def test_without_compression_files_are_plain() -> None:
    found = stored_file(text(EXTENT + 1), "none-5.4")
    assert (found.layout, found.fragment) == (disk.INODE_FLAT_PLAIN, None)


@pytest.mark.parametrize("profile", ["zstd", "lz4-5.15", "none-6.10"])
def test_what_is_mostly_holes_is_stored_in_chunks(profile: str) -> None:
    """The data in them, and nothing of the holes."""
    runs = [(0, noise(5000)), (1 << 20, noise(100, 1)), ((8 << 20) - 9, noise(9, 2))]
    blob = SparseBlob(8 << 20, [(offset, BytesBlob(data)) for offset, data in runs])
    contents, zone = stored(tree_of({"a": blob}), profile)
    (found,) = contents.files.values()
    assert found.layout == disk.INODE_CHUNK_BASED
    assert contents.size == len(zone) < 6 << 16
    chunk = 1 << found.chunk_bits
    for extent in found.extents:
        assert extent.logical % chunk == 0
        expected = blob.read_at(extent.logical, extent.size)
        assert zone[extent.address : extent.address + extent.size] == expected
    covered = {
        start
        for extent in found.extents
        for start in range(extent.logical, extent.logical + extent.size, chunk)
    }
    assert covered == {offset // chunk * chunk for offset, data in runs} | {4096 // chunk * chunk}


def test_other_sparse_files_are_compressed() -> None:
    """Those with much data, the small ones, and all where chunks are not known."""
    half = SparseBlob(1 << 20, [(0, BytesBlob(text(1 << 19))), (1 << 19, BytesBlob(b"x"))])
    small = SparseBlob((1 << 16) - 1, [])
    large = SparseBlob(1 << 20, [])
    for blob, profile in ((half, "zstd"), (small, "zstd"), (large, "lz4-5.13")):
        assert stored_file(blob, profile).layout != disk.INODE_CHUNK_BASED


@pytest.mark.parametrize(("profile", "size"), [("lz4-5.13", 1 << 41), ("zstd", 1 << 62)])
def test_a_sparse_file_beyond_all_measure_is_refused(profile: str, size: int) -> None:
    with pytest.raises(WriteError, match=f"sparse file of {size} bytes"):
        stored_file(SparseBlob(size, [(5, BytesBlob(b"x"))]), profile)


# --- duplicates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [20, 3000, 2 * EXTENT + 100, 1 << 20])
def test_equal_contents_are_stored_once(size: int) -> None:
    nodes = {name: file(text(size), mode) for name, mode in (("a", 0o644), ("b/c", 0o755))}
    contents, _ = stored(tree_of({**nodes, "d": text(size, seed=1)}))
    found = [contents.files[id(node)] for node in nodes.values()]
    assert found[0] == found[1]
    assert contents.size == stored(tree_of({"a": text(size), "d": text(size, seed=1)}))[0].size


def test_equal_sparse_contents_are_stored_once() -> None:
    """Their holes are not read; files with other holes, or none, are others."""

    class Watched(SparseBlob):
        def read_at(self, offset: int, size: int) -> bytearray:
            assert offset < 1 << 20
            return super().read_at(offset, size)

    runs = [(0, BytesBlob(noise(5000)))]
    one, two = (file(Watched(1 << 30, runs)) for _ in range(2))
    other = file(Watched(1 << 30, [(4096, BytesBlob(noise(5000)))]))
    contents, _ = stored(tree_of({"1": one, "2": two, "3": other}))
    assert contents.files[id(one)] == contents.files[id(two)] != contents.files[id(other)]


def test_a_plain_file_is_not_mistaken_for_a_sparse_one() -> None:
    """Even if it was made to hold the very words that tell sparse contents apart."""
    data = noise(1 << 17)
    words = repr([(0, len(data))]).encode()
    sparse = SparseBlob(len(words + data), [(0, BytesBlob(data))])
    contents, _ = stored(tree_of({"plain": words + data, "sparse": sparse}))
    first, second = contents.files.values()
    assert first != second


# --- order --------------------------------------------------------------------------------------


def address(contents: Contents, tree: Tree, path: str) -> tuple[str, int]:
    """Where the data of a file begins: in the packed inode, or in the data zone."""
    found = contents.files[id(tree.get(path))]
    if found.extents:
        return "zone", found.extents[0].address
    assert found.fragment is not None
    return "packed", found.fragment


def in_order(contents: Contents, tree: Tree, paths: Iterable[str]) -> bool:
    places = [address(contents, tree, path) for path in paths]
    kinds = ("packed", "zone")
    return all(
        sorted(here) == here for here in ([p for p in places if p[0] == kind] for kind in kinds)
    )


def test_data_lies_in_path_order_or_as_asked() -> None:
    """Those that are asked for come first, packed and not."""
    sizes = {"a": 3000, "b": EXTENT, "c/d": 2000, "c/e": 2 * EXTENT, "f": 100, "g": EXTENT}
    tree = tree_of({path: text(size, seed) for seed, (path, size) in enumerate(sizes.items())})
    assert in_order(stored(tree)[0], tree, sizes)
    order = ["g", "f", "absent", "c", "c/e", "f"]
    contents, _ = stored(tree, order=order)
    assert in_order(contents, tree, ["g", "c/e", "b"])
    assert in_order(contents, tree, ["f", "a", "c/d"])
    assert address(contents, tree, "f") == ("packed", 0)


def test_what_is_asked_for_first_lies_together() -> None:
    """Before all the rest: a start-up that reads it needs one range."""
    tree = tree_of({f"{n:03}": text(3000, n) for n in range(50)})
    contents, _ = stored(tree, order=["049", "020"])
    first = address(contents, tree, "049")[1], address(contents, tree, "020")[1]
    assert first == (0, 3000)
    assert contents.packed is not None
    assert contents.packed.extents[0].address == 0
    assert address(contents, tree, "000")[1] % BLOCK_SIZE == 0


# --- the zone -----------------------------------------------------------------------------------


@given(
    trees(max_size=2 * EXTENT, extent_size=EXTENT, pack_limit=LIMIT),
    st.sampled_from(sorted(PROFILES)),
)
def test_every_byte_has_one_place(tree: Tree, profile: str) -> None:
    """Extents cover their files, fill whole blocks and do not overlap; the zone ends with them."""
    contents, zone = stored(tree, profile)
    assert contents.size == len(zone)
    assert contents.size % BLOCK_SIZE == 0
    files = {id(node) for _, node in tree.walk() if node.is_file}
    assert contents.files.keys() == files
    everything = [*contents.files.values(), *([contents.packed] if contents.packed else [])]
    places = {extent[2:4] for found in everything for extent in found.extents}
    end = 0
    for start, size in sorted(places):
        assert start == end
        assert size % BLOCK_SIZE == 0
        end = start + size
    assert end == len(zone)
    for found in everything:
        if found.layout in (disk.INODE_COMPRESSED_FULL, disk.INODE_COMPRESSED_COMPACT):
            logical = 0
            for extent in found.extents:
                assert extent.logical == logical
                logical += extent.size
            assert (logical == found.size) == (found.fragment is None)
        assert found.blocks * BLOCK_SIZE == sum(extent.stored for extent in found.extents)


def test_an_empty_tree_has_no_zone() -> None:
    for tree in (Tree(), tree_of({"a": b"", "b": symlink(b"x")})):
        contents, zone = stored(tree)
        assert (contents.packed, contents.size, zone) == (None, 0, b"")


# --- progress and errors ------------------------------------------------------------------------


def test_progress_counts_the_bytes() -> None:
    """From this thread, up to the whole; what is a duplicate or inline is not work."""
    calls: list[tuple[int, int]] = []
    tree = tree_of(
        {"a": PatternBlob(5 << 20), "b": text(EXTENT), "c": text(EXTENT), "d": b"inline"}
    )
    stored(tree, progress=lambda done, total: calls.append((done, total)))
    assert len(calls) > 3
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert len({total for _, total in calls}) == 1
    assert calls[-1][0] == calls[-1][1] == (5 << 20) + EXTENT


class Broken(BaseBlob):
    """Breaks off in the middle."""

    size = 5 << 20

    def read_at(self, offset: int, size: int) -> bytes:
        if offset >= 3 << 20:
            raise StorageError("gone", name="there")
        return os.urandom(size)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_of_a_source_ends_the_work(workers: int) -> None:
    with pytest.raises(StorageError, match="there: gone"):
        stored(tree_of({"a": text(1 << 20), "b": Broken(), "c": text(2 << 20)}), workers=workers)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_of_a_worker_comes_out(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError("too much")

    monkeypatch.setattr(store_module.Compressor, "compress", fail)
    with pytest.raises(MemoryError, match="too much"):
        stored(tree_of({"a": text(9 << 20)}), workers=workers)
