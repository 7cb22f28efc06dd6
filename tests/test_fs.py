"""The fsspec file system: the read API of fsspec on one image, wherever that lies."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from helpers import ROOT
from iasfs.blob import BytesBlob, FileBlob
from iasfs.errors import BlobNotFound, FormatError, StorageError
from iasfs.fs import IasFileSystem
from iasfs.read.image import Image
from iasfs.testing import FaultyBlob, content
from iasfs.tree import Node, Tree
from stores import S3, s3_server, web_server
from trees import directory, file, packed, symlink, tree_of

PASSWD = b"root:x:0:0:root:/root:/bin/sh\n"
CONTENTS = {
    "etc/motd": b"hello\n",
    "etc/passwd": PASSWD,
    "usr/bin/hello": b"#!/bin/sh\n",
    "usr/share/data": bytes(content(700_000, "text").read_at(0, 700_000)),
    "usr/share/noise": bytes(content(300_000, "random").read_at(0, 300_000)),
    "usr/share/odd [name]*": b"odd",
}
"""The regular files of the image."""
NS = 1_000_000_000


def tree() -> Tree:
    tree = tree_of({**CONTENTS})
    tree.add("bin", symlink(b"usr/bin"))
    tree.add("etc/motd.link", symlink(b"/etc/motd"))
    tree.add("etc/dead", symlink(b"nowhere"))
    tree.add("etc/loop", symlink(b"loop"))
    tree.add("usr/self", symlink(b"."))
    tree.add("dev/null", Node(stat.S_IFCHR | 0o666, rdev=os.makedev(1, 3)))
    tree.add("empty", directory(0o1777))
    tree.add("owned", file(b"x", 0o4640, uid=1000, gid=50, mtime_ns=-5 * NS + 250_000_000))
    tree.add("caf\udce9", file(b"not UTF-8"))
    motd = tree.get("etc/motd")
    assert motd is not None
    tree.add("etc/motd.hard", motd)
    return tree


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "x.erofs"
    path.write_bytes(packed(tree()))
    return path


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    """As the entry point does where the package is installed."""
    fsspec.register_implementation("iasfs", IasFileSystem, clobber=True)


@pytest.fixture
def fs(path: Path) -> IasFileSystem:
    return IasFileSystem(path)


def test_the_entry_point_names_it() -> None:
    assert 'iasfs = "iasfs.fs:IasFileSystem"' in (ROOT / "pyproject.toml").read_text()


# --- opening --------------------------------------------------------------------------------------


def test_a_chained_url(path: Path, s3: S3) -> None:
    data = path.read_bytes()
    bucket = s3.bucket()
    s3.put(f"s3://{bucket}/x.erofs", data)
    with fsspec.open(f"iasfs://etc/passwd::s3://{bucket}/x.erofs", s3=dict(s3.options)) as opened:
        assert opened.read() == PASSWD
    fsspec.filesystem("memory").pipe_file("/x.erofs", data)
    with web_server({"/x.erofs": data}) as server:
        for url in (
            f"iasfs://etc/passwd::{path}",
            f"iasfs:///etc/passwd::file://{path}",
            "iasfs://etc/passwd::memory://x.erofs",
            "iasfs://etc/passwd::simplecache::memory://x.erofs",
            f"iasfs://etc/passwd::{server.url}/x.erofs",
            f"iasfs://etc/passwd::simplecache::{server.url}/x.erofs",
        ):
            with fsspec.open(url) as opened:
                assert opened.read() == PASSWD, url


def test_a_file_system_by_fo(path: Path, s3: S3) -> None:
    url = f"s3://{s3.bucket()}/x.erofs"
    s3.put(url, path.read_bytes())
    for fs in (
        fsspec.filesystem("iasfs", fo=url, target_options=s3.options),
        fsspec.filesystem("iasfs", fo=url[5:], target_protocol="s3", target_options=s3.options),
        fsspec.filesystem("iasfs", fo=str(path)),
        fsspec.filesystem("iasfs", fo=path),
        fsspec.filesystem("iasfs", fo=str(path), target_protocol="file"),
        fsspec.filesystem("iasfs", fo=FileBlob(path)),
        fsspec.filesystem("iasfs", fo=Image(FileBlob(path))),
        fsspec.filesystem("iasfs", fo=io.BytesIO(path.read_bytes())),
    ):
        assert fs.cat_file("etc/passwd") == PASSWD


def test_nested_images(path: Path) -> None:
    outer = packed(tree_of({"images/inner.erofs": path.read_bytes()}))
    fsspec.filesystem("memory").pipe_file("/outer.erofs", outer)
    url = "iasfs://etc/passwd::iasfs://images/inner.erofs::memory://outer.erofs"
    with fsspec.open(url) as opened:
        assert opened.read() == PASSWD


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no image")
    with pytest.raises(FormatError):
        IasFileSystem(tmp_path / "text")
    with pytest.raises(BlobNotFound):
        IasFileSystem(tmp_path / "none")
    with pytest.raises(BlobNotFound):
        IasFileSystem("memory://none")


def test_an_image_that_was_replaced_is_opened_anew(tmp_path: Path) -> None:
    for text in (b"old", b"new"):
        (tmp_path / "x.erofs").write_bytes(packed(tree_of({"a": text})))
        with fsspec.open(f"iasfs://a::{tmp_path}/x.erofs") as opened:
            assert opened.read() == text


# --- what is there --------------------------------------------------------------------------------


def test_info_is_that_of_the_local_file_system(tmp_path: Path, fs: IasFileSystem) -> None:
    """The same keys and types for a file, a directory and a link to each."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/motd").write_bytes(CONTENTS["etc/motd"])
    (tmp_path / "etc/motd.link").symlink_to("motd")
    (tmp_path / "bin").symlink_to("etc")
    local = LocalFileSystem()
    for name in ("etc", "etc/motd", "etc/motd.link", "bin"):
        ours, theirs = fs.info(name), local.info(str(tmp_path / name))
        assert ours.keys() == theirs.keys()
        assert {key: type(value) for key, value in ours.items()} == {
            key: type(value) for key, value in theirs.items()
        }
        for key in ("type", "islink"):
            assert ours[key] == theirs[key]


def test_info(fs: IasFileSystem) -> None:
    info = fs.info("owned")
    assert info.pop("ino") == fs.image.stat("/owned").st_ino
    assert info == {
        "name": "owned",
        "size": 1,
        "type": "file",
        "created": -4.75,
        "mtime": -4.75,
        "islink": False,
        "mode": stat.S_IFREG | 0o4640,
        "uid": 1000,
        "gid": 50,
        "nlink": 1,
    }
    assert fs.info("")["type"] == fs.info("/")["type"] == "directory"
    assert fs.info("iasfs://etc/motd") == fs.info("/etc/motd") == fs.info("etc/motd")
    assert fs.info("dev/null")["type"] == "other"
    assert fs.size("usr/share/data") == 700_000


def test_symbolic_links_are_followed(fs: IasFileSystem) -> None:
    info = fs.info("etc/motd.link")
    assert (info["type"], info["islink"], info["size"]) == ("file", True, 6)
    assert info["destination"] == "/etc/motd"
    assert info["ino"] == fs.info("etc/motd")["ino"] == fs.info("etc/motd.hard")["ino"]
    assert fs.info("bin")["type"] == "directory"
    assert fs.info("bin/hello")["name"] == "bin/hello"
    assert fs.cat_file("bin/hello") == CONTENTS["usr/bin/hello"]
    assert fs.ls("bin", detail=False) == ["bin/hello"]


def test_dead_links(fs: IasFileSystem) -> None:
    for name, kind in (("etc/dead", FileNotFoundError), ("etc/loop", OSError)):
        assert not fs.exists(name)
        assert fs.lexists(name)
        assert fs.islink(name)
        with pytest.raises(kind):
            fs.info(name)
    listed = {info["name"]: info for info in fs.ls("etc")}
    assert (listed["etc/dead"]["type"], listed["etc/dead"]["islink"]) == ("other", True)
    assert listed["etc/loop"]["destination"] == "loop"


def test_ls(fs: IasFileSystem) -> None:
    etc = ["dead", "loop", "motd", "motd.hard", "motd.link", "passwd"]
    assert fs.ls("etc", detail=False) == [f"etc/{name}" for name in etc]
    assert [info["name"] for info in fs.ls("/etc/")] == [f"etc/{name}" for name in etc]
    assert fs.ls("", detail=False) == fs.ls("/", detail=False)
    assert fs.ls("etc/motd") == [fs.info("etc/motd")]
    assert fs.ls("etc/motd", detail=False) == ["etc/motd"]
    assert fs.ls("empty") == []
    for info in fs.ls("usr"):
        assert info == fs.info(info["name"])
    with pytest.raises(FileNotFoundError):
        fs.ls("nowhere")


def test_what_is_what(fs: IasFileSystem) -> None:
    assert fs.exists("etc")
    assert fs.exists("")
    assert not fs.exists("nowhere")
    assert not fs.exists("etc/motd/x")
    assert fs.isdir("bin")
    assert not fs.isdir("etc/motd")
    assert fs.isfile("etc/motd.link")
    assert not fs.isfile("dev/null")
    assert not fs.islink("etc/motd")


def test_walk_does_not_go_through_links(fs: IasFileSystem) -> None:
    walked = list(fs.walk(""))
    assert [top for top, _, _ in walked] == [
        *("", "dev", "empty", "etc", "usr", "usr/bin", "usr/share"),
    ]
    assert walked[0][1] == ["bin", "dev", "empty", "etc", "usr"]
    assert walked[0][2] == ["caf\udce9", "owned"]
    assert walked[4] == ("usr", ["bin", "self", "share"], [])
    assert list(fs.walk("", topdown=False)) == walked[::-1]
    assert [top for top, _, _ in fs.walk("", maxdepth=2)] == ["", "dev", "empty", "etc", "usr"]
    assert list(fs.walk("etc/motd")) == [("etc/motd", [], [""])]
    detail = next(iter(fs.walk("usr", detail=True)))
    assert detail[1]["bin"] == fs.info("usr/bin")


def test_walk_can_be_pruned(fs: IasFileSystem) -> None:
    seen = []
    for top, dirs, _ in fs.walk(""):
        seen.append(top)
        dirs[:] = [name for name in dirs if name != "usr"]
    assert seen == ["", "dev", "empty", "etc"]


def test_walk_and_errors(fs: IasFileSystem) -> None:
    errors: list[OSError] = []
    assert list(fs.walk("nowhere")) == []
    assert list(fs.walk("nowhere", on_error=errors.append)) == []
    assert isinstance(errors[0], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        list(fs.walk("nowhere", on_error="raise"))
    with pytest.raises(ValueError, match="maxdepth"):
        fs.walk("", maxdepth=0)


def test_find_and_glob(fs: IasFileSystem) -> None:
    assert fs.find("usr") == sorted(name for name in CONTENTS if name.startswith("usr"))
    assert fs.find("usr", maxdepth=1) == []
    assert fs.find("usr", maxdepth=1, withdirs=True) == ["usr", "usr/bin", "usr/self", "usr/share"]
    assert fs.find("etc/motd", detail=True) == {"etc/motd": fs.info("etc/motd")}
    assert "dev/null" in fs.find("")
    assert fs.glob("etc/mo*") == ["etc/motd", "etc/motd.hard", "etc/motd.link"]
    assert fs.glob("/usr/*/hello") == ["usr/bin/hello"]
    assert fs.glob("**/data") == ["usr/share/data"]
    assert fs.glob("nothing*") == []


def test_du_counts_each_file_once(fs: IasFileSystem) -> None:
    assert fs.du("etc/motd") == 6
    assert fs.du("usr/share") == 700_000 + 300_000 + 3
    sizes = fs.du("etc", total=False)
    assert sizes["etc/motd"] == sizes["etc/motd.hard"] == sizes["etc/motd.link"] == 6
    dead = sizes["etc/dead"] + sizes["etc/loop"]
    assert fs.du("etc") == 6 + len(PASSWD) + dead
    assert fs.du("usr", withdirs=True, total=False)["usr"] == fs.info("usr")["size"]


def test_times(fs: IasFileSystem) -> None:
    moment = datetime(1969, 12, 31, 23, 59, 55, 250_000, tzinfo=UTC)
    assert fs.modified("owned") == fs.created("owned") == moment


def test_what_tells_files_apart(fs: IasFileSystem, tmp_path: Path) -> None:
    assert fs.ukey("etc/motd") == fs.ukey("etc/motd.link") != fs.ukey("etc/passwd")
    assert fs.checksum("etc/motd") == int(fs.ukey("etc/motd"), 16)
    other = IasFileSystem(BytesBlob(packed(tree_of({"etc/motd": b"hullo\n"}))))
    assert other.ukey("etc/motd") != fs.ukey("etc/motd")


# --- what is in it --------------------------------------------------------------------------------


def test_open(fs: IasFileSystem) -> None:
    with fs.open("etc/passwd") as opened:
        assert opened.size == len(PASSWD)
        assert opened.read(4) == PASSWD[:4]
        opened.seek(-3, os.SEEK_END)
        assert opened.read() == PASSWD[-3:]
    with fs.open("etc/passwd", "r") as text:
        assert text.readline() == PASSWD.decode()
    assert fs.read_text("etc/motd") == "hello\n"
    assert fs.head("etc/motd", 2) == b"he"
    assert fs.tail("etc/motd", 2) == b"o\n"
    assert fs.read_block("usr/share/data", 10, 5) == CONTENTS["usr/share/data"][10:15]


def test_open_refuses_what_the_kernel_would(fs: IasFileSystem) -> None:
    for name, kind in (("nowhere", FileNotFoundError), ("etc", IsADirectoryError)):
        with pytest.raises(kind) as caught:
            fs.open(name)
        assert caught.value.filename == f"/{name}"
    with pytest.raises(OSError, match="No such device") as device:
        fs.open("dev/null")
    assert device.value.errno == errno.ENXIO


def test_an_open_file_keeps_the_image_alive(path: Path) -> None:
    opened = IasFileSystem(path).open("usr/share/noise")
    assert opened.read() == CONTENTS["usr/share/noise"]


def test_compression_is_fsspecs(tmp_path: Path) -> None:
    import gzip

    fs = IasFileSystem(BytesBlob(packed(tree_of({"a.gz": gzip.compress(b"text\n", mtime=0)}))))
    with fs.open("a.gz", compression="infer") as opened:
        assert opened.read() == b"text\n"


@pytest.mark.parametrize(
    ("start", "end"), [(None, None), (2, None), (None, 3), (1, 4), (-3, None), (-4, -1), (4, 2)]
)
def test_slices_of_a_file(fs: IasFileSystem, start: int | None, end: int | None) -> None:
    assert fs.cat_file("etc/motd", start=start, end=end) == CONTENTS["etc/motd"][start:end]


def test_cat(fs: IasFileSystem) -> None:
    assert fs.cat("etc/motd") == b"hello\n"
    assert fs.cat("etc/motd", start=1, end=3) == b"el"
    assert fs.cat(list(CONTENTS)[:3]) == dict(list(CONTENTS.items())[:3])
    assert fs.cat(["/etc/motd"]) == {"etc/motd": b"hello\n"}
    assert fs.cat("etc/pass*") == {"etc/passwd": PASSWD}
    assert fs.cat("usr", recursive=True) == {
        name: data for name, data in CONTENTS.items() if name.startswith("usr")
    }


def test_cat_and_errors(fs: IasFileSystem) -> None:
    names = ["etc/motd", "nowhere", "etc"]
    with pytest.raises(OSError, match=r"nowhere|etc"):
        fs.cat(names)
    assert fs.cat(names, on_error="omit") == {"etc/motd": b"hello\n"}
    returned = fs.cat(names, on_error="return")
    assert returned["etc/motd"] == b"hello\n"
    assert isinstance(returned["nowhere"], FileNotFoundError)
    assert isinstance(returned["etc"], IsADirectoryError)


def test_many_ranges(fs: IasFileSystem) -> None:
    names = ["usr/share/data", "etc/motd", "usr/share/data", "usr/share/noise"]
    starts, ends = [600_000, 0, 5, -10], [600_010, 3, 10, None]
    answers = fs.cat_ranges(names, starts, ends)
    assert answers == [
        CONTENTS[name][start:end] for name, start, end in zip(names, starts, ends, strict=True)
    ]
    assert fs.cat_ranges(["etc/motd"] * 2, 1, 3) == [b"el", b"el"]
    assert isinstance(fs.cat_ranges(["nowhere"], 0, 1)[0], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(["nowhere"], 0, 1, on_error="raise")
    with pytest.raises(ValueError, match="length"):
        fs.cat_ranges(["etc/motd"], [1, 2], [3])
    with pytest.raises(TypeError):
        fs.cat_ranges("etc/motd", 0, 1)


def test_a_bad_store_spoils_only_what_it_holds() -> None:
    """An error is that of the file it belongs to, also in a batch."""
    data = packed(tree_of({f"{number}": os.urandom(100_000) for number in range(3)}))
    faulty = FaultyBlob(BytesBlob(data), ["none", StorageError("gone"), "none", StorageError("x")])
    answers = IasFileSystem(faulty).cat_ranges(["0", "1", "2"], 0, 100_000)
    assert [type(answer) for answer in answers] == [bytes, StorageError, bytes]
    assert answers[1].path == "/1"


def test_get(fs: IasFileSystem, tmp_path: Path) -> None:
    """Files and directories; links as what they lead to, and what has no bytes not at all."""
    fs.get("", f"{tmp_path}/all", recursive=True)
    for name, data in CONTENTS.items():
        assert (tmp_path / "all" / name).read_bytes() == data
    assert (tmp_path / "all/etc/motd.link").read_bytes() == b"hello\n"
    assert not (tmp_path / "all/etc/motd.link").is_symlink()
    assert sorted(os.listdir(tmp_path / "all/usr/self")) == []
    assert (tmp_path / "all/empty").is_dir()
    for name in ("etc/dead", "etc/loop", "dev/null"):
        assert not os.path.lexists(tmp_path / "all" / name)
    fs.get("etc/motd", f"{tmp_path}/motd")
    assert (tmp_path / "motd").read_bytes() == b"hello\n"
    with pytest.raises(FileNotFoundError):
        fs.get("etc/dead", f"{tmp_path}/dead")


def test_mapper(fs: IasFileSystem) -> None:
    mapper = fs.get_mapper("etc")
    assert mapper["motd"] == b"hello\n"
    assert mapper.getitems(["motd", "passwd"]) == {"motd": b"hello\n", "passwd": PASSWD}


# --- nothing can be written -----------------------------------------------------------------------

WRITES: dict[str, Callable[[IasFileSystem], Any]] = {
    "open": lambda fs: fs.open("x", "wb"),
    "append": lambda fs: fs.open("etc/motd", "ab"),
    "update": lambda fs: fs.open("etc/motd", "r+b"),
    "text": lambda fs: fs.write_text("x", "y"),
    "mkdir": lambda fs: fs.mkdir("x"),
    "makedirs": lambda fs: fs.makedirs("x/y", exist_ok=True),
    "rmdir": lambda fs: fs.rmdir("empty"),
    "rm": lambda fs: fs.rm("etc", recursive=True),
    "rm_file": lambda fs: fs.rm_file("etc/motd"),
    "touch": lambda fs: fs.touch("x"),
    "pipe": lambda fs: fs.pipe({"x": b"y"}),
    "put": lambda fs: fs.put(str(ROOT / "LICENSE"), "x"),
    "copy": lambda fs: fs.copy("etc/motd", "x"),
    "mv": lambda fs: fs.mv("etc/motd", "x"),
}


@pytest.mark.parametrize("name", WRITES)
def test_writing_is_refused(fs: IasFileSystem, name: str) -> None:
    with pytest.raises(OSError, match="Read-only file system") as caught:
        WRITES[name](fs)
    assert caught.value.errno == errno.EROFS


# --- processes and threads ------------------------------------------------------------------------


def test_pickle_and_json(path: Path) -> None:
    fs = IasFileSystem(path)
    assert pickle.loads(pickle.dumps(fs)).cat_file("etc/motd") == b"hello\n"
    fs = IasFileSystem(str(path), target_protocol="file", target_options={})
    assert json.loads(fs.to_json())["protocol"] == "iasfs"
    assert IasFileSystem.from_json(fs.to_json()).cat_file("etc/motd") == b"hello\n"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("where", ["file", "s3"])
def test_works_in_a_child(path: Path, s3: S3, where: str) -> None:
    fo = str(path)
    if where == "s3":
        fo = f"s3://{s3.bucket()}/x.erofs"
        s3.put(fo, path.read_bytes())
    fs = IasFileSystem(fo, target_options=s3.options)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if fs.cat_file("usr/share/data") == CONTENTS["usr/share/data"] else 1)
        except BaseException:
            os._exit(2)
    assert fs.cat_file("usr/share/data") == CONTENTS["usr/share/data"]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("where", ["file", "s3"])
def test_threads_read_different_files(path: Path, s3: S3, where: str) -> None:
    fo = str(path)
    if where == "s3":
        fo = f"s3://{s3.bucket()}/x.erofs"
        s3.put(fo, path.read_bytes())
    fs = IasFileSystem(fo, target_options=s3.options)
    names = list(CONTENTS)
    wrong: list[str] = []

    def read(number: int) -> None:
        for step in range(6):
            name = names[(number + step) % len(names)]
            with fs.open(name) as opened:
                if opened.read() != CONTENTS[name]:
                    wrong.append(name)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_it_is_imported_when_asked_for() -> None:
    """``import iasfs`` does not load fsspec."""
    code = "import sys, iasfs; assert 'fsspec' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
