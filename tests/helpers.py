"""What tests share: what the machine offers, and trees described so that they can be compared.

A test asks for what it needs (``require("mksquashfs")``, ``require_root()``) and is skipped with
a reason where that is missing.  The environment variable ``IASFS_REQUIRE``, a comma-separated
list of names or ``all``, turns such a skip into a failure: there the machine is meant to have it.

A tree is described as ``{path: record}``, in the form of the vectors' ``tree.jsonl``: names,
targets and attribute values are bytes written as Latin-1 characters, ``size`` and ``sha256``
belong to regular files alone, ``link_group`` (the smallest path of the inode) to what has
several names.  Whatever made the description, equal trees have equal descriptions.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pytest

from iasfs import paths
from iasfs.blob import Blob
from iasfs.tree import Tree

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""
VECTORS = Path(os.environ.get("IASFS_VECTORS") or ROOT.parent / "shared" / "vectors")
"""EROFS images made by another tool; see :func:`require_vectors`."""
DEBIAN_ROOT = Path(os.environ.get("IASFS_DEBIAN_ROOT") or "debian-root.tar")
"""The tar of a Debian root, made by ``.ci/debian-root``; see :func:`require_debian_root`."""

Record = dict[str, Any]
"""One inode under one of its names."""
Description = dict[str, Record]
"""A whole tree: its records by path."""


# What the machine offers.


def missing(name: str, reason: str) -> NoReturn:
    """Skip the test, or fail it where ``IASFS_REQUIRE`` covers ``name``."""
    wanted = os.environ.get("IASFS_REQUIRE", "").split(",")
    if "all" in wanted or name in wanted:
        pytest.fail(f"{reason} (IASFS_REQUIRE covers {name})", pytrace=False)
    pytest.skip(reason)


def require(tool: str) -> str:
    """The path of an executable."""
    return shutil.which(tool) or missing(tool, f"{tool} is not installed")


def require_module(name: str) -> None:
    """Ask for a Python package beyond the library's own dependencies."""
    if importlib.util.find_spec(name) is None:
        missing(name, f"the Python package {name} is not installed")


def require_erofs_utils() -> None:
    """Ask for ``mkfs.erofs``, ``fsck.erofs`` and ``dump.erofs`` that know zstd (1.8 or newer)."""
    for tool in ("mkfs.erofs", "fsck.erofs", "dump.erofs"):
        if shutil.which(tool) is None:
            missing("erofs-utils", f"{tool} is not installed")
    version = run("fsck.erofs", "--version", check=False)
    if not re.search(r"^available decompressors:.*\bzstd\b", version, re.MULTILINE):
        missing("erofs-utils", "the fsck.erofs here does not know zstd")


def require_root() -> None:
    """Ask for the right to mount, to make devices and to give files away."""
    if os.geteuid() != 0:
        missing("root", "this test needs root")


def require_kernel_erofs(*algorithms: str) -> None:
    """Ask for a kernel that mounts an EROFS file (Linux 6.12), compressed with ``algorithms``."""
    require_root()
    reason = _kernel_refuses(algorithms)
    if reason:
        missing("kernel-erofs", reason)


def require_vectors() -> Path:
    """The directory of the vectors."""
    if not VECTORS.is_dir():
        missing("vectors", f"no vectors at {VECTORS} (IASFS_VECTORS names another place)")
    return VECTORS


def require_debian_root() -> Path:
    """The tar of a Debian root."""
    if not DEBIAN_ROOT.is_file():
        missing("debian-root", "IASFS_DEBIAN_ROOT does not name the tar of a Debian root")
    return DEBIAN_ROOT


def run(*command: str | os.PathLike[str], check: bool = True) -> str:
    """Run a command and return what it printed; when it fails, so does the test, saying why."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    if check and done.returncode:
        words = " ".join(os.fspath(word) for word in command)
        pytest.fail(f"{words}: exit status {done.returncode}\n{output}", pytrace=False)
    return output


# The kernel.

_MS_RDONLY = 1
_TMPFS_MAGIC = 0x01021994


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _system_call(name: str, filename: str, *arguments: object) -> None:
    if getattr(_libc(), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", filename)


@contextmanager
def kernel_mount(
    image: str | os.PathLike[str], target: str | os.PathLike[str], options: str = ""
) -> Iterator[Path]:
    """Let the kernel mount an EROFS image at ``target`` (made where it is missing).

    It is mount(2) on the file itself: mount(8) would put a loop device between without saying so.
    """
    os.makedirs(target, exist_ok=True)
    source, where = os.fsencode(os.path.abspath(image)), os.fsencode(target)
    data = options.encode() if options else None
    _system_call("mount", os.fspath(image), source, where, b"erofs", _MS_RDONLY, data)
    try:
        yield Path(target)
    finally:
        _system_call("umount2", os.fspath(target), where, 0)


def on_tmpfs(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` lies on a tmpfs, whose files the kernel does not mount."""
    buffer = (ctypes.c_long * 64)()  # struct statfs, which begins with f_type
    _system_call("statfs", os.fspath(path), os.fsencode(path), buffer)
    return bool(buffer[0] == _TMPFS_MAGIC)


def disk_directory() -> str:
    """A new directory on a real file system."""
    for base in (None, "/var/tmp", os.getcwd()):
        path = tempfile.mkdtemp(prefix="iasfs-", dir=base)
        if not on_tmpfs(path):
            return path
        os.rmdir(path)
    raise OSError(errno.ENOTBLK, "every temporary directory of this machine lies on a tmpfs")


_COMPRESSION_CONFIG = {  # algorithm: its number, its configuration in the image
    "lz4": (0, struct.pack("<HHH10x", 14, 0, 1)),
    "lzma": (1, struct.pack("<HIH8x", 14, 4096, 0)),
    "deflate": (2, struct.pack("<HB5x", 6, 15)),
    "zstd": (3, struct.pack("<HBB4x", 6, 0, 0)),
}


def _empty_image(algorithms: Iterable[str]) -> bytes:
    """The smallest image: one block, an empty root directory, claiming ``algorithms``."""
    configs = sorted(_COMPRESSION_CONFIG[name] for name in algorithms)
    image = bytearray(4096)
    struct.pack_into("<I8xBxH", image, 1024, 0xE0F5E1E2, 12, 64)  # magic, blkszbits, root nid
    if configs:
        struct.pack_into("<IH", image, 1024 + 0x50, 3, sum(1 << number for number, _ in configs))
        records = b"".join(config for _, config in configs)  # each a multiple of 4 bytes long
        image[1152 : 1152 + len(records)] = records
    entries = struct.pack("<QHBxQHBx", 64, 24, 2, 64, 25, 2) + b"..."
    inode = struct.pack("<HHHHI20x", 2 << 1, 0, stat.S_IFDIR | 0o755, 2, len(entries))
    image[2048 : 2048 + len(inode) + len(entries)] = inode + entries
    return bytes(image)


@functools.cache
def _kernel_refuses(algorithms: tuple[str, ...]) -> str | None:
    """Why the kernel does not mount an EROFS file with ``algorithms``; ``None`` if it does."""
    directory = Path(disk_directory())
    try:
        image = directory / "empty.erofs"
        image.write_bytes(_empty_image(algorithms))
        with kernel_mount(image, directory / "mount") as mounted:
            return None if os.listdir(mounted) == [] else "the kernel misreads an empty image"
    except OSError as error:
        names = ", ".join(algorithms) or "without compression"
        return f"the kernel does not mount an EROFS file ({names}): {error.strerror}"
    finally:
        shutil.rmtree(directory)


# Trees, described.


class Files(Protocol):
    """A tree of files with methods named as in :mod:`os`: a directory, or an image."""

    def lstat(self, path: str) -> os.stat_result: ...
    def listdir(self, path: str) -> list[str]: ...
    def readlink(self, path: str) -> str: ...
    def listxattr(self, path: str, *, follow_symlinks: bool) -> list[str]: ...
    def getxattr(self, path: str, name: str, *, follow_symlinks: bool) -> bytes: ...
    def open(self, path: str, mode: str) -> Any: ...


class _Directory:
    """The functions of :mod:`os`, below one directory."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = os.fspath(root)

    def lstat(self, path: str) -> os.stat_result:
        return os.lstat(self._root + path)

    def listdir(self, path: str) -> list[str]:
        return os.listdir(self._root + path)

    def readlink(self, path: str) -> str:
        return os.readlink(self._root + path)

    def listxattr(self, path: str, *, follow_symlinks: bool) -> list[str]:
        return os.listxattr(self._root + path, follow_symlinks=follow_symlinks)

    def getxattr(self, path: str, name: str, *, follow_symlinks: bool) -> bytes:
        return os.getxattr(self._root + path, name, follow_symlinks=follow_symlinks)

    def open(self, path: str, mode: str) -> Any:
        return open(self._root + path, mode)


def describe_tree(root: str | os.PathLike[str]) -> Description:
    """Describe a real directory, such as a mounted image."""
    return describe_files(_Directory(root))


def describe_files(files: Files) -> Description:
    """Describe a tree by asking it what one asks :mod:`os`."""
    records: Description = {}
    inodes: dict[tuple[int, int], list[str]] = defaultdict(list)
    contents: dict[tuple[int, int], str] = {}
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        status = files.lstat(path)
        key = status.st_dev, status.st_ino
        record = _record(
            path, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_nlink
        )
        if stat.S_ISREG(status.st_mode):
            if key not in contents:
                with files.open(path, "rb") as file:
                    contents[key] = hashlib.file_digest(file, "sha256").hexdigest()
            record.update(size=status.st_size, sha256=contents[key])
        elif stat.S_ISLNK(status.st_mode):
            record["target"] = _latin(files.readlink(path))
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            record["rdev"] = _device(status.st_rdev)
        elif stat.S_ISDIR(status.st_mode):
            waiting.extend(path.rstrip("/") + "/" + name for name in files.listdir(path))
        xattrs = {
            _latin(name): _latin(files.getxattr(path, name, follow_symlinks=False))
            for name in files.listxattr(path, follow_symlinks=False)
        }
        if xattrs:
            record["xattrs"] = xattrs
        if not stat.S_ISDIR(status.st_mode):
            inodes[key].append(record["path"])
        records[record["path"]] = record
    return _grouped(records, inodes.values())


def describe_tree_object(tree: Tree) -> Description:
    """Describe a :class:`~iasfs.tree.Tree`; link counts are those its image will have."""
    records: Description = {}
    names: dict[int, list[str]] = defaultdict(list)
    contents: dict[int, str] = {}
    nodes = list(tree.walk())
    for path, node in nodes:
        record = _record(path, node.mode, node.uid, node.gid, node.mtime_ns, 1)
        if node.is_dir:
            record["nlink"] = 2 + sum(child.is_dir for child in node.children.values())
        else:
            names[id(node)].append(record["path"])
        if node.is_file:
            if id(node) not in contents:
                contents[id(node)] = _sha256(node.content)
            record.update(size=node.content.size, sha256=contents[id(node)])
        elif node.is_symlink:
            record["target"] = _latin(node.target)
        elif node.is_device:
            record["rdev"] = _device(node.rdev)
        if node.xattrs:
            record["xattrs"] = {_latin(key): _latin(value) for key, value in node.xattrs.items()}
        records[record["path"]] = record
    for group in names.values():
        for name in group:
            records[name]["nlink"] = len(group)
    return _grouped(records, names.values())


def load_description(path: str | os.PathLike[str]) -> Description:
    """Read a ``tree.jsonl``."""
    records: Description = {}
    groups: dict[int, list[str]] = defaultdict(list)
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            records[record["path"]] = record
            if "link_group" in record:
                groups[record["link_group"]].append(record["path"])
    return _grouped(records, groups.values())


def compare(a: Description, b: Description, *, ignore: Iterable[str] = ()) -> list[str]:
    """The differences between two trees, a line each; the fields in ``ignore`` may differ."""
    ignored = frozenset(ignore)
    lines = [f"{path!r}: only in the first" for path in sorted(a.keys() - b.keys())]
    lines += [f"{path!r}: only in the second" for path in sorted(b.keys() - a.keys())]
    for path in sorted(a.keys() & b.keys()):
        x, y = a[path], b[path]
        lines += [
            f"{path!r}: {field} is {_show(field, x)}, then {_show(field, y)}"
            for field in sorted((x.keys() | y.keys()) - ignored)
            if x.get(field) != y.get(field)
        ]
    return lines


def _record(path: str | bytes, mode: int, uid: int, gid: int, mtime_ns: int, nlink: int) -> Record:
    return {
        "path": _latin(path),
        "mode": mode,
        "uid": uid,
        "gid": gid,
        "mtime_ns": mtime_ns,
        "nlink": nlink,
    }


def _grouped(records: Description, groups: Iterable[list[str]]) -> Description:
    for group in groups:
        if len(group) > 1:
            for path in group:
                records[path]["link_group"] = min(group)
    return records


def _latin(text: str | bytes) -> str:
    return (paths.encode(text) if isinstance(text, str) else text).decode("latin-1")


def _device(rdev: int) -> list[int]:
    return [os.major(rdev), os.minor(rdev)]


def _sha256(blob: Blob) -> str:
    digest = hashlib.sha256()
    for offset in range(0, blob.size, 1 << 20):
        digest.update(blob.read_at(offset, min(1 << 20, blob.size - offset)))
    return digest.hexdigest()


def _show(field: str, record: Record) -> str:
    if field not in record:
        return "absent"
    value = record[field]
    return oct(value) if field == "mode" else repr(value)
