"""The oldest kernel picks codec and features, and what clashes is refused."""

from __future__ import annotations

from typing import Any

import pytest

from iasfs.errors import WriteError
from iasfs.write import profile
from iasfs.write.profile import choose

# min_kernel: codec, pclusters of many blocks, chunk-based files, fragments
KERNELS = {
    None: ("zstd", True, True, True),
    "5.4": ("lz4", False, False, False),
    "5.12": ("lz4", False, False, False),
    "5.13": ("lz4", True, False, False),
    "5.14": ("lz4", True, False, False),
    "5.15": ("lz4", True, True, False),
    "5.15.90-generic": ("lz4", True, True, False),
    "6.0": ("lz4", True, True, False),
    "6.1": ("lz4", True, True, True),
    "6.1-rc3": ("lz4", True, True, True),
    "6.5": ("lz4", True, True, True),
    "6.6": ("deflate", True, True, True),
    "6.9": ("deflate", True, True, True),
    "6.10": ("zstd", True, True, True),
    "6.10.2": ("zstd", True, True, True),
    "7.3": ("zstd", True, True, True),
    "10.0": ("zstd", True, True, True),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_gets_the_best_that_it_mounts(kernel: str | None) -> None:
    found = choose(min_kernel=kernel)
    features = found.big_pclusters, found.chunk_based, found.pack_limit > 0
    assert (found.compression, *features) == KERNELS[kernel]


@pytest.mark.parametrize(
    ("codec", "oldest", "before"),
    [
        ("zstd", "6.10", "6.9"),
        ("deflate", "6.6", "6.5"),
        ("lz4", "5.4", None),
        ("none", "5.4", None),
    ],
)
def test_a_codec_needs_its_kernel(codec: str, oldest: str, before: str | None) -> None:
    assert choose(codec, min_kernel=oldest).compression == codec
    if before is not None:
        with pytest.raises(WriteError, match=f"{before} does not mount {codec}, {oldest} does"):
            choose(codec, min_kernel=before)


@pytest.mark.parametrize(
    ("codec", "packs", "chunk_based"),
    [("zstd", True, True), ("deflate", True, True), ("lz4", True, True), ("none", False, True)],
)
def test_without_a_kernel_a_codec_gets_fragments(
    codec: str, packs: bool, chunk_based: bool
) -> None:
    """They save most of the space; 6.1 is old enough for whoever does not say."""
    found = choose(codec)
    assert (found.pack_limit > 0, found.chunk_based) == (packs, chunk_based)


def test_small_files_lie_with_their_inode_where_they_cannot_be_packed() -> None:
    assert choose().inline_limit == 32
    assert choose(min_kernel="5.15").inline_limit == choose("none").inline_limit == 512


def test_levels() -> None:
    assert [choose(codec).level for codec in ("zstd", "deflate", "lz4", "none")] == [9, 9, 9, 0]
    assert choose("zstd", 19).level == 19


def test_the_sizes_are_those_asked_for() -> None:
    found = choose()
    assert found.extent_size == profile.EXTENT_SIZE
    assert found.pack_extent_size == profile.PACK_EXTENT_SIZE
    assert found.pack_limit == profile.PACK_LIMIT
    found = choose(extent_size=1 << 20, pack_extent_size=4096, pack_limit=1 << 20)
    assert found[2:5] == (1 << 20, 4096, 1 << 20)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"compression": "xz"}, "'xz' is none of zstd, deflate, lz4, none"),
        ({"min_kernel": "5.3"}, "5.3 does not mount EROFS, 5.4 does"),
        ({"min_kernel": "4.19"}, "does not mount EROFS"),
        *(({"min_kernel": text}, "not a version") for text in ("", "6", "six.one", "6.x", "v6.1")),
        *(({"extent_size": size}, "power of two") for size in (0, 2048, 5000, 1 << 21, -4096)),
        *(({"pack_extent_size": size}, "power of two") for size in (1, 4097, 1 << 21)),
        *(({"pack_limit": size}, "not between 0 and") for size in (-1, (1 << 18) + 1)),
    ],
)
def test_what_clashes_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(WriteError, match=words):
        choose(**options)
