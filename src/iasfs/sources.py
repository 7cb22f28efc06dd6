"""Sources: what a user may name as a tar or an image, and mkfs, which takes all of it.

A path, an fsspec URL, a file object or a blob: here they become the blob or the stream that the
rooms below work on, which know nothing of URLs or, like :mod:`iasfs.write` and :mod:`iasfs.ias`,
of each other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO, TypeGuard

from iasfs.blob import Blob, FileBlob, FileObjectBlob
from iasfs.paths import AnyPath
from iasfs.tree import Tree
from iasfs.write import profile, writer
from iasfs.write.scan import scan_directory
from iasfs.write.store import Progress
from iasfs.write.tar import Whiteouts, convert_whiteouts, read_tar
from iasfs.write.writer import Target

Openable = str | os.PathLike[str] | BinaryIO | Blob
TarSource = str | os.PathLike[str] | BinaryIO | Blob
Source = Tree | TarSource


def is_url(path: str) -> bool:
    """Whether fsspec is to find it; anything else is a local path."""
    return "://" in path or "::" in path


def is_directory(source: Source) -> TypeGuard[str | os.PathLike[str]]:
    """Whether it is the path of a local directory."""
    return isinstance(source, (str, os.PathLike)) and os.path.isdir(source)


def open_blob(source: Openable, storage_options: Mapping[str, Any] | None = None) -> Blob:
    """The blob behind a path, an fsspec URL, a seekable binary file object, or a blob itself.

    ``storage_options`` go to the fsspec file system of a URL.
    """
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if is_url(path):
            from iasfs.ias.objects import FsspecBlob

            return FsspecBlob(path, **(storage_options or {}))
        return FileBlob(path)
    if isinstance(source, Blob):
        return source
    return FileObjectBlob(source)


def open_tar(
    source: TarSource, storage_options: Mapping[str, Any] | None, stack: ExitStack
) -> tuple[BinaryIO | Blob, str | None]:
    """What to read a tar from, closed with ``stack``, and what to call it in errors."""
    if not isinstance(source, (str, os.PathLike)):
        return source, getattr(source, "name", None)
    path = os.fspath(source)
    if is_url(path):
        from iasfs.ias.objects import open_stream

        # A stream, not a blob: a tar is read front to back, once.
        stream = stack.enter_context(open_stream(path, storage_options))
        return stream, stream.name
    return stack.enter_context(FileBlob(path)), path


def mkfs(
    source: Source,
    target: Target,
    *,
    storage_options: Mapping[str, Any] | None = None,
    whiteouts: Whiteouts = "keep",
    compression: str | None = None,
    level: int | None = None,
    min_kernel: str | None = None,
    order: Sequence[AnyPath] = (),
    mtime: int | None = None,
    volume_name: str = "",
    uuid: bytes | None = None,
    workers: int | None = None,
    extent_size: int = profile.EXTENT_SIZE,
    pack_extent_size: int = profile.PACK_EXTENT_SIZE,
    pack_limit: int = profile.PACK_LIMIT,
    spool_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> writer.Made:
    """Make an EROFS image of a directory, a tar or a tree.

    ``source`` is the path of a directory, or a tar: a path, an fsspec URL (to which
    ``storage_options`` belong), a binary file object (also one that cannot seek) or a blob, plain
    or compressed by gzip, bzip2, xz or zstd; or a :class:`~iasfs.tree.Tree`.

    ``target`` is a path, which appears when the image is complete, or a binary file object to
    write to.  ``whiteouts="overlay"`` turns the whiteouts of an OCI layer into those of
    overlayfs.  The other options are those of :class:`~iasfs.write.writer.Options`.

    Raises :class:`~iasfs.errors.FormatError` for a tar that is not well formed,
    :class:`~iasfs.errors.WriteError` for what EROFS cannot hold, and ``OSError``.
    """
    options = writer.Options(
        compression=compression,
        level=level,
        min_kernel=min_kernel,
        order=order,
        mtime=mtime,
        volume_name=volume_name,
        uuid=uuid,
        workers=workers,
        extent_size=extent_size,
        pack_extent_size=pack_extent_size,
        pack_limit=pack_limit,
        spool_dir=spool_dir,
        progress=progress,
    )
    options.profile()  # a clash is better said before the source is read
    with ExitStack() as stack:
        if isinstance(source, Tree):
            if whiteouts != "keep":
                raise ValueError("the whiteouts of a tree are its maker's to convert")
            tree = source
        elif is_directory(source):
            tree = scan_directory(source)
            if whiteouts == "overlay":
                convert_whiteouts(tree)
        else:
            archive, name = open_tar(source, storage_options, stack)
            folder = writer.spool_folder(options, target)
            tree = read_tar(archive, whiteouts=whiteouts, name=name, spool_dir=folder)
        return writer.write_tree(tree, target, options)
