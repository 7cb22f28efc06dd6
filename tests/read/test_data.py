"""The bytes of files: what is read is right, fetched once, and in bounded portions."""

from __future__ import annotations

import io
import random
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iasfs.blob import BytesBlob
from iasfs.errors import FormatError, StorageError
from iasfs.format import superblock
from iasfs.format.superblock import FRONT_SIZE
from iasfs.format.table import ExtentTable, Kind
from iasfs.read import data as data_module
from iasfs.read.image import Image
from iasfs.testing import FaultyBlob, RecordingBlob, content
from iasfs.tree import Tree
from iasfs.write.writer import Writer
from trees import PROFILES, packed, tree_of

EXTENT = 1 << 16
LONG = f"text-{3 * EXTENT + 100}"
FIRST = random.Random(1).randbytes(FRONT_SIZE)
SMALL = {"extent_size": EXTENT, "pack_extent_size": 8192, "pack_limit": 6000}


@cache
def some_tree() -> Tree:
    """Every kind of extent: whole and cut, plain, packed, inline, and holes."""
    kinds: Any = ("text", "random", "mixed", "zeros")
    sizes = (20, 700, 5999, EXTENT, 3 * EXTENT + 100)
    blobs = {f"{kind}-{size}": content(size, kind, size) for kind in kinds for size in sizes}
    return tree_of({**blobs, "sparse": content(9 * EXTENT + 5, "sparse"), "first": FIRST})


@cache
def files() -> dict[str, bytes]:
    nodes = some_tree().root.children.items()
    return {
        name.decode(): bytes(node.content.read_at(0, node.content.size)) for name, node in nodes
    }


@cache
def some_image(profile: str = "zstd") -> bytes:
    """Its first data is long enough to fill what is read of every image when it is opened."""
    return packed(some_tree(), order=["first"], **SMALL, **PROFILES[profile])


def opened(profile: str = "zstd") -> tuple[Image, RecordingBlob]:
    blob = RecordingBlob(BytesBlob(some_image(profile)))
    image = Image(blob)
    blob.clear()
    return image, blob


places = st.tuples(
    st.sampled_from(sorted(files())),
    st.integers(0, 3 * EXTENT + 200),
    st.integers(0, 2 * EXTENT),
)


def expected(reads: list[tuple[str, int, int]]) -> list[bytes]:
    return [files()[name][offset : offset + size] for name, offset, size in reads]


@pytest.mark.parametrize("profile", PROFILES)
@given(reads=st.lists(places, max_size=12))
def test_many_reads_answer_as_slices(profile: str, reads: list[tuple[str, int, int]]) -> None:
    """Overlapping, repeated, empty, across extents, and beyond the end."""
    image, _ = opened(profile)
    assert image.read_many(reads) == expected(reads)


@given(reads=st.lists(places, max_size=12), limit=st.sampled_from((1000, 5000, 70_000)))
def test_portions_do_not_show(reads: list[tuple[str, int, int]], limit: int) -> None:
    """With rounds and a cache so small that nearly every piece is alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_module, "ROUND_SIZE", limit)
        patch.setattr(data_module, "DECODED_KEPT", limit)
        image, blob = opened()
        assert image.read_many(reads) == expected(reads)
        for call in blob.calls:
            assert len(call) == 1 or sum(size for _, size in call) <= limit


def test_a_call_fetches_each_range_once() -> None:
    """Files in one pcluster, and reads of the same one, in a single call."""
    image, blob = opened()
    reads = [("text-700", 0, 700), ("text-5999", 10, 20), ("text-700", 600, 50), ("text-700", 0, 1)]
    assert image.read_many(reads) == expected(reads)
    assert len(blob.calls) == 1
    assert len(set(blob.ranges)) == len(blob.ranges)


def test_parts_of_a_decoded_extent_are_kept() -> None:
    """A small file after another costs no fetch if both lie in one pcluster."""
    image, blob = opened()
    assert image.open(LONG).pread(10, 100) == files()[LONG][100:110]
    assert len(blob.calls) == 1
    assert image.open(LONG).pread(1000, 5000) == files()[LONG][5000:6000]
    assert len(blob.calls) == 1


def test_a_whole_extent_goes_straight_to_its_place() -> None:
    """It pushes nothing out of what is kept."""
    image, blob = opened()
    image.read_many([("text-700", 0, 10)])
    name = f"text-{EXTENT}"
    assert image.read_bytes(name) == files()[name]
    calls = len(blob.calls)
    image.read_many([("text-700", 20, 10)])
    assert len(blob.calls) == calls


def test_of_plain_data_only_what_is_asked_is_fetched() -> None:
    image, blob = opened()
    name = f"random-{3 * EXTENT + 100}"
    start = image.volume.extents(image.inode(name))[0].address
    image.read_many([(name, 1000, 5), (name, 70_000, 10)])
    assert blob.calls == [((start + 1000, 5), (start + 70_000, 10))]


def test_holes_and_inline_data_cost_no_request() -> None:
    image, blob = opened()
    extents = image.volume.extents(image.inode("sparse"))
    hole = next(extent for extent in extents if extent.kind == Kind.HOLE)
    reads = [("sparse", hole.logical, hole.size), ("text-20", 0, 20), ("first", 0, 0)]
    assert image.read_many(reads) == expected(reads)
    assert blob.calls == []


def test_a_long_read_is_done_in_rounds() -> None:
    """What is fetched at a time is bounded, of plain data too."""
    size = 5 * data_module.ROUND_SIZE // 2
    blob = RecordingBlob(BytesBlob(packed(tree_of({"a": content(size, "random")}))))
    image = Image(blob)
    assert image.read_bytes("a") == content(size, "random").read_at(0, size)
    totals = [sum(size for _, size in call) for call in blob.calls]
    assert max(totals) <= data_module.ROUND_SIZE
    assert len(totals) >= 3


def test_threads_do_not_get_into_each_others_way() -> None:
    image, _ = opened()
    chance = random.Random(0)
    reads = [
        [(chance.choice(sorted(files())), chance.randrange(EXTENT), 999) for _ in range(5)]
        for _ in range(200)
    ]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(image.read_many, reads)) == [expected(some) for some in reads]


# --- what goes wrong ----------------------------------------------------------------------------


def changed(path: str, offset: int, value: bytes) -> Image:
    """The image with some bytes changed, at an offset behind the inode of ``path``."""
    data = some_image()
    at = Image(BytesBlob(data)).inode(path).body + offset
    return Image(BytesBlob(superblock.with_checksum(data[:at] + value + data[at + len(value) :])))


def test_a_fragment_behind_the_packed_inode_is_an_error() -> None:
    """Linux would read zeros."""
    image = changed("text-700", 0, (1 << 63 | 1 << 40).to_bytes(8, "little"))
    with pytest.raises(FormatError, match="packed inode") as caught:
        image.read_bytes("text-700")
    assert caught.value.nid == image.inode("text-700").nid
    assert caught.value.path == "text-700"


def test_a_payload_that_does_not_decode_names_the_file() -> None:
    """Of several files that are read at once it is the right one."""
    data = some_image()
    sound = Image(BytesBlob(data))
    extent = sound.volume.extents(sound.inode(LONG))[0]
    end = extent.address + extent.stored
    image = Image(BytesBlob(data[: end - 2000] + bytes(2000) + data[end:]))
    assert image.read_bytes("text-700") == files()["text-700"]
    for read in (
        lambda: image.read_bytes(LONG),
        lambda: image.read_many([("text-700", 0, 1), (LONG, 0, 1)]),
    ):
        with pytest.raises(FormatError) as caught:
            read()
        assert (caught.value.nid, caught.value.path) == (image.inode(LONG).nid, LONG)


def test_an_error_of_the_store_passes_through() -> None:
    """And leaves nothing behind: the next read is right."""
    image = Image(BytesBlob(some_image()))
    faulty = FaultyBlob(BytesBlob(some_image()), [StorageError("no route", name="s3://x", errno=5)])
    image.volume.blobs[0] = faulty
    with pytest.raises(StorageError, match="s3://x: no route"):
        image.read_bytes(f"text-{EXTENT}")
    assert image.read_bytes(f"text-{EXTENT}") == files()[f"text-{EXTENT}"]


def test_a_size_that_is_a_lie_costs_no_memory() -> None:
    """The index would have to be longer than the image."""
    image = changed(LONG, 8 - 64, (1 << 50).to_bytes(8, "little"))
    with pytest.raises(FormatError, match=LONG):
        image.read_bytes(LONG)
    with pytest.raises(FormatError):
        image.open(LONG).read(10)


def test_nothing_is_read_of_an_empty_tree() -> None:
    blob = RecordingBlob(BytesBlob(packed(Tree())))
    image = Image(blob)
    blob.clear()
    assert image.listdir() == []
    assert image.read_many([]) == []
    assert blob.calls == []


def test_files_that_share_a_pcluster_each_get_their_part() -> None:
    """Whatever has been kept for the one that uses less of it."""
    body = b"".join(b"line %d\n" % number for number in range(40_000))[:200_000]
    target = io.BytesIO()
    with Writer(target, pack_limit=0) as writer:
        writer.add_file("/whole", body)
        writer.add_file("/part", body[:150_000])
    image = Image(BytesBlob(target.getvalue()))
    (whole,) = image.volume.extents(image.inode("/whole"))
    # What mkfs.erofs -Ededupe writes: a reference to the beginning of another file's pcluster.
    part = image.inode("/part")
    table = ExtentTable.of([whole._replace(size=150_000, partial=True)])
    image.volume._tables.put(part.nid, table)
    for _ in range(2):
        assert image.read_many([("/part", 10, 10)]) == [body[10:20]]
        both = image.read_many([("/part", 10, 10), ("/whole", 180_000, 10)])
        assert both == [body[10:20], body[180_000:180_010]]
