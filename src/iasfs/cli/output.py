"""Output: lines for a person or a program, and progress on long work.

Names come from images, which are not trusted.  A terminal gets them escaped, so that they cannot
write elsewhere on the screen; anything else gets their bytes.

JSON is one object a line, in ASCII.  Names are bytes and JSON has text only: where the bytes are
not UTF-8, each wrong one stands as U+FFFD in the text, and another member, with ``_base64`` at
the end of its name, has the exact bytes.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from iasfs import paths


def printable(text: str) -> str:
    """``text`` in one line, with nothing in it that a terminal would obey."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


class Output:
    """Standard output, or standard error."""

    def __init__(self, err: bool = False) -> None:
        self._stream = (sys.stderr if err else sys.stdout).buffer
        self._is_terminal = self._stream.isatty()

    def name(self, name: bytes) -> bytes:
        """A name, as it is printed."""
        return printable(paths.decode(name)).encode() if self._is_terminal else name

    def line(self, *parts: bytes | str) -> None:
        """Print a line."""
        raw = (part.encode() if isinstance(part, str) else part for part in parts)
        self._stream.write(b"".join(raw) + b"\n")

    def data(self, data: bytes) -> None:
        """Print bytes as they are."""
        self._stream.write(data)

    def json(self, record: Mapping[str, Any]) -> None:
        """Print an object."""
        self.line(json.dumps(record, separators=(",", ":")))


def text_members(key: str, raw: bytes) -> dict[str, str]:
    """The members of a JSON object that hold bytes which are meant to be text."""
    try:
        return {key: raw.decode()}
    except UnicodeDecodeError:
        exact = base64.b64encode(raw).decode()
        return {key: raw.decode(errors="replace"), f"{key}_base64": exact}


Progress = Callable[[int, int | None], None]
"""Called with what is done and what there is in all, if that is known."""


@contextmanager
def progress(what: str, unit: str) -> Iterator[Progress | None]:
    """A bar on standard error while something works, in ``"bytes"`` or ``"files"``.

    ``None`` where that is no terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    amount: rich_progress.ProgressColumn = rich_progress.MofNCompleteColumn()
    speed: rich_progress.ProgressColumn = rich_progress.TextColumn(unit)
    if unit == "bytes":
        amount, speed = rich_progress.DownloadColumn(), rich_progress.TransferSpeedColumn()
    bar = rich_progress.Progress(
        rich_progress.TextColumn(what),
        rich_progress.BarColumn(),
        amount,
        speed,
        rich_progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(what, total=None)
    with bar:
        yield lambda done, total: bar.update(task, completed=done, total=total)
