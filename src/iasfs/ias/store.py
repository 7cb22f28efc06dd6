"""Store: layers by diffID, on a backend.

A layer is the bytes of an image and a :class:`~iasfs.ias.layout.Layer` that describes them.
What the bytes mean is not known here: :mod:`iasfs.layers` makes them and reads them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from iasfs import paths
from iasfs.blob import Blob
from iasfs.errors import BlobExists, BlobNotFound, IasfsError, StorageError
from iasfs.ias import layout
from iasfs.ias.backend import Backend
from iasfs.ias.layout import Layer
from iasfs.ias.objects import ObjectBackend
from iasfs.ias.posix import PosixBackend


def connect(
    root: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None
) -> Backend:
    """The backend for a local directory or a URL that fsspec knows; nothing is asked yet."""
    path = os.fspath(root)
    if "::" not in path and path.startswith(("file://", "local://")):
        path = unquote(urlsplit(path).path)
    elif paths.is_url(path):
        return ObjectBackend(path, storage_options)
    return PosixBackend(path)


class Written(NamedTuple):
    """What is known of an image by whoever wrote it."""

    metadata_size: int
    inodes: int


class Store:
    """Layers in an Image Attach Storage; safe for threads and across ``fork``.

    A diffID that is none is ``ValueError``; a store that does not answer, or does not answer as
    promised, is :class:`~iasfs.errors.StorageError`; a descriptor that cannot be understood is
    :class:`~iasfs.errors.FormatError`.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def layer(self, diff_id: str) -> Layer:
        """The layer with this diffID; :class:`~iasfs.errors.BlobNotFound` if there is none."""
        name = layout.descriptor_name(diff_id)
        data = self.backend.read(name, layout.DESCRIPTOR_MAX + 1)
        try:
            return layout.unpack_layer(data, diff_id)
        except IasfsError as error:
            raise error.at(f"{self.backend.name}/{name}") from None

    def find(self, diff_id: str) -> Layer | None:
        """The layer with this diffID, or ``None``."""
        try:
            return self.layer(diff_id)
        except BlobNotFound:
            return None

    def blob(self, layer: Layer) -> Blob:
        """The bytes of a layer's image."""
        return self.backend.blob(layout.image_name(layer.diff_id), layer.size)

    def layers(self) -> Iterator[Layer]:
        """All layers, in the order of their diffIDs."""
        for diff_id in sorted(filter(None, map(layout.diff_id_of, self._names()))):
            layer = self.find(diff_id)
            if layer is not None:  # else it was removed at this moment
                yield layer

    def _names(self) -> Iterator[str]:
        return self.backend.names(layout.LAYERS)

    def publish(self, diff_id: str, write: Callable[[str], Written]) -> Layer:
        """Publish the image that ``write`` makes at the local path it is given.

        If the layer is there by then, it stays as it is, and is returned.
        """
        self._check_root()
        try:
            with self.backend.publishing(layout.layer_directory(diff_id)) as folder:
                path = os.path.join(folder, layout.IMAGE)
                written = write(path)
                layer = Layer(diff_id, os.path.getsize(path), _digest(path), *written)
                with open(os.path.join(folder, layout.DESCRIPTOR), "xb") as file:
                    file.write(layout.pack_layer(layer))
        except BlobExists:
            return self.layer(diff_id)
        return layer

    def _check_root(self) -> None:
        """See that this is an Image Attach Storage we know; make it one if it is nothing yet."""
        try:
            layout.check_root(self.backend.read(layout.ROOT, layout.DESCRIPTOR_MAX + 1))
        except BlobNotFound:
            self.backend.write(layout.ROOT, layout.pack_root())
        except IasfsError as error:
            raise error.at(f"{self.backend.name}/{layout.ROOT}") from None

    def remove(self, diff_id: str) -> None:
        """Remove a layer, or what a broken upload has left of one; nothing if it is not there."""
        self.backend.remove(layout.layer_directory(diff_id))


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return layout.format_digest(hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise StorageError(error.strerror or "cannot read", name=path, errno=error.errno) from error
