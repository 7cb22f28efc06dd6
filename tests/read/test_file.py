"""An opened file behaves as one of Python's own does."""

from __future__ import annotations

import errno
import io
import os
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iasfs.read.file import WINDOW_SIZE, File
from iasfs.read.image import Image
from iasfs.testing import content
from trees import image_of, tree_of

CONTENTS = {
    "empty": b"",
    "short": b"one\ntwo\r\n\nlast",
    "window": bytes(content(3 * WINDOW_SIZE + 7, "text").read_at(0, 3 * WINDOW_SIZE + 7)),
    "random": bytes(content(700_000, "random").read_at(0, 700_000)),
}
SIZES = (0, 1, 10, 4096, WINDOW_SIZE // 2 - 1, WINDOW_SIZE // 2, WINDOW_SIZE, 300_000)


@cache
def image() -> Image:
    return image_of(tree_of({"dir/" + name: data for name, data in CONTENTS.items()}))


def opened(name: str) -> File:
    file = image().open(f"dir/{name}")
    assert isinstance(file, File)
    return file


@pytest.fixture
def short() -> Iterator[File]:
    with opened("short") as file:
        yield file


# --- side by side with io -----------------------------------------------------------------------

offsets = st.integers(-10, 300_000) | st.sampled_from(SIZES)
sizes = st.sampled_from(SIZES) | st.integers(0, 1000)
steps = st.one_of(
    st.tuples(st.just("seek"), offsets),
    st.tuples(st.just("seek"), offsets, st.just(os.SEEK_CUR)),
    st.tuples(st.just("seek"), offsets.map(lambda offset: -offset), st.just(os.SEEK_END)),
    st.tuples(st.just("read"), sizes),
    st.tuples(st.just("read"), st.sampled_from((-1, None))),
    st.tuples(st.just("readinto"), sizes),
    st.tuples(st.just("readline")),
    st.tuples(st.just("readline"), st.integers(0, 100)),
    st.tuples(st.just("readlines"), st.integers(0, 100)),
    st.tuples(st.just("tell")),
)


def play(file: Any, script: list[tuple[Any, ...]]) -> list[Any]:
    """What a file answers to one call after the other."""
    answers: list[Any] = []
    for name, *arguments in script:
        try:
            if name == "readinto":
                buffer = bytearray(arguments[0])
                answers.append((file.readinto(buffer), bytes(buffer)))
            else:
                answers.append(getattr(file, name)(*arguments))
        except OSError as error:
            answers.append(error.errno)
    return answers


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same files on disk."""
    path = tmp_path_factory.mktemp("disk")
    for name, data in CONTENTS.items():
        (path / name).write_bytes(data)
    return path


@given(name=st.sampled_from(sorted(CONTENTS)), script=st.lists(steps, max_size=12))
def test_a_file_answers_as_one_on_disk(
    disk: Path, name: str, script: list[tuple[Any, ...]]
) -> None:
    """Whatever is asked of it, in whatever order."""
    with open(disk / name, "rb") as judge, opened(name) as file:
        assert play(file, script) == play(judge, script)


@given(
    name=st.sampled_from(sorted(CONTENTS)),
    places=st.lists(st.tuples(sizes, st.integers(0, 1_000_000)), max_size=8),
)
def test_pread_is_that_of_os(disk: Path, name: str, places: list[tuple[int, int]]) -> None:
    """It leaves the cursor where it is."""
    with open(disk / name, "rb") as judge, opened(name) as file:
        file.seek(3)
        for size, offset in places:
            assert file.pread(size, offset) == os.pread(judge.fileno(), size, offset)
        assert file.tell() == 3


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("newline", [None, "", "\n", "\r\n"])
def test_text_is_read_as_from_disk(disk: Path, name: str, newline: str | None) -> None:
    with (
        open(disk / name, encoding="latin-1", newline=newline) as judge,
        image().open(f"dir/{name}", "r", encoding="latin-1", newline=newline) as file,
    ):
        assert list(file) == list(judge)
        file.seek(0)
        judge.seek(0)
        assert (file.read(5), file.readline(), file.read()) == (
            judge.read(5),
            judge.readline(),
            judge.read(),
        )


# --- one thing each -----------------------------------------------------------------------------


def test_lines(short: File) -> None:
    assert list(short) == [b"one\n", b"two\r\n", b"\n", b"last"]
    short.seek(0)
    assert next(short) == b"one\n"
    assert short.tell() == 4
    assert short.readlines() == [b"two\r\n", b"\n", b"last"]
    assert short.readline() == b""


def test_peek_does_not_move(short: File) -> None:
    """At least a byte is there until the end."""
    for offset in (0, 5, len(CONTENTS["short"]) - 1):
        short.seek(offset)
        assert short.peek() == short.peek(1) == CONTENTS["short"][offset:]
        assert short.tell() == offset
    short.seek(0, os.SEEK_END)
    assert short.peek(10) == b""


def test_peek_looks_behind_a_long_read() -> None:
    with opened("random") as file:
        assert file.read(10) == CONTENTS["random"][:10]
        assert file.read(500_000) == CONTENTS["random"][10:500_010]
        assert file.peek(3)[:3] == CONTENTS["random"][500_010:500_013]
        assert file.tell() == 500_010


def test_a_short_answer_means_the_end() -> None:
    """Whatever the size, unlike a raw file of io it never gives less of its own accord."""
    with opened("random") as file:
        assert len(file.read(600_000)) == 600_000
        buffer = bytearray(200_000)
        assert file.readinto(buffer) == 100_000
        assert buffer == CONTENTS["random"][600_000:] + bytes(100_000)
        assert file.readall() == b""
        assert file.readinto(buffer) == 0
        assert file.readinto(bytearray()) == 0


def test_readinto_takes_any_writable_buffer(short: File) -> None:
    numbers = array("H", [0] * 3)
    assert short.readinto(numbers) == 6
    assert numbers.tobytes() == b"one\ntw"
    assert short.readinto(memoryview(bytearray(4))[::1]) == 4
    with pytest.raises(TypeError):
        short.readinto(b"read-only")  # type: ignore[arg-type]
    with pytest.raises((TypeError, BufferError)):
        short.readinto("text")  # type: ignore[arg-type]


def test_a_cursor_may_stand_behind_the_end(short: File) -> None:
    assert short.seek(1000) == 1000
    assert short.read(5) == short.read() == short.peek() == short.readline() == b""
    assert short.tell() == 1000


def test_places_before_the_beginning_are_invalid(short: File) -> None:
    short.seek(2)
    for arguments in ((-1,), (-3, os.SEEK_CUR), (-1000, os.SEEK_END)):
        with pytest.raises(OSError, match="dir/short") as caught:
            short.seek(*arguments)
        assert caught.value.errno == errno.EINVAL
    for arguments in ((-1, 0), (1, -1)):
        with pytest.raises(OSError, match="dir/short") as caught:
            short.pread(*arguments)
        assert caught.value.errno == errno.EINVAL
    assert short.tell() == 2
    with pytest.raises(ValueError, match="whence"):
        short.seek(0, 9)


def test_what_it_says_of_itself(short: File) -> None:
    assert short.name == "dir/short"
    assert short.mode == "rb"
    assert short.size == len(CONTENTS["short"])
    assert (short.readable(), short.seekable(), short.writable()) == (True, True, False)
    assert not short.isatty()
    assert not short.closed
    assert isinstance(short, io.RawIOBase)
    with pytest.raises(io.UnsupportedOperation):
        short.fileno()


def test_it_cannot_be_written(short: File) -> None:
    for name, argument in (("write", b"x"), ("truncate", 0), ("writelines", [b"x"])):
        with pytest.raises(io.UnsupportedOperation):
            getattr(short, name)(argument)


def test_a_closed_file_is_closed(short: File) -> None:
    short.close()
    short.close()
    assert short.closed
    calls = {
        **{"read": (1,), "readinto": (bytearray(1),), "readline": (), "readall": (), "peek": ()},
        **{"seek": (0,), "tell": (), "pread": (1, 0), "readable": (), "seekable": ()},
        **{"readlines": (), "__iter__": (), "__enter__": ()},
    }
    for name, arguments in calls.items():
        with pytest.raises(ValueError, match="closed"):
            getattr(short, name)(*arguments)


def test_a_buffered_reader_around_it_reads_the_same() -> None:
    with io.BufferedReader(opened("random"), buffer_size=1000) as file:
        assert file.read(5) == CONTENTS["random"][:5]
        assert file.read() == CONTENTS["random"][5:]


def test_a_file_keeps_its_image() -> None:
    """Nobody has to hold on to the image for it."""
    file = image_of(tree_of({"a": CONTENTS["random"]})).open("a")
    assert file.read() == CONTENTS["random"]


def test_threads_read_one_file_by_pread() -> None:
    data = CONTENTS["random"]
    places = [(offset, 5_000) for offset in range(0, len(data), 1111)]
    with opened("random") as file, ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda place: file.pread(place[1], place[0]), places)
        assert list(found) == [data[offset : offset + size] for offset, size in places]
