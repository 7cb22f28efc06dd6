"""What the tests of extents share: inodes, an image's geometry, and the way to ask for a table."""

from __future__ import annotations

import stat
from collections.abc import Callable

from hypothesis import strategies as st

from iasfs.format import disk, extent, inode, zindex
from iasfs.format.codec import fast
from iasfs.format.extent import Extent, ExtentTable, Geometry, Kind

FULL, COMPACT = disk.INODE_COMPRESSED_FULL, disk.INODE_COMPRESSED_COMPACT
FEATURES = (
    disk.FEATURE_INCOMPAT_COMPR_CFGS | disk.FEATURE_INCOMPAT_FRAGMENTS | disk.FEATURE_INCOMPAT_48BIT
)
GEOMETRY = Geometry(
    image_size=1 << 32, feature_incompat=FEATURES, algorithms=0b1111, packed_nid=999
)

DECODERS = {"python": zindex.decode_py}
"""The decoders of the classic index, which are to give the same answers."""
if fast is not None:
    DECODERS["c"] = fast.decode_index


def node(layout: int, size: int, *, body: int = 0, u: int = 0, **fields: int) -> inode.Inode:
    values = dict.fromkeys(inode.Inode._fields, 0) | {"nid": 7, "mode": stat.S_IFREG | 0o644}
    values |= {"layout": layout, "size": size, "body": body, "u": u, "extended": True}
    return inode.Inode(**(values | fields))


def table_of(
    file: inode.Inode, geometry: Geometry, image: bytes | Callable[[int, int], bytes]
) -> ExtentTable:
    """Ask for the table as a reader does; an image of bytes begins at byte ``file.body``."""
    answer = extent.table(file, geometry)
    for _ in range(3):
        if not isinstance(answer, tuple):
            return answer
        offset, size = answer
        assert offset >= 0
        assert offset + size <= geometry.image_size
        if isinstance(image, bytes):
            assert offset >= file.body
            data = image[offset - file.body :][:size].ljust(size, b"\0")
        else:
            data = image(offset, size)
        answer = extent.table(file, geometry, data)
    raise AssertionError("asked for metadata more than twice")


@st.composite
def extent_lists(draw: st.DrawFn, *, back_to_back: bool) -> list[Extent]:
    """Extents that a classic index of 4 KiB blocks can express, already joined."""
    extents: list[Extent] = []
    logical = 0
    block = draw(st.integers(0, 1 << 19))
    count = draw(st.integers(1, 12))
    for number in range(count):
        last = number == count - 1
        kind = draw(st.sampled_from([Kind.ZSTD, Kind.ZSTD, Kind.LZ4, Kind.PLAIN]))
        if not back_to_back:
            block = draw(st.integers(0, (1 << 20) - 600))
        if kind == Kind.PLAIN:
            blocks = draw(st.integers(1, 40))
            size = (blocks << 12) - (draw(st.integers(0, 4095)) if last else 0)
        else:
            blocks = draw(st.sampled_from([1, 1, 2, 3, 16, 256]))
            shortest = 1 if last and blocks == 1 else (blocks << 12) + (blocks > 1)
            size = draw(st.integers(shortest, shortest + 70000))
        here = Extent(logical, size, block << 12, blocks << 12, kind)
        if last and logical and draw(st.booleans()):
            here = Extent(logical, size, draw(st.integers(0, 1 << 32)) >> 1, size, Kind.FRAGMENT)
        before = extents[-1] if extents else None
        if (
            before
            and before.kind == here.kind == Kind.PLAIN
            and before.address + before.stored == here.address
        ):
            here = before._replace(size=before.size + size, stored=before.stored + here.stored)
            extents.pop()
        extents.append(here)
        logical += size
        block += blocks
    return extents
