"""The bound that hostile images are held to, and what the tests of them share.

An image that lies costs a clear error: a second of CPU and 100 MB, at most, where it has less
than a megabyte.
"""

from __future__ import annotations

import functools
import importlib.util
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import pytest

from craft import (
    FULL,
    REG,
    Craft,
    one_file,
)
from helpers import ROOT as CHECKOUT
from iasfs.blob import BytesBlob
from iasfs.errors import FormatError
from iasfs.format import disk
from iasfs.format.codec import Compressor
from iasfs.read.check import dump, fsck
from iasfs.read.image import Image

T = TypeVar("T")
SECONDS = 1.0
MEMORY = 100 << 20
COMPR = disk.FEATURE_INCOMPAT_COMPR_CFGS
CFGS = disk.FEATURE_INCOMPAT_ZERO_PADDING | COMPR
ZSTD: dict[str, Any] = {"feature_incompat": CFGS, "algorithms": 8, "zstd_windowlog": 20}
HEAD, NONHEAD = disk.Z_LCLUSTER_HEAD1, disk.Z_LCLUSTER_NONHEAD
BIG = disk.Z_ADVISE_BIG_PCLUSTER_1 | disk.Z_ADVISE_BIG_PCLUSTER_2


@functools.cache
def fuzz() -> ModuleType:
    """The fuzz target, whose invariant is that of the tests."""
    spec = importlib.util.spec_from_file_location("fuzz_image", CHECKOUT / "fuzz" / "fuzz_image.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def quick(action: Callable[[], T]) -> T:
    """What ``action`` gives, within the time."""
    start = time.process_time()
    result = action()
    took = time.process_time() - start
    slow = 10 if sys.gettrace() else 1  # a debugger, or coverage
    assert took < slow * SECONDS, f"{took:.2f} s"
    return result


def bounded(action: Callable[[], T]) -> T:
    """What ``action`` gives, within the time and, when it is done again, within the memory."""
    quick(action)
    tracemalloc.start()
    try:
        result = action()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY, f"{peak >> 20} MB"
    return result


def check(data: bytes, *, contents: bool = True) -> str:
    """What fsck says, and that dump can say something too."""
    image = Image(BytesBlob(data))
    dump(image)
    return "\n".join(map(str, fsck(image, contents=contents)))


def fails(craft: Craft, what: str, action: Callable[[Image], object]) -> FormatError:
    """``action`` on the image fails, says so with path and place, and fsck finds it as well."""
    data = craft.image()

    def run() -> FormatError:
        with pytest.raises(FormatError, match=what) as caught:
            action(Image(BytesBlob(data)))
        return caught.value

    error = bounded(run)
    assert error.path is not None
    assert error.nid is not None
    assert what.replace("\\", "") in bounded(lambda: check(data))
    return error


def read_file(image: Image) -> bytes:
    """The first megabyte of /file, as one reads what one does not trust."""
    with image.open("/file") as file:
        data: bytes = file.read(1 << 20)
        return data


def full_index(
    *entries: tuple[int, int, int],
    advise: int = 0,
    algorithms: int = 0x33,
    word: int = 0,
    bits: int = 0,
) -> bytes:
    """A map header and a full index: (type, clusterofs, block) or (NONHEAD, 0, d0 and d1)."""
    header = struct.pack("<IHBB8x", word, advise, algorithms, bits)
    return header + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def frame(data: bytes, level: int = 3) -> bytes:
    """A zstd frame whose window is at most a megabyte."""
    return Compressor("zstd", level, max_input=max(len(data), 1)).compress([data])[0]


def compressed(index: bytes, size: int, *, layout: int = FULL, **fields: Any) -> Craft:
    """/file has an index, and a pcluster in block 1 that holds 64 KiB of the letter a."""
    craft = one_file(**{**ZSTD, **fields})
    craft.inode(56, REG, index, layout=layout, size=size, u=1)
    craft.put(1 << 12, frame(b"a" * 65536).rjust(4096, b"\0"))
    return craft
