"""Archives as they come: compressed, in pieces, cut, damaged, too large."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard

from helpers import describe_tree_object
from iasfs.blob import BytesBlob, FileBlob
from iasfs.errors import FormatError, StorageError
from iasfs.tree import Tree
from iasfs.write.tar import read_tar
from iasfs.write.tarstream import CHUNK_SIZE, WINDOW_LIMIT
from tarmaker import END, base256, block, content_of, member

RANDOM = hashlib.shake_128(b"content").digest(CHUNK_SIZE + 77)
TAR = member(b"random", RANDOM) + member(b"zeros", bytes(2 << 20)) + member(b"last", b"x") + END
TRAILING = b"garbage" * 30_000


def zstd(data: bytes, **options: object) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)  # type: ignore[arg-type]


def skippable(data: bytes) -> bytes:
    return b"\x5a\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


def raw_zstd(data: bytes) -> bytes:
    """A frame with no size in its header, made of several flushed blocks."""
    compressor = zstandard.ZstdCompressor(write_content_size=False, write_checksum=True)
    stream = compressor.compressobj()
    parts = []
    for start in range(0, len(data), 300_000):
        parts.append(stream.compress(data[start : start + 300_000]))
        parts.append(stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    return b"".join(parts) + stream.flush()


def in_members(compress: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Several streams one behind the other, an empty one among them."""

    def result(data: bytes) -> bytes:
        third = len(data) // 3
        parts = [data[:1], data[1:third], b"", data[third : 2 * third], data[2 * third :]]
        return b"".join(map(compress, parts))

    return result


CODECS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip members": in_members(gzip.compress),
    "gzip padded": lambda data: gzip.compress(data) + bytes(700),
    "zstd": zstd,
    "zstd checksum": lambda data: zstd(data, write_checksum=True),
    "zstd no size": raw_zstd,
    "zstd frames": in_members(zstd),
    "zstd skippable": lambda data: skippable(b"") + zstd(data) + skippable(bytes(200_000)),
    "zstd long": lambda data: zstd(
        data,
        compression_params=zstandard.ZstdCompressionParameters(window_log=27),
    ),
    "xz": lzma.compress,
    "xz streams": in_members(lzma.compress),
    "xz padded": lambda data: lzma.compress(data) + bytes(8),
    "bzip2": bz2.compress,
    "bzip2 streams": in_members(bz2.compress),
}
TRUTH = describe_tree_object(read_tar(BytesBlob(TAR)))


class Pipe(io.RawIOBase):
    """A stream that cannot seek and gives little at a time."""

    def __init__(self, data: bytes, most: int = 65536) -> None:
        self._data = io.BytesIO(data)
        self._most = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._data.read(min(len(buffer), self._most))
        buffer[: len(data)] = data
        return len(data)


SOURCES: dict[str, Callable[[bytes], BytesBlob | BinaryIO]] = {
    "blob": BytesBlob,
    "file": io.BytesIO,
    "pipe": Pipe,  # type: ignore[dict-item,return-value]
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("codec", CODECS)
def test_every_source_compression(codec: str, source: str) -> None:
    """The same tree and the same diffID, however the archive comes."""
    digest = hashlib.sha256()
    calls: list[tuple[int, int | None]] = []
    data = CODECS[codec](TAR + TRAILING)
    tree = read_tar(SOURCES[source](data), digest=digest, progress=lambda *call: calls.append(call))
    assert describe_tree_object(tree) == TRUTH
    assert content_of(tree.get("random")) == RANDOM
    assert digest.digest() == hashlib.sha256(TAR + TRAILING).digest()
    assert calls == sorted(calls, key=lambda call: call[0])
    assert calls[-1] == (len(data), len(data) if source == "blob" else None)


def test_a_pipe_that_gives_one_byte_at_a_time() -> None:
    data = member(b"a", b"content") + END
    for compress in (bytes, gzip.compress, zstd, raw_zstd, lzma.compress, bz2.compress):
        pipe = Pipe(compress(data), most=1)
        assert content_of(read_tar(pipe).get("a")) == b"content"  # type: ignore[arg-type]


def test_a_plain_blob_is_read_in_place(tmp_path: Path) -> None:
    """No copy is made: there is no room for one, and nothing but headers is read."""
    path = tmp_path / "layer.tar"
    path.write_bytes(TAR)
    with FileBlob(path) as blob:
        tree = read_tar(blob, spool_dir=tmp_path / "missing")
        assert content_of(tree.get("random")) == RANDOM
    node = tree.get("random")
    assert node is not None
    with pytest.raises(StorageError):
        node.content.read_at(0, 1)


def test_the_spool_goes_away_with_the_tree(tmp_path: Path) -> None:
    """It has no name at any time, and no descriptor when nobody can read it any more."""

    def descriptors() -> int:
        return len(os.listdir("/dev/fd"))

    before = descriptors()
    tree: Tree | None = read_tar(io.BytesIO(TAR), spool_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert descriptors() == before + 1
    assert tree is not None
    node = tree.get("random")
    del tree
    assert content_of(node) == RANDOM
    del node
    assert descriptors() == before
    with pytest.raises(FormatError):
        read_tar(io.BytesIO(TAR[:-1500]), spool_dir=tmp_path)
    assert descriptors() == before


def test_spooled_contents_stay_in_their_process() -> None:
    with pytest.raises(TypeError, match="this process"):
        pickle.dumps(read_tar(io.BytesIO(TAR)))


def test_progress_of_an_archive_that_is_only_looked_at() -> None:
    calls: list[tuple[int, int | None]] = []
    read_tar(BytesBlob(TAR), progress=lambda *call: calls.append(call))
    assert calls == [(len(TAR), len(TAR))]


def test_where_to_spool() -> None:
    with pytest.raises(StorageError, match="temporary file") as caught:
        read_tar(io.BytesIO(TAR), spool_dir="/nonexistent", name="layer")
    assert caught.value.filename == "layer"


def test_a_full_disk_is_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StorageError, match="No space left") as caught:
        read_tar(io.BytesIO(TAR))
    assert caught.value.errno == 28


def test_short_writes_are_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:100_000]))
    assert describe_tree_object(read_tar(io.BytesIO(TAR))) == TRUTH


def test_a_source_that_fails_is_a_storage_error() -> None:
    class Broken(Pipe):
        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            raise ConnectionResetError(104, "Connection reset by peer")

    with pytest.raises(StorageError, match="reset") as caught:
        read_tar(Broken(b""), name="http://x")  # type: ignore[arg-type]
    assert caught.value.filename == "http://x"

    class Silent(Pipe):
        def readinto(self, buffer: memoryview) -> None:  # type: ignore[override]
            return None

    with pytest.raises(StorageError, match="non-blocking"):
        read_tar(Silent(b""))  # type: ignore[arg-type]


SMALL = member(b"a", RANDOM[:3000]) + member(b"b", bytes(3000)) + END
SINGLE = [name for name in CODECS if name != "plain" and " " not in name]


@pytest.mark.parametrize("codec", [*SINGLE, "zstd checksum", "zstd no size"])
def test_a_cut_stream_is_an_error(codec: str) -> None:
    """Even if the tar in it is whole: the check sum at its end has not been seen."""
    data = CODECS[codec](SMALL)
    for size in range(10, len(data), 7):
        with pytest.raises(FormatError) as caught:
            read_tar(io.BytesIO(data[:size]))
        assert caught.value.offset is not None
    with pytest.raises(FormatError, match="in the middle of a stream"):
        read_tar(io.BytesIO(data[:-1]))


@pytest.mark.parametrize("codec", [*SINGLE, "zstd checksum"])
def test_damage_is_found(codec: str) -> None:
    """A flipped byte is found where the codec has a check sum, and is never another error."""
    data = CODECS[codec](SMALL)
    for at in range(10, len(data), 5):
        damaged = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        if codec == "zstd":
            with suppress(FormatError):
                read_tar(io.BytesIO(damaged), max_size=1 << 20)
        else:
            with pytest.raises(FormatError) as caught:
                read_tar(io.BytesIO(damaged), max_size=1 << 20)
            assert caught.value.offset is not None


@pytest.mark.parametrize("codec", SINGLE)
def test_what_follows_a_stream_must_be_one(codec: str) -> None:
    data = CODECS[codec](SMALL)
    with pytest.raises(FormatError, match=codec):
        read_tar(io.BytesIO(data + b"not a stream, and long enough to be sure"))


@pytest.mark.parametrize("codec", SINGLE)
def test_many_tiny_streams_take_linear_time(codec: str) -> None:
    empty = CODECS[codec](b"")
    data = CODECS[codec](SMALL) + empty * (200_000 // len(empty))
    assert len(read_tar(io.BytesIO(data))) == 3


def test_zstd_frames_of_tiny_blocks() -> None:
    """A raw block of one byte each."""
    blocks = b"".join(
        ((1 << 3) | (at == len(SMALL) - 1)).to_bytes(3, "little") + SMALL[at : at + 1]
        for at in range(len(SMALL))
    )
    frame = b"\x28\xb5\x2f\xfd\x00\x58" + blocks
    assert len(read_tar(io.BytesIO(frame))) == 3


def test_a_window_that_is_too_large() -> None:
    """A frame may ask for any window up to 3.75 TiB; it gets an error, not the memory."""
    frame = b"\x28\xb5\x2f\xfd\x00" + b"\x90" + b"\x01\x00\x00"
    with pytest.raises(FormatError, match="zstd"):
        read_tar(io.BytesIO(frame))
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2 * WINDOW_LIMIT}]
    with pytest.raises(FormatError, match="xz"):
        read_tar(io.BytesIO(lzma.compress(SMALL, filters=filters)))


def test_what_is_not_compressed_by_what_its_name_begins_with() -> None:
    """``BZh`` alone is a fine name of a file."""
    data = member(b"BZh91", b"x") + END
    assert content_of(read_tar(BytesBlob(data)).get("BZh91")) == b"x"


# Bombs.


def zeros_zstd(count: int) -> bytes:
    """``count`` blocks of 128 KiB of zeros, four bytes each."""
    block = (128 << 10 << 3 | 2).to_bytes(3, "little") + b"\0"
    last = (128 << 10 << 3 | 3).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x58" + block * (count - 1) + last


def zeros_gzip(size: int) -> bytes:
    stream = zlib.compressobj(9, wbits=31)
    return stream.compress(bytes(size)) + stream.flush()


@pytest.mark.parametrize(
    "bomb", [zeros_zstd(2048), zeros_gzip(1 << 28), bz2.compress(bytes(1 << 28))]
)
def test_a_limit_on_the_size(bomb: bytes) -> None:
    """256 MiB of zeros: an empty archive, hashed to its end, or stopped at the limit."""
    with pytest.raises(FormatError, match="larger than 1000000 bytes"):
        read_tar(io.BytesIO(bomb), max_size=1_000_000)
    assert len(read_tar(io.BytesIO(bomb))) == 1


def test_the_limit_holds_for_plain_archives_too() -> None:
    for source in (BytesBlob(SMALL), io.BytesIO(SMALL)):
        with pytest.raises(FormatError, match="larger") as caught:
            read_tar(source, max_size=len(SMALL) - 1, name="layer")
        assert (caught.value.path, caught.value.offset) == ("layer", len(SMALL) - 1)
    for source in (BytesBlob(SMALL), io.BytesIO(SMALL)):
        assert len(read_tar(source, max_size=len(SMALL))) == 3


MEMORY = """
import io, resource
from iasfs.write.tar import read_tar
from test_tarstream import SIZE, {make}

data = {make}()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tree = read_tar(io.BytesIO(data))
assert tree.get("big").content.size == SIZE
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
SIZE = 96 << 20
HEAD = block(b"big", patches={124: base256(SIZE, 12)})


def big_zstd() -> bytes:
    return zstd(HEAD) + zeros_zstd(776)


def big_gzip() -> bytes:
    return gzip.compress(HEAD) + zeros_gzip(1 << 20) * 97


@pytest.mark.parametrize("make", ["big_zstd", "big_gzip"])
def test_memory_stays_bounded(make: str) -> None:
    """A file of 96 MiB in a compressed stream costs disk, not memory."""
    if not sys.platform.startswith("linux"):
        pytest.skip("ru_maxrss counts KiB on Linux")
    path = [*sys.path, os.path.dirname(__file__)]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY.format(make=make)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert int(done.stdout) < 32 << 10
