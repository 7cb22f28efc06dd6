"""The twins in Python of the compiled codecs: the same results, slowly.

They serve where the extension was not compiled, and the tests, which hold each function of C
against its twin.  A twin takes buffers and gives bytes; what is wrong with its input it says by
:class:`Fault`, with the same numbers as ``enum iasfs_problem`` of ``_native/api.h``.

The two decoders that have no C of ours stand here too: MicroLZMA and DEFLATE, by the standard
library.

Layout of an LZ4 block: "LZ4 Block Format Description" of the LZ4 project; of a zstd frame's
header: RFC 8878; of MicroLZMA: XZ Utils, ``lzma_microlzma_decoder``.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

from iasfs.buffers import Buffer

MAX_STORED = 1 << 20
"""Bytes of a compressed pcluster, at most."""
MAX_DECODED = 12 << 20
"""Bytes of the extent that it decodes to, at most."""


class Problem(IntEnum):
    """What can be wrong with an extent or a job: ``enum iasfs_problem``."""

    BAD_JOB = 1
    TOO_LARGE = 2
    NO_DATA = 3
    PLAIN_SHORT = 4
    BAD_LZ4 = 5
    BAD_FRAME = 6
    BAD_ZSTD = 7
    BAD_WINDOW = 8
    BAD_DICTIONARY = 9
    SHORT = 10
    FOREIGN = 11
    NO_MEMORY = 12
    BAD_LZMA = 32
    BAD_DEFLATE = 33
    """These two only ever come from Python."""


SENTENCES = {
    Problem.BAD_JOB: "bytes outside the extent or the destination are asked for",
    Problem.TOO_LARGE: "a compressed extent above 1 MiB stored or 12 MiB decoded",
    Problem.NO_DATA: "the first block of a compressed extent is all zeros",
    Problem.PLAIN_SHORT: "an uncompressed extent is larger than what is stored for it",
    Problem.BAD_LZ4: "not a valid LZ4 block of the size that the extent has",
    Problem.BAD_FRAME: "no zstd frame begins where the extent is stored",
    Problem.BAD_ZSTD: "corrupt zstd frame",
    Problem.BAD_WINDOW: "a zstd frame has a larger window than the image declares",
    Problem.BAD_DICTIONARY: "a zstd frame wants a dictionary",
    Problem.SHORT: "decodes to fewer bytes than the extent has",
    Problem.FOREIGN: "an algorithm that nothing here decodes",
    Problem.NO_MEMORY: "out of memory",
    Problem.BAD_LZMA: "corrupt LZMA stream",
    Problem.BAD_DEFLATE: "corrupt DEFLATE stream",
}


class Fault(Exception):  # noqa: N818 - it never leaves iasfs.format
    """Raised by a decoder; ``problem`` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(SENTENCES[problem])
        self.problem = problem


# --- checksum ------------------------------------------------------------------------------------


@cache
def _crc32c_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
        table.append(value)
    return tuple(table)


def crc32c(data: Buffer, register: int) -> int:
    """Return the CRC-32C of ``data`` behind what left ``register``; nothing is inverted."""
    table = _crc32c_table()
    for byte in memoryview(data).cast("B"):
        register = table[(register ^ byte) & 0xFF] ^ register >> 8
    return register


# --- padding and plain bytes ---------------------------------------------------------------------


def strip_padding(source: memoryview, block_size: int) -> memoryview:
    """Return a payload without the zeros in front, which are padding within the first block."""
    first = bytes(source[:block_size])
    payload = first.lstrip(b"\0")
    if not payload:
        raise Fault(Problem.NO_DATA)
    return source[len(first) - len(payload) :]


def plain(source: memoryview, size: int) -> memoryview:
    """Return the ``size`` bytes of an uncompressed extent."""
    if size > len(source):
        raise Fault(Problem.PLAIN_SHORT)
    return source[:size]


def interlaced(source: memoryview, size: int, phase: int, block_size: int) -> bytes:
    """Do the same where it was rotated: it begins at byte ``phase`` of the last block."""
    if size > len(source):
        raise Fault(Problem.PLAIN_SHORT)
    if phase == 0:
        return bytes(source[:size])
    if phase >= block_size or len(source) < block_size:
        raise Fault(Problem.BAD_JOB)
    head = source[len(source) - (block_size - phase) :][:size]
    return b"".join((head, source[: size - len(head)]))


# --- LZ4 -----------------------------------------------------------------------------------------

_MIN_MATCH = 4
_LAST_LITERALS = 5
_LAST_MATCH = 12
_LZ4_WINDOW = 65535
_ENOUGH = 256


def lz4_decode(source: memoryview, size: int, exact: bool) -> bytearray:
    """Decode ``size`` bytes of a block; ``exact``: they are all of it, else the rest is ignored."""
    data = bytes(source)
    out = bytearray()
    try:
        at = 0
        while True:
            token = data[at]
            at, literals = _lz4_count(data, at + 1, token >> 4)
            done = not exact and literals >= size - len(out)
            if done:
                literals = size - len(out)
            out += data[at : at + literals]
            at += literals
            if at > len(data) or len(out) > size:
                raise Fault(Problem.BAD_LZ4)
            if done or (exact and at == len(data)):
                break
            distance = data[at] | data[at + 1] << 8
            at, length = _lz4_count(data, at + 2, token & 15)
            length += _MIN_MATCH
            if not 0 < distance <= len(out) or (exact and length > size - len(out)):
                raise Fault(Problem.BAD_LZ4)
            if not exact and length >= size - len(out):
                length = size - len(out)
                done = True
            period = out[len(out) - distance :][:length]
            out += (period * (length // distance + 1))[:length]
            if done:
                break
    except IndexError:
        raise Fault(Problem.BAD_LZ4) from None
    if len(out) != size:
        raise Fault(Problem.BAD_LZ4)
    return out


def _lz4_count(data: bytes, at: int, count: int) -> tuple[int, int]:
    """Read on where the four bits of a count are given; the count, and the place behind it."""
    if count == 15:
        while data[at] == 255:
            count += 255
            at += 1
        count += data[at]
        at += 1
    return at, count


class _Lz4Encoder:
    """How the C encoder works is said in ``_native/lz4_encode.c``; names are the same here."""

    def __init__(self, data: bytes, capacity: int, level: int) -> None:
        self.data = data
        self.size = len(data)
        self.capacity = capacity
        self.out = bytearray()
        self.anchor = 0
        self.entered = 0
        self.depth = 1 << (level - 1)
        self.shift = 32 - (13 if self.depth == 1 else 15)
        self.head: dict[int, int] = {}
        self.previous: dict[int, int] = {}

    def enter(self, at: int) -> int:
        word = int.from_bytes(self.data[at : at + 4], "little")
        slot = (word * 2654435761 & 0xFFFFFFFF) >> self.shift
        before = self.head.get(slot, 0)
        self.previous[at & _LZ4_WINDOW] = before
        self.head[slot] = at + 1
        return before

    def agreement(self, start: int, at: int) -> int:
        data, limit, n = self.data, self.size - _LAST_LITERALS - at, 0
        while n < limit and data[start + n] == data[at + n]:
            n += 1
        return n

    def search(self, at: int) -> tuple[int, int]:
        """Return where the longest match for ``at`` begins, and its length."""
        while self.depth > 1 and self.entered < at:
            self.enter(self.entered)
            self.entered += 1
        candidate = self.enter(at)
        self.entered = at + 1
        best, best_length = 0, 0
        limit = self.size - _LAST_LITERALS - at
        for _ in range(self.depth):
            start = candidate - 1
            if candidate == 0 or at - start > _LZ4_WINDOW:
                break
            length = self.agreement(start, at)
            if length >= _MIN_MATCH and length > best_length:
                best, best_length = start, length
                if length >= _ENOUGH or length == limit:
                    break
            candidate = self.previous[start & _LZ4_WINDOW]
        return best, best_length

    def put_literals(self, count: int, match_bits: int) -> None:
        self.out.append(min(count, 15) << 4 | match_bits)
        self.put_count(count)
        self.out += self.data[self.anchor : self.anchor + count]
        self.anchor += count

    def put_count(self, count: int) -> None:
        if count >= 15:
            self.out += b"\xff" * ((count - 15) // 255)
            self.out.append((count - 15) % 255)

    def put_sequence(self, start: int, match: int, length: int) -> bool:
        literals = start - self.anchor
        tail = max(_LAST_LITERALS, _LAST_MATCH - length)
        prolongation = (literals - 15) // 255 + 1 if literals >= 15 else 0
        need = 1 + prolongation + literals + 2 + 1 + tail
        spare = self.room - need
        if spare < 0:
            return False
        longest = _MIN_MATCH + (15 + (spare - 1) * 255 + 254 if spare else 14)
        length = min(length, longest) - _MIN_MATCH
        self.put_literals(literals, min(length, 15))
        self.out += (start - match).to_bytes(2, "little")
        self.put_count(length)
        self.anchor += length + _MIN_MATCH
        return True

    @property
    def room(self) -> int:
        return self.capacity - len(self.out)

    def put_last(self) -> None:
        room = self.room - 1
        self.put_literals(min(self.size - self.anchor, room - (room + 241) // 256), 0)

    def fill(self) -> None:
        position, misses = 0, 0
        while position <= (last := min(self.size - _LAST_MATCH, self.anchor + self.room)):
            start = position
            match, length = self.search(start)
            if not length:
                position += 1 + (misses >> 6) if self.depth == 1 else 1
                misses += 1
                continue
            while self.depth > 1 and length < _ENOUGH and start < last:
                next_match, next_length = self.search(start + 1)
                if next_length <= length:
                    break
                start, match, length = start + 1, next_match, next_length
            while start > self.anchor and match and self.data[start - 1] == self.data[match - 1]:
                start, match, length = start - 1, match - 1, length + 1
            if not self.put_sequence(start, match, length):
                break
            position, misses = self.anchor, 0
        self.put_last()


def lz4_fill(data: Buffer, capacity: int, level: int) -> tuple[int, bytes]:
    """Say how much of ``data`` fits into a block of ``capacity`` bytes, and give that block."""
    if capacity == 0:
        return 0, b""
    encoder = _Lz4Encoder(bytes(memoryview(data)[:MAX_DECODED]), capacity, level)
    encoder.fill()
    return encoder.anchor, bytes(encoder.out)


# --- zstd ----------------------------------------------------------------------------------------

_MAGIC = b"\x28\xb5\x2f\xfd"


class Frame(NamedTuple):
    """What a zstd frame says of itself; ``content`` is None where it does not say."""

    window: int
    content: int | None
    dictionary: int


def zstd_header(source: memoryview) -> Frame:
    """Read a frame's header."""
    if len(source) < 6 or source[:4] != _MAGIC:
        raise Fault(Problem.BAD_FRAME)
    descriptor = source[4]
    single = descriptor >> 5 & 1
    dictionary_size = (0, 1, 2, 4)[descriptor & 3]
    content_size = (single, 2, 4, 8)[descriptor >> 6]
    dictionary_at = 6 - single
    content_at = dictionary_at + dictionary_size
    if descriptor & 8 or len(source) < content_at + content_size:
        raise Fault(Problem.BAD_FRAME)
    dictionary = int.from_bytes(source[dictionary_at:content_at], "little")
    content = None
    if content_size:
        content = int.from_bytes(source[content_at : content_at + content_size], "little")
        content += 256 * (content_size == 2)
    if single:
        assert content is not None
        return Frame(content, content, dictionary)
    window = source[5]
    return Frame((1 << 10 + (window >> 3)) // 8 * (8 + (window & 7)), content, dictionary)


def _zstd_modules() -> Iterator[Any]:
    for name in ("zstandard", "compression.zstd", "backports.zstd"):
        try:
            yield importlib.import_module(name)
        except ImportError:
            continue


def zstd_module() -> Any:
    """Import a Python package that knows zstd; None if there is none."""
    return next(_zstd_modules(), None)


def zstd_decode(source: memoryview, size: int, window_log: int) -> bytes:
    """Decode the first ``size`` bytes of the one frame at ``source``."""
    frame = zstd_header(source)
    if frame.dictionary:
        raise Fault(Problem.BAD_DICTIONARY)
    if frame.window > 1 << window_log:
        raise Fault(Problem.BAD_WINDOW)
    if frame.content is not None and frame.content < size:
        raise Fault(Problem.SHORT)
    module = zstd_module()
    if module is None:
        raise Fault(Problem.FOREIGN)
    error: type[Exception] = module.ZstdError
    try:
        data = _zstd_read(module, bytes(source), size, window_log, frame.content == size)
    except (error, EOFError):
        raise Fault(Problem.BAD_ZSTD) from None
    if len(data) != size:
        raise Fault(Problem.SHORT)
    return data


def _zstd_read(module: Any, source: bytes, size: int, window_log: int, whole: bool) -> bytes:
    """Decode ``size`` bytes; ``whole``: they are all of the frame, so that its end counts too."""
    data: bytes
    if module.__name__ != "zstandard":
        limit = {module.DecompressionParameter.window_log_max: window_log}
        decoder = module.ZstdDecompressor(options=limit)
        data = decoder.decompress(source, size)
        if whole and not decoder.eof:
            raise EOFError
        return data
    context = module.ZstdDecompressor(max_window_size=1 << window_log)
    if whole:
        data = context.decompress(source, allow_extra_data=True)
    else:
        data = context.stream_reader(source, read_across_frames=False).read(size)
    return data


def zstd_compress(data: Buffer, level: int, window_log: int) -> bytes:
    """Make one frame with its content size and no checksum; there must be a module for it."""
    module = zstd_module()
    if module.__name__ == "zstandard":
        parameters = module.ZstdCompressionParameters(
            compression_level=level,
            window_log=window_log,
            write_content_size=True,
            write_checksum=False,
            write_dict_id=False,
        )
        frame: bytes = module.ZstdCompressor(compression_params=parameters).compress(data)
        return frame
    option = module.CompressionParameter
    frame = module.compress(
        data,
        options={
            option.compression_level: level,
            option.window_log: window_log,
            option.content_size_flag: 1,
            option.checksum_flag: 0,
            option.dict_id_flag: 0,
        },
    )
    return frame


# --- MicroLZMA and DEFLATE -----------------------------------------------------------------------


def lzma_decode(source: memoryview, size: int, dict_size: int) -> bytes:
    """Decode the first ``size`` bytes of a MicroLZMA stream.

    Its first byte is the complement of LZMA's properties; in a raw stream a zero stands there.
    """
    try:
        lzma = importlib.import_module("lzma")
    except ImportError:  # Python itself was built without it
        raise Fault(Problem.FOREIGN) from None
    properties = source[0] ^ 0xFF
    if properties >= 9 * 5 * 5:
        raise Fault(Problem.BAD_LZMA)
    rest, lc = divmod(properties, 9)
    pb, lp = divmod(rest, 5)
    chain = {"id": lzma.FILTER_LZMA1, "dict_size": dict_size, "lc": lc, "lp": lp, "pb": pb}
    try:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chain])
        data: bytes = decoder.decompress(b"\0" + source[1:], size)
    except lzma.LZMAError:
        raise Fault(Problem.BAD_LZMA) from None
    if len(data) != size:
        raise Fault(Problem.SHORT)
    return data


def deflate_decode(source: memoryview, size: int) -> bytes:
    """Decode the first ``size`` bytes of a raw DEFLATE stream."""
    try:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(source, size)
    except zlib.error:
        raise Fault(Problem.BAD_DEFLATE) from None
    if len(data) != size:
        raise Fault(Problem.SHORT)
    return data


def deflate_compress(data: Buffer, level: int) -> bytes:
    """Make a raw DEFLATE stream."""
    return zlib.compress(data, level, wbits=-zlib.MAX_WBITS)
