"""Exits: which error becomes which exit code and which line.

The codes are those of ``sysexits.h``, so that a script can tell a missing file (66) from a broken
one (65), and are far from 1, by which ``fsck`` says that it has found problems.
"""

from __future__ import annotations

import errno
import os
import sys

import click

from iasfs.cli.output import printable
from iasfs.errors import FormatError, IasfsError, WriteError

PROBLEMS = 1
"""The image has problems: said by ``fsck``."""
_SIGNALLED = 128
_SIGINT, _SIGPIPE = 2, 13

EXPECTED = (click.ClickException, click.Abort, KeyboardInterrupt, IasfsError, OSError)
"""What is answered with a line and a code."""

_CODE_OF_ERRNO = {
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP), os.EX_NOINPUT),
    **dict.fromkeys((errno.ENXIO, errno.ENAMETOOLONG), os.EX_NOINPUT),
    **dict.fromkeys((errno.EACCES, errno.EPERM), os.EX_NOPERM),
    **dict.fromkeys((errno.EEXIST, errno.EROFS), os.EX_CANTCREAT),
}


def exit_code(error: BaseException) -> int:
    """The exit code for an exception.

    ====  ============  =====================================================================
    64    EX_USAGE      the command line is wrong
    65    EX_DATAERR    ``FormatError``, ``WriteError``: the input is not what it should be
    66    EX_NOINPUT    a file, or a path in the image, is missing or of the wrong type
    70    EX_SOFTWARE   anything that should not happen
    73    EX_CANTCREAT  the output exists already
    74    EX_IOERR      any other ``OSError``, ``StorageError`` among them
    77    EX_NOPERM     permission denied
    130                 interrupted from the keyboard
    141                 whoever read the output has gone
    ====  ============  =====================================================================
    """
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return _SIGNALLED + _SIGINT
    if isinstance(error, BrokenPipeError):
        return _SIGNALLED + _SIGPIPE
    if isinstance(error, click.ClickException):
        return os.EX_USAGE
    if isinstance(error, (FormatError, WriteError)):
        return os.EX_DATAERR
    if isinstance(error, OSError):
        return _CODE_OF_ERRNO.get(error.errno or 0, os.EX_IOERR)
    return os.EX_SOFTWARE


def describe(error: BaseException) -> str:
    """An error in one line, in which nothing can disturb a terminal."""
    text = str(error)
    if isinstance(error, click.ClickException):
        text = " ".join(error.format_message().split())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            text = f"{text.rstrip('.')}; see '{error.ctx.command_path} --help'"
    elif isinstance(error, OSError) and not isinstance(error, IasfsError) and error.strerror:
        text = error.strerror
        if error.filename is not None:
            text = f"{os.fsdecode(error.filename)}: {text}"
    return printable(text or type(error).__name__)


def report(error: BaseException) -> int:
    """Say on standard error what went wrong; answers with the exit code."""
    if not isinstance(error, (click.Abort, KeyboardInterrupt)):
        click.echo(f"iasfs: {describe(error)}", err=True)
    return exit_code(error)


def silence_output() -> None:
    """Lead what is still to be written nowhere: it would fail again when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
