"""An image answers as Linux does: paths, links, errors and results, side by side with chroot(2)."""

from __future__ import annotations

import errno
import io
import os
import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from helpers import require_root
from iasfs.blob import BytesBlob, FileBlob
from iasfs.errors import BlobNotFound, FormatError
from iasfs.format import disk, lookup, superblock
from iasfs.format.lookup import Status
from iasfs.read.image import Image
from iasfs.testing import content
from iasfs.tree import Node, Tree
from rooted import Linux, fork, inside, outcome
from trees import NS, directory, file, image_of, packed, put_on_disk, symlink, tree_of

FILES = {
    "file": file(b"content", 0o640, uid=1, gid=2, mtime_ns=1_600_000_000 * NS + 5),
    "program": file(b"#!", 0o755, xattrs={b"user.a": b"1", b"user.b": b""}),
    "dir": directory(0o750, mtime_ns=7 * NS, xattrs={b"user.d": b"2"}),
    "dir/sub/leaf": file(b"leaf" * 3000),
    "dir/empty": directory(),
    "dir/.hidden": file(b""),
    b"dir/\xff\xfe": file(b"not UTF-8"),
    "dir/é": file(b"UTF-8"),
    "n" * 255: file(b"long"),
}
LINKS = {
    "absolute": b"/dir/sub/leaf",
    "relative": b"dir/sub/leaf",
    "dir/sub/up": b"../../file",
    "out": b"../../../../file",
    "dir/sub/far-out": b"/../../../file",
    "to-dir": b"dir",
    "to-dir-slash": b"dir/",
    "to-dir-dot": b"dir/.",
    "to-dir-up": b"dir/sub/..",
    "to-file-slash": b"file/",
    "to-file-dot": b"file/.",
    "to-root": b"/",
    "to-dots": b"..",
    "dir/here": b".",
    "through": b"to-dir/sub/up",
    "odd": b"//dir///sub/./leaf",
    "dangling": b"nowhere",
    "dangling-slash": b"nowhere/",
    "dangling-deep": b"dir/nowhere/x",
    "below-file": b"file/x",
    "self": b"self",
    "ping": b"pong",
    "pong": b"ping",
    "long": b"n" * 256,
    "to-bytes": b"dir/\xff\xfe",
}
PROBES = ["", "/", ".", "..", "//", "/..", "./.", "...", "absent", "absent/", "absent/x", "n" * 256]
PROBES += ["dir/" + "n" * 256, "absent/" + "n" * 256, "file/" + "n" * 256, "to-dir/../file"]
PROBES += ["dir/sub/../../file", "file/..", "file/../file", "absent/..", "dangling/..", "self/x"]


def posix_tree() -> Tree:
    nodes = {**FILES, **{path: symlink(target) for path, target in LINKS.items()}}
    tree = tree_of(nodes)
    tree.add("dir/hard", FILES["file"])
    return tree


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all of that."""
    require_root()
    path = tmp_path_factory.mktemp("posix") / "root"
    put_on_disk(posix_tree(), path)
    return path


RESOLVERS = {
    "compiled": lookup.resolve,
    "python": lookup.resolve_py,
    "step-by-step": lambda *arguments: (Status.OUTSIDE, 0, 0, 0),
}
"""The ways to look a path up, which must not differ."""


@pytest.fixture(params=RESOLVERS)
def image(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Image:
    """An image of the same tree."""
    monkeypatch.setattr(lookup, "resolve", RESOLVERS[request.param])
    return Image(BytesBlob(posix_image()))


@cache
def posix_image() -> bytes:
    return packed(posix_tree())


@cache
def all_paths() -> tuple[str | bytes, ...]:
    """Every path, also as one may write it differently, and some that are not there."""
    found: list[str | bytes] = []
    for raw, _ in posix_tree().walk():
        base = os.fsdecode(raw).lstrip("/")
        forms = ["", "/", "/.", "/..", "/x", "//", "/sub/leaf", "/./sub/../sub/up"]
        found += [base + form for form in forms] + ["/" + base, "./" + base, "../" + base]
        found.append(raw)
    return tuple(dict.fromkeys([*found, *PROBES]))


# Of everything that these take, the image answers as Linux does.
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *((name, (), {}) for name in ("exists", "lexists", "isdir", "isfile", "islink", "readlink")),
    *(("access", (mode,), {}) for mode in (os.F_OK, os.R_OK, os.X_OK, os.R_OK | os.X_OK)),
    ("read_bytes", (), {}),
    *(("getxattr", (name,), {}) for name in ("user.a", "user.b", "user.d", b"user.a", "user.x")),
    ("getxattr", ("user.a",), {"follow_symlinks": False}),
]


@pytest.mark.parametrize(("method", "arguments", "options"), CALLS)
def test_answers_and_errors_are_those_of_linux(
    root: Path, image: Image, method: str, arguments: Any, options: dict[str, Any]
) -> None:
    """Errors with their type, ``errno`` and ``filename``."""

    def ask(files: Any) -> list[Any]:
        return [outcome(files, method, path, *arguments, **options) for path in all_paths()]

    answers = zip(all_paths(), ask(image), inside(root, lambda: ask(Linux)))
    assert [answer for answer in answers if answer[1] != answer[2]] == []


@pytest.mark.parametrize("method", ["listdir", "listxattr"])
def test_lists_are_those_of_linux(root: Path, image: Image, method: str) -> None:
    """In order, which Linux does not promise; names are bytes where the path is."""

    def ask(files: Any) -> list[Any]:
        found = [outcome(files, method, path) for path in all_paths()]
        return [sorted(answer) if isinstance(answer, list) else answer for answer in found]

    assert ask(image) == inside(root, lambda: ask(Linux))


@pytest.mark.parametrize("method", ["stat", "lstat"])
def test_stat_is_that_of_linux(root: Path, image: Image, method: str) -> None:
    """But for numbers that belong to the file system."""
    fields = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_mtime", "st_mtime_ns", "st_rdev")

    def ask(files: Any) -> list[Any]:
        found: list[Any] = []
        for path in all_paths():
            answer = outcome(files, method, path)
            if isinstance(answer, os.stat_result):
                size = () if stat.S_ISDIR(answer.st_mode) else (answer.st_size, answer[6])
                answer = *(getattr(answer, field) for field in fields), answer[8], *size
            found.append(answer)
        return found

    assert ask(image) == inside(root, lambda: ask(Linux))


def test_a_stat_result_is_complete(image: Image) -> None:
    """As far as the image knows; what it does not know is not there either."""
    found = image.stat("file")
    assert isinstance(found, os.stat_result)
    assert found == os.stat_result(tuple(found))
    assert found[:7] == (0o100640, found.st_ino, found.st_dev, 2, 1, 2, 7)
    assert found.st_mtime_ns == found.st_atime_ns == found.st_ctime_ns == 1_600_000_000 * NS + 5
    assert found.st_mtime == found.st_atime == found.st_ctime
    assert found.st_mtime == pytest.approx(1_600_000_000.000000005)
    assert (found.st_blksize, found.st_blocks, found.st_rdev) == (4096, 8, 0)
    assert found.st_ino == image.volume.inode(found.st_ino).nid
    assert image.stat("dir/hard") == found
    assert image.stat("program").st_dev == found.st_dev
    assert image.stat("program").st_ino != found.st_ino
    assert image_of(tree_of({"a": b"other"})).stat("a").st_dev != found.st_dev


def test_times_before_1970() -> None:
    image = image_of(tree_of({"a": file(mtime_ns=-1), "b": file(mtime_ns=-3 * NS // 2)}))
    assert (image.stat("a").st_mtime_ns, image.stat("a")[8]) == (-1, -1)
    assert (image.stat("b").st_mtime, image.stat("b")[8]) == (-1.5, -2)


@pytest.mark.parametrize("number", [39, 40, 41])
@pytest.mark.parametrize("resolver", RESOLVERS)
def test_forty_links_may_follow_each_other(
    resolver: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "resolve", RESOLVERS[resolver])
    links = {f"link{step}": symlink(b"link%d" % (step - 1)) for step in range(1, number + 1)}
    image = image_of(tree_of({"link0/leaf": b"leaf", **links}))
    for path in (f"link{number}", f"link{number}/", f"/./link{number}/leaf"):
        assert image.exists(path) == (number <= 40)
        if number > 40:
            with pytest.raises(OSError, match="symbolic links") as caught:
                image.stat(path)
            assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, path)


def test_paths_are_str_bytes_or_path_objects(image: Image) -> None:
    leaf = image.stat("dir/sub/leaf")
    for path in (b"dir/sub/leaf", PurePosixPath("/dir/sub/leaf"), Path("dir") / "sub" / "leaf"):
        assert image.stat(path) == leaf
    names = [b".hidden", b"empty", b"hard", b"here", b"sub", "é".encode(), b"\xff\xfe"]
    assert image.listdir(b"dir") == names
    assert image.listdir("dir") == [os.fsdecode(name) for name in names]
    assert image.listdir(Path("dir")) == image.listdir("dir")
    assert image.readlink(b"to-dir") == b"dir"
    assert image.readlink(Path("to-dir")) == "dir"
    assert image.readlink("to-bytes") == "dir/\udcff\udcfe"
    assert image.read_bytes("dir/\udcff\udcfe") == b"not UTF-8"


@pytest.mark.parametrize("path", [7, None, 1.5, ["file"]])
def test_what_is_no_path_is_a_type_error(image: Image, path: Any) -> None:
    """A number too: an image has no file descriptors."""
    for method in ("stat", "lstat", "listdir", "readlink", "read_bytes", "open", "listxattr"):
        with pytest.raises(TypeError):
            getattr(image, method)(path)


def test_a_nul_in_a_path_is_a_value_error(image: Image) -> None:
    with pytest.raises(ValueError, match="null byte"):
        image.stat("a\0b")
    assert not image.exists("a\0b")


def test_nothing_can_be_written(image: Image) -> None:
    for mode in ("wb", "w", "a", "r+b", "rb+", "x"):
        with pytest.raises(OSError, match="Read-only") as caught:
            image.open("file", mode)
        assert (caught.value.errno, caught.value.filename) == (errno.EROFS, "file")
    with pytest.raises(ValueError, match="invalid mode"):
        image.open("file", "q")
    assert not image.access("program", os.W_OK)
    assert image.access("absolute", os.F_OK, follow_symlinks=False)


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_special_files_cannot_be_opened(kind: int) -> None:
    """Linux would open what they stand for; the image has only their names."""
    image = image_of(tree_of({"special": Node(kind | 0o600)}))
    assert stat.S_IFMT(image.stat("special").st_mode) == kind
    for call in (image.open, image.read_bytes, lambda path: image.read_many([(path, 0, 1)])):
        with pytest.raises(OSError, match="special") as caught:
            call("special")
        assert (caught.value.errno, caught.value.filename) == (errno.ENXIO, "special")


def test_statvfs(image: Image) -> None:
    """The image is full, read-only, and as large as it is."""
    found = image.statvfs("dir")
    assert found.f_bsize == found.f_frsize == 4096
    assert found.f_blocks * found.f_frsize == image.size
    assert (found.f_bfree, found.f_bavail, found.f_ffree, found.f_favail) == (0, 0, 0, 0)
    assert found.f_files == image.superblock.inos >= len(FILES)
    assert found.f_flag & os.ST_RDONLY
    assert found.f_namemax == 255
    with pytest.raises(FileNotFoundError):
        image.statvfs("absent")


def test_attributes_of_links_and_targets() -> None:
    tree = tree_of({"a": file(xattrs={b"user.a": b"1", b"user.\xff": b""})})
    tree.add("link", symlink(b"a", xattrs={b"trusted.l": b"2"}))
    image = image_of(tree)
    assert image.listxattr("link") == ["user.a", "user.\udcff"]
    assert image.listxattr(b"link", follow_symlinks=False) == ["trusted.l"]
    assert image.getxattr("link", b"trusted.l", follow_symlinks=False) == b"2"
    assert image.getxattr("link", "user.\udcff") == b""
    assert image.listxattr() == []
    with pytest.raises(OSError, match="No data") as caught:
        image.getxattr("link", "trusted.l")
    assert (caught.value.errno, caught.value.filename) == (errno.ENODATA, "link")


# --- contents -----------------------------------------------------------------------------------


def test_text() -> None:
    image = image_of(tree_of({"t": "é\r\nß\n".encode(), "l": b"\xe9\n"}))
    assert image.read_text("t") == "é\r\nß\n"
    with image.open("t", "r") as text:
        assert list(text) == ["é\n", "ß\n"]
    with image.open("t", "rt", newline="") as text:
        assert text.read() == "é\r\nß\n"
    assert image.read_text("l", "latin-1") == "é\n"
    assert image.read_text("l", errors="replace") == "\ufffd\n"
    with pytest.raises(UnicodeDecodeError):
        image.read_text("l")
    with image.open("l", "r", encoding="latin-1") as text:
        assert text.readline() == "é\n"
        assert isinstance(text, io.TextIOWrapper)


def test_many_reads_at_once(image: Image) -> None:
    """In the order asked, each as a slice of the file would be."""
    reads = [("file", 0, None), ("dir/sub/leaf", 4, 8), ("absolute", 11_990, 100), ("file", 3, 0)]
    reads += [("file", 100, 5), (b"file", 100, None), ("dir/sub/leaf", 0, None)]
    leaf = b"leaf" * 3000
    assert image.read_many(reads) == [
        *(b"content", b"leafleaf", leaf[-10:], b"", b"", b"", leaf),
    ]
    assert image.read_many([]) == []
    for bad in (("file", -1, 1), ("file", 0, -1)):
        with pytest.raises(OSError, match="file") as caught:
            image.read_many([bad])
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(IsADirectoryError):
        image.read_many([("file", 0, 1), ("dir", 0, 1)])


# --- many hands ---------------------------------------------------------------------------------


def test_an_image_pickles_by_what_it_was_opened_with(tmp_path: Path) -> None:
    data = posix_image()
    (tmp_path / "i.erofs").write_bytes(data)
    for blob in (BytesBlob(data), FileBlob(tmp_path / "i.erofs")):
        with Image(blob, name="some image") as image:
            copy = pickle.loads(pickle.dumps(image))
            assert copy.name == "some image"
            assert copy.read_bytes("relative") == image.read_bytes("relative")
            assert copy.stat("file") == image.stat("file")
    os.unlink(tmp_path / "i.erofs")
    with pytest.raises(BlobNotFound):
        pickle.loads(pickle.dumps(image))


def busy_tree() -> Tree:
    return tree_of(
        {
            f"{kind}/{n}": content(30_000 * n, kind, n)
            for kind in ("text", "random")
            for n in range(1, 13)
        }
    )


def read_all(image: Image) -> list[bytes]:
    return [image.read_bytes(path) for path in image.glob("*/*")]


def test_eight_threads_read_one_image() -> None:
    image = image_of(busy_tree())
    expected = read_all(image_of(busy_tree()))
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: read_all(image), range(24)):
            assert found == expected


def test_a_forked_child_reads_on(tmp_path: Path) -> None:
    """While the parent reads too, from the same open file."""
    (tmp_path / "i.erofs").write_bytes(packed(busy_tree()))
    with Image(FileBlob(tmp_path / "i.erofs")) as image:
        expected = read_all(image)
        children = []
        for _ in range(3):
            child = fork()
            if not child:
                os._exit(read_all(image) != expected)
            children.append(child)
        assert read_all(image) == expected
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]


def test_a_closed_image_gives_an_error(tmp_path: Path) -> None:
    (tmp_path / "i.erofs").write_bytes(packed(tree_of({"a": content(1 << 20, "random")})))
    with Image(FileBlob(tmp_path / "i.erofs")) as image:
        pass
    with pytest.raises(OSError, match=r"i\.erofs"):
        image.read_bytes("a")


# --- what is refused at opening -----------------------------------------------------------------


def resealed(data: bytes, offset: int, value: bytes) -> bytes:
    """The image with some bytes of its superblock changed, and a right checksum."""
    at = 1024 + offset
    return superblock.with_checksum(data[:at] + value + data[at + len(value) :])


@pytest.mark.parametrize("nid", ["file", "outside", "empty-space"])
@pytest.mark.parametrize("field", ["root", "packed"])
def test_the_root_and_the_packed_inode_are_sound(field: str, nid: str) -> None:
    data, image = posix_image(), Image(BytesBlob(posix_image()))
    offset, size = (14, 2) if field == "root" else (96, 8)
    wrong = "dir" if field == "packed" else "file"
    number = {"file": image.stat(wrong).st_ino, "outside": 0xFFFF, "empty-space": 1}[nid]
    with pytest.raises(FormatError) as caught:
        Image(BytesBlob(resealed(data, offset, number.to_bytes(size, "little")), name="the image"))
    assert caught.value.nid == number
    assert caught.value.path == "the image"


def test_an_error_names_the_image(tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_bytes(bytes(5000))
    with pytest.raises(FormatError, match=f"{path}, offset 1024: magic"):
        Image(FileBlob(path))
    with pytest.raises(FormatError, match="my image"):
        Image(BytesBlob(b""), name="my image")


def test_devices_must_be_those_of_the_image() -> None:
    with pytest.raises(FormatError, match="1 extra devices given, the image has 0"):
        Image(BytesBlob(posix_image()), devices=[BytesBlob(b"")])


def test_an_error_in_a_file_names_its_path() -> None:
    data = posix_image()
    inode = Image(BytesBlob(data)).inode("dir/sub/leaf")
    assert inode.layout == disk.INODE_COMPRESSED_FULL
    broken = superblock.with_checksum(data[: inode.body] + b"\xff" * 8 + data[inode.body + 8 :])
    with pytest.raises(FormatError, match="dir/sub/leaf, nid") as caught:
        Image(BytesBlob(broken)).read_bytes("dir/sub/leaf")
    assert caught.value.nid == inode.nid


def test_its_repr_says_what_it_is() -> None:
    assert repr(image_of(Tree())) == "<iasfs.Image  of 4096 bytes>"
    assert repr(Image(BytesBlob(packed(Tree())), name="n")) == "<iasfs.Image n of 4096 bytes>"
