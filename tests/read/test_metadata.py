"""Metadata: few requests, whole or by pages, whatever an image says of itself."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import compare, describe_files, describe_tree_object
from iasfs.blob import BytesBlob
from iasfs.errors import FormatError
from iasfs.format import seal
from iasfs.format.superblock import FRONT_SIZE
from iasfs.read import metadata as metadata_module
from iasfs.read.image import Image
from iasfs.read.metadata import PAGE_SIZE, Metadata
from iasfs.testing import RecordingBlob
from trees import nasty_tree, packed

SIZE = 5 * PAGE_SIZE + 1234
NOISE = random.Random(5).randbytes(SIZE)


def bytes_with(metadata_size: int | None) -> bytes:
    """Bytes of an image with a header that says so, or with none."""
    if metadata_size is None:
        return NOISE
    header = seal.pack(seal.Header(max(SIZE, metadata_size), metadata_size))
    return header + NOISE[len(header) :]


def opened(metadata_size: int | None, expected: int = 0) -> tuple[Metadata, RecordingBlob]:
    blob = RecordingBlob(BytesBlob(bytes_with(metadata_size)))
    return Metadata(blob, expected), blob


@pytest.mark.parametrize(
    ("metadata_size", "expected", "front", "calls"),
    [
        (None, 0, FRONT_SIZE, 1),
        (0, 0, FRONT_SIZE, 1),
        (4096, 0, FRONT_SIZE, 1),
        (3 * PAGE_SIZE, 0, 3 * PAGE_SIZE, 2),
        (3 * PAGE_SIZE, 3 * PAGE_SIZE, 3 * PAGE_SIZE, 1),
        (3 * PAGE_SIZE, 2 * PAGE_SIZE, 3 * PAGE_SIZE, 2),
        (4096, 2 * PAGE_SIZE, 2 * PAGE_SIZE, 1),
        (None, 1 << 40, SIZE, 1),
        (1 << 40, 0, SIZE, 2),
    ],
)
def test_the_zone_at_the_front_is_fetched_once(
    metadata_size: int | None, expected: int, front: int, calls: int
) -> None:
    """As long as the header says it is, or whoever opens the image."""
    found, blob = opened(metadata_size, expected)
    assert found.front == bytes_with(metadata_size)[:front]
    assert len(blob.calls) == calls
    assert blob.bytes_read == front
    blob.clear()
    assert found.read(100, front - 100) == found.front[100:]
    assert found.kept(0, front) == found.front
    assert found.kept(1, front) is None
    assert blob.calls == []


def test_a_zone_that_is_too_long_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_module, "FRONT_MAX", 2 * PAGE_SIZE)
    found, blob = opened(3 * PAGE_SIZE)
    assert len(found.front) == FRONT_SIZE
    found, blob = opened(3 * PAGE_SIZE, expected=4 * PAGE_SIZE)
    assert len(found.front) == 2 * PAGE_SIZE
    assert len(blob.calls) == 1


@given(st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)), max_size=10))
def test_any_place_can_be_read(places: list[tuple[int, int]]) -> None:
    """Also across pages, and up to the very end."""
    found, _ = opened(None)
    for offset, size in places:
        size = min(size, SIZE - offset)
        assert found.read(offset, size) == NOISE[offset : offset + size]


def test_pages_are_fetched_in_one_call_and_kept() -> None:
    found, blob = opened(None)
    blob.clear()
    found.read(2 * PAGE_SIZE + 5, PAGE_SIZE)
    assert blob.calls == [((2 * PAGE_SIZE, PAGE_SIZE), (3 * PAGE_SIZE, PAGE_SIZE))]
    found.read(SIZE - 10, 10)
    assert blob.calls[1:] == [((5 * PAGE_SIZE, 1234),)]
    found.read(2 * PAGE_SIZE, 2 * PAGE_SIZE)
    assert len(blob.calls) == 2


def test_few_pages_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_module, "PAGES_KEPT", 4)
    found, blob = opened(None)
    for _ in range(3):
        for page in range(1, 6):
            assert found.read(page * PAGE_SIZE, 9) == NOISE[page * PAGE_SIZE :][:9]
    assert len(blob.calls) > 6


@pytest.mark.parametrize(
    ("offset", "size"), [(SIZE, 1), (SIZE - 1, 2), (1 << 70, 1), (0, SIZE + 1)]
)
def test_what_lies_behind_the_image_is_an_error(offset: int, size: int) -> None:
    found, blob = opened(None)
    blob.clear()
    with pytest.raises(FormatError, match=f"the image ends at {SIZE}") as caught:
        found.read(offset, size)
    assert caught.value.offset == offset
    assert blob.calls == []


def test_an_image_reads_the_same_by_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its zone too long to be kept, and few pages."""
    tree = nasty_tree()
    data = packed(tree, workers=1)
    monkeypatch.setattr(metadata_module, "FRONT_MAX", FRONT_SIZE)
    monkeypatch.setattr(metadata_module, "PAGES_KEPT", 3)
    image = Image(BytesBlob(data))
    assert (
        len(image.volume.metadata.front) == FRONT_SIZE < image.volume.metadata.header.metadata_size
    )
    assert compare(describe_tree_object(tree), describe_files(image)) == []
