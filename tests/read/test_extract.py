"""extract: an image becomes files of a directory, and nothing outside of it changes."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers import (
    compare,
    describe_tree,
    describe_tree_object,
    disk_directory,
    load_description,
    require_root,
    require_vectors,
)
from iasfs.blob import BytesBlob, FileBlob, SparseBlob
from iasfs.errors import FormatError, IasfsError, StorageError
from iasfs.format import disk
from iasfs.format.dirent import Entry
from iasfs.read import extract as module
from iasfs.read.extract import Extracted, extract
from iasfs.read.image import Image
from iasfs.testing import FaultyBlob, content
from iasfs.tree import Node, Tree
from trees import (
    ACL,
    CAPABILITY,
    NS,
    PROFILES,
    PatternBlob,
    directory,
    file,
    image_of,
    local_tree,
    packed,
    symlink,
    tree_of,
)

NOBODY = 65534


@contextmanager
def nobody() -> Iterator[None]:
    """Without privileges: root acts as somebody else, anybody else stays what they are."""
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def anyones_path() -> Iterator[Path]:
    """A directory for :func:`nobody`, on a real file system."""
    path = disk_directory()
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    try:
        yield Path(path)
    finally:
        for folder, _, _ in os.walk(path):
            os.chmod(folder, 0o700)
        shutil.rmtree(path)


def nodes(*entries: Entry) -> Any:
    """What stands in for the directories of an image, which has but the root."""

    class Directories:
        def entries(self, directory: object) -> Iterator[Entry]:
            yield from entries

    return Directories()


# --- what comes back -----------------------------------------------------------------------------


def test_a_tree_comes_back(disk_path: Path) -> None:
    """Types, modes, owners, times, attributes, links, devices and contents are as in the tree."""
    require_root()
    tree = local_tree()
    skipped: list[tuple[str, str]] = []
    done = extract(
        image_of(tree), disk_path / "out", on_skip=lambda path, what: skipped.append((path, what))
    )
    assert not skipped
    differences = compare(
        describe_tree_object(tree), describe_tree(disk_path / "out"), ignore=["nlink"]
    )
    assert not differences
    names = [node for _, node in tree.walk()]
    once = {id(node): node for node in names}.values()
    assert done == Extracted(
        directories=sum(node.is_dir for node in once),
        files=sum(node.is_file for node in once),
        symlinks=sum(node.is_symlink for node in once),
        specials=sum(not (node.is_dir or node.is_file or node.is_symlink) for node in once),
        links=len(names) - len(once),
        size=sum(node.content.size for node in once if node.is_file),
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_every_layout_comes_back(profile: str, tmp_path: Path) -> None:
    tree = Tree(local_tree().get("sizes"))
    extract(image_of(tree, **PROFILES[profile]), tmp_path / "out", same_owner=False)
    expected = describe_tree_object(tree)
    assert not compare(
        expected, describe_tree(tmp_path / "out"), ignore=["nlink", "uid", "gid", "xattrs"]
    )


@pytest.mark.parametrize("name", ["plain", "chunk4k", "zstd_allfrag", "lzma_64k", "multi_alg"])
def test_images_of_another_tool_come_back(name: str, disk_path: Path) -> None:
    require_root()
    vectors = require_vectors()
    with Image(FileBlob(vectors / f"{name}.erofs")) as image:
        extract(image, disk_path / "out")
    expected = load_description(vectors / "tree.jsonl")
    assert not compare(expected, describe_tree(disk_path / "out"), ignore=["nlink"])


def test_a_file_is_put_under_its_own_name(tmp_path: Path) -> None:
    image = image_of(tree_of({"etc/motd": b"hi", "link": symlink(b"etc/motd")}))
    extract(image, tmp_path / "one", "/etc/motd", same_owner=False)
    extract(image, tmp_path / "one", "link", same_owner=False)
    assert sorted(os.listdir(tmp_path / "one")) == ["link", "motd"]
    assert (tmp_path / "one/link").read_bytes() == b"hi"


def test_a_directory_becomes_the_target(tmp_path: Path) -> None:
    tree = tree_of({"usr": directory(0o750, mtime_ns=5 * NS), "usr/bin/a": b"a", "etc/b": b"b"})
    tree.add("bin", symlink(b"usr/bin"))
    done = extract(image_of(tree), tmp_path / "usr", b"/usr", same_owner=False)
    assert done == Extracted(directories=2, files=1, size=1)
    status = os.stat(tmp_path / "usr")
    assert stat.S_IMODE(status.st_mode) == 0o750
    assert status.st_mtime_ns == 5 * NS
    extract(image_of(tree), tmp_path / "bin", "/bin", same_owner=False)
    assert os.listdir(tmp_path / "bin") == ["a"]


def test_the_target_may_be_a_link_to_a_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    extract(image_of(tree_of({"a": b"a"})), tmp_path / "link", same_owner=False)
    assert os.listdir(tmp_path / "real") == ["a"]


def test_what_is_not_in_the_image_makes_no_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        extract(image_of(Tree()), tmp_path / "out", "/nothing")
    assert caught.value.filename == "/nothing"
    assert not (tmp_path / "out").exists()


def test_holes_and_zeros_become_holes(disk_path: Path) -> None:
    runs = [(5000, BytesBlob(b"a" * 9000)), ((60 << 20) + 1, BytesBlob(b"b" * 100))]
    holes = SparseBlob(100 << 20, runs)
    zeros = b"x" * 8192 + bytes(1 << 20) + b"y" * 100 + bytes(1 << 20)
    image = image_of(tree_of({"holes": holes, "zeros": zeros, "only": bytes(300_000)}))
    extract(image, disk_path / "out", same_owner=False)
    out = disk_path / "out"
    assert (out / "zeros").read_bytes() == zeros
    assert (out / "only").read_bytes() == bytes(300_000)
    with open(out / "holes", "rb") as opened:
        assert os.fstat(opened.fileno()).st_size == 100 << 20
        for offset, blob in runs:
            opened.seek(offset - 10)
            assert opened.read(blob.size + 20) == bytes(10) + blob.read_at(0, blob.size) + bytes(10)
    for name, most in (("holes", 32 << 10), ("zeros", 32 << 10), ("only", 0)):
        assert os.stat(out / name).st_blocks * 512 <= most


def test_a_file_larger_than_a_batch(tmp_path: Path) -> None:
    blob = PatternBlob(2 * module.BATCH_SIZE + 12345)
    extract(image_of(tree_of({"a": b"a", "large": blob, "z": b"z"})), tmp_path / "out")
    with open(tmp_path / "out/large", "rb") as opened:
        for offset in range(0, blob.size, 1 << 20):
            size = min(1 << 20, blob.size - offset)
            assert opened.read(size) == blob.read_at(offset, size)
        assert not opened.read()
    assert (tmp_path / "out/z").read_bytes() == b"z"


def test_any_number_of_files_takes_few_descriptors(tmp_path: Path) -> None:
    """Neither the depth of the tree nor the length of a path is limited."""
    depth, wide = 1100, 500
    tree = tree_of({depth * "down/" + "leaf": b"leaf"})
    for number in range(wide):
        tree.add(f"many/{number}", file(b"%d" % number))
    image = image_of(tree)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + module.BATCH_FILES + 10, limits[1]))
    try:
        done = extract(image, tmp_path / "out", same_owner=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert done == Extracted(directories=depth + 2, files=wide + 1, size=4 + 10 + 180 + 1200)
    found = subprocess.run(
        ["find", ".", "-name", "leaf", "-execdir", "cat", "{}", ";"],
        cwd=tmp_path / "out",
        capture_output=True,
        check=True,
    )
    assert found.stdout == b"leaf"
    subprocess.run(["rm", "-rf", tmp_path / "out"], check=True)  # rmtree recurses


def test_progress_counts_names(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    image = image_of(tree_of({f"d/{number}": b"" for number in range(200)}))
    extract(image, tmp_path / "a", progress=lambda *done: seen.append(done))
    assert seen == [(64, 202), (128, 202), (192, 202)]
    seen.clear()
    extract(image, tmp_path / "b", "/d", progress=lambda *done: seen.append(done))
    assert seen == [(64, None), (128, None), (192, None)]


# --- privileges ----------------------------------------------------------------------------------


def test_without_privileges_the_rest_comes_back(anyones_path: Path) -> None:
    """What only root may make is reported and left out, everything else is there."""
    tree = tree_of(
        {
            "closed": directory(0o500, uid=1, mtime_ns=7 * NS),
            "closed/file": file(b"x", 0o400, xattrs={b"user.a": b"1", b"trusted.b": b"2"}),
            "null": Node(stat.S_IFCHR | 0o666, rdev=os.makedev(1, 3)),
            "fifo": Node(stat.S_IFIFO | 0o640),
            "socket": Node(stat.S_IFSOCK | 0o600),
            "su": file(b"su", 0o4755, uid=0, mtime_ns=3),
            "ping": file(b"ping", 0o755, xattrs={b"security.capability": CAPABILITY}),
            "link": symlink(b"su", uid=9, mtime_ns=8),
        }
    )
    null = tree.get("null")
    assert null is not None
    tree.add("other-null", null)
    skipped: dict[str, str] = {}
    image = image_of(tree)
    with nobody():
        done = extract(image, anyones_path / "out", on_skip=skipped.__setitem__)
        found = describe_tree(anyones_path / "out")
    if os.geteuid() == 0:
        assert {record["uid"] for record in found.values()} == {NOBODY}
    assert found["/closed"]["mode"] == stat.S_IFDIR | 0o500
    assert found["/closed"]["mtime_ns"] == 7 * NS
    assert found["/closed/file"]["xattrs"] == {"user.a": "1"}
    assert found["/su"]["mode"] == stat.S_IFREG | 0o755
    assert found["/link"]["mtime_ns"] == 8
    assert found["/fifo"]["mode"] == stat.S_IFIFO | 0o640
    assert stat.S_ISSOCK(found["/socket"]["mode"])
    assert "/null" not in found
    assert set(skipped) == {"/closed/file", "/null", "/other-null", "/su", "/ping"}
    assert skipped["/closed/file"].startswith("the attribute trusted.b:")
    assert done.skipped == 5
    assert done.failed == 0


def test_root_may_keep_what_it_extracts(tmp_path: Path) -> None:
    require_root()
    image = image_of(tree_of({"su": file(b"", 0o6755, uid=5, gid=6), "own": file(b"", 0o4755)}))
    extract(image, tmp_path / "out", same_owner=False)
    su, own = os.stat(tmp_path / "out/su"), os.stat(tmp_path / "out/own")
    assert (su.st_uid, su.st_gid, stat.S_IMODE(su.st_mode)) == (0, 0, 0o755)
    assert stat.S_IMODE(own.st_mode) == 0o4755  # of the same owner: no harm


def test_an_owner_that_no_file_can_have_is_skipped(tmp_path: Path) -> None:
    require_root()
    image = image_of(tree_of({"a": file(b"", 0o4711, uid=(1 << 32) - 1, gid=7)}))
    skipped: list[str] = []
    extract(image, tmp_path / "out", on_skip=lambda path, what: skipped.append(what))
    assert [what[:9] for what in skipped] == ["the owner", "setuid an"]
    assert stat.S_IMODE(os.stat(tmp_path / "out/a").st_mode) == 0o711


def test_attributes_that_the_system_refuses_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "setxattr", refuse)
    image = image_of(tree_of({"a": file(b"a", xattrs={b"user.x": b"1", b"user.y": b"2"})}))
    skipped: list[tuple[str, str]] = []
    done = extract(image, tmp_path / "out", on_skip=lambda *skip: skipped.append(skip))
    assert [path for path, _ in skipped] == ["/a", "/a"]
    assert done.skipped == 2
    assert (tmp_path / "out/a").read_bytes() == b"a"


def test_an_acl_and_a_capability_survive_owner_and_mode(disk_path: Path) -> None:
    require_root()
    xattrs = {b"system.posix_acl_access": ACL, b"security.capability": CAPABILITY}
    image = image_of(tree_of({"a": file(b"a", 0o2664, uid=3, gid=4, xattrs=xattrs)}))
    extract(image, disk_path / "out")
    path = disk_path / "out/a"
    assert os.getxattr(path, "security.capability") == CAPABILITY
    assert os.getxattr(path, "system.posix_acl_access") == ACL
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o2664


# --- nothing outside -----------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory with a file that no extraction may touch."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "victim").write_bytes(b"as it was")
    (path / "victim").chmod(0o600)
    os.utime(path, ns=(1, 1))
    before = describe_tree(path)
    yield path
    assert not compare(before, describe_tree(path))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_in_the_target_is_not_followed(
    overwrite: bool, tmp_path: Path, outside: Path
) -> None:
    """A directory, a file, a device, all are made new or not at all, whatever was there."""
    target = tmp_path / "out"
    target.mkdir()
    tree = tree_of({"etc/victim": b"new", "victim": b"new", "dangling": b"new"})
    tree.add("fifo", Node(stat.S_IFIFO | 0o666))
    tree.add("link", symlink(b"/nowhere"))
    victim = tree.get("victim")
    assert victim is not None
    tree.add("other-victim", victim)
    (target / "etc").symlink_to(outside)
    for name in ("victim", "fifo", "link", "other-victim"):
        (target / name).symlink_to(outside / "victim")
    (target / "dangling").symlink_to(outside / "new")
    errors: list[OSError | IasfsError] = []
    extract(image_of(tree), target, overwrite=overwrite, on_error=errors.append)
    if overwrite:
        assert not errors
        assert (target / "etc").is_dir()
        assert not (target / "etc").is_symlink()
        for name in ("etc/victim", "victim", "dangling", "other-victim"):
            assert (target / name).read_bytes() == b"new"
        assert os.readlink(target / "link") == "/nowhere"
    else:
        assert all(isinstance(error, FileExistsError) for error in errors)
        names = ["dangling", "etc", "fifo", "link", "other-victim", "victim"]
        assert [error.filename for error in errors if isinstance(error, OSError)] == [
            str(target / name) for name in names
        ]
        assert all((target / name).is_symlink() for name in names)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_in_the_image_is_not_followed(
    overwrite: bool, tmp_path: Path, outside: Path
) -> None:
    """One name, first a link that leads out and then a directory: nothing goes through it."""
    tree = tree_of({"link": symlink(os.fsencode(outside)), "sub/victim": b"new"})
    image = image_of(tree)
    link, sub = image.inode("/link", False), image.inode("/sub")
    entries = {
        image.superblock.root_nid: [Entry(b"a", link.nid, 0), Entry(b"a", sub.nid, 0)],
        sub.nid: [Entry(b"victim", image.inode("/sub/victim").nid, 0)],
    }

    class Directories:
        def entries(self, directory: Any) -> Iterator[Entry]:
            yield from entries[directory.nid]

    image.directories = Directories()  # type: ignore[assignment]
    if overwrite:
        extract(image, tmp_path / "out", overwrite=True)
        assert (tmp_path / "out/a/victim").read_bytes() == b"new"
    else:
        with pytest.raises(FileExistsError):
            extract(image, tmp_path / "out")


@pytest.mark.parametrize("name", [b"", b"/", b"a/b", b"../victim", b"/etc/motd", b"a\0"])
def test_names_that_are_paths_are_refused(name: bytes, tmp_path: Path, outside: Path) -> None:
    image = image_of(tree_of({"file": b"x"}))
    image.directories = nodes(Entry(name, image.inode("/file").nid, 1))
    with pytest.raises(FormatError, match="cannot be the name"):
        extract(image, tmp_path / "out", same_owner=False)
    assert os.listdir(tmp_path / "out") == []


def test_dots_lead_nowhere(tmp_path: Path, outside: Path) -> None:
    image = image_of(tree_of({"file": b"x"}))
    nid = image.inode("/file").nid
    image.directories = nodes(Entry(b".", nid, 1), Entry(b"..", nid, 1), Entry(b"...", nid, 1))
    extract(image, tmp_path / "out", same_owner=False)
    assert os.listdir(tmp_path / "out") == ["..."]


def test_a_directory_has_one_name(tmp_path: Path) -> None:
    """A ring of directories has no end, so none is gone into twice."""
    tree = tree_of({"a/b/file": b"x", "c": directory()})
    data = bytearray(packed(tree))
    data[1024 + 8] &= ~disk.FEATURE_COMPAT_SB_CHKSUM
    image = Image(BytesBlob(bytes(data)))
    a, b, c = (image.inode(path).nid for path in ("/a", "/a/b", "/c"))
    for nid in (b, c):  # of all entries with this nid make one for /a
        data = data.replace(nid.to_bytes(8, "little"), a.to_bytes(8, "little"))
    image = Image(BytesBlob(bytes(data)))
    with pytest.raises(FormatError, match="two names") as caught:
        extract(image, tmp_path / "first", same_owner=False)
    assert caught.value.path == "/a/b"
    errors: list[OSError | IasfsError] = []
    extract(image, tmp_path / "all", same_owner=False, on_error=errors.append)
    assert [error.path for error in errors if isinstance(error, FormatError)] == ["/a/b", "/c"]


def test_a_directory_that_is_moved_away_ends_it(tmp_path: Path, outside: Path) -> None:
    """Up is where it came from, or nowhere."""
    tree = tree_of({f"deep/down/{number:03}": b"" for number in range(100)})
    tree.add("z", file(b"z"))

    def move(done: int, total: int | None) -> None:
        (tmp_path / "out/deep/down").rename(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="moved") as caught:
        extract(image_of(tree), tmp_path / "out", progress=move, same_owner=False)
    assert caught.value.errno == errno.ESTALE
    assert caught.value.filename == str(tmp_path / "out/deep")


# --- what is there already -----------------------------------------------------------------------


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "b").write_bytes(b"old")
    image = image_of(tree_of({"a": b"new", "b": b"new", "c": b"new"}))
    with pytest.raises(FileExistsError) as caught:
        extract(image, target)
    assert caught.value.filename == str(target / "b")
    assert (target / "b").read_bytes() == b"old"
    assert sorted(os.listdir(target)) == ["b"]  # what waited for its content has no name


def test_a_directory_that_is_there_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "out/a").mkdir(parents=True)
    with pytest.raises(FileExistsError):
        extract(image_of(tree_of({"a/b": b""})), tmp_path / "out")
    assert os.listdir(tmp_path / "out/a") == []


def test_nothing_is_linked_to_what_was_there(tmp_path: Path) -> None:
    """If the first name is taken, the second is a file of its own."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "a").write_bytes(b"old")
    image = image_of(tree_of(dict.fromkeys("abc", file(b"new"))))
    errors: list[OSError | IasfsError] = []
    done = extract(image, target, on_error=errors.append)
    assert [type(error) for error in errors] == [FileExistsError]
    assert (done.files, done.links) == (1, 1)
    assert (target / "a").read_bytes() == b"old"
    assert (target / "b").read_bytes() == (target / "c").read_bytes() == b"new"


def test_overwrite_replaces_files_and_fills_directories(tmp_path: Path) -> None:
    target = tmp_path / "out"
    (target / "dir").mkdir(parents=True)
    (target / "dir/kept").write_bytes(b"kept")
    (target / "file").write_bytes(b"old and longer")
    os.link(target / "file", tmp_path / "shared")
    (target / "was-file").write_bytes(b"")
    tree = tree_of({"dir/new": b"new", "file": b"new", "was-file/a": b"a"})
    tree.add("dir", directory(0o711))
    extract(image_of(tree), target, overwrite=True, same_owner=False)
    assert sorted(os.listdir(target / "dir")) == ["kept", "new"]
    assert stat.S_IMODE(os.stat(target / "dir").st_mode) == 0o711
    assert (target / "file").read_bytes() == b"new"
    assert (tmp_path / "shared").read_bytes() == b"old and longer"
    assert (target / "was-file/a").read_bytes() == b"a"


def test_overwrite_removes_no_directory(tmp_path: Path) -> None:
    (tmp_path / "out/a").mkdir(parents=True)
    with pytest.raises(IsADirectoryError) as caught:
        extract(image_of(tree_of({"a": b""})), tmp_path / "out", overwrite=True)
    assert caught.value.filename == str(tmp_path / "out/a")


# --- errors --------------------------------------------------------------------------------------


def damaged_image() -> Image:
    """``/bad`` (also ``/other``) cannot be decoded; ``/good`` and ``/sub/good`` can."""
    text = b"".join(b"line %d\n" % number for number in range(40_000))
    tree = tree_of({"bad": text, "good": b"good" * 10, "sub/good": b"good" * 20})
    bad = tree.get("bad")
    assert bad is not None
    tree.add("other", bad)
    data = bytearray(packed(tree, compression="zstd", pack_limit=0))
    image = Image(BytesBlob(bytes(data)))
    extent = image.volume.extents(image.inode("/bad"))[0]
    data[extent.address : extent.address + extent.stored] = b"\xff" * extent.stored
    return Image(BytesBlob(bytes(data)))


def test_the_first_error_ends_it(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        extract(damaged_image(), tmp_path / "out", same_owner=False)
    assert caught.value.path == "/bad"
    assert not (tmp_path / "out/bad").exists()


def test_errors_are_passed_on_and_the_rest_extracted(tmp_path: Path) -> None:
    errors: list[OSError | IasfsError] = []
    done = extract(damaged_image(), tmp_path / "out", same_owner=False, on_error=errors.append)
    assert [str(error.path) for error in errors if isinstance(error, FormatError)] == [
        "/bad",
        "/other",
    ]
    assert done == Extracted(directories=2, files=2, size=120, failed=2)
    assert sorted(os.listdir(tmp_path / "out")) == ["good", "sub"]
    assert (tmp_path / "out/sub/good").read_bytes() == b"good" * 20


def test_an_error_of_the_store_is_passed_on(tmp_path: Path) -> None:
    data = packed(tree_of({"a": content(200_000, "random"), "b": content(300_000, "random")}))
    image = Image(FaultyBlob(BytesBlob(data), ["none", *[StorageError("the store has gone")] * 9]))
    with pytest.raises(StorageError, match="has gone") as caught:
        extract(image, tmp_path / "out", same_owner=False)
    assert caught.value.path == "/a"
    assert os.listdir(tmp_path / "out") == []


def test_what_gets_no_metadata_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    tree = tree_of({"d/file": b"x", "d/link": symlink(b"x"), "d/fifo": Node(stat.S_IFIFO)})
    monkeypatch.setattr(os, "utime", fail)
    errors: list[OSError | IasfsError] = []
    done = extract(image_of(tree), tmp_path / "out", same_owner=False, on_error=errors.append)
    names = sorted(str(error.filename) for error in errors if isinstance(error, OSError))
    out = f"{tmp_path}/out"
    assert names == [out, f"{out}/d", f"{out}/d/fifo", f"{out}/d/file", f"{out}/d/link"]
    assert os.listdir(tmp_path / "out/d") == []
    assert done == Extracted(failed=5)


def test_an_error_may_be_raised_on(tmp_path: Path) -> None:
    """What ``on_error`` raises ends it, and is not taken for another error."""
    calls: list[object] = []

    def stop(error: object) -> None:
        calls.append(error)
        raise OSError(errno.ENOSPC, "enough")

    with pytest.raises(OSError, match="enough"):
        extract(damaged_image(), tmp_path / "out", same_owner=False, on_error=stop)
    assert len(calls) == 1


def test_an_interrupted_extraction_leaves_no_empty_files(tmp_path: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    image = image_of(tree_of({f"{number:03}": b"x" for number in range(100)}))
    with pytest.raises(KeyboardInterrupt):
        extract(image, tmp_path / "out", progress=interrupt)
    assert os.listdir(tmp_path / "out") == []


def test_a_file_system_with_few_links_gets_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def link_once(source: Any, *args: Any, **kwargs: Any) -> None:
        status = os.stat(source, dir_fd=kwargs["src_dir_fd"])
        if status.st_nlink == 2:
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        link(source, *args, **kwargs)

    monkeypatch.setattr(os, "link", link_once)
    node = file(b"content")
    image = image_of(tree_of(dict.fromkeys("abcde", node)))
    done = extract(image, tmp_path / "out", same_owner=False)
    assert (done.files, done.links) == (3, 2)
    groups = [os.stat(tmp_path / "out" / name).st_ino for name in "abcde"]
    assert groups[0] == groups[1] != groups[2] == groups[3] != groups[4]
    assert all((tmp_path / "out" / name).read_bytes() == b"content" for name in "abcde")


def test_a_target_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    image = image_of(Tree())
    with pytest.raises(NotADirectoryError):
        extract(image, tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        extract(image, tmp_path / "no/parent")
