"""Profile: which features of EROFS an image uses, chosen by the oldest kernel that shall mount it.

The table behind it, feature by oldest kernel (mainline):

========  ==================================================================
5.4       LZ4 in pclusters of one block; flat and inline files
5.13      pclusters of many blocks, compression configurations
5.15      chunk-based files, which can have holes
6.1       fragments: the ends of files and small files, packed together
6.6       DEFLATE
6.10      Zstandard
========  ==================================================================

The sizes are measured choices; ``docs/defaults.md`` holds the tables.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from iasfs.errors import WriteError

BLKSZBITS = 12
"""Log2 of the block size of all our images: the one size that every kernel mounts."""
BLOCK_SIZE = 1 << BLKSZBITS

EXTENT_SIZE = 256 << 10
PACK_EXTENT_SIZE = 64 << 10
PACK_LIMIT = 32 << 10

_Kernel = tuple[int, int]

_OLDEST: _Kernel = (5, 4)
_BIG_PCLUSTERS: _Kernel = (5, 13)
_CHUNK_BASED: _Kernel = (5, 15)
_FRAGMENTS: _Kernel = (6, 1)

_CODECS: dict[str, tuple[_Kernel, int]] = {
    # name: (oldest kernel, default level); the best first
    "zstd": ((6, 10), 9),
    "deflate": ((6, 6), 9),
    "lz4": ((5, 4), 9),
    "none": ((5, 4), 0),
}


class Profile(NamedTuple):
    """What an image may use.  Sizes in bytes."""

    compression: str
    level: int
    extent_size: int
    """File data that one pcluster of a large file holds."""
    pack_extent_size: int
    """The same for the packed inode."""
    pack_limit: int
    """Files, and ends of files, shorter than this go to the packed inode; 0: there is none."""
    inline_limit: int
    """Files up to this long lie behind their inode."""
    big_pclusters: bool
    chunk_based: bool


def choose(
    compression: str | None = None,
    level: int | None = None,
    min_kernel: str | None = None,
    extent_size: int = EXTENT_SIZE,
    pack_extent_size: int = PACK_EXTENT_SIZE,
    pack_limit: int = PACK_LIMIT,
) -> Profile:
    """The profile for a codec and the oldest kernel that shall mount the image.

    ``compression`` is ``"zstd"``, ``"deflate"``, ``"lz4"``, ``"none"`` or ``None``: the best
    that ``min_kernel`` mounts (without ``min_kernel``: 6.10, hence zstd).  Raises
    :class:`~iasfs.errors.WriteError` for an unknown codec or kernel, or for a codec that the
    kernel lacks.
    """
    kernel = _parse_kernel(min_kernel) if min_kernel is not None else None
    if compression is None:
        compression = next(
            name for name, (oldest, _) in _CODECS.items() if kernel is None or kernel >= oldest
        )
    if compression not in _CODECS:
        raise WriteError(f"compression {compression!r} is none of {', '.join(_CODECS)}")
    oldest, default_level = _CODECS[compression]
    if kernel is None:
        kernel = max(oldest, _FRAGMENTS)
    if kernel < oldest:
        raise WriteError(
            f"Linux {min_kernel} does not mount {compression}, {oldest[0]}.{oldest[1]} does"
        )
    compressed = compression != "none"
    big = compressed and kernel >= _BIG_PCLUSTERS
    packs = compressed and kernel >= _FRAGMENTS
    _check_sizes(extent_size, pack_extent_size, pack_limit)
    return Profile(
        compression=compression,
        level=default_level if level is None else level,
        extent_size=extent_size,
        pack_extent_size=pack_extent_size,
        pack_limit=pack_limit if packs else 0,
        # An inode with a fragment takes 72 bytes of its 96; up to 32 bytes inline are free.
        # Where small files cannot be packed, some more save a block each.
        inline_limit=32 if packs else 512,
        big_pclusters=big,
        chunk_based=kernel >= _CHUNK_BASED,
    )


def _parse_kernel(text: str) -> _Kernel:
    match = re.match(r"(\d+)\.(\d+)(?:[.-]|$)", text)
    if match is None:
        raise WriteError(f"min_kernel {text!r} is not a version like 6.1")
    kernel = int(match[1]), int(match[2])
    if kernel < _OLDEST:
        raise WriteError(f"Linux {text} does not mount EROFS, 5.4 does")
    return kernel


def _check_sizes(extent_size: int, pack_extent_size: int, pack_limit: int) -> None:
    for name, size in (("extent_size", extent_size), ("pack_extent_size", pack_extent_size)):
        if not BLOCK_SIZE <= size <= 1 << 20 or size & (size - 1):
            raise WriteError(f"{name} {size} is not a power of two from 4096 to 1048576")
    if not 0 <= pack_limit <= extent_size:
        raise WriteError(f"pack_limit {pack_limit} is not between 0 and {extent_size}")
