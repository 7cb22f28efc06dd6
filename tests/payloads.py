"""Stored bytes and what they decode to: extents of every algorithm, made by other libraries."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zstandard

from iasfs.format import codec
from iasfs.format.codec import Algorithm

BLOCK = 4096
MIB = 1 << 20
TEXT = b"".join(b"line %d of a file, some of which repeats\n" % (n * n % 977) for n in range(3000))


@contextmanager
def python_only() -> Iterator[None]:
    """Work as if the extension were not compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "fast", None)
        patch.setattr(codec, "lib", None)
        yield


def padded(payload: bytes) -> bytes:
    """A payload as it stands in whole blocks."""
    return bytes(-len(payload) % BLOCK) + payload


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress."""
    out = bytearray()
    while len(out) < size:
        seed = seed * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        out += (seed >> 16).to_bytes(6, "little")
    return bytes(out[:size])


def micro_lzma(
    data: bytes, *, dict_size: int = 65536, lc: int = 3, lp: int = 0, pb: int = 2
) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": dict_size, "lc": lc, "lp": lp, "pb": pb}]
    raw = lzma.compress(data, lzma.FORMAT_RAW, filters=filters)
    return bytes([~((pb * 5 + lp) * 9 + lc) & 0xFF]) + raw[1:]


def deflate(data: bytes, level: int = 9) -> bytes:
    return zlib.compress(data, level, wbits=-15)


def says_its_size(payload: bytes) -> bool:
    """Whether a payload is not a zstd frame without a content size."""
    return payload[:4] != b"\x28\xb5\x2f\xfd" or payload[4] & 0xE0 != 0


def frame(data: bytes, **options: Any) -> bytes:
    options = {"compression_level": 3, "write_content_size": 1, "write_checksum": 0, **options}
    parameters = zstandard.ZstdCompressionParameters(**options)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


EXTENTS: dict[str, tuple[int, bytes, bytes]] = {  # algorithm, payload, data
    "lz4 literals": (Algorithm.LZ4, b"\x50hello", b"hello"),
    "lz4 match": (Algorithm.LZ4, b"\x44abcd\x04\x00\x50vwxyz", b"abcd" * 3 + b"vwxyz"),
    "lz4 run": (Algorithm.LZ4, b"\x1fa\x01\x00\xff\x00\x50vwxyz", b"a" * 275 + b"vwxyz"),
    "lz4 period 3": (
        Algorithm.LZ4,
        b"\x3fabc\x03\x00\x0a\x50vwxyz",
        b"abc" * 10 + b"ab" + b"vwxyz",
    ),
    "lz4 15 literals": (Algorithm.LZ4, b"\xf0\x00" + b"0123456789abcde", b"0123456789abcde"),
    "lz4 300 literals": (Algorithm.LZ4, b"\xf0\xff\x1e" + TEXT[:300], TEXT[:300]),
    "zstd": (Algorithm.ZSTD, frame(TEXT), TEXT),
    "zstd checksum": (Algorithm.ZSTD, frame(TEXT, write_checksum=1), TEXT),
    "zstd unknown size": (Algorithm.ZSTD, frame(TEXT, write_content_size=0), TEXT),
    "zstd unknown size, checksum": (
        Algorithm.ZSTD,
        frame(TEXT, write_content_size=0, write_checksum=1),
        TEXT,
    ),
    "zstd many blocks": (Algorithm.ZSTD, frame(noise(300_000), window_log=19), noise(300_000)),
    "zstd small window": (Algorithm.ZSTD, frame(TEXT, window_log=10), TEXT),
    "zstd of 256 bytes": (Algorithm.ZSTD, frame(TEXT[:256]), TEXT[:256]),
    "lzma": (Algorithm.LZMA, micro_lzma(TEXT), TEXT),
    "lzma lc 0 lp 4 pb 0": (Algorithm.LZMA, micro_lzma(TEXT, lc=0, lp=4, pb=0), TEXT),
    "deflate": (Algorithm.DEFLATE, deflate(TEXT), TEXT),
    "plain": (Algorithm.PLAIN, b"\0\0some bytes", b"\0\0some bytes"),
    "plain, padded behind": (Algorithm.PLAIN, b"some bytes" + bytes(4086), b"some bytes"),
}

SAMPLES = {  # what encoders meet
    "text": TEXT,
    "zeros": bytes(100_000),
    "noise": noise(100_000),
    "far": noise(65_535) + noise(65_535),
    "farther": noise(65_536) + noise(65_536),
    "mixed": b"".join(noise(n, n) + TEXT[: 3 * n] for n in range(0, 900, 7)),
    "short": b"abcabcabcabca",
}
