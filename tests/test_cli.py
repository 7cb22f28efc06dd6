"""The command line: what it prints, where, and with which code it ends."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import pty
import stat
import subprocess
import sys
import tarfile
import uuid
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import iasfs as library
from helpers import compare, describe_tree, describe_tree_object
from iasfs.blob import BytesBlob
from iasfs.cli import exit_code, main
from iasfs.cli.output import printable
from iasfs.errors import (
    BlobExists,
    BlobNotFound,
    DigestMismatch,
    FormatError,
    StorageError,
    UnsupportedFeature,
    WriteError,
)
from iasfs.format import disk
from iasfs.tree import Node, Tree
from trees import NS, directory, file, packed, symlink, tree_of

COMMANDS = sorted(main.commands)
HOSTILE = b"\x1b[2Jred\nline\xff\x80 " + "\u202eevil".encode()


def iasfs(*arguments: str | bytes | os.PathLike[str], stdin: bytes | None = None) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, [os.fsdecode(word) for word in arguments], input=stdin)


def good(*arguments: str | bytes | os.PathLike[str], stdin: bytes | None = None) -> bytes:
    """What a command prints, that has nothing to complain about."""
    result = iasfs(*arguments, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout_bytes


def rows(output: bytes) -> list[Any]:
    """The objects that were printed, one a line."""
    return [json.loads(line) for line in output.decode("ascii").splitlines()]


def environment() -> dict[str, str]:
    """For a process of Python that finds what this one finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def run(*arguments: str | os.PathLike[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "iasfs", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(command, env=environment(), check=False, **options)


def on_terminal(*arguments: str | os.PathLike[str], stream: str) -> bytes:
    """What a command writes to a terminal, as standard output or standard error."""
    ours, theirs = pty.openpty()
    try:
        done = run(*arguments, **{stream: theirs})
        assert done.returncode == 0, done
    finally:
        os.close(theirs)
    seen = b""
    try:
        while data := os.read(ours, 1 << 16):
            seen += data
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(ours)
    return seen


def sample() -> Tree:
    owner = {"uid": 1000, "gid": 50}
    tree = tree_of(
        {
            "etc/motd": file(b"Welcome.\n", 0o640, mtime_ns=1_700_000_000 * NS + 5, **owner),
            "etc/link": symlink(b"motd", mtime_ns=NS),
            "usr/bin/hello": file(b"#!/bin/sh\n", 0o4755, xattrs={b"user.a": b"1\0\xff"}),
            "dev/null": Node(stat.S_IFCHR | 0o666, rdev=os.makedev(1, 3)),
            "bin": symlink(b"usr/bin"),
            "empty": directory(0o700),
        }
    )
    motd = tree.get("etc/motd")
    assert motd is not None
    tree.add("etc/motd.old", motd)
    return tree


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "app.erofs"
    path.write_bytes(packed(sample()))
    return path


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    path = tmp_path / "hostile.erofs"
    path.write_bytes(packed(tree_of({HOSTILE: b"data", "link": symlink(HOSTILE)})))
    return path


def archive(tree: dict[str, bytes], compression: str = "") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=f"w:{compression}") as tar:
        for name, data in tree.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return target.getvalue()


# --- the whole -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    text = good(command, "--help").decode()
    assert text.startswith(f"Usage: main {command}")
    summary = next(line for line in good("--help").decode().splitlines() if f" {command} " in line)
    assert summary.endswith(".")
    assert not summary.endswith("...")


def test_the_commands_are_these() -> None:
    names = ["mkfs", "ls", "cat", "stat", "tree", "extract", "fsck", "dump", "publish", "layers"]
    assert sorted(names) == COMMANDS


def test_it_runs_as_a_module(image: Path) -> None:
    done = run("ls", image)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"bin\ndev\nempty\netc\nusr\n", b"")


def test_it_knows_its_version() -> None:
    assert good("--version").startswith(b"iasfs")


def test_ls_loads_little(image: Path) -> None:
    """What only other commands need is not imported: looking shall not have to wait."""
    code = (
        "import sys; from iasfs.cli import main\n"
        f"try: main(['ls', '-l', {str(image)!r}])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, check=True
    )
    assert done.stdout
    loaded = {name.partition(".")[0] for name in done.stderr.decode().split()}
    assert not loaded & {"rich", "fsspec", "hypothesis", "numpy", "asyncio"}
    assert "iasfs.write.writer" not in done.stderr.decode().split()


# --- ls ------------------------------------------------------------------------------------------


def test_ls_lists_names(image: Path) -> None:
    assert good("ls", image) == b"bin\ndev\nempty\netc\nusr\n"
    assert good("ls", image, "/etc") == b"link\nmotd\nmotd.old\n"
    assert good("ls", image, "etc/motd") == b"motd\n"
    assert good("ls", image, "/bin") == b"hello\n"  # a link to a directory is followed
    assert good("ls", image, "/empty") == b""


def test_ls_of_several_has_headings(image: Path) -> None:
    assert good("ls", image, "/dev", "/etc/motd", "/usr") == b"/dev:\nnull\nmotd\n\n/usr:\nbin\n"


def test_ls_goes_down(image: Path) -> None:
    text = good("ls", "-R", image)
    assert text == (
        b"/:\nbin\ndev\nempty\netc\nusr\n\n/dev:\nnull\n\n/empty:\n\n"
        b"/etc:\nlink\nmotd\nmotd.old\n\n/usr:\nbin\n\n/usr/bin:\nhello\n"
    )


def test_ls_long_has_columns(image: Path) -> None:
    assert good("ls", "-l", image, "/etc", "/dev").decode() == (
        "/etc:\n"
        "lrwxrwxrwx 1    0  0 4 1970-01-01 00:00:01 link -> motd\n"
        "-rw-r----- 2 1000 50 9 2023-11-14 22:13:20 motd\n"
        "-rw-r----- 2 1000 50 9 2023-11-14 22:13:20 motd.old\n"
        "\n/dev:\n"
        "crw-rw-rw- 1 0 0 1, 3 1970-01-01 00:00:00 null\n"
    )


def test_ls_json_has_a_record_for_each_file(image: Path) -> None:
    link, motd, old = rows(good("ls", "--json", image, "/etc"))
    assert motd == {
        "path": "/etc/motd",
        "type": "file",
        "mode": stat.S_IFREG | 0o640,
        "nlink": 2,
        "uid": 1000,
        "gid": 50,
        "size": 9,
        "mtime_ns": 1_700_000_000 * NS + 5,
        "nid": motd["nid"],
    }
    assert old == {**motd, "path": "/etc/motd.old"}
    assert (link["type"], link["target"]) == ("symlink", "motd")
    (null,) = rows(good("ls", "--json", image, "/dev"))
    assert (null["type"], null["rdev"]) == ("character", [1, 3])
    assert [row["path"] for row in rows(good("ls", "-R", "--json", image))] == [
        *("/bin", "/dev", "/empty", "/etc", "/usr", "/dev/null"),
        *("/etc/link", "/etc/motd", "/etc/motd.old", "/usr/bin", "/usr/bin/hello"),
    ]


def test_times_beyond_the_calendar_are_seconds(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(packed(tree_of({"late": file(mtime_ns=(1 << 40) * NS), "old": file()})))
    assert good("ls", "-l", path).splitlines()[0].endswith(b" @1099511627776 late")
    assert b"Modify: @1099511627776.000000000 +0000" in good("stat", path, "late")
    path.write_bytes(packed(tree_of({"old": file(mtime_ns=-1)})))
    assert b"Modify: 1969-12-31 23:59:59.999999999 +0000" in good("stat", path, "old")


# --- cat, stat, tree -----------------------------------------------------------------------------


def test_cat_prints_bytes(tmp_path: Path) -> None:
    large = os.urandom(64 << 10) * 80
    path = tmp_path / "image"
    path.write_bytes(packed(tree_of({"large": large, "empty": b"", "nul": b"\0\xff\n"})))
    assert good("cat", path, "/large") == large
    assert good("cat", path, "nul", "empty", "/nul") == b"\0\xff\n\0\xff\n"


def test_stat_is_for_a_person(image: Path) -> None:
    assert good("stat", image, "/etc/link", "/usr/bin/hello").decode().splitlines() == [
        "  File: /etc/link -> motd",
        "  Size: 4               Blocks: 8          symlink",
        f" Inode: {nid(image, '/etc/link'):<15} Links: 1",
        "Access: 0777/lrwxrwxrwx Uid: 0             Gid: 0",
        "Modify: 1970-01-01 00:00:01.000000000 +0000",
        "  File: /usr/bin/hello",
        "  Size: 10              Blocks: 8          file",
        f" Inode: {nid(image, '/usr/bin/hello'):<15} Links: 1",
        "Access: 4755/-rwsr-xr-x Uid: 0             Gid: 0",
        "Modify: 1970-01-01 00:00:00.000000000 +0000",
        " Xattr: user.a=0x3100ff",
    ]
    assert b"  File: /etc/link\n" in good("stat", "-L", image, "/etc/link")
    assert b"character 1, 3" in good("stat", image, "/dev/null")


def nid(image: Path, path: str) -> int:
    with library.open(image) as opened:
        return opened.stat(path, follow_symlinks=False).st_ino


def test_stat_json_has_all(image: Path) -> None:
    (record,) = rows(good("stat", "--json", image, "/usr/bin/hello"))
    assert record["xattrs"] == [{"name": "user.a", "value_base64": "MQD/"}]
    assert record["blocks"] == 8
    assert record["mode"] == stat.S_IFREG | 0o4755


def test_tree_draws(image: Path) -> None:
    assert good("tree", image).decode() == (
        "/\n├── bin -> usr/bin\n├── dev\n│   └── null\n├── empty\n"
        "├── etc\n│   ├── link -> motd\n│   ├── motd\n│   └── motd.old\n"
        "└── usr\n    └── bin\n        └── hello\n\n6 directories, 6 other files\n"
    )
    assert good("tree", "-L", "1", image, "/usr").decode() == (
        "/usr\n└── bin\n\n2 directories, 0 other files\n"
    )
    assert good("tree", image, "/etc/motd") == b"/etc/motd\n\n0 directories, 1 other files\n"


def test_tree_json_is_flat(image: Path) -> None:
    records = rows(good("tree", "--json", image, "/usr"))
    assert [record["path"] for record in records] == ["/usr", "/usr/bin", "/usr/bin/hello"]
    assert [record["type"] for record in records] == ["directory", "directory", "file"]


# --- names of any bytes --------------------------------------------------------------------------


def test_a_pipe_gets_the_bytes_of_a_name(hostile: Path) -> None:
    assert good("ls", hostile) == HOSTILE + b"\nlink\n"
    assert good("ls", "-l", hostile).endswith(b"link -> " + HOSTILE + b"\n")
    assert HOSTILE in good("tree", hostile)
    assert HOSTILE in good("stat", hostile, HOSTILE)
    assert good("cat", hostile, HOSTILE) == b"data"


@pytest.mark.parametrize("command", ["ls", "tree", "stat"])
def test_a_terminal_gets_it_escaped(command: str, hostile: Path) -> None:
    seen = on_terminal(command, hostile, *(["/link"] if command == "stat" else []), stream="stdout")
    assert rb"\x1b[2Jred\nline\xff\x80 \u202eevil" in seen
    assert b"\x1b" not in seen


def test_json_has_the_bytes_of_a_name_too(hostile: Path) -> None:
    record, link = rows(good("ls", "--json", hostile))
    assert record["path"] == "/\x1b[2Jred\nline\ufffd\ufffd \u202eevil"
    assert base64.b64decode(record["path_base64"]) == b"/" + HOSTILE
    assert base64.b64decode(link["target_base64"]) == HOSTILE
    assert "path_base64" not in link


def test_an_error_is_one_line_whatever_is_named(hostile: Path) -> None:
    result = iasfs("cat", hostile, b"/" + HOSTILE + b"/x")
    assert result.exit_code == 66
    assert result.stderr == (
        r"iasfs: /\x1b[2Jred\nline\xff\x80 \u202eevil/x: Not a directory" + "\n"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a b", "a b"), ("é名", "é名"), ("\t\x7f\x9b", r"\t\x7f\x9b"), ("\udcff\\", r"\xff" + "\\")],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


# --- mkfs ----------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rootfs"
    (path / "etc").mkdir(parents=True)
    (path / "etc/motd").write_bytes(b"Welcome.\n" * 2000)
    (path / "z").write_bytes(b"z" * 40_000)
    return path


def test_mkfs_makes_what_the_library_makes(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "image"
    assert good("mkfs", source, target) == b""
    expected = io.BytesIO()
    library.mkfs(source, expected)
    assert target.read_bytes() == expected.getvalue()


def test_mkfs_passes_its_options_on(source: Path, tmp_path: Path) -> None:
    order = tmp_path / "order"
    order.write_bytes(b"/z\n\n/not-there\xff\n")
    identity = uuid.uuid4()
    target = tmp_path / "image"
    words = (
        f"--compression lz4 --level 3 --min-kernel 5.15 --mtime 7 --volume-name app"
        f" --uuid {identity} --workers 1 --extent-size 64K --pack-extent-size 4096 --pack-limit 0"
        f" --order {order}"
    )
    (record,) = rows(good("mkfs", "--json", *words.split(), source, target))
    expected = io.BytesIO()
    made = library.mkfs(
        source,
        expected,
        compression="lz4",
        level=3,
        min_kernel="5.15",
        mtime=7,
        volume_name="app",
        uuid=identity.bytes,
        extent_size=65536,
        pack_extent_size=4096,
        pack_limit=0,
        order=["/z"],
    )
    assert target.read_bytes() == expected.getvalue()
    assert record == made._asdict() == {**record, "size": target.stat().st_size}


def test_mkfs_takes_an_order_from_standard_input(source: Path, tmp_path: Path) -> None:
    good("mkfs", "--order", "-", source, tmp_path / "a", stdin=b"/z\n")
    expected = io.BytesIO()
    library.mkfs(source, expected, order=["/z"])
    assert (tmp_path / "a").read_bytes() == expected.getvalue()


def test_mkfs_turns_whiteouts(tmp_path: Path) -> None:
    tar = archive({"a/.wh.gone": b""})
    good("mkfs", "--whiteouts", "overlay", "-", tmp_path / "image", stdin=tar)
    (record,) = rows(good("ls", "--json", tmp_path / "image", "/a"))
    assert (record["path"], record["type"], record["rdev"]) == ("/a/gone", "character", [0, 0])


@pytest.mark.parametrize("compression", ["", "gz", "xz"])
def test_mkfs_streams(compression: str, tmp_path: Path) -> None:
    """A tar comes in by a pipe, and the image goes out by another."""
    tar = archive({"etc/motd": b"Welcome.\n", "large": os.urandom(1 << 20)}, compression)
    done = run("mkfs", "--json", "-", "-", input=tar)
    assert done.returncode == 0, done.stderr
    (record,) = rows(done.stderr)
    assert record["size"] == len(done.stdout)
    with library.Image(BytesBlob(done.stdout)) as opened:
        assert opened.read_bytes("/etc/motd") == b"Welcome.\n"


def test_mkfs_gives_a_terminal_no_image(source: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        done = run("mkfs", source, "-", stdout=theirs)
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.returncode == 64
    assert done.stderr.startswith(b"iasfs: An image is nothing for a terminal")


def test_long_work_shows_its_progress_on_a_terminal(source: Path, tmp_path: Path) -> None:
    assert b"mkfs" in on_terminal("mkfs", source, tmp_path / "image", stream="stderr")
    assert b"extract" in on_terminal("extract", tmp_path / "image", tmp_path / "o", stream="stderr")
    assert run("mkfs", source, tmp_path / "image").stderr == b""


# --- extract -------------------------------------------------------------------------------------


def test_extract_writes_files(image: Path, tmp_path: Path) -> None:
    tree = sample()
    (record,) = rows(iasfs("extract", "--json", image, tmp_path / "out").stdout_bytes)
    assert record["directories"] == 6
    assert record["links"] == 1
    assert record["failed"] == 0
    differences = compare(describe_tree_object(tree), describe_tree(tmp_path / "out"))
    if os.geteuid() == 0:
        assert not [line for line in differences if "nlink" not in line and "xattrs" not in line]
    good("extract", "--no-same-owner", "--path", "/etc", image, tmp_path / "etc")
    assert sorted(os.listdir(tmp_path / "etc")) == ["link", "motd", "motd.old"]


def test_extract_overwrites_when_told(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["extract", "--no-same-owner", "--path", "/etc", image, out]
    good(*words)
    (out / "motd").write_bytes(b"changed")
    result = iasfs(*words)
    assert (result.exit_code, result.stderr) == (73, f"iasfs: {out}/link: File exists\n")
    good(*words, "--overwrite")
    assert (out / "motd").read_bytes() == b"Welcome.\n"


def test_extract_keeps_going_when_told(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "link").mkdir()
    words = ["extract", "--no-same-owner", "--path", "/etc", image, out]
    result = iasfs(*words, "--keep-going", "--json")
    assert (result.exit_code, result.stderr) == (73, f"iasfs: {out}/link: File exists\n")
    assert rows(result.stdout_bytes)[0]["failed"] == 1
    assert sorted(os.listdir(out)) == ["link", "motd", "motd.old"]


def test_extract_says_what_it_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(packed(tree_of({"su\n": file(b"", 0o4755, uid=12345)})))
    result = iasfs("extract", "--no-same-owner", path, tmp_path / "out")
    assert result.exit_code == 0
    assert result.stderr == (
        r"iasfs: /su\n: left out: setuid and setgid, since the owner is another" + "\n"
    )


# --- fsck, dump ----------------------------------------------------------------------------------


def test_fsck_of_a_sound_image_says_nothing(image: Path) -> None:
    assert good("fsck", image) == good("fsck", "--json", "--no-contents", image) == b""


def test_fsck_lists_problems(image: Path) -> None:
    data = bytearray(image.read_bytes())
    data[1024 + 8] &= ~disk.FEATURE_COMPAT_SB_CHKSUM
    with library.open(image) as opened:
        hello, motd = opened.inode("/usr/bin/hello"), opened.inode("/etc/motd")
    for inode in (hello, motd):
        data[inode.offset + 4 : inode.offset + 6] = b"\0\0"  # a mode without a type
    image.write_bytes(data)
    result = iasfs("fsck", image)
    assert (result.exit_code, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    assert any("/usr/bin/hello" in line and f"nid {hello.nid}" in line for line in lines)
    problems = rows(iasfs("fsck", "--json", image).stdout_bytes)
    assert len(problems) == len(lines) >= 2
    assert all(set(problem) == {"path", "nid", "offset", "what"} for problem in problems)
    assert any(problem["path"] == "/etc/motd" for problem in problems)


def test_fsck_of_no_image_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8192))
    result = iasfs("fsck", path)
    assert (result.exit_code, result.stderr) == (1, "")
    assert len(result.stdout.splitlines()) == 1
    assert iasfs("fsck", tmp_path / "nothing").exit_code == 66


def test_dump_is_the_text_of_the_library(image: Path) -> None:
    with library.open(image) as opened:
        assert good("dump", image).decode() == library.dump(opened)
        assert good("dump", image, "/etc/link").decode() == library.dump(opened, "/etc/link")


def test_dump_json_has_the_fields_of_the_format(image: Path) -> None:
    (record,) = rows(good("dump", "--json", image))
    with library.open(image) as opened:
        block = opened.superblock
        extents = list(opened.volume.extents(opened.inode("/usr/bin/hello")))
    assert record["inos"] == block.inos
    assert record["block_size"] == 4096
    assert record["image_size"] == image.stat().st_size
    assert uuid.UUID(record["uuid"]).bytes == block.uuid
    (record,) = rows(good("dump", "--json", image, "/usr/bin/hello"))
    assert record["path"] == "/usr/bin/hello"
    assert [
        (extent["logical"], extent["size"], extent["address"]) for extent in record["extents"]
    ] == [tuple(extent[:3]) for extent in extents]
    assert record["extents"][0]["kind"] == "plain"


# --- an IAS --------------------------------------------------------------------------------------


def test_a_layer_is_published_and_read(tmp_path: Path) -> None:
    tar = tmp_path / "layer.tar.gz"
    tar.write_bytes(archive({"etc/motd": b"Welcome.\n"}, "gz"))
    ias = tmp_path / "ias"
    diff_id = good("publish", tar, ias).decode().strip()
    assert diff_id.startswith("sha256:")
    (layer,) = rows(good("layers", "--json", ias))
    assert layer["diff_id"] == diff_id
    assert rows(good("publish", "--json", "-", ias, stdin=tar.read_bytes())) == [layer]
    assert good("layers", ias).decode() == f"{diff_id}\n"
    assert good("cat", "--ias", ias, diff_id, "/etc/motd") == b"Welcome.\n"
    assert good("ls", diff_id, "/etc", "--ias", ias) == b"motd\n"
    assert good("fsck", "--ias", ias, diff_id) == b""


def test_what_is_in_no_ias(tmp_path: Path) -> None:
    ias = tmp_path / "ias"
    assert good("layers", ias) == b""
    assert iasfs("ls", "--ias", ias, "sha256:" + "0" * 64).exit_code == 66
    result = iasfs("ls", "--ias", ias, "nginx")
    assert result.exit_code == 64
    assert result.stderr.startswith("iasfs: Invalid value for IMAGE: 'nginx' is not sha256:")
    wrong = iasfs("publish", "--diff-id", "nginx", "-", ias, stdin=archive({"a": b""}))
    assert wrong.exit_code == 64
    assert iasfs("publish", tmp_path, ias).exit_code == 65  # a directory has no diffID


def test_an_image_is_read_from_a_url(image: Path) -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe_file("/app.erofs", image.read_bytes())
    try:
        assert good("cat", "memory://app.erofs", "/etc/motd") == b"Welcome.\n"
        assert iasfs("ls", "memory://nothing.erofs").exit_code == 66
    finally:
        fs.rm_file("/app.erofs")


def test_storage_options(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    opener = library.open

    def watch(name: str, **options: Any) -> Any:
        seen.append(options["storage_options"])
        return opener(image)

    monkeypatch.setattr(library, "open", watch)
    words = ["anon=true", "endpoint_url=http://host:1/?a=b", "config={}", '{"a": {"b": 1}, "c": 2}']
    good("ls", *(part for word in words for part in ("--storage-option", word)), "s3://b/k")
    assert seen == [
        {"anon": True, "endpoint_url": "http://host:1/?a=b", "config": {}, "a": {"b": 1}, "c": 2}
    ]
    for wrong in ("anon", "=x", "{"):
        assert iasfs("ls", "--storage-option", wrong, image).exit_code == 64


# --- how it ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (click.UsageError("no"), 64),
        (click.BadParameter("no"), 64),
        (FormatError("bad"), 65),
        (UnsupportedFeature("new"), 65),
        (WriteError("bad"), 65),
        (FileNotFoundError(errno.ENOENT, "no", "x"), 66),
        (NotADirectoryError(errno.ENOTDIR, "no", "x"), 66),
        (IsADirectoryError(errno.EISDIR, "no", "x"), 66),
        (OSError(errno.ELOOP, "no", "x"), 66),
        (BlobNotFound("no"), 66),
        (RuntimeError("bug"), 70),
        (FileExistsError(errno.EEXIST, "no", "x"), 73),
        (BlobExists("no"), 73),
        (StorageError("no"), 74),
        (DigestMismatch("no"), 74),
        (OSError(errno.ENOSPC, "full"), 74),
        (OSError("odd"), 74),
        (PermissionError(errno.EACCES, "no", "x"), 77),
        (PermissionError(errno.EPERM, "no", "x"), 77),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (BrokenPipeError(errno.EPIPE, "no"), 141),
    ],
    ids=repr,
)
def test_exit_codes(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("", 64, "Missing command"),
        ("nothing", 64, "No such command 'nothing'"),
        ("ls", 64, "Missing argument 'IMAGE'"),
        ("ls --wrong {image}", 64, "No such option"),
        ("ls {image} /etc/nothing", 66, "/etc/nothing: No such file or directory"),
        ("cat {image} /etc", 66, "/etc: Is a directory"),
        ("cat {image} /dev/null", 66, "/dev/null: No such device or address"),
        ("ls --ias x --device y {image}", 64, "--device and --ias exclude each other"),
        ("mkfs {image}.nothing x", 66, "{image}.nothing: no such file"),
        ("mkfs --compression wrong {image} x", 65, "compression 'wrong' is none of"),
        ("mkfs --extent-size 64X {image} x", 64, "Invalid value for '--extent-size': 64X is not"),
        ("mkfs --order {image}.nothing {image} x", 66, "{image}.nothing: No such file"),
        ("extract --path /nothing {image} out", 66, "/nothing: No such file or directory"),
        ("extract {image} {image}", 66, "{image}: Not a directory"),
    ],
)
def test_errors_are_a_line(words: str, code: int, message: str, image: Path) -> None:
    result = iasfs(*words.format(image=image).split())
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(f"iasfs: {message.format(image=image)}")
    assert result.stderr.count("\n") == 1


def test_a_damaged_image_is_a_line(image: Path) -> None:
    image.write_bytes(image.read_bytes()[:1500])
    result = iasfs("ls", image)
    assert result.exit_code == 65
    assert result.stderr.startswith(f"iasfs: {image}")
    assert result.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(packed(tree_of({f"{number:0200}": b"" for number in range(2000)})))
    read, write = os.pipe()
    os.close(read)
    try:
        done = run("ls", path, stdout=write)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_interrupt_is_no_error(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(library, "open", interrupt)
    result = iasfs("ls", image)
    assert (result.exit_code, result.stdout, result.stderr.strip()) == (130, "", "")


def test_a_bug_leaves_its_traceback(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*args: object, **options: object) -> None:
        raise RuntimeError("should not happen")

    monkeypatch.setattr(library, "open", bug)
    assert isinstance(iasfs("ls", image).exception, RuntimeError)


def test_a_directory_is_listed_once(tmp_path: Path) -> None:
    """Directories in a ring end in an error, not in an endless list."""
    data = bytearray(packed(tree_of({"a/b/c": b""})))
    data[1024 + 8] &= ~disk.FEATURE_COMPAT_SB_CHKSUM
    with library.Image(BytesBlob(bytes(data))) as opened:
        a, b = opened.inode("/a").nid, opened.inode("/a/b").nid
    path = tmp_path / "image"
    path.write_bytes(data.replace(b.to_bytes(8, "little"), a.to_bytes(8, "little")))
    for words in (["ls", "-R"], ["ls", "-R", "--json"], ["tree"], ["tree", "--json"]):
        result = iasfs(*words, path)
        assert result.exit_code == 65
        assert "/a/b, nid" in result.stderr
