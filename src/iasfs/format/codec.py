"""Compress, decompress, checksum: bytes in, bytes out, and the only door to the C code.

Reading: a :class:`Decoder` knows what an image says about all its pclusters.  It carries out
jobs (:class:`Job`), all those of one read in one call, into memory that the caller owns.  LZ4,
zstd and plain bytes are decoded in C; it keeps the GIL for up to a megabyte of output, because
to get it back may take longer than that, and releases it for more.  LZMA and DEFLATE are
decoded by the standard library.

Writing: a :class:`Compressor` turns chunks of data into payloads, each decodable on its own; a
batch of them goes to C in one call without the GIL.  A payload never begins with a zero byte,
for a reader takes zeros in front of it for padding.

zstd is not linked: the functions come from a libzstd that is in the process or on the machine
anyway, found when they are first wanted (:func:`zstd_version`).  Without the C code everything
works through the twins in :mod:`~iasfs.format.purecodec`, slowly.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

from iasfs._native import fast, ffi, lib, missing
from iasfs.buffers import Buffer
from iasfs.errors import DecodeError, FormatError, UnsupportedFeature, WriteError
from iasfs.format import purecodec
from iasfs.format.disk import (
    COMPRESSION_DEFLATE,
    COMPRESSION_LZ4,
    COMPRESSION_LZMA,
    COMPRESSION_ZSTD,
)
from iasfs.format.purecodec import MAX_DECODED, MAX_STORED, SENTENCES, Fault, Problem

__all__ = [
    "MAX_DECODED",
    "MAX_STORED",
    "Algorithm",
    "Compressor",
    "DecodeError",
    "Decoder",
    "Job",
    "crc32c",
    "fast",
    "zstd_version",
]


class Algorithm(IntEnum):
    """How the bytes of an extent are stored.  The first four are the numbers on disk."""

    LZ4 = COMPRESSION_LZ4
    LZMA = COMPRESSION_LZMA
    DEFLATE = COMPRESSION_DEFLATE
    ZSTD = COMPRESSION_ZSTD
    PLAIN = 4
    """As they are, from the start of the pcluster."""
    INTERLACED = 5
    """As they are, rotated so that byte x of the file is at ``x % block size`` of a block."""


_ALGORITHMS = frozenset(Algorithm)


@cache
def _warn_once() -> None:
    if missing:
        warnings.warn(
            "iasfs: the compiled codec is not available, using slow Python "
            "(reinstall iasfs where there is a C compiler)",
            RuntimeWarning,
            stacklevel=3,
        )


def crc32c(data: Buffer, register: int = 0xFFFFFFFF) -> int:
    """CRC-32C as EROFS uses it: starts with all ones, and the result is not inverted.

    ``register`` continues from the result for the bytes before.
    """
    if fast is None:
        _warn_once()
        return purecodec.crc32c(data, register)
    result: int = fast.crc32c(data, register)
    return result


# --- libzstd -------------------------------------------------------------------------------------

_NO_ZSTD = "found no libzstd 1.4.0 or later: pip install zstandard"

_kept: list[Any] = []  # what owns the code that C now points to


def _from_zstandard(name: str) -> int:
    """Find a function in the cffi extension of the ``zstandard`` package."""
    module = importlib.import_module("zstandard._cffi")
    _kept.append(module)
    return int(module.ffi.cast("uintptr_t", module.ffi.addressof(module.lib, name)))


def _from_module(module_name: str) -> Callable[[str], int]:
    """Find functions in an extension module that has libzstd inside, or linked."""

    def find(name: str) -> int:
        path = importlib.import_module(module_name).__file__
        return _from_library(path)(name) if path else 0

    return find


def _from_library(path: str) -> Callable[[str], int]:
    """Find functions in a shared library."""

    def find(name: str) -> int:
        return int(lib.iasfs_symbol(path.encode(), name.encode()))

    return find


def _zstd_sources() -> Iterator[Callable[[str], int]]:
    yield _from_zstandard
    yield _from_module("_zstd")
    yield _from_module("backports.zstd._zstd")
    yield _from_library("libzstd.so.1")
    yield _from_library("libzstd.1.dylib")


@cache
def zstd_version() -> int:
    """Return the version of the libzstd in use by the C code, 10507 for 1.5.7; 0 if none is.

    The first call looks for one: in the ``zstandard`` package, in ``compression.zstd`` or
    ``backports.zstd``, among the libraries of the system.  It must be 1.4.0 or later, have the
    dozen functions that are wanted, and decode what it compressed.
    """
    if lib is None:
        return 0
    names = [name for name, _ in ffi.typeof("struct iasfs_zstd_addresses").fields]
    for find in _zstd_sources():
        addresses = ffi.new("struct iasfs_zstd_addresses *")
        try:
            for name in names:
                setattr(addresses, name, find(f"ZSTD_{name}"))
        except (ImportError, AttributeError):
            continue
        version: int = lib.iasfs_zstd_install(addresses)
        if version:
            return version
    return 0


# --- decoding ------------------------------------------------------------------------------------


class Job(NamedTuple):
    """Bytes of one extent that are wanted, and where.  All sizes in bytes."""

    source: Buffer
    """The stored bytes: the whole pcluster, padding included."""
    algorithm: int
    """An :class:`Algorithm`, or its number."""
    size: int
    """Of the whole extent, decoded."""
    skip: int
    """Bytes at the start of the extent that are not wanted."""
    length: int
    """Bytes that are."""
    at: int
    """Where they go in the destination."""
    partial: bool = False
    """The pcluster decodes to more than the extent has (PARTIAL_REF)."""
    phase: int = 0
    """Of an interlaced extent: the byte of the block, in the file, where it begins."""


class Decoder:
    """Decodes the extents of one image; safe for threads and across ``fork``."""

    def __init__(
        self,
        block_size: int,
        *,
        zero_padding: bool = True,
        zstd_windowlog: int = 20,
        lzma_dict_size: int = 8 << 20,
    ) -> None:
        """Take over what the image declares of its pclusters.

        ``zero_padding``: LZ4 blocks too have their padding in front.  ``zstd_windowlog``: log2
        of the largest window of a zstd frame, ``lzma_dict_size``: bytes of LZMA's dictionary;
        0 for algorithms that the image does not use.  Raises
        :class:`~iasfs.errors.FormatError` for what the format does not allow.
        """
        bits = block_size.bit_length() - 1
        if not 9 <= bits <= 16 or block_size != 1 << bits:
            raise FormatError(f"block size {block_size}")
        if zstd_windowlog > 20:
            raise FormatError(f"a zstd window of 2^{zstd_windowlog} bytes")
        if lzma_dict_size > 8 << 20:
            raise FormatError(f"an LZMA dictionary of {lzma_dict_size} bytes")
        self._block_size = block_size
        self._zero_padding = bool(zero_padding)
        self._window_log = max(zstd_windowlog, 10)
        self._dict_size = max(lzma_dict_size, 4096)
        self._settings = bits, self._window_log, self._zero_padding

    def decode(self, jobs: Sequence[Job], destination: bytearray | memoryview) -> None:
        """Carry out jobs, in order.

        Raises :class:`DecodeError` for the first that fails, or
        :class:`~iasfs.errors.UnsupportedFeature` where nothing here knows its algorithm; parts
        of ``destination`` may have been written by then.
        """
        if fast is not None:
            fault = fast.decode(jobs, destination, *self._settings)
            if fault is None:
                return
            if fault[1] != Problem.FOREIGN:
                raise DecodeError(SENTENCES[fault[1]], fault[0])
        else:
            _warn_once()
        with memoryview(destination) as view, view.cast("B") as target:
            for index, job in enumerate(jobs):
                try:
                    self._decode_foreign(job, target)
                except Fault as fault:
                    raise self._error(fault.problem, index, job.algorithm) from None

    def decode_one(
        self,
        source: Buffer,
        algorithm: int,
        size: int,
        *,
        skip: int = 0,
        length: int | None = None,
        partial: bool = False,
        phase: int = 0,
    ) -> bytes:
        """Decode one extent, or ``length`` bytes of it after ``skip``; the fields of a job."""
        if length is None:
            length = size - skip
        if not 0 <= skip <= skip + length <= size:
            raise DecodeError(SENTENCES[Problem.BAD_JOB])
        if algorithm < Algorithm.PLAIN and size > MAX_DECODED:
            raise DecodeError(SENTENCES[Problem.TOO_LARGE])
        destination = bytearray(length)
        self.decode([Job(source, algorithm, size, skip, length, 0, partial, phase)], destination)
        return bytes(destination)

    @staticmethod
    def _error(problem: Problem, index: int, algorithm: int) -> FormatError:
        if problem != Problem.FOREIGN:
            return DecodeError(SENTENCES[problem], index)
        if algorithm == Algorithm.ZSTD:
            return UnsupportedFeature(f"zstd ({_NO_ZSTD})")
        return UnsupportedFeature(f"compression algorithm {algorithm}")

    def _decode_foreign(self, job: Job, target: memoryview) -> None:
        """Carry out one job of a list in which C met an algorithm it lacks, or (yet) no libzstd."""
        if fast is not None and job.algorithm not in (Algorithm.LZMA, Algorithm.DEFLATE):
            if job.algorithm == Algorithm.ZSTD:
                zstd_version()
            fault = fast.decode((job,), target, *self._settings)
            if fault is None:
                return
            if fault[1] != Problem.FOREIGN:
                raise Fault(Problem(fault[1]))
        size, skip, length, at = job[2:6]
        if min(size, skip, length, at) < 0:
            raise OverflowError("a job with a negative number")
        if skip + length > size or at + length > len(target):
            raise Fault(Problem.BAD_JOB)
        if length:
            with memoryview(job.source) as view, view.cast("B") as source:
                data = self._extent(source, job)
                target[at : at + length] = data[skip : skip + length]

    def _extent(self, source: memoryview, job: Job) -> Buffer:
        """Decode an extent in Python, at least as far as it is wanted."""
        end = job.skip + job.length
        if job.algorithm == Algorithm.PLAIN:
            return purecodec.plain(source, job.size)
        if job.algorithm == Algorithm.INTERLACED:
            return purecodec.interlaced(source, job.size, job.phase, self._block_size)
        if job.algorithm not in _ALGORITHMS:
            raise Fault(Problem.FOREIGN)
        if len(source) > MAX_STORED or job.size > MAX_DECODED:
            raise Fault(Problem.TOO_LARGE)
        if self._zero_padding or job.algorithm != Algorithm.LZ4:
            source = purecodec.strip_padding(source, self._block_size)
        if job.algorithm == Algorithm.LZ4:
            exact = self._zero_padding and not job.partial and end == job.size
            return purecodec.lz4_decode(source, end, exact)
        if job.algorithm == Algorithm.ZSTD:
            return purecodec.zstd_decode(source, job.size, self._window_log)
        if job.algorithm == Algorithm.LZMA:
            return purecodec.lzma_decode(source, end, self._dict_size)
        return purecodec.deflate_decode(source, end)


# --- compressing ---------------------------------------------------------------------------------


class _Kind(NamedTuple):
    algorithm: Algorithm
    lowest: int
    highest: int
    default: int


_KINDS = {
    "lz4": _Kind(Algorithm.LZ4, 1, 12, 9),
    "deflate": _Kind(Algorithm.DEFLATE, 1, 9, 9),
    "zstd": _Kind(Algorithm.ZSTD, 1, 22, 9),
}


class _Room:
    """What one thread compresses with: a context of libzstd, and memory for what comes out."""

    def __init__(self, zstd: bool) -> None:
        self.context = None
        if zstd:
            self.context = ffi.gc(lib.iasfs_zstd_new(), lib.iasfs_zstd_free)
        self.out = _allocate()("uint8_t[]", 0)

    def reserve(self, size: int) -> Any:
        if len(self.out) < size:
            self.out = _allocate()("uint8_t[]", size)
        return self.out


@cache
def _allocate() -> Any:
    """Memory that is not cleared: most of it will not even be touched."""
    return ffi.new_allocator(should_clear_after_alloc=False)


class Compressor:
    """Makes payloads of one algorithm and level; safe for threads.

    The same chunks give the same payloads, whatever the thread or the batch; with zstd and
    DEFLATE as long as the library is of the same version, with LZ4 always.
    """

    name: str
    """``"lz4"``, ``"deflate"`` or ``"zstd"``."""
    level: int
    algorithm: Algorithm
    max_input: int
    """Bytes of the largest chunk."""
    windowlog: int
    """Log2 of the largest window that a zstd frame of such a chunk has: 10 to 20."""

    def __init__(self, name: str, level: int | None = None, max_input: int = 256 << 10) -> None:
        """Set algorithm, level and size of the largest chunk.

        Levels: LZ4 1 to 12, DEFLATE 1 to 9, zstd 1 to 22; ``None`` is 9.  ``max_input``: bytes,
        up to 12 MiB.  Raises :class:`~iasfs.errors.WriteError` for an unknown name, for a level
        or size out of range, and for zstd where there is no libzstd.
        """
        if name not in _KINDS:
            raise WriteError(f"compression {name!r} is none of {', '.join(_KINDS)}")
        kind = _KINDS[name]
        if level is None:
            level = kind.default
        if not kind.lowest <= level <= kind.highest:
            raise WriteError(f"{name} has levels {kind.lowest} to {kind.highest}, not {level}")
        if not 0 < max_input <= MAX_DECODED:
            raise WriteError(f"chunks of {max_input} bytes: the limit is 12 MiB")
        if lib is None:
            _warn_once()
        self._in_c = lib is not None and kind.algorithm != Algorithm.DEFLATE
        if kind.algorithm == Algorithm.ZSTD:
            self._in_c = self._in_c and zstd_version() > 0
            if not self._in_c and purecodec.zstd_module() is None:
                raise WriteError(f"zstd: {_NO_ZSTD}")
        self.name = name
        self.level = level
        self.algorithm = kind.algorithm
        self.max_input = max_input
        self.windowlog = min(max((max_input - 1).bit_length(), 10), 20)
        self._slack = lib.iasfs_zstd_bound(max_input) - max_input if lib is not None else 0
        self._rooms: list[_Room] = []

    def compress(self, chunks: Sequence[Buffer]) -> list[bytes]:
        """Make a payload of each chunk; where that would not be shorter, the chunk itself is it.

        A call with less than a megabyte in all wastes time beside busy threads, because it
        releases the GIL.  Raises :class:`~iasfs.errors.WriteError` for a chunk longer than
        ``max_input``.
        """
        if any(len(chunk) > self.max_input for chunk in chunks):
            raise WriteError(f"a chunk is longer than max_input, {self.max_input} bytes")
        if self._in_c:
            return self._compress_in_c(chunks)
        return [self._compress_slowly(chunk) for chunk in chunks]

    def fill(self, data: Buffer, capacity: int) -> tuple[int, bytes]:
        """Put as much of ``data`` as fits into one payload of at most ``capacity`` bytes.

        LZ4 only.  Returns how many bytes of ``data`` the payload holds, and the payload, which
        is longer than what it holds where that does not compress.
        """
        if self.algorithm != Algorithm.LZ4:
            raise WriteError(f"{self.name} cannot fill a given space, only lz4 can")
        if not 0 < capacity <= MAX_STORED:
            raise WriteError(f"a payload of {capacity} bytes: the limit is 1 MiB")
        consumed, payload = (fast or purecodec).lz4_fill(data, capacity, self.level)
        return (consumed, payload) if consumed else (0, b"")

    def _compress_slowly(self, chunk: Buffer) -> bytes:
        size = len(chunk)
        if self.algorithm == Algorithm.LZ4:
            consumed, payload = purecodec.lz4_fill(chunk, max(size - 1, 0), self.level)
            fits = consumed == size
        else:
            if self.algorithm == Algorithm.ZSTD:
                payload = purecodec.zstd_compress(chunk, self.level, self.windowlog)
            else:
                payload = purecodec.deflate_compress(chunk, self.level)
            # A DEFLATE stream whose first block is a stored one begins with a zero.
            fits = len(payload) < size and payload[0] != 0
        return payload if fits else bytes(chunk)

    def _compress_in_c(self, chunks: Sequence[Buffer]) -> list[bytes]:
        is_zstd = self.algorithm == Algorithm.ZSTD
        sources = [ffi.from_buffer("uint8_t[]", chunk) for chunk in chunks]
        array = ffi.new("struct iasfs_chunk[]", len(chunks))
        capacity = 0
        for item, source in zip(array, sources):
            item.source = source
            item.size = len(source)
            capacity += len(source) + self._slack
        try:
            room = self._rooms.pop()
        except IndexError:
            room = _Room(is_zstd)
        out = room.reserve(capacity)
        if is_zstd:
            problem = lib.iasfs_zstd_compress(
                room.context, self.level, self.windowlog, array, len(chunks), out, capacity
            )
        else:
            problem = lib.iasfs_lz4_compress(self.level, array, len(chunks), out, capacity)
        if problem:  # sizes and level were checked: nothing else is left that can fail
            raise MemoryError(f"{self.name}, level {self.level}")
        payloads, at = [], 0
        for item, chunk in zip(array, chunks):
            payloads.append(
                ffi.buffer(out + at, item.produced)[:] if item.produced else bytes(chunk)
            )
            at += item.produced
        self._rooms.append(room)
        return payloads
