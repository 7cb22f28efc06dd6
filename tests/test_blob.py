"""Blobs: each gives exactly the bytes asked for, or an error."""

from __future__ import annotations

import io
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iasfs.blob import (
    BaseBlob,
    Blob,
    BytesBlob,
    FileBlob,
    FileObjectBlob,
    SliceBlob,
    SparseBlob,
    coalesce,
)
from iasfs.errors import BlobNotFound, StorageError
from iasfs.testing import FaultyBlob, RecordingBlob, SlowBlob

DATA = bytes(range(256)) * 40
RANGES = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 3000)).filter(lambda r: sum(r) <= len(DATA)),
    max_size=10,
)


def in_a_file(path: Path) -> FileBlob:
    path.write_bytes(DATA)
    return FileBlob(path)


def sparse(path: Path) -> SparseBlob:
    """``DATA`` in pieces, where every zero that stands alone is a hole."""
    runs = [(start, BytesBlob(DATA[start : start + 255])) for start in range(1, len(DATA), 256)]
    return SparseBlob(len(DATA), runs)


MAKERS: dict[str, Callable[[Path], Blob]] = {
    "bytes": lambda path: BytesBlob(DATA),
    "bytearray": lambda path: BytesBlob(bytearray(DATA)),
    "file": in_a_file,
    "file object": lambda path: FileObjectBlob(io.BytesIO(DATA)),
    "slice": lambda path: SliceBlob(BytesBlob(b"x" + DATA + b"y"), 1, len(DATA)),
    "sparse": sparse,
    "recording": lambda path: RecordingBlob(BytesBlob(DATA)),
    "slow": lambda path: SlowBlob(BytesBlob(DATA), latency=0),
    "faulty": lambda path: FaultyBlob(BytesBlob(DATA), []),
}


@pytest.fixture(params=MAKERS)
def blob(request: pytest.FixtureRequest, tmp_path: Path) -> Blob:
    return MAKERS[request.param](tmp_path / "blob")


def test_a_blob_keeps_its_promises(blob: Blob) -> None:
    assert isinstance(blob, Blob)
    assert blob.size == len(DATA)
    for offset, size in ((0, 0), (0, 1), (300, 1000), (len(DATA) - 1, 1), (len(DATA), 0)):
        assert bytes(blob.read_at(offset, size)) == DATA[offset : offset + size]
    assert bytes(blob.read_at(0, len(DATA))) == DATA
    assert blob.read_many([]) == []


def test_beyond_the_end_is_an_error(blob: Blob) -> None:
    for offset, size in ((0, len(DATA) + 1), (len(DATA), 1), (-1, 1), (0, -1), (1 << 60, 1)):
        with pytest.raises(StorageError):
            blob.read_at(offset, size)


def test_many_ranges_in_their_order(blob: Blob) -> None:
    ranges = [(500, 10), (0, 3), (505, 10), (0, 0), (9000, 1000), (500, 10), (3, 497)]
    assert [bytes(one) for one in blob.read_many(ranges)] == [
        DATA[offset : offset + size] for offset, size in ranges
    ]


def test_threads(blob: Blob) -> None:
    wrong: list[int] = []

    def read(number: int) -> None:
        for step in range(200):
            offset = (number * 1237 + step * 61) % (len(DATA) - 100)
            if bytes(blob.read_at(offset, 100)) != DATA[offset : offset + 100]:
                wrong.append(offset)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BlobNotFound) as caught:
        FileBlob(tmp_path / "none")
    assert caught.value.filename == str(tmp_path / "none")


def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    blob = in_a_file(tmp_path / "blob")
    os.truncate(tmp_path / "blob", 100)
    with pytest.raises(StorageError, match="ends at 100"):
        blob.read_at(50, 100)


def test_a_file_pickles_by_its_path(tmp_path: Path) -> None:
    blob = in_a_file(tmp_path / "blob")
    assert pickle.loads(pickle.dumps(blob)).read_at(5, 5) == DATA[5:10]


def test_a_closed_file_reads_nothing(tmp_path: Path) -> None:
    with in_a_file(tmp_path / "blob") as blob:
        pass
    with pytest.raises(StorageError):
        blob.read_at(0, 1)


def test_a_file_object_that_ends_early() -> None:
    class Slow(io.BytesIO):
        """Gives little at a time, and stops after 1,024 bytes."""

        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 512)) if self.tell() < 1000 else b""

    assert FileObjectBlob(Slow(DATA)).read_at(0, 1000) == DATA[:1000]
    with pytest.raises(StorageError, match="short"):
        FileObjectBlob(Slow(DATA)).read_at(0, 2000)


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, -1), (0, 11), (11, 0)])
def test_a_slice_lies_inside(offset: int, size: int) -> None:
    with pytest.raises(ValueError, match="slice"):
        SliceBlob(BytesBlob(b"0123456789"), offset, size)


@pytest.mark.parametrize("runs", [[(0, b"12"), (1, b"3")], [(9, b"12")], [(5, b"1"), (0, b"2")]])
def test_runs_are_in_order(runs: list[tuple[int, bytes]]) -> None:
    with pytest.raises(ValueError, match="overlaps"):
        SparseBlob(10, [(offset, BytesBlob(data)) for offset, data in runs])


# --- merging --------------------------------------------------------------------------------------


@given(RANGES, st.integers(0, 500), st.integers(1, 4000))
def test_merged_ranges_hold_all(ranges: list[tuple[int, int]], gap: int, limit: int) -> None:
    """Each range lies in one request; requests are apart, in order, and no longer than allowed."""
    merged = coalesce(ranges, gap=gap, limit=limit)
    assert sorted(index for _, members in merged for index in members) == list(range(len(ranges)))
    for (start, length), members in merged:
        assert start == min(ranges[index][0] for index in members)
        assert start + length == max(sum(ranges[index]) for index in members)
        assert length <= max(limit, *(ranges[index][1] for index in members))
    starts = [request[0] for request, _ in merged]
    assert starts == sorted(starts)


@given(RANGES, st.integers(0, 500), st.integers(1, 4000))
def test_merging_changes_no_bytes(ranges: list[tuple[int, int]], gap: int, limit: int) -> None:
    class Merging(BaseBlob):
        merge_gap, merge_limit = gap, limit
        size = len(DATA)

        def read_at(self, offset: int, size: int) -> bytes:
            return DATA[offset : offset + size]

    assert Merging().read_many(ranges) == [DATA[offset : offset + size] for offset, size in ranges]


def test_what_is_near_is_merged() -> None:
    ranges = [(100, 10), (0, 10), (15, 10)]
    assert coalesce(ranges, gap=5, limit=100) == [((0, 25), [1, 2]), ((100, 10), [0])]
    assert coalesce(ranges, gap=4, limit=100) == [((0, 10), [1]), ((15, 10), [2]), ((100, 10), [0])]
    assert coalesce(ranges, gap=75, limit=24) == [((0, 10), [1]), ((15, 10), [2]), ((100, 10), [0])]
    assert coalesce([(0, 100), (50, 10)], gap=0, limit=1) == [((0, 100), [0, 1])]
    assert coalesce([], gap=0, limit=1) == []


# --- doubles --------------------------------------------------------------------------------------


def test_recording() -> None:
    blob = RecordingBlob(BytesBlob(DATA), merge_gap=10, merge_limit=1000)
    blob.read_at(5, 5)
    blob.read_many([(0, 10), (15, 10), (500, 1)])
    blob.read_many([])
    assert blob.calls == [((5, 5),), ((0, 10), (15, 10), (500, 1))]
    assert blob.ranges == [(5, 5), (0, 10), (15, 10), (500, 1)]
    assert blob.requests == [(5, 5), (0, 25), (500, 1)]
    assert blob.bytes_read == 31
    blob.clear()
    assert (blob.calls, blob.bytes_read) == ([], 0)


def test_faults_come_in_turn() -> None:
    broken = OSError("broken")
    blob = FaultyBlob(BytesBlob(DATA), ["short", "none", "long", "flip", broken])
    assert blob.read_many([(0, 4), (0, 4)]) == [DATA[:3], DATA[:4]]
    assert blob.read_at(0, 4) == DATA[:4] + b"\0"
    assert blob.read_at(0, 4) != DATA[:4]
    with pytest.raises(OSError, match="broken"):
        blob.read_at(0, 4)
    assert blob.read_at(0, 4) == DATA[:4]


def test_slowness_is_a_call_and_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    blob = SlowBlob(BytesBlob(DATA), latency=0.5, bandwidth=100)
    blob.read_at(0, 50)
    blob.read_many([(0, 50), (100, 50)])
    blob.read_many([])
    assert waited == [1.0, 1.5]
