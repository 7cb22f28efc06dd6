"""Tars of every dialect become the tree that the tool that wrote them was given."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import (
    compare,
    describe_tree,
    describe_tree_object,
    require,
    require_debian_root,
    require_root,
    run,
)
from iasfs import paths
from iasfs.blob import BytesBlob, FileBlob, SparseBlob
from iasfs.tree import Node, Tree
from iasfs.write.tar import read_tar
from tarmaker import content_of

# Tools and the trees they are given.


def gnu_tar(files: Path, *options: str) -> Tree:
    """What GNU tar makes of a directory, read back."""
    archive = files.with_suffix(".tar")
    order = ["--sort=name", "--numeric-owner"]
    run(require("tar"), "-cf", archive, *order, *options, "-C", files, ".")
    return read_tar(FileBlob(archive))


def bsd_tar(files: Path, *options: str) -> Tree:
    """What libarchive's tar makes of a directory, read back."""
    archive = files.with_suffix(".tar")
    run(require("bsdtar"), "-cf", archive, "--numeric-owner", *options, "-C", files, ".")
    return read_tar(FileBlob(archive))


def same(tree: Tree, files: Path, *ignore: str) -> None:
    """A tree is what the directory is."""
    assert compare(describe_tree_object(tree), describe_tree(files), ignore=ignore) == []


@pytest.fixture
def files(disk_path: Path) -> Path:
    """An empty directory for the files to be archived."""
    path = disk_path / "files"
    path.mkdir()
    return path


def touch(path: Path, *, mtime_ns: int = 1_600_000_000_000_000_000) -> None:
    os.utime(path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)


def fill(
    root: Path, *, name_max: int, special: bool = True, odd: bool = True, links: bool = True
) -> None:
    """Files of all kinds, with whole seconds and names up to ``name_max`` bytes.

    Some tools balk at devices (``special``), names that are not UTF-8 (``odd``) or symbolic
    links with several names (``links``).
    """
    require_root()
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "empty-dir").mkdir(mode=0o1777)
    sizes = [0, 1, 511, 512, 513, 10240, 100_001]
    for size in sizes:
        (root / "dir" / f"size-{size}").write_bytes(bytes(i % 251 for i in range(size)))
    (root / "dir" / "hard").hardlink_to(root / "dir" / "size-513")
    (root / "a-hard").hardlink_to(root / "dir" / "size-513")
    (root / "link").symlink_to("dir/size-1")
    if links:
        os.link(root / "link", root / "a-link", follow_symlinks=False)
    (root / "dangling").symlink_to("/no/where")
    (root / "dir" / "suid").write_bytes(b"x")
    (root / "dir" / "suid").chmod(0o6711)
    os.chown(root / "dir" / "sub", 1000, 100)
    os.chown(root / "link", 7, 8, follow_symlinks=False)
    name = "odd \udcff\udce4\n\t name" if odd else "\u00e4"
    (root / name).write_bytes(b"odd")
    where = root
    while name_max - len(os.fspath(where.relative_to(root))) > 60:
        where = where / "component-of-forty-nine-bytes-so-names-are-getting-on"[:49]
        where.mkdir()
    (where / "leaf").write_bytes(b"leaf")
    (root / "to-leaf").symlink_to(os.fspath(where / "leaf").lstrip("/")[-(name_max - 1) :])
    if special:
        os.mknod(root / "char", stat.S_IFCHR | 0o620, os.makedev(5, 1))
        os.mknod(root / "block", stat.S_IFBLK | 0o660, os.makedev(259, 70_000))
        os.mkfifo(root / "fifo", 0o600)
    for path in [root, *root.rglob("*")]:
        touch(path)


# GNU tar.


@pytest.mark.parametrize(
    ("form", "name_max", "special"),
    [
        ("v7", 90, False),
        ("ustar", 90, True),
        ("ustar", 150, True),
        ("oldgnu", 1000, True),
        ("gnu", 1000, True),
        ("posix", 1000, True),
    ],
)
def test_gnu_tar(files: Path, form: str, name_max: int, special: bool) -> None:
    if form == "ustar" and name_max > 100:
        fill(files, name_max=99, special=special)
        deep = files / ("d" * 60) / ("e" * 60)
        deep.mkdir(parents=True)
        (deep / ("f" * 30)).write_bytes(b"deep")
        for path in [files, *files.rglob("*")]:
            touch(path)
    else:
        fill(files, name_max=name_max, special=special)
    same(gnu_tar(files, f"--format={form}"), files)


@pytest.mark.parametrize("form", ["gnu", "oldgnu", "posix"])
def test_gnu_tar_large_numbers(files: Path, form: str) -> None:
    """Owners over 2^21, times before 1970 and after 2242."""
    require_root()
    for name, uid, mtime in [("a", 2**21, -1), ("b", 2**32 - 2, 2**34), ("c", 0, -(2**31))]:
        (files / name).touch()
        os.chown(files / name, uid, uid)
        touch(files / name, mtime_ns=mtime * 10**9)
    touch(files)
    same(gnu_tar(files, f"--format={form}"), files)


def test_gnu_tar_keeps_nanoseconds_in_pax(files: Path) -> None:
    for name, ns in [("a", 1_700_000_000_123_456_789), ("b", -1_500_000_000), ("c", -1), ("d", 1)]:
        (files / name).touch()
        touch(files / name, mtime_ns=ns)
    same(gnu_tar(files, "--format=posix"), files)


@pytest.mark.parametrize("xattr", [b"user.text", b"user.a=b", b"user.100%", b"user.\xc3\xa4"])
def test_gnu_tar_xattrs(files: Path, xattr: bytes) -> None:
    require_root()
    (files / "f").write_bytes(b"x")
    (files / "d").mkdir()
    (files / "s").symlink_to("f")
    for name in ("f", "d"):
        os.setxattr(files / name, xattr, b"\0\xff=\n value" * 20)
        os.setxattr(files / name, "user.empty", b"")
        os.setxattr(files / name, "trusted.t", b"trusted")
    os.setxattr(files / "s", "trusted.t", b"of a link", follow_symlinks=False)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(files / "f", "security.capability", capability)
    same(gnu_tar(files, "--format=posix", "--xattrs", "--xattrs-include=*"), files)


def set_acls(files: Path) -> None:
    setfacl = require("setfacl")
    (files / "f").write_bytes(b"x")
    (files / "plain").write_bytes(b"x")
    (files / "d").mkdir()
    run(setfacl, "-m", "u:70000:r-x,g:70005:-w-,u:70003:---", files / "f")
    run(setfacl, "-m", "u:70001:rwx", files / "d")
    run(setfacl, "-d", "-m", "u:70002:rw-,g:70006:r--", files / "d")
    (files / "minimal").mkdir()
    run(setfacl, "-d", "-m", "g::rwx", files / "minimal")


def test_gnu_tar_acls(files: Path) -> None:
    require_root()
    set_acls(files)
    same(gnu_tar(files, "--format=posix", "--acls"), files)


def punch(path: Path, size: int, pieces: list[tuple[int, int]]) -> bytes:
    content = bytearray(size)
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, length in pieces:
            data = os.urandom(length)
            content[offset : offset + length] = data
            file.seek(offset)
            file.write(data)
    return bytes(content)


SPARSE = {
    "hole": (1 << 20, []),
    "begin": (1 << 20, [(0, 4096)]),
    "middle": (1 << 20, [(65536, 8192)]),
    "end": (1 << 20, [((1 << 20) - 4096, 4096)]),
    "odd": (1_000_003, [(4096, 4096), (1_000_000, 3)]),
    "four": (1 << 20, [(at << 16, 4096) for at in range(1, 5)]),
    "some": (2 << 20, [(at << 16, 4096) for at in range(1, 26)]),
    "many": (8 << 20, [(at << 14, 4096) for at in range(400)]),
    "GNU.sparse.name" * 10: (1 << 20, [(65536, 8192)]),
}


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=oldgnu"],
        ["--format=posix", "--sparse-version=0.0"],
        ["--format=posix", "--sparse-version=0.1"],
        ["--format=posix", "--sparse-version=1.0"],
    ],
    ids=" ".join,
)
def test_gnu_tar_sparse(files: Path, options: list[str]) -> None:
    """Contents are right, and holes are holes."""
    truth = {name: punch(files / name, size, pieces) for name, (size, pieces) in SPARSE.items()}
    tree = gnu_tar(files, "--sparse", *options)
    same(tree, files, "mtime_ns")
    for name, content in truth.items():
        node = tree.get(name)
        assert content_of(node) == content
        assert node is not None
        if (files / name).stat().st_blocks * 512 < len(content) // 2:
            assert isinstance(node.content, SparseBlob)
            assert sum(size for _, size in node.content.ranges) < len(content) // 2


def test_gnu_tar_incremental(files: Path) -> None:
    """A dump lists what a directory holds (``D``): the list is not content."""
    fill(files, name_max=300)
    tree = gnu_tar(files, "--format=gnu", f"--listed-incremental={files.with_suffix('.snar')}")
    same(tree, files)


def test_gnu_tar_label(files: Path) -> None:
    (files / "f").write_bytes(b"x")
    same(gnu_tar(files, "--format=gnu", "--label=a volume"), files, "mtime_ns")
    same(gnu_tar(files, "--format=posix", "--label=a volume"), files)


def test_gnu_tar_global_header(files: Path) -> None:
    (files / "f").write_bytes(b"x")
    tree = gnu_tar(files, "--format=posix", "--pax-option=globexthdr.name=g,comment=hello,uid=77")
    assert [node.uid for _, node in tree.walk()] == [77, 77]


def test_gnu_tar_appended_and_updated(files: Path) -> None:
    """The last member of a name counts."""
    (files / "f").write_bytes(b"old")
    archive = files.with_suffix(".tar")
    run(require("tar"), "-cf", archive, "-C", files, ".")
    (files / "f").write_bytes(b"new, longer")
    run("tar", "-rf", archive, "-C", files, "./f")
    tree = read_tar(FileBlob(archive))
    assert content_of(tree.get("f")) == b"new, longer"


def test_a_debian_root() -> None:
    """Thirteen thousand members, and the names are those that GNU tar finds."""
    path = require_debian_root()
    tree = read_tar(FileBlob(path))
    names = run(require("tar"), "-tf", path, "--quoting-style=literal").splitlines()
    assert len(tree) == len({"." if name in ("./", "/") else name.strip("./") for name in names})
    tree.check()


# libarchive's tar.


@pytest.mark.parametrize(
    ("form", "name_max", "special"),
    [("v7", 90, False), ("ustar", 90, True), ("gnutar", 1000, True), ("pax", 1000, True)],
)
def test_bsd_tar(files: Path, form: str, name_max: int, special: bool) -> None:
    fill(files, name_max=name_max, special=special)
    if form == "ustar":
        os.unlink(files / "block")  # its minor number does not fit the field
        touch(files)
    same(bsd_tar(files, f"--format={form}"), files)


def test_bsd_tar_xattrs_and_acls(files: Path) -> None:
    require_root()
    set_acls(files)
    os.setxattr(files / "f", "user.\u00e4 %=", b"\0\xff value")
    os.setxattr(files / "f", "user.empty", b"")
    os.setxattr(files / "d", "trusted.x", b"1234")
    touch(files / "f", mtime_ns=1_700_000_000_123_456_789)
    same(bsd_tar(files, "--format=pax", "--xattrs", "--acls"), files)
    for header in ("LIBARCHIVE", "SCHILY"):
        same(bsd_tar(files, "--format=pax", f"--options=xattrheader={header}"), files)


def test_bsd_tar_sparse(files: Path) -> None:
    truth = {name: punch(files / name, size, pieces) for name, (size, pieces) in SPARSE.items()}
    tree = bsd_tar(files, "--format=pax", "--read-sparse")
    assert {name: content_of(tree.get(name)) for name in truth} == truth


def test_bsd_tar_converts_gnu_tar(files: Path, disk_path: Path) -> None:
    """From archive to archive: nothing in between depends on a file system."""
    fill(files, name_max=500, odd=False)
    archive = disk_path / "first.tar"
    run(require("tar"), "-cf", archive, "--format=posix", "-C", files, ".")
    second = disk_path / "second.tar"
    run("env", "LC_ALL=C.UTF-8", require("bsdtar"), "-cf", second, "--format=pax", f"@{archive}")
    same(read_tar(FileBlob(second)), files)


# Python's tarfile.

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.mark.parametrize("form", FORMATS)
def test_tarfile(files: Path, form: str) -> None:
    fill(files, name_max=90 if form == "ustar" else 1000, links=False)
    if form == "ustar":
        os.unlink(files / "block")
        touch(files)
    archive = files.with_suffix(".tar")
    with tarfile.open(archive, "w", format=FORMATS[form], encoding="utf-8") as writer:
        writer.add(files, ".")
    same(read_tar(FileBlob(archive)), files)


NAMES = st.binary(min_size=1, max_size=8).map(
    lambda name: name.replace(b"/", b"_").replace(b"\0", b"-")
)
PATHS = (
    st.lists(NAMES.filter(lambda name: name not in (b".", b"..")), min_size=1, max_size=4)
    .map(b"/".join)
    .flatmap(lambda path: st.sampled_from([path, b"./" + path, b"/" + path, path + b"x" * 120]))
)
TARGETS = st.binary(min_size=1, max_size=200).map(lambda target: target.replace(b"\0", b"-"))


@st.composite
def members(draw: st.DrawFn) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Members with parents of their own, so that no name means two things."""
    result = []
    for number, path in enumerate(draw(st.lists(PATHS, max_size=6))):
        head, _, tail = path.rpartition(b"/")
        name = b"/".join(filter(None, [b"%d" % number, head.strip(b"/."), tail]))
        info = tarfile.TarInfo(paths.decode(name))
        info.type = draw(
            st.sampled_from(
                (
                    tarfile.REGTYPE,
                    tarfile.DIRTYPE,
                    tarfile.SYMTYPE,
                    tarfile.LNKTYPE,
                    tarfile.CHRTYPE,
                    tarfile.FIFOTYPE,
                )
            )
        )
        data = b""
        if info.type == tarfile.REGTYPE:
            data = draw(st.binary(max_size=1500))
            info.size = len(data)
        elif info.type == tarfile.SYMTYPE:
            info.linkname = paths.decode(draw(TARGETS))
        elif info.type == tarfile.CHRTYPE:
            info.devmajor, info.devminor = draw(st.tuples(*[st.integers(0, 4095)] * 2))
        elif info.type == tarfile.LNKTYPE:
            earlier = [other.name for other, _ in result if other.type != tarfile.DIRTYPE]
            if not earlier:
                continue
            info.linkname = draw(st.sampled_from(earlier))
        info.mode = draw(st.integers(0, 0o7777))
        info.uid, info.gid = draw(st.tuples(*[st.integers(0, 2**32 - 1)] * 2))
        info.mtime = draw(st.integers(-(2**40), 2**40))
        result.append((info, data))
    return result


def expected(entries: list[tuple[tarfile.TarInfo, bytes]]) -> Tree:
    kinds = {b"0": stat.S_IFREG, b"5": stat.S_IFDIR, b"2": stat.S_IFLNK, b"3": stat.S_IFCHR}
    tree = Tree()
    for info, data in entries:
        if info.type == tarfile.LNKTYPE:
            target = tree.get(info.linkname)
            assert target is not None
            tree.add(info.name, target)
            continue
        kind = kinds.get(info.type, stat.S_IFIFO)
        node = Node(kind | info.mode, info.uid, info.gid, int(info.mtime) * 10**9)
        node.content = BytesBlob(data)
        node.target = paths.encode(info.linkname)
        node.rdev = os.makedev(info.devmajor, info.devminor)
        tree.add(info.name, node)
    return tree


@given(members(), st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_random_members(entries: list[tuple[tarfile.TarInfo, bytes]], form: int) -> None:
    file = io.BytesIO()
    with tarfile.open(
        fileobj=file, mode="w", format=form, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    tree = read_tar(BytesBlob(file.getvalue()))
    truth = expected(entries)
    assert compare(describe_tree_object(tree), describe_tree_object(truth)) == []
