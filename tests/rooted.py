"""Linux as the judge: what its functions answer below a directory that is their root.

An image resolves symbolic links inside its own root.  So does a process after chroot(2), which
makes :class:`Rooted` the oracle for an image of the same directory.
"""

from __future__ import annotations

import glob
import os
import pickle
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")


def fork() -> int:
    """As :func:`os.fork`, also beside threads: the child does little and leaves at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def inside(root: Path, work: Callable[[], Result]) -> Result:
    """What ``work`` returns in a child process whose root directory is ``root``."""
    reader, writer = os.pipe()
    child = fork()
    if not child:
        try:
            os.chroot(root)
            os.chdir("/")
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(work(), pipe)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    result: Result = pickle.loads(data)
    return result


class Linux:
    """The functions of :mod:`os` under the names that an image has for them."""

    stat, lstat, readlink, listdir = os.stat, os.lstat, os.readlink, os.listdir
    scandir, walk, access = os.scandir, os.walk, os.access
    getxattr, listxattr = os.getxattr, os.listxattr
    exists, lexists = os.path.exists, os.path.lexists
    isdir, isfile, islink = os.path.isdir, os.path.isfile, os.path.islink
    open, glob = open, glob.glob

    @staticmethod
    def read_bytes(path: Any) -> bytes:
        with open(path, "rb") as file:
            return file.read()


def outcome(files: Any, method: str, *arguments: Any, **options: Any) -> Any:
    """What a call answers, or the error it raises with all that it says."""
    try:
        return getattr(files, method)(*arguments, **options)
    except OSError as error:
        return type(error), error.errno, error.filename
    except (TypeError, ValueError) as error:
        return type(error)
