"""mkfs: whatever a user may name as a source becomes an image.

It joins rooms that do not know each other: :mod:`iasfs.sources` finds the bytes,
:mod:`iasfs.write` makes a tree of them, and an image of that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from iasfs.paths import AnyPath
from iasfs.sources import TarSource, is_directory, open_tar
from iasfs.tree import Tree
from iasfs.write import profile, writer
from iasfs.write.scan import scan_directory
from iasfs.write.store import Progress
from iasfs.write.tar import Whiteouts, convert_whiteouts, read_tar
from iasfs.write.writer import Target

Source = Tree | TarSource
"""What an image may be made of."""


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
