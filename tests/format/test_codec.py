"""Codec: every decoder on good, odd and hostile bytes; the encoders; both in C and in Python."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import zstandard

from iasfs.errors import FormatError, UnsupportedFeature, WriteError
from iasfs.format import codec, purecodec
from iasfs.format.codec import Algorithm, Compressor, DecodeError, Decoder, Job, crc32c
from payloads import (
    BLOCK,
    EXTENTS,
    MIB,
    TEXT,
    deflate,
    frame,
    micro_lzma,
    noise,
    padded,
    python_only,
    says_its_size,
)

# --- checksum ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xFFFFFFFF),
        (b"123456789", 0x1CF96D7C),
        (bytes(32), 0x8A9136AA ^ 0xFFFFFFFF),
        (b"\xff" * 32, 0x62A8AB43 ^ 0xFFFFFFFF),
        (bytes(range(32)), 0x46DD794E ^ 0xFFFFFFFF),
    ],
)
@pytest.mark.usefixtures("both")
def test_crc32c_vectors(data: bytes, expected: int) -> None:
    """The published vectors, without the final inversion."""
    assert crc32c(data) == expected
    half = len(data) // 2
    assert crc32c(memoryview(data)[half:], crc32c(bytearray(data[:half]))) == expected


# --- every algorithm -----------------------------------------------------------------------------


@pytest.fixture(params=EXTENTS.values(), ids=EXTENTS.keys())
def extent(request: pytest.FixtureRequest) -> tuple[int, bytes, bytes]:
    """Algorithm, payload and data of an extent."""
    result: tuple[int, bytes, bytes] = request.param
    return result


@pytest.mark.usefixtures("both")
class TestDecode:
    """Every algorithm, by either side."""

    decoder = Decoder(BLOCK)

    def test_whole(self, extent: tuple[int, bytes, bytes]) -> None:
        """The payload decodes, with padding in front up to a block and as any kind of buffer."""
        algorithm, payload, data = extent
        assert self.decoder.decode_one(payload, algorithm, len(data)) == data
        if algorithm < Algorithm.PLAIN:
            payload = padded(payload)
        assert self.decoder.decode_one(bytearray(payload), algorithm, len(data)) == data
        assert self.decoder.decode_one(memoryview(payload), algorithm, len(data)) == data

    def test_parts(self, extent: tuple[int, bytes, bytes]) -> None:
        """Any part of an extent can be had."""
        algorithm, payload, data = extent
        size = len(data)
        for skip, length in (
            (0, 1),
            (1, size - 1),
            (size - 1, 1),
            (size // 3, size // 3),
            (size, 0),
        ):
            part = self.decoder.decode_one(payload, algorithm, size, skip=skip, length=length)
            assert part == data[skip : skip + length]

    def test_truncated(self, extent: tuple[int, bytes, bytes]) -> None:
        """A payload without its end is an error, and nothing else is."""
        algorithm, payload, data = extent
        if algorithm in (Algorithm.LZMA, Algorithm.DEFLATE) or not says_its_size(payload):
            payload = payload[:-8]  # up to so many end the stream and hold no data
        for cut in {1, 2, 3, 5, len(payload) // 2}:
            short = payload[: max(min(len(payload), len(data)) - cut, 0)]
            with pytest.raises(DecodeError):
                self.decoder.decode_one(short, algorithm, len(data))

    def test_too_short(self, extent: tuple[int, bytes, bytes]) -> None:
        """A payload that yields fewer bytes than the extent has is an error."""
        algorithm, payload, data = extent
        with pytest.raises(DecodeError):
            self.decoder.decode_one(payload, algorithm, len(data) + BLOCK)

    def test_partial(self, extent: tuple[int, bytes, bytes]) -> None:
        """A pcluster may hold more than the extent: for LZ4 it has to be said."""
        algorithm, payload, data = extent
        size = len(data) - 1
        whole = self.decoder.decode_one(payload, algorithm, size, partial=True)
        assert whole == data[:-1]
        if algorithm == Algorithm.LZ4:
            with pytest.raises(DecodeError, match="LZ4"):
                self.decoder.decode_one(payload, algorithm, size)
        else:
            assert self.decoder.decode_one(payload, algorithm, size) == data[:-1]

    def test_zero_block(self, extent: tuple[int, bytes, bytes]) -> None:
        """Padding ends with the first block."""
        algorithm, payload, data = extent
        if algorithm >= Algorithm.PLAIN:
            return
        with pytest.raises(DecodeError, match="all zeros"):
            self.decoder.decode_one(bytes(BLOCK) + payload, algorithm, len(data))
        with pytest.raises(DecodeError, match="all zeros"):
            self.decoder.decode_one(bytes(100), algorithm, len(data))
        with pytest.raises(DecodeError, match="all zeros"):
            self.decoder.decode_one(b"", algorithm, len(data))
        front = bytes(BLOCK - 1) + payload
        assert self.decoder.decode_one(front, algorithm, len(data)) == data

    def test_legacy_lz4(self) -> None:
        """Without ZERO_PADDING an LZ4 block stands in front, and may begin with a zero."""
        old = Decoder(BLOCK, zero_padding=False)
        block = b"\x44abcd\x04\x00\x50vwxyz"
        assert old.decode_one(block + bytes(4000), Algorithm.LZ4, 17) == b"abcd" * 3 + b"vwxyz"
        with pytest.raises(DecodeError):
            old.decode_one(bytes(10) + block, Algorithm.LZ4, 17)
        assert old.decode_one(bytes(10) + frame(TEXT), Algorithm.ZSTD, len(TEXT)) == TEXT

    def test_interlaced(self) -> None:
        """Byte x of a file is at x modulo the block size, in every position."""
        data = noise(512)
        decoder = Decoder(512)
        for phase in (0, 1, 7, 255, 511):
            for size in (1, 5, 257, 511, 512):
                stored = bytearray(512)
                for index in range(size):
                    stored[(phase + index) % 512] = data[index]
                for skip in {0, 1, size // 2, 512 - phase - 1, 512 - phase, size - 1}:
                    if skip < size:
                        part = decoder.decode_one(
                            stored, Algorithm.INTERLACED, size, skip=skip, phase=phase
                        )
                        assert part == data[skip:size]

    def test_interlaced_blocks(self) -> None:
        """Of several blocks the last one holds the beginning."""
        data = noise(1024)
        stored = data[412:] + data[:412]  # phase 100: the first 412 bytes are the last ones
        decoder = Decoder(512)
        assert decoder.decode_one(stored, Algorithm.INTERLACED, 1024, phase=100) == data
        assert decoder.decode_one(stored, Algorithm.INTERLACED, 400, phase=100) == data[:400]

    @pytest.mark.parametrize(("stored", "phase"), [(512, 512), (512, 513), (511, 1)])
    def test_bad_phase(self, stored: int, phase: int) -> None:
        """A phase outside the block, or less than a block, is an error."""
        with pytest.raises(DecodeError):
            Decoder(512).decode_one(bytes(stored), Algorithm.INTERLACED, 511, phase=phase)

    @pytest.mark.parametrize("algorithm", [Algorithm.PLAIN, Algorithm.INTERLACED])
    def test_plain_short(self, algorithm: int) -> None:
        """A plain extent is not larger than its pcluster."""
        with pytest.raises(DecodeError, match="larger than what is stored"):
            self.decoder.decode_one(bytes(BLOCK), algorithm, BLOCK + 1)

    @pytest.mark.parametrize("algorithm", [0, 1, 2, 3])
    def test_limits(self, algorithm: int) -> None:
        """At most 1 MiB is stored and 12 MiB decoded, and nothing is allocated for more."""
        payload = EXTENTS[("lz4 match", "lzma", "deflate", "zstd")[algorithm]][1]
        jobs = [
            Job(bytes(MIB + 1 - len(payload)) + payload, algorithm, 9, 0, 1, 0),
            Job(payload, algorithm, 12 * MIB + 1, 0, 1, 0),
            Job(payload, algorithm, (1 << 64) - 1, 0, 1, 0),
        ]
        for job in jobs:
            with pytest.raises(DecodeError, match="1 MiB stored or 12 MiB"):
                self.decoder.decode([job], bytearray(1))
        with pytest.raises(DecodeError, match="1 MiB stored or 12 MiB"):
            self.decoder.decode_one(payload, algorithm, 1 << 60)

    @pytest.mark.parametrize(
        ("size", "skip", "length", "at"),
        [
            (5, 0, 6, 0),
            (5, 5, 1, 0),
            (5, 6, 0, 0),
            (5, 0, 5, 6),
            (5, 0, 0, 11),
            (5, (1 << 64) - 1, 2, 0),
            (5, 0, (1 << 64) - 1, 1),
            (5, 0, 5, (1 << 64) - 1),
        ],
    )
    def test_outside(self, size: int, skip: int, length: int, at: int) -> None:
        """No job reaches outside its extent or its destination."""
        job = Job(b"\x50hello", Algorithm.LZ4, size, skip, length, at)
        target = bytearray(10)
        with pytest.raises(DecodeError, match="asked for"):
            self.decoder.decode([job], target)
        assert target == bytes(10)

    def test_many(self) -> None:
        """Jobs of all kinds fill one destination, and only where they are told."""
        data = b""
        jobs = []
        for algorithm, payload, content in EXTENTS.values():
            part = content[1:]
            jobs.append(Job(payload, algorithm, len(content), 1, len(part), len(data) + 3))
            data += part
        target = bytearray(b"\xee" * (len(data) + 8))
        self.decoder.decode(jobs, memoryview(target))
        assert target == b"\xee" * 3 + data + b"\xee" * 5
        self.decoder.decode([], target)
        self.decoder.decode(tuple(jobs), target)

    @pytest.mark.parametrize("algorithm", [0, 1, 2, 3, 4, 5])
    def test_which_job(self, algorithm: int) -> None:
        """The error says which job failed, and is a FormatError."""
        good = Job(b"some", Algorithm.PLAIN, 4, 0, 4, 0)
        bad = Job(b"\x01\x02\x03", algorithm, 9, 0, 9, 0)
        with pytest.raises(FormatError) as caught:
            self.decoder.decode([good] * 12 + [bad, good, bad], bytearray(9))
        assert isinstance(caught.value, DecodeError)
        assert caught.value.job == 12

    @pytest.mark.parametrize("algorithm", [6, 255, (1 << 64) - 1])
    def test_unknown(self, algorithm: int) -> None:
        """An algorithm that nobody knows is named."""
        with pytest.raises(UnsupportedFeature, match=f"algorithm {algorithm}"):
            self.decoder.decode_one(b"something", algorithm, 9)

    @pytest.mark.parametrize("field", ["size", "skip", "length", "at"])
    def test_negative(self, field: str) -> None:
        """Negative numbers are nobody's bytes but a mistake of the caller."""
        job = Job(b"\x50hello", Algorithm.LZ4, 5, 0, 5, 0)._replace(**{field: -1})
        with pytest.raises(OverflowError):
            self.decoder.decode([job], bytearray(5))

    def test_wrong_types(self) -> None:
        """What is not a buffer, or cannot be written, is refused."""
        job = Job(b"\x50hello", Algorithm.LZ4, 5, 0, 5, 0)
        with pytest.raises((TypeError, BufferError)):
            self.decoder.decode([job], b"12345")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            self.decoder.decode([job._replace(source="text")], bytearray(5))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            self.decoder.decode(7, bytearray(5))  # type: ignore[arg-type]


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("jobs", [[7], [(b"",)], [("x", 0, 0, 0, 0, 0, 0, 0)], [(b"",) * 8]])
def test_malformed_jobs(jobs: Any) -> None:
    """C takes nothing for a job that is none."""
    with pytest.raises(TypeError):
        Decoder(BLOCK).decode(jobs, bytearray(5))


# --- odd zstd frames -----------------------------------------------------------------------------

FRAME = frame(TEXT)
DICTIONARY = zstandard.ZstdCompressionDict(TEXT[:5000], dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def with_dictionary(dict_id: bytes) -> bytes:
    """A frame whose header names a dictionary."""
    assert FRAME[4] & 3 == 0
    return FRAME[:4] + bytes([FRAME[4] | len(dict_id).bit_length()]) + dict_id + FRAME[5:]


@pytest.mark.usefixtures("both")
class TestZstd:
    """Exactly one standard frame, within the window that the image declares."""

    @pytest.mark.parametrize(
        "behind", [b"\0" * 50, b"garbage", FRAME, b"\x50\x2a\x4d\x18\x01\0\0\0x"]
    )
    @pytest.mark.parametrize("options", [{}, {"write_content_size": 0}])
    def test_what_follows(self, behind: bytes, options: dict[str, int]) -> None:
        """Whatever stands behind the frame does not count."""
        payload = frame(TEXT, **options) + behind
        assert Decoder(BLOCK).decode_one(payload, Algorithm.ZSTD, len(TEXT)) == TEXT
        assert Decoder(BLOCK).decode_one(payload, Algorithm.ZSTD, len(TEXT) - 1) == TEXT[:-1]

    @pytest.mark.parametrize(
        "payload",
        [
            b"\x50\x2a\x4d\x18\x01\0\0\0x" + FRAME,
            b"\x25\xb5\x2f\xfd" + FRAME[4:],
            FRAME[:4] + bytes([FRAME[4] | 8]) + FRAME[5:],
            FRAME[:5],
            b"not zstd at all",
        ],
        ids=["skippable", "magic", "reserved bit", "no header", "text"],
    )
    def test_no_frame(self, payload: bytes) -> None:
        """Nothing but a frame may begin there."""
        with pytest.raises(DecodeError, match="no zstd frame"):
            Decoder(BLOCK).decode_one(payload, Algorithm.ZSTD, len(TEXT))

    def test_two_frames(self) -> None:
        """A second frame does not make up for what the first lacks."""
        half = len(TEXT) // 2
        for options in ({}, {"write_content_size": 0}):
            payload = frame(TEXT[:half], **options) + frame(TEXT[half:], **options)
            with pytest.raises(DecodeError):
                Decoder(BLOCK).decode_one(payload, Algorithm.ZSTD, len(TEXT))

    @pytest.mark.parametrize("flip", [-1, -4, 40, 600])
    def test_checksum(self, flip: int) -> None:
        """A checksum is checked, where there is one."""
        for options in ({}, {"write_content_size": 0}):
            payload = bytearray(frame(TEXT, write_checksum=1, **options))
            payload[flip] ^= 0x10
            with pytest.raises(DecodeError, match="corrupt zstd frame"):
                Decoder(BLOCK).decode_one(payload, Algorithm.ZSTD, len(TEXT))

    @pytest.mark.parametrize("dict_id", [b"\x07", b"\x07\x01", b"\x07\0\0\x01"])
    def test_dictionary(self, dict_id: bytes) -> None:
        """Nobody has a dictionary."""
        with pytest.raises(DecodeError, match="dictionary"):
            Decoder(BLOCK).decode_one(with_dictionary(dict_id), Algorithm.ZSTD, len(TEXT))

    @pytest.mark.parametrize("options", [{}, {"write_content_size": 0}])
    @pytest.mark.parametrize("log", [10, 15, 17, 20])
    def test_window(self, log: int, options: dict[str, int]) -> None:
        """A frame's window may be the declared one, and not a byte larger."""
        data = noise(300) + TEXT * 20
        assert len(data) > 1 << 20
        fits = frame(data, window_log=log, **options)
        assert Decoder(BLOCK, zstd_windowlog=log).decode_one(fits, 3, len(data)) == data
        larger = bytearray(fits)
        larger[5] += 1  # an eighth more
        with pytest.raises(DecodeError, match="larger window"):
            Decoder(BLOCK, zstd_windowlog=log).decode_one(larger, 3, len(data))

    def test_single_segment_window(self) -> None:
        """Where there is one segment the content is the window."""
        data = TEXT[: 1 << 15]
        assert Decoder(BLOCK, zstd_windowlog=15).decode_one(frame(data), 3, len(data)) == data
        data = TEXT[: (1 << 15) + 1]
        with pytest.raises(DecodeError, match="larger window"):
            Decoder(BLOCK, zstd_windowlog=15).decode_one(frame(data), 3, len(data))

    def test_lying_size(self) -> None:
        """A content size that is not the content's is an error, not a buffer overrun."""
        assert FRAME[4] >> 6 == 2
        assert FRAME[4] & 0x20
        for size in (len(TEXT) - 100, len(TEXT) + 100):
            lying = FRAME[:5] + size.to_bytes(4, "little") + FRAME[9:]
            with pytest.raises(DecodeError):
                Decoder(BLOCK).decode_one(lying, Algorithm.ZSTD, size)

    def test_bomb(self) -> None:
        """Of a frame that decodes to 12 MiB a small part costs only what the extent has."""
        bomb = frame(bytes(12 * MIB), window_log=20)
        assert Decoder(BLOCK).decode_one(bomb, Algorithm.ZSTD, 100, partial=True) == bytes(100)
        with pytest.raises(DecodeError, match="12 MiB"):
            Decoder(BLOCK).decode_one(bomb, Algorithm.ZSTD, 12 * MIB + 1)


# --- LZMA and DEFLATE ----------------------------------------------------------------------------


def test_lzma_properties() -> None:
    """The first byte is the complement of the properties, and all of them are checked."""
    payload = micro_lzma(TEXT)
    assert payload[0] == 0xA2
    decoder = Decoder(BLOCK, lzma_dict_size=65536)
    assert decoder.decode_one(payload, Algorithm.LZMA, len(TEXT)) == TEXT
    for first in (0x01, 0x1E, 0xFF ^ 44):  # beyond the last, the last (lc 8 lp 4), lc 8 lp 4 pb 0
        with pytest.raises(DecodeError, match="LZMA"):
            decoder.decode_one(bytes([first]) + payload[1:], Algorithm.LZMA, len(TEXT))


def test_lzma_dictionary() -> None:
    """A distance beyond the declared dictionary is an error."""
    data = noise(8192) * 2
    payload = micro_lzma(data)
    assert Decoder(BLOCK, lzma_dict_size=8192).decode_one(payload, 1, len(data)) == data
    with pytest.raises(DecodeError):
        Decoder(BLOCK, lzma_dict_size=4096).decode_one(payload, 1, len(data))


@pytest.mark.parametrize(
    ("algorithm", "payload"),
    [
        (Algorithm.LZMA, micro_lzma(bytes(11 * MIB))),
        (Algorithm.DEFLATE, deflate(bytes(11 * MIB))),
    ],
)
def test_bounded(algorithm: int, payload: bytes) -> None:
    """No more is decoded than is asked for, whatever there is."""
    start = time.thread_time()
    assert Decoder(BLOCK).decode_one(payload, algorithm, 100, partial=True) == bytes(100)
    assert time.thread_time() - start < 0.1


@pytest.mark.parametrize(
    "arguments",
    [
        {"block_size": 0},
        {"block_size": 256},
        {"block_size": 4095},
        {"block_size": 1 << 17},
        {"block_size": BLOCK, "zstd_windowlog": 21},
        {"block_size": BLOCK, "lzma_dict_size": (8 << 20) + 1},
    ],
)
def test_decoder_arguments(arguments: dict[str, int]) -> None:
    """What the format does not allow makes no decoder."""
    with pytest.raises(FormatError):
        Decoder(**arguments)


def test_undeclared_algorithms() -> None:
    """An image without LZMA or zstd declares no dictionary and no window."""
    decoder = Decoder(BLOCK, zstd_windowlog=0, lzma_dict_size=0)
    assert decoder.decode_one(frame(TEXT[:1024]), Algorithm.ZSTD, 1024) == TEXT[:1024]


# --- compressing ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("name", ["lz4", "deflate", "zstd"])
class TestCompressor:
    """Payloads that decode, none longer than its chunk, the same every time."""

    def test_round_trip(self, name: str) -> None:
        """Each chunk becomes a payload of its own."""
        compressor = Compressor(name, level=1, max_input=64 << 10)
        assert compressor.name == name
        assert compressor.level == 1
        assert compressor.algorithm == Algorithm[name.upper()]
        chunks = [TEXT[:100], TEXT[: 64 << 10], memoryview(TEXT)[7:9000], bytearray(20_000)]
        payloads = compressor.compress(chunks)
        decoder = Decoder(BLOCK, zstd_windowlog=compressor.windowlog)
        for chunk, payload in zip(chunks, payloads, strict=True):
            assert isinstance(payload, bytes)
            assert len(payload) < len(chunk)
            assert payload[0] != 0
            assert decoder.decode_one(payload, compressor.algorithm, len(chunk)) == chunk

    def test_incompressible(self, name: str) -> None:
        """What does not get shorter comes back as it is."""
        compressor = Compressor(name, level=1)
        chunks = [b"", b"a", noise(5000), bytes(1) + noise(70_000), TEXT]
        payloads = compressor.compress(chunks)
        assert payloads[:4] == chunks[:4]
        assert len(payloads[4]) < len(TEXT)

    def test_deterministic(self, name: str) -> None:
        """A payload depends on its chunk, not on the batch, the history or the thread."""
        compressor = Compressor(name, level=3, max_input=MIB)
        chunks = [TEXT[i * 1000 : i * 1500 + 3000] for i in range(20)] + [noise(500) + bytes(99)]
        alone = [compressor.compress([chunk])[0] for chunk in chunks]
        with ThreadPoolExecutor(4) as pool:
            batches = list(pool.map(compressor.compress, [chunks] * 8))
        assert all(batch == alone for batch in batches)
        assert Compressor(name, level=3, max_input=MIB).compress(chunks[::-1]) == alone[::-1]

    def test_empty_batch(self, name: str) -> None:
        """No chunks, no payloads."""
        assert Compressor(name).compress([]) == []

    def test_too_long(self, name: str) -> None:
        """A chunk above max_input is the caller's mistake."""
        with pytest.raises(WriteError, match="max_input"):
            Compressor(name, max_input=1000).compress([bytes(1001)])

    @pytest.mark.parametrize("level", [0, -1, 23])
    def test_level(self, name: str, level: int) -> None:
        """A level out of range is refused."""
        with pytest.raises(WriteError, match="levels 1 to"):
            Compressor(name, level)

    @pytest.mark.parametrize("max_input", [0, -1, 12 * MIB + 1])
    def test_max_input(self, name: str, max_input: int) -> None:
        """No extent is longer than 12 MiB."""
        with pytest.raises(WriteError, match="12 MiB"):
            Compressor(name, 1, max_input)

    def test_fill(self, name: str) -> None:
        """Only LZ4 fills a given space, of at most 1 MiB."""
        compressor = Compressor(name, 1)
        if name != "lz4":
            with pytest.raises(WriteError, match="only lz4"):
                compressor.fill(TEXT, BLOCK)
            return
        consumed, payload = compressor.fill(TEXT, BLOCK)
        assert BLOCK - 8 < len(payload) <= BLOCK
        assert Decoder(BLOCK).decode_one(padded(payload), 0, consumed) == TEXT[:consumed]
        assert compressor.fill(b"", BLOCK) == (0, b"")
        assert compressor.fill(TEXT, 1) == (0, b"")
        assert compressor.fill(bytearray(b"ab"), 2) == (1, b"\x10a")
        for capacity in (0, -1, MIB + 1):
            with pytest.raises(WriteError, match="1 MiB"):
                compressor.fill(TEXT, capacity)


def test_unknown_name() -> None:
    """Only what EROFS knows and we can write."""
    with pytest.raises(WriteError, match="none of lz4, deflate, zstd"):
        Compressor("lzma")


@pytest.mark.parametrize("max_input", [1, 1024, 1025, 65536, 300_000, MIB, 12 * MIB])
def test_zstd_frames(max_input: int) -> None:
    """Frames have a size and neither checksum nor dictionary, and keep to their window."""
    compressor = Compressor("zstd", 3, max_input)
    data = TEXT * (max_input // len(TEXT) + 1)
    for size in {max_input, max_input // 2 + 1}:
        (payload,) = compressor.compress([data[:size]])
        if size < 100:
            assert payload == data[:size]
            continue
        parameters = zstandard.get_frame_parameters(payload)
        assert parameters.content_size == size
        assert parameters.window_size <= 1 << compressor.windowlog <= MIB
        assert not parameters.has_checksum
        assert parameters.dict_id == 0
        header = purecodec.zstd_header(memoryview(payload))
        assert header == (parameters.window_size, size, 0)


def test_stored_deflate() -> None:
    """A stream that begins with a stored block begins with a zero, and is not used."""
    data = noise(40_000) + bytes(100_000)
    assert deflate(data)[0] == 0
    assert Compressor("deflate").compress([data]) == [data]


def test_no_libzstd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any zstd the errors say what to install."""
    monkeypatch.setattr(codec, "zstd_version", lambda: 0)
    monkeypatch.setattr(purecodec, "zstd_module", lambda: None)
    with pytest.raises(WriteError, match="pip install zstandard"):
        Compressor("zstd")
    with python_only(), pytest.raises(UnsupportedFeature, match="pip install zstandard"):
        Decoder(BLOCK).decode_one(FRAME, Algorithm.ZSTD, len(TEXT))
