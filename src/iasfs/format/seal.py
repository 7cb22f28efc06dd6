r"""The header of an iasfs image: what EROFS has no field for.

EROFS leaves the 1,024 bytes before the superblock to others.  Our images begin them with a small
header that says how long the metadata zone is, so that a reader far from the bytes fetches all
of it in one request.  It is a hint and trusted no further: a reader bounds it by what it is
willing to fetch, and an image without it reads just as well.

Layout, little endian, zeros up to byte 1,024:

======  ====  ===================================================================
offset  size  field
======  ====  ===================================================================
0       8     magic, ``b"IASFS\r\n\x1a"``
8       4     version, 1
12      4     flags, 0
16      8     size of the file system in bytes, a multiple of the block size
24      8     size of the metadata zone in bytes: superblock, inodes, directories,
              xattrs and extent indexes all lie before this offset
======  ====  ===================================================================
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from iasfs.buffers import Buffer

MAGIC = b"IASFS\r\n\x1a"
VERSION = 1
_HEADER = Struct("<8sIIQQ")


class Header(NamedTuple):
    """Sizes in bytes."""

    image_size: int
    metadata_size: int


def pack(header: Header) -> bytes:
    """The header as it stands at byte 0."""
    return _HEADER.pack(MAGIC, VERSION, 0, header.image_size, header.metadata_size)


def unpack(front: Buffer) -> Header | None:
    """The header at the front of an image; ``None`` if there is none that we know."""
    if len(front) < _HEADER.size:
        return None
    magic, version, _, image_size, metadata_size = _HEADER.unpack_from(front)
    if magic != MAGIC or version != VERSION or metadata_size > image_size:
        return None
    return Header(image_size, metadata_size)
