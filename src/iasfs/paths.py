"""Names and paths: ``str`` with surrogateescape outside, bytes on disk, converted here alone.

The encoding is always UTF-8, whatever the locale says, so that an image reads (and is written)
alike on every machine.  A name that is not UTF-8 survives the round trip as lone surrogates,
as it does in :mod:`os`.
"""

from __future__ import annotations

import os
from typing import Any

NAME_MAX = 255
"""The longest name of a directory entry, in bytes."""
SYMLINK_MAX = 4095
"""The longest target of a symbolic link, in bytes."""

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]
"""What the public functions take for a path inside an image."""


def encode(path: AnyPath) -> bytes:
    """The bytes of a path as they stand on disk.

    Raises ``ValueError`` for an embedded NUL, as :func:`open` does.
    """
    raw = os.fspath(path)
    data = raw.encode("utf-8", "surrogateescape") if isinstance(raw, str) else raw
    if b"\0" in data:
        raise ValueError("embedded null byte")
    return data


def decode(path: bytes) -> str:
    """The text of a path that stands on disk."""
    return path.decode("utf-8", "surrogateescape")


def split(path: bytes) -> list[bytes]:
    """The components of a path: no empty ones, no ``.``; ``..`` is kept."""
    return [part for part in path.split(b"/") if part and part != b"."]


def like(path: AnyPath, name: bytes) -> Any:
    """A name in the type of a path: ``str``, or bytes where that is bytes."""
    return name if isinstance(os.fspath(path), bytes) else decode(name)


def is_url(path: str) -> bool:
    """Whether fsspec is to find it; anything else is a local path."""
    return "://" in path or "::" in path
