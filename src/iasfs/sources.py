"""Sources: what a user may name as a tar or an image.

A path, an fsspec URL, a file object or a blob: here they become the blob or the stream that the
rooms below work on, which know nothing of URLs.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, BinaryIO, TypeGuard

from iasfs import paths
from iasfs.blob import Blob, BytesBlob, FileBlob, FileObjectBlob

Openable = str | os.PathLike[str] | BinaryIO | Blob
"""What an image may be opened by."""
TarSource = Openable


def is_directory(source: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether it is the path of a local directory."""
    return isinstance(source, (str, os.PathLike)) and os.path.isdir(source)


def open_blob(source: Openable, storage_options: Mapping[str, Any] | None = None) -> Blob:
    """The blob behind a path, an fsspec URL, a seekable binary file object, or a blob itself.

    ``storage_options`` go to the fsspec file system of a URL.
    """
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if paths.is_url(path):
            from iasfs.ias.objects import FsspecBlob

            return FsspecBlob(path, **(storage_options or {}))
        return FileBlob(path)
    if isinstance(source, Blob):
        return source
    if isinstance(source, io.BytesIO):
        return BytesBlob(source.getvalue())
    return FileObjectBlob(source)


def open_tar(
    source: TarSource, storage_options: Mapping[str, Any] | None, stack: ExitStack
) -> tuple[BinaryIO | Blob, str | None]:
    """What to read a tar from, closed with ``stack``, and what to call it in errors."""
    if not isinstance(source, (str, os.PathLike)):
        return source, getattr(source, "name", None)
    path = os.fspath(source)
    if paths.is_url(path):
        from iasfs.ias.objects import open_stream

        # A stream, not a blob: a tar is read front to back, once.
        stream = stack.enter_context(open_stream(path, storage_options))
        return stream, stream.name
    return stack.enter_context(FileBlob(path)), path
