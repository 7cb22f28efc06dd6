"""iasfs: container images and file trees as lazily read EROFS images.

The front door.  ``mkfs`` and ``Writer`` make an image, ``open`` reads one from a path, a URL, a
file object or a blob, ``fsck`` and ``dump`` look into one, ``IAS`` keeps layers in an Image
Attach Storage.  Rooms behind it may be imported by name: ``iasfs.format``, ``iasfs.read``,
``iasfs.write``, ``iasfs.ias``, ``iasfs.fs``.

Only what every program needs is loaded with the package; the rest comes when it is first named.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from iasfs.blob import Blob, BytesBlob, FileBlob
from iasfs.errors import (
    BlobExists,
    BlobNotFound,
    DigestMismatch,
    FormatError,
    IasfsError,
    StorageError,
    UnsupportedFeature,
    WriteError,
)

if TYPE_CHECKING:
    from iasfs.layers import IAS, Layer
    from iasfs.making import mkfs
    from iasfs.read.check import Problem, dump, fsck
    from iasfs.read.image import Image
    from iasfs.sources import Openable
    from iasfs.tree import Node, Tree
    from iasfs.write.writer import Made, Writer

__all__ = [
    "IAS",
    "Blob",
    "BlobExists",
    "BlobNotFound",
    "BytesBlob",
    "DigestMismatch",
    "FileBlob",
    "FormatError",
    "IasfsError",
    "Image",
    "Layer",
    "Made",
    "Node",
    "Problem",
    "StorageError",
    "Tree",
    "UnsupportedFeature",
    "WriteError",
    "Writer",
    "dump",
    "fsck",
    "mkfs",
    "open",
]

_HOMES = {
    "IAS": "iasfs.layers",
    "Image": "iasfs.read.image",
    "Layer": "iasfs.layers",
    "Made": "iasfs.write.writer",
    "Node": "iasfs.tree",
    "Problem": "iasfs.read.check",
    "Tree": "iasfs.tree",
    "Writer": "iasfs.write.writer",
    "dump": "iasfs.read.check",
    "fsck": "iasfs.read.check",
    "mkfs": "iasfs.making",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'iasfs' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def open(
    source: Openable,
    *,
    devices: Sequence[Openable] = (),
    storage_options: Mapping[str, Any] | None = None,
    lenient: bool = False,
) -> Image:
    """Open an image for reading.

    ``source`` is a local path, an fsspec URL, a seekable binary file object, or a
    :class:`~iasfs.blob.Blob`; ``devices`` are the extra devices that the image names, in its
    order, each given in the same ways.  Only what is asked for is read.  ``lenient`` opens one
    whose superblock has a wrong checksum too, for :func:`~iasfs.read.check.fsck` to go on.

    Raises :class:`~iasfs.errors.FormatError` if it is not an EROFS image,
    :class:`~iasfs.errors.UnsupportedFeature` if it needs what this library does not know, and
    :class:`~iasfs.errors.StorageError` if the bytes cannot be had.
    """
    from iasfs.read.image import Image
    from iasfs.sources import open_blob

    blobs: list[Blob] = []
    try:
        for one in (source, *devices):
            blobs.append(open_blob(one, storage_options))
        return Image(blobs[0], devices=blobs[1:], lenient=lenient)
    except BaseException:
        for blob, given in zip(blobs, (source, *devices)):
            if blob is not given:
                blob.close()
        raise
