"""We write, erofs-utils and the kernel read; mkfs.erofs writes, we read; and a whole Debian root.

What erofs-utils and the kernel say of an image is compared with the tree that went into it.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import stat
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import (
    Description,
    compare,
    describe_files,
    describe_tree,
    describe_tree_object,
    disk_directory,
    kernel_mount,
    require_debian_root,
    require_erofs_utils,
    require_kernel_erofs,
    require_root,
    run,
)
from iasfs.blob import FileBlob
from iasfs.format.table import Kind
from iasfs.making import mkfs
from iasfs.read.image import Image
from iasfs.testing import trees
from iasfs.tree import Node, Tree
from trees import PROFILES, local_tree, nasty_tree, put_on_disk


def opened(path: Path, *devices: Path) -> Image:
    return Image(FileBlob(path), devices=[FileBlob(device) for device in devices])


@contextmanager
def disk_folder() -> Iterator[Path]:
    """A directory whose files can be mounted."""
    folder = disk_directory()
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder)


# --- we write -----------------------------------------------------------------------------------

IMAGES: dict[str, dict[str, Any]] = PROFILES | {
    "smallest": {"extent_size": 8192, "pack_extent_size": 8192, "pack_limit": 4097},
    "largest": dict.fromkeys(("extent_size", "pack_extent_size", "pack_limit"), 1 << 20),
    # Packed files in two places: the packed inode cannot have a compact index.
    "ordered": {"order": ["big/zeros", "names/a", "sizes/text/20000", "sizes/mixed/791432"]},
}
"""Options of ``mkfs``."""


class Written(NamedTuple):
    """An image of the nasty tree."""

    profile: str
    path: Path
    tree: Tree
    description: Description

    @property
    def algorithms(self) -> list[str]:
        """What the kernel must know to read it."""
        codec = IMAGES[self.profile].get("compression", "zstd")
        return [] if codec == "none" else [codec]

    @property
    def kernel(self) -> tuple[int, ...]:
        """The oldest that shall mount it."""
        return tuple(map(int, IMAGES[self.profile].get("min_kernel", "6.10").split(".")))


@pytest.fixture(scope="module")
def nasty() -> tuple[Tree, Description]:
    tree = nasty_tree()
    return tree, describe_tree_object(tree)


@pytest.fixture(scope="module", params=IMAGES)
def written(request: pytest.FixtureRequest, nasty: tuple[Tree, Description]) -> Iterator[Written]:
    with disk_folder() as folder:
        mkfs(nasty[0], folder / "image.erofs", **IMAGES[request.param])
        yield Written(request.param, folder / "image.erofs", *nasty)


def test_fsck_erofs_finds_nothing(written: Written) -> None:
    """It decodes every file too."""
    require_erofs_utils()
    assert not re.search("<[EW]>", run("fsck.erofs", "--extract", written.path))


def test_dump_erofs_shows_what_we_meant(written: Written) -> None:
    require_erofs_utils()
    output = run("dump.erofs", "-s", written.path)
    fields = dict(re.findall(r"^Filesystem (.+?):\s+(.*?)\s*$", output, re.MULTILINE))
    ours = opened(written.path).superblock
    assert int(fields["blocks"]) * 4096 == os.path.getsize(written.path)
    assert int(fields["inode count"]) == ours.inos
    assert fields["UUID"].replace("-", "") == ours.uuid.hex()
    features = set(fields["features"].split())
    assert {"sb_csum", "mtime", "xattr_filter"} <= features
    assert "ztailpacking" not in features
    compressed = bool(written.algorithms)
    assert ("0padding" in features) == compressed
    assert ("compr_cfgs" in features) == (compressed and written.kernel >= (5, 13))
    assert ("chunked_file" in features) == (written.kernel >= (5, 15))
    assert ("fragments" in features) == (compressed and written.kernel >= (6, 1))


def test_dump_erofs_counts_our_files(written: Written) -> None:
    """By their names."""
    require_erofs_utils()
    output = run("dump.erofs", "-S", written.path)
    counts = dict(re.findall(r"^Filesystem (.+) count:\s+(\d+)", output, re.MULTILINE))
    modes = [record["mode"] >> 12 for record in written.description.values()]
    types = {"regular file": 8, "directory": 4, "char dev": 2, "block dev": 6, "symlink file": 10}
    found = {name: int(counts[name]) for name in types}
    assert found == {name: modes.count(kind) for name, kind in types.items()}


def test_dump_erofs_finds_data_where_we_do(written: Written) -> None:
    require_erofs_utils()
    ours = opened(written.path)
    for path in ("big/text", "big/random", "sizes/mixed/791432", "sizes/text/262143"):
        output = run("dump.erofs", "-e", f"--path=/{path}", written.path)
        rows = re.findall(r"(\d+)\.\. +\d+ \| +\d+ : +(\d+)\.\. +\d+ \| +(\d+)", output)
        expected = [
            (extent.logical, 0, 0)
            if extent.kind == Kind.FRAGMENT
            else (extent.logical, extent.address, -(-extent.stored // 4096) * 4096)
            for extent in ours.volume.extents(ours.inode(path))
        ]
        assert joined(tuple(map(int, row)) for row in rows) == joined(expected)


def joined(rows: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """``(logical, address, size)`` of extents, runs of plain blocks as one."""
    result: list[tuple[int, ...]] = []
    for logical, address, size in rows:
        if result:
            start, first, length = result[-1]
            if size and (logical - start, address - first) == (length, length):
                result[-1] = start, first, length + size
                continue
        result.append((logical, address, size))
    return result


def test_the_kernel_shows_the_tree(written: Written) -> None:
    require_kernel_erofs(*written.algorithms)
    with kernel_mount(written.path, written.path.parent / "mount") as mounted:
        assert compare(written.description, describe_tree(mounted)) == []


STAT_FIELDS = [
    *("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks", "st_blksize"),
    *("st_rdev", "st_mtime_ns", "st_atime_ns", "st_ctime_ns", "st_mtime", "st_atime", "st_ctime"),
]


def test_the_kernel_gives_the_same_stat(written: Written) -> None:
    """In every field but the device number, and of the whole file system too."""
    require_kernel_erofs(*written.algorithms)
    ours = opened(written.path)
    with kernel_mount(written.path, written.path.parent / "mount") as mounted:
        for path, _ in written.tree.walk():
            found, expected = ours.lstat(path), os.lstat(os.fsencode(mounted) + path)
            for field in STAT_FIELDS:
                assert getattr(found, field) == getattr(expected, field), (path, field)
            assert found[7:10] == expected[7:10], path
        for field in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_namemax"):
            assert getattr(ours.statvfs(), field) == getattr(os.statvfs(mounted), field)


def test_the_kernel_reads_anywhere(written: Written) -> None:
    """Cold, so that it looks each extent up by itself."""
    require_kernel_erofs(*written.algorithms)
    chance = random.Random(written.profile)
    sizes = {path: record.get("size", 0) for path, record in written.description.items()}
    large = [path for path, size in sizes.items() if size > 4096]
    with kernel_mount(written.path, written.path.parent / "mount") as mounted:
        for _ in range(400):
            path = chance.choice(large)
            offset = chance.randrange(sizes[path])
            size = min(chance.choice((1, 100, 4096, 70_000)), sizes[path] - offset)
            with open(f"{mounted}{path}", "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                found = os.pread(file.fileno(), size, offset)
            node = written.tree.get(path)
            assert node is not None
            assert found == node.content.read_at(offset, size), (path, offset, size)


@given(
    tree=trees(max_size=30_000, extent_size=8192, pack_limit=2000),
    profile=st.sampled_from(sorted(PROFILES)),
)
@settings(max_examples=settings().max_examples // 2)
def test_the_kernel_and_fsck_erofs_take_any_tree(tree: Tree, profile: str) -> None:
    require_erofs_utils()
    require_kernel_erofs("zstd", "lz4", "deflate")
    for _, node in tree.walk():
        leave_what_linux_shows(node)
    with disk_folder() as folder:
        image = folder / "image.erofs"
        sizes = {"extent_size": 8192, "pack_extent_size": 4096, "pack_limit": 2000}
        mkfs(tree, image, **sizes, **PROFILES[profile])
        with kernel_mount(image, folder / "mount") as mounted:
            assert compare(describe_tree_object(tree), describe_tree(mounted)) == []
        assert not re.search("<[EW]>", run("fsck.erofs", "--extract", image))


def leave_what_linux_shows(node: Node) -> None:
    """Take away what the kernel hides, or the system cannot say of any file."""
    hidden = () if node.is_file or node.is_dir else (b"user.",)
    hidden += (b"system.",) if node.is_symlink else ()
    hidden += () if node.is_dir else (b"system.posix_acl_default",)
    node.xattrs = {key: value for key, value in node.xattrs.items() if not key.startswith(hidden)}
    node.uid, node.gid = min(node.uid, (1 << 32) - 2), min(node.gid, (1 << 32) - 2)
    node.mtime_ns = max(min(node.mtime_ns, 1 << 62), -(1 << 62))


# --- mkfs.erofs writes --------------------------------------------------------------------------

MKFS_OPTIONS = [
    "",
    "-b1024",
    "-b512 -Enoinline_data",
    "-x-1",
    "-Eforce-inode-extended --xattr-prefix=user.",
    "-Enosbcrc -L label",
    "--chunksize=4096",
    "--chunksize=65536 -Eforce-chunk-indexes",
    "-zlz4",
    "-zlz4 -Elegacy-compress",
    "-zlz4hc,9 -C65536 -Eztailpacking",
    "-zdeflate -C16384",
    "-zlzma,level=0 -C65536 -Efragments",
    "-zzstd -C65536 -Eall-fragments,dedupe",
    "-zzstd -C1048576 -Efragments,ztailpacking",
    "-zlz4:zstd -C32768 -b1024",
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Description]:
    """A directory that is as nasty as its file system can take, and what it holds."""
    require_root()
    path = tmp_path_factory.mktemp("source") / "root"
    put_on_disk(local_tree(), path)
    return path, describe_tree(path)


@pytest.mark.parametrize("options", MKFS_OPTIONS)
def test_we_read_what_mkfs_erofs_writes(
    options: str, directory: tuple[Path, Description], tmp_path: Path
) -> None:
    require_erofs_utils()
    source, description = directory
    run("mkfs.erofs", "--quiet", *options.split(), tmp_path / "image.erofs", source)
    ignored = ["xattrs"] if "-x-1" in options else []
    with opened(tmp_path / "image.erofs") as image:
        assert compare(description, describe_files(image), ignore=ignored) == []


def test_we_read_its_extra_devices(directory: tuple[Path, Description], tmp_path: Path) -> None:
    require_erofs_utils()
    source, description = directory
    image, blob = tmp_path / "image.erofs", tmp_path / "blob"
    blob.touch()
    run("mkfs.erofs", "--quiet", "--chunksize=4096", f"--blobdev={blob}", image, source)
    with opened(image, blob) as found:
        assert compare(description, describe_files(found)) == []


def test_we_and_mkfs_erofs_scan_the_same(
    directory: tuple[Path, Description], tmp_path: Path
) -> None:
    """Our image of the directory shows it too."""
    source, description = directory
    mkfs(source, tmp_path / "image.erofs")
    with opened(tmp_path / "image.erofs") as image:
        assert compare(description, describe_files(image)) == []


# --- a whole Debian root ------------------------------------------------------------------------


def test_a_debian_root(disk_path: Path) -> None:
    """Its tar, the kernel, our reader and fsck.erofs agree on every path."""
    require_erofs_utils()
    require_kernel_erofs("zstd")
    tar = require_debian_root()
    image = disk_path / "root.erofs"
    mkfs(tar, image)
    expected = describe_tar(tar)
    assert len(expected) > 10_000
    with opened(image) as ours:
        assert compare(expected, describe_files(ours)) == []
    with kernel_mount(image, disk_path / "mount") as mounted:
        assert compare(expected, describe_tree(mounted)) == []
    assert not re.search("<[EW]>", run("fsck.erofs", "--extract", image))


def describe_tar(path: Path) -> Description:
    """A tar of a whole root, by the standard library; link counts are those of its names."""
    records: Description = {}
    names: dict[str, list[str]] = defaultdict(list)
    with tarfile.open(path, encoding="latin-1") as tar:
        for member in tar:
            name = "/" + member.name.removeprefix(".").strip("/")
            if member.islnk():
                first = "/" + member.linkname.removeprefix(".").strip("/")
                records[name] = dict(records[first], path=name)
                names[first].append(name)
                continue
            names[name].append(name)
            records[name] = describe_member(name, member, tar)
    for record in records.values():
        if stat.S_ISDIR(record["mode"]):
            record["nlink"] = 2
    for name, record in records.items():
        if name != "/" and stat.S_ISDIR(record["mode"]):
            records[os.path.dirname(name)]["nlink"] += 1
    for group in names.values():
        if len(group) > 1:
            for name in group:
                records[name].update(nlink=len(group), link_group=min(group))
    return records


TYPES = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


def describe_member(name: str, member: tarfile.TarInfo, tar: tarfile.TarFile) -> dict[str, Any]:
    seconds = Decimal(member.pax_headers.get("mtime", str(member.mtime)))
    record: dict[str, Any] = {
        "path": name,
        "mode": member.mode | TYPES[member.type],
        "uid": member.uid,
        "gid": member.gid,
        "mtime_ns": int(seconds * 1_000_000_000),
        "nlink": 1,
    }
    if member.isreg():
        data = tar.extractfile(member)
        assert data is not None
        record.update(size=member.size, sha256=hashlib.file_digest(data, "sha256").hexdigest())
    elif member.issym():
        record["target"] = member.linkname
    elif member.isdev() and not member.isfifo():
        record["rdev"] = [member.devmajor, member.devminor]
    prefix = "SCHILY.xattr."
    xattrs = {
        key.removeprefix(prefix): value
        for key, value in member.pax_headers.items()
        if key.startswith(prefix)
    }
    return record | ({"xattrs": xattrs} if xattrs else {})
