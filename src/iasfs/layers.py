"""IAS: container layers published as images, and read lazily from where they lie.

The layers are named by their diffID, the SHA-256 of the uncompressed tar, so a layer is stored
once however it comes compressed.  This module joins three rooms that do not know each other:
:mod:`iasfs.write` makes the image, :mod:`iasfs.ias` stores it, :mod:`iasfs.read` reads it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from iasfs.errors import DigestMismatch, WriteError
from iasfs.ias.layout import Layer, format_digest, parse_digest
from iasfs.ias.store import Store, Written, connect
from iasfs.read.image import Image
from iasfs.sources import TarSource, is_directory, open_tar
from iasfs.tree import Tree
from iasfs.write.tar import Whiteouts, read_tar
from iasfs.write.writer import Options, write_tree

__all__ = ["IAS", "Layer"]


class IAS:
    """An Image Attach Storage: a local directory, or a URL that fsspec knows.

    ::

        ias = IAS("s3://bucket/ias")
        layer = ias.publish_layer("layer.tar.gz")
        image = ias.open_layer(layer.diff_id)

    ``storage_options`` go to the fsspec file system of a URL.  Nothing is asked of the storage
    before it is used.  An IAS is safe for threads and across ``fork``, and pickles by what it was
    opened with.

    Besides what each method names, all of them raise ``ValueError`` for what is no diffID,
    :class:`~iasfs.errors.StorageError` when the storage does not answer or does not keep what it
    promised, and :class:`~iasfs.errors.FormatError` for a damaged descriptor.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._store = Store(connect(root, storage_options))

    @property
    def name(self) -> str:
        """The path, or the URL without what may be secret in it."""
        return self._store.backend.name

    def publish_layer(
        self,
        source: TarSource,
        *,
        diff_id: str | None = None,
        whiteouts: Whiteouts = "overlay",
        storage_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Layer:
        """Make an image of a layer's tar and store it under its diffID; what is there stays.

        ``source`` is a tar, plain or compressed by gzip, bzip2, xz or zstd: a path, an fsspec URL
        (to which ``storage_options`` belong), a binary file object, which need not seek, or a
        blob.  Where ``diff_id`` is given and a layer of that name is there, one small request says
        so and ``source`` is not touched; else ``diff_id`` must be what the tar hashes to.
        ``whiteouts`` and the other options are those of :func:`iasfs.making.mkfs`.

        Raises :class:`~iasfs.errors.DigestMismatch` if the tar has another diffID,
        :class:`~iasfs.errors.FormatError` if it is not well formed, and
        :class:`~iasfs.errors.WriteError` for what EROFS cannot hold, or for a source that is no
        tar and hence has no diffID: a directory or a :class:`~iasfs.tree.Tree`.
        """
        if isinstance(source, Tree) or is_directory(source):
            raise WriteError("only a tar has a diffID by which it can be published")
        settings = Options(**options)
        settings.profile()  # a clash is better said before the source is read
        if diff_id is not None:
            parse_digest(diff_id)
            there = self._store.find(diff_id)
            if there is not None:
                return there
        with ExitStack() as stack:
            archive, name = open_tar(source, storage_options, stack)
            digest = hashlib.sha256()
            tree = read_tar(
                archive,
                whiteouts=whiteouts,
                digest=digest,
                name=name,
                spool_dir=settings.spool_dir,
            )
            found = format_digest(digest.hexdigest())
            if diff_id is not None and diff_id != found:
                raise DigestMismatch(f"the diffID is {found}, not {diff_id}", name=name)
            there = self._store.find(found) if diff_id is None else None
            return there or self._store.publish(found, lambda path: _write(tree, path, settings))

    def open_layer(self, diff_id: str) -> Image:
        """The image of a layer, read as it is used.

        Raises :class:`~iasfs.errors.BlobNotFound` if there is no such layer.
        """
        layer = self._store.layer(diff_id)
        blob = self._store.blob(layer)
        try:
            return Image(blob, metadata_size=layer.metadata_size)
        except BaseException:
            blob.close()
            raise

    def layer(self, diff_id: str) -> Layer:
        """What is known of a layer; :class:`~iasfs.errors.BlobNotFound` if it is not there."""
        return self._store.layer(diff_id)

    def has_layer(self, diff_id: str) -> bool:
        """Whether a layer is there, whole."""
        return self._store.find(diff_id) is not None

    def layers(self) -> Iterator[Layer]:
        """All layers, in the order of their diffIDs."""
        return self._store.layers()

    def remove_layer(self, diff_id: str) -> None:
        """Remove a layer, whoever may be reading it; nothing happens if it is not there."""
        self._store.remove(diff_id)

    def __repr__(self) -> str:
        return f"<iasfs.IAS {self.name}>"


def _write(tree: Tree, path: str, options: Options) -> Written:
    made = write_tree(tree, path, options)
    return Written(made.metadata_size, made.inodes)
