"""The bytes of an archive, wherever they come from: plain or compressed, seekable or not.

A reader of archives asks an :class:`Archive` for bytes at offsets of the *uncompressed* archive.
Two kinds answer:

* :class:`InPlace`: an uncompressed archive in a blob.  Nothing is copied.
* :class:`Spool`: everything else.  The stream is read once, decompressed, and kept in a temporary
  file without a name, just as far as the reader asks; what lies behind the archive's end is only
  hashed.  The file goes away with the last content that lies in it.

Memory stays bounded: a codec is given little input at a time and asked for at most
:data:`CHUNK_SIZE` of output, and no codec may want a window over :data:`WINDOW_LIMIT`.

gzip members, bzip2 and xz streams and zstd frames may follow each other, zeros may lie between
them; anything else behind them is an error, as is an end inside one of them.
"""

from __future__ import annotations

import bz2
import errno
import lzma
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Protocol

from iasfs.blob import Blob, FileBlob
from iasfs.buffers import Buffer
from iasfs.errors import FormatError, StorageError

if TYPE_CHECKING:
    import zstandard

CHUNK_SIZE = 1 << 20
"""Bytes read, or decompressed, at a time."""
WINDOW_LIMIT = 1 << 27
"""Bytes of memory that a decompressor may need: enough for every preset of xz and zstd."""
_FEED_SIZE = 1 << 16
"""Compressed bytes given to a codec at a time, for what it leaves unused is copied."""
_MAGIC_SIZE = 10

Progress = Callable[[int, int | None], None]
"""Called with the bytes of the source that have been read and its size, if that is known."""


class Digest(Protocol):
    """As made by :mod:`hashlib`."""

    def update(self, data: Buffer, /) -> object:
        """Take in more bytes."""
        ...


class Archive(Protocol):
    """An uncompressed archive, as a reader sees it."""

    @property
    def blob(self) -> Blob:
        """What the contents of members are slices of."""
        ...

    def reaches(self, end: int) -> bool:
        """Whether the archive has ``end`` bytes or more."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``, fewer only where the archive ends."""
        ...

    def finish(self) -> None:
        """Take in what the reader has not asked for, to its last byte."""
        ...

    def close(self) -> None:
        """Give up: what has been read is not wanted."""
        ...


class InPlace:
    """An archive that is read where it lies."""

    def __init__(self, blob: Blob, digest: Digest | None, progress: Progress | None) -> None:
        self.blob = blob
        self._size = blob.size
        self._digest = digest
        self._progress = progress

    def reaches(self, end: int) -> bool:
        return end <= self._size

    def read(self, offset: int, size: int) -> bytes:
        size = min(size, self._size - offset)
        return bytes(self.blob.read_at(offset, size)) if size > 0 else b""

    def finish(self) -> None:
        if self._digest is not None:
            for piece in _pieces_of_blob(self.blob, self._progress):
                self._digest.update(piece)
        elif self._progress is not None:
            self._progress(self._size, self._size)

    def close(self) -> None:
        """Nothing is held."""


class Spool(FileBlob):
    """An archive that is kept in a temporary file while it is read; its ``size`` grows."""

    def __init__(
        self,
        chunks: Iterator[bytes],
        *,
        digest: Digest | None,
        max_size: int | None,
        name: str | None,
        directory: str | os.PathLike[str] | None,
    ) -> None:
        self.name = name
        self._fd = -1
        self._size = 0
        self._seen = 0
        self._chunks = chunks
        self._digest = digest
        self._max_size = max_size
        try:
            with tempfile.TemporaryFile(dir=directory) as file:
                self._fd = os.dup(file.fileno())
        except OSError as error:
            raise _storage_error(error, "cannot make a temporary file", name) from error

    @property
    def blob(self) -> Blob:
        return self

    def reaches(self, end: int) -> bool:
        while self._size < end:
            chunk = self._next()
            if chunk is None:
                return False
            self._store(chunk)
        return True

    def read(self, offset: int, size: int) -> bytes:
        self.reaches(offset + size)
        return bytes(self.read_at(offset, max(min(size, self._size - offset), 0)))

    def finish(self) -> None:
        while self._next() is not None:
            pass

    def _next(self) -> bytes | None:
        try:
            chunk = next(self._chunks, None)
        except FormatError as error:
            error.offset = self._seen
            raise
        if chunk is None:
            return None
        self._seen += len(chunk)
        if self._max_size is not None and self._seen > self._max_size:
            raise _too_large(self._max_size)
        if self._digest is not None:
            self._digest.update(chunk)
        return chunk

    def _store(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        try:
            while rest:
                done = os.write(self._fd, rest)
                self._size += done
                rest = rest[done:]
        except OSError as error:
            raise _storage_error(error, "cannot write a temporary file", self.name) from error

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("the contents of a spooled archive live in this process alone")


def open_archive(
    source: Blob | BinaryIO,
    *,
    digest: Digest | None = None,
    max_size: int | None = None,
    name: str | None = None,
    spool_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Archive:
    """Find out by its first bytes how the source is compressed, and make it readable."""
    if isinstance(source, Blob):
        head = bytes(source.read_at(0, min(source.size, _MAGIC_SIZE)))
        decode = _codec_of(head)
        if decode is None:
            if max_size is not None and source.size > max_size:
                raise _too_large(max_size)
            return InPlace(source, digest, progress)
        pieces = _pieces_of_blob(source, progress)
    else:
        pieces = _pieces_of_file(source, name, progress)
        head = b""
        for piece in pieces:
            head += piece
            if len(head) >= _MAGIC_SIZE:
                break
        decode = _codec_of(head)
        pieces = chain([head] if head else [], pieces)
    chunks = decode(pieces) if decode is not None else pieces
    return Spool(chunks, digest=digest, max_size=max_size, name=name, directory=spool_dir)


def _pieces_of_blob(blob: Blob, progress: Progress | None) -> Iterator[bytes]:
    size = blob.size
    for offset in range(0, size, CHUNK_SIZE):
        piece = bytes(blob.read_at(offset, min(CHUNK_SIZE, size - offset)))
        if progress is not None:
            progress(offset + len(piece), size)
        yield piece


def _pieces_of_file(file: BinaryIO, name: str | None, progress: Progress | None) -> Iterator[bytes]:
    done = 0
    while True:
        try:
            piece: bytes | None = file.read(CHUNK_SIZE)
        except OSError as error:
            raise _storage_error(error, "cannot read", name) from error
        if piece is None:
            raise StorageError("a non-blocking file has nothing yet", name=name, errno=errno.EAGAIN)
        if not piece:
            return
        done += len(piece)
        if progress is not None:
            progress(done, None)
        yield piece


# Codecs.

_Decode = Callable[[Iterator[bytes]], Iterator[bytes]]


class _Decompressor(Protocol):
    """One compressed stream, as :class:`bz2.BZ2Decompressor` reads it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """One gzip member."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        output = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = not self._zlib.unconsumed_tail and len(output) < max_length
        return output


class _Zstd:
    """One zstd frame, skippable ones included.

    The library would turn a small input into gigabytes at once, but no block of a frame makes
    more than 128 KiB: so a frame is given to it block by block (RFC 8878, section 3.1.1).
    """

    def __init__(self, frame: zstandard.ZstdDecompressionObj) -> None:
        self._frame = frame
        self._input = b""
        self._at = 0
        self._begun = False
        self._checksum_size = 0
        self._left = 0  # bytes of the present step: the header, a block, a whole skippable frame
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._input[self._at :]

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The output of at most one block, which is less than ``max_length``."""
        if data:
            self._input = self._input[self._at :] + data
            self._at = 0
        if not self._left:
            self._left = self._next_step()
        step = self._input[self._at : self._at + self._left]
        self._at += len(step)
        self._left -= len(step)
        self.needs_input = not step or self._at == len(self._input)
        return self._frame.decompress(step) if step else b""

    def _next_step(self) -> int:
        """The bytes to give next; 0 if the input is too short to tell."""
        head = self._input[self._at : self._at + 8]
        if not self._begun:
            if len(head) < 8:
                return 0
            self._begun = True
            if head[1:4] == _SKIPPABLE:
                return 8 + int.from_bytes(head[4:8], "little")
            flags = head[4]
            self._checksum_size = flags & 4
            is_single = flags >> 5 & 1
            content_size = (is_single, 2, 4, 8)[flags >> 6]
            return 6 - is_single + (0, 1, 2, 4)[flags & 3] + content_size
        if len(head) < 3:
            return 0
        block = int.from_bytes(head[:3], "little")
        is_last, is_rle, size = block & 1, block & 6 == 2, block >> 3
        return 3 + (1 if is_rle else size) + (self._checksum_size if is_last else 0)


def _codec_of(head: bytes) -> _Decode | None:
    """How to decompress what begins so; ``None`` for what is not compressed."""
    if head.startswith(b"\x1f\x8b\x08"):
        return partial(_decode, "gzip", _Gzip)
    if head.startswith(b"\xfd7zXZ\0"):
        return partial(_decode, "xz", _new_xz)
    if head.startswith(b"BZh") and head[4:10] in _BZIP2_MAGICS:
        return partial(_decode, "bzip2", bz2.BZ2Decompressor)
    is_skippable = head[1:4] == _SKIPPABLE and head[0] >> 4 == 5
    if is_skippable or head.startswith(b"\x28\xb5\x2f\xfd"):
        return _decode_zstd
    return None


_SKIPPABLE = b"\x2a\x4d\x18"
"""The magic of a zstd frame that holds no data, less its first byte."""
_BZIP2_MAGICS = bytes.fromhex("314159265359"), bytes.fromhex("177245385090")
"""Of a block, and of the end of a stream that has none."""


def _new_xz() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=WINDOW_LIMIT)


def _decode(
    codec: str, new: Callable[[], _Decompressor], pieces: Iterator[bytes]
) -> Iterator[bytes]:
    """The output of all streams of one codec, each read by a decompressor of its own."""
    stream: _Decompressor | None = None
    for piece in pieces:
        for start in range(0, len(piece), _FEED_SIZE):
            data = piece[start : start + _FEED_SIZE]
            while data:
                if stream is None:
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    stream = new()
                yield _decompress(codec, stream, data)
                while not (stream.eof or stream.needs_input):
                    yield _decompress(codec, stream, b"")
                data = b""
                if stream.eof:
                    data, stream = stream.unused_data, None
    if stream is not None:
        raise FormatError(f"the {codec} data ends in the middle of a stream")


def _decode_zstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT)
    try:
        yield from _decode("zstd", lambda: _Zstd(decompressor.decompressobj()), pieces)
    except zstandard.ZstdError as error:
        raise FormatError(f"damaged zstd data: {error}") from error


def _decompress(codec: str, stream: _Decompressor, data: bytes) -> bytes:
    try:
        return stream.decompress(data, CHUNK_SIZE)
    except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        raise FormatError(f"damaged {codec} data: {error}") from error


def _too_large(limit: int) -> FormatError:
    return FormatError(f"the uncompressed archive is larger than {limit} bytes", offset=limit)


def _storage_error(error: OSError, what: str, name: str | None) -> StorageError:
    reason = error.strerror or str(error)
    return StorageError(f"{what}: {reason}", name=name, errno=error.errno)
