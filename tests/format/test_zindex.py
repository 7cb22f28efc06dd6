"""The decoders of the classic index: in Python and in C they give one answer."""

from __future__ import annotations

import struct
import time
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extents import COMPACT, DECODERS, FULL, GEOMETRY, extent_lists, node, table_of
from iasfs.format import extent, zindex
from iasfs.format.codec import fast


def both(*arguments: object) -> bytes | tuple[int, int]:
    """The answer of the decoders, which is one."""
    answers = [decode(*arguments) for decode in DECODERS.values()]
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


@settings(max_examples=400, deadline=None)
@given(st.data(), st.booleans(), st.integers(0, 7), st.integers(0, 0x3F))
def test_decoders_agree_on_what_is_wrong(
    data: st.DataObject, compact: bool, slot: int, flip: int
) -> None:
    """Valid indexes with a few bytes changed give the same records or the same fault."""
    extents = data.draw(extent_lists(back_to_back=compact))
    size = extents[-1].logical + extents[-1].size
    offset = 8 * slot
    index = bytearray(
        extent.encode_index(extents, size=size, header_offset=offset, compact=compact)
    )
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(8, len(index) - 1))
        index[at] = data.draw(st.sampled_from([0, 1, 2, 8, 16, 0x20, 0x80, 0xFF, index[at] ^ 3]))
    advise = int.from_bytes(index[4:6], "little")
    if data.draw(st.booleans()):
        advise ^= flip & (0x3E if not compact else 0x3F)
    form = COMPACT if compact else FULL
    if len(index) < index_size(form, offset, size, advise):
        return
    regions = struct.pack("=QQQQ", 1 << 30, 1 << 31, 0, 1 << 29)
    tail = data.draw(st.sampled_from([0, 1, 100, 5000]))
    both(bytes(index), form, offset, size, 12, 12, advise, index[6], tail, 0b1001, regions)


def index_size(form: int, offset: int, size: int, advise: int) -> int:
    total = -(-size >> 12)
    if form == FULL:
        return zindex.FULL_START + 8 * total
    return 8 + zindex.packs(total, offset, bool(advise & 1)).size


@settings(max_examples=400, deadline=None)
@given(
    st.binary(min_size=1, max_size=64),
    st.integers(1, 40),
    st.booleans(),
    st.integers(9, 14),
    st.integers(0, 3),
    st.integers(0, 7),
    st.integers(0, 0x3F),
)
def test_decoders_agree_on_noise(
    noise: bytes, total: int, compact: bool, bits: int, more: int, slot: int, advise: int
) -> None:
    form = COMPACT if compact else FULL
    lclusterbits = bits if compact else bits + more
    if not compact or bits > 12:
        advise &= ~1
    size = (total << lclusterbits) - len(noise)
    length = index_size(form, 8 * slot, total << 12, advise)
    index = (noise * (length // len(noise) + 1))[:length]
    # Mostly the start of the file is sound, so that the rest is looked at.
    index = index[:8] + bytes(8) + index[16:] if form == FULL else index
    regions = struct.pack("=QQ", 0, 1 << 60)
    both(index, form, 8 * slot, size, bits, lclusterbits, advise, 0x30, 9, 0b1111, regions)


def test_c_decoder_checks_its_parameters() -> None:
    if fast is None:
        pytest.skip("not compiled")
    good = [bytes(24), FULL, 0, 4096, 12, 12, 0, 0, 0, 15, struct.pack("=QQ", 0, 1 << 30)]
    assert len(fast.decode_index(*good)) == 40
    bad = {0: bytes(23), 1: 2, 2: 4, 3: 4097, 4: 8, 5: 11, 6: 1 << 16, 7: 4, 8: 1 << 16, 9: 1 << 16}
    for index, value in bad.items():
        with pytest.raises(ValueError):  # noqa: PT011 - all of them are
            fast.decode_index(*good[:index], value, *good[index + 1 :])
    with pytest.raises(TypeError):
        fast.decode_index(*good[:-1])


def test_a_big_index_costs_its_records_alone() -> None:
    """A megabyte of compact index makes half a million extents of 40 bytes."""
    total = 1 << 19
    packs_size = 2 * total
    # Every lcluster a head of one block; all at the same place, so that none are joined.
    pack = sum(0x1000 << 14 * slot for slot in range(16)).to_bytes(28, "little") + bytes(4)
    index = bytes.fromhex("0000 0000 0100 0300") + pack * (packs_size // 32)
    file = node(COMPACT, total << 12, body=0x58)
    geometry = replace(GEOMETRY, image_size=0x58 + len(index))
    tracemalloc.start()
    began = time.process_time()
    table = table_of(file, geometry, index)
    spent = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == total
    assert table.nbytes == 40 * total
    assert peak < 3 * 40 * total
    assert spent < 30
