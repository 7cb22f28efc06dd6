"""Purecodec: C and Python give the same result; so do we and another LZ4."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helpers import require_module
from iasfs.errors import FormatError
from iasfs.format import codec
from iasfs.format.codec import Algorithm, Compressor, Decoder, crc32c
from iasfs.format.purecodec import SENTENCES, Problem
from payloads import BLOCK, EXTENTS, MIB, SAMPLES, TEXT, python_only

pytestmark = pytest.mark.usefixtures("compiled")

# --- C and its twins -----------------------------------------------------------------------------

contents = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda pieces, order: b"".join(pieces[i % len(pieces)] for i in order),
        st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6),
        st.lists(st.integers(0, 5), max_size=300),
    ),
    st.builds(lambda byte, size: bytes([byte]) * size, st.integers(0, 255), st.integers(0, 9000)),
)


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or that it failed."""
    try:
        return call()
    except FormatError:
        return FormatError


def same(call: Callable[[], Any]) -> Any:
    """Call with C and with Python, and compare."""
    with python_only():
        expected = outcome(call)
    result = outcome(call)
    assert result == expected
    return result


@given(contents, st.integers(0, 0xFFFFFFFF))
def test_crc32c_twin(data: bytes, register: int) -> None:
    """C and Python agree on the checksum."""
    same(lambda: crc32c(data, register))


@given(contents, st.integers(1, 12))
def test_lz4_compress_twin(data: bytes, level: int) -> None:
    """C and Python make the same LZ4 blocks, which decode."""
    (payload,) = same(lambda: Compressor("lz4", level).compress([data]))
    assert payload == data or len(payload) < len(data)
    if payload != data:
        assert payload[0] != 0
        assert Decoder(BLOCK).decode_one(payload, Algorithm.LZ4, len(data)) == data


@given(contents, st.integers(1, 12), st.integers(1, 600))
@example(bytes(9000), 1, 24)
@example(bytes(9000), 9, 8)
def test_lz4_fill_twin(data: bytes, level: int, capacity: int) -> None:
    """C and Python cut at the same byte; the block fits, decodes and wastes nothing."""
    consumed, payload = same(lambda: Compressor("lz4", level).fill(data, capacity))
    assert len(payload) <= capacity
    assert consumed >= min(len(data), capacity - 1 - (capacity + 240) // 256)
    if consumed:
        decoded = Decoder(BLOCK).decode_one(payload, Algorithm.LZ4, consumed)
        assert decoded == data[:consumed]


@given(
    st.sampled_from(sorted(EXTENTS)),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), max_size=3),
    st.integers(0, 40),
    st.integers(-40, 40),
    st.data(),
)
def test_decode_twin(
    name: str, flips: list[tuple[int, int]], cut: int, more: int, choice: st.DataObject
) -> None:
    """C and Python give the same bytes, or both refuse, whatever happened to the payload."""
    algorithm, original, data = EXTENTS[name]
    payload = bytearray(original[: len(original) - cut])
    for at, bits in flips:
        if payload:
            payload[at % len(payload)] ^= bits
    size = max(len(data) + more, 0)
    skip = choice.draw(st.integers(0, size))
    length = choice.draw(st.integers(0, size - skip))
    decoder = Decoder(BLOCK, zero_padding=choice.draw(st.booleans()))
    partial = choice.draw(st.booleans())
    same(
        lambda: decoder.decode_one(
            payload, algorithm, size, skip=skip, length=length, partial=partial
        )
    )


@given(st.binary(max_size=80), st.integers(0, 5), st.integers(0, 300), st.integers(0, 600))
def test_decode_anything(payload: bytes, algorithm: int, size: int, phase: int) -> None:
    """Any bytes decode or are refused, alike."""
    same(lambda: Decoder(512).decode_one(payload, algorithm, size, phase=phase))


def test_problems_have_the_same_numbers() -> None:
    """The problems of C are those of Python, and each has its sentence."""
    assert set(SENTENCES) == set(Problem)
    names = codec.ffi.typeof("enum iasfs_problem").relements
    names.pop("IASFS_OK")
    theirs = {name.removeprefix("IASFS_"): number for name, number in names.items()}
    assert theirs == {problem.name: problem.value for problem in Problem if problem < 32}


# --- LZ4 and another implementation --------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("level", [1, 2, 9])
def test_lz4_ours_theirs(name: str, level: int) -> None:
    """What we encode, liblz4 decodes, whole and in parts."""
    require_module("lz4")
    import lz4.block

    data = SAMPLES[name]
    compressor = Compressor("lz4", level, max_input=MIB)
    (payload,) = compressor.compress([data])
    if payload != data:
        assert lz4.block.decompress(payload, uncompressed_size=len(data)) == data
    for capacity in (64, 4096, 16384):
        view = memoryview(data)
        while view:
            consumed, payload = compressor.fill(view, capacity)
            assert len(payload) <= capacity
            decoded = lz4.block.decompress(payload, uncompressed_size=consumed)
            assert decoded == view[:consumed]
            assert consumed >= min(len(view), capacity - 70)
            view = view[consumed:]


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("high", [False, True])
def test_lz4_theirs_ours(name: str, high: bool) -> None:
    """What liblz4 encodes, we decode."""
    require_module("lz4")
    import lz4.block

    data = SAMPLES[name]
    mode = {"mode": "high_compression", "compression": 12} if high else {}
    payload = lz4.block.compress(data, store_size=False, **mode)
    decoder = Decoder(BLOCK)
    assert decoder.decode_one(payload, Algorithm.LZ4, len(data)) == data
    middle = decoder.decode_one(payload, Algorithm.LZ4, len(data), skip=5, length=len(data) // 2)
    assert middle == data[5 : 5 + len(data) // 2]


def test_lz4_large_twin() -> None:
    """C and Python agree on data that is larger than the window."""
    data = SAMPLES["mixed"] + SAMPLES["far"] + SAMPLES["farther"]
    for level in (1, 2, 3):
        same(lambda level=level: Compressor("lz4", level, max_input=MIB).compress([data]))


def test_lz4_ratio() -> None:
    """Our blocks are about as small as those of liblz4."""
    require_module("lz4")
    import lz4.block

    ours = {level: len(Compressor("lz4", level).compress([TEXT])[0]) for level in (1, 9)}
    fast = len(lz4.block.compress(TEXT, store_size=False))
    high = len(lz4.block.compress(TEXT, store_size=False, mode="high_compression", compression=9))
    assert ours[1] < fast * 1.1
    assert ours[9] < high * 1.1
