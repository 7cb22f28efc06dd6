"""PosixBackend: whole or not at all, and never over what is there."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from unittest import mock

import pytest

from iasfs.errors import BlobExists, BlobNotFound, StorageError
from iasfs.ias.posix import PosixBackend

MARK = "layer.json"


@pytest.fixture
def backend(tmp_path: Path) -> PosixBackend:
    return PosixBackend(tmp_path / "a" / "ias")


def publish(backend: PosixBackend, directory: str, data: bytes = b"image") -> None:
    with backend.publishing(directory) as folder:
        Path(folder, MARK).write_bytes(b"{}")
        Path(folder, "layer.erofs").write_bytes(data)


def everything(backend: PosixBackend) -> list[str]:
    """All files and directories, hidden ones too."""
    root = Path(backend.name)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_a_directory_appears_whole(backend: PosixBackend) -> None:
    with backend.publishing("layers/x") as folder:
        Path(folder, "layer.erofs").write_bytes(b"image")
        assert list(backend.names("layers")) == []
        assert not Path(backend.name, "layers/x").exists()
    assert list(backend.names("layers")) == ["layers/x/layer.erofs"]
    assert everything(backend) == ["layers", "layers/x", "layers/x/layer.erofs"]


def test_a_failed_publish_leaves_nothing(backend: PosixBackend) -> None:
    def fail(folder: str) -> None:
        Path(folder, MARK).write_bytes(b"{}")
        raise RuntimeError

    with pytest.raises(RuntimeError), backend.publishing("layers/x") as folder:
        fail(folder)
    assert everything(backend) == ["layers"]


def test_the_first_one_wins(backend: PosixBackend) -> None:
    def lose(folder: str) -> None:
        Path(folder, MARK).write_bytes(b"{}")
        publish(backend, "layers/x", b"the first")

    with pytest.raises(BlobExists), backend.publishing("layers/x") as folder:
        lose(folder)
    assert backend.read("layers/x/layer.erofs", 100) == b"the first"
    assert len(everything(backend)) == 4


def test_a_directory_without_a_mark_is_completed(backend: PosixBackend) -> None:
    """Nobody reads it, so its files may be replaced."""
    path = Path(backend.name, "layers/x")
    path.mkdir(parents=True)
    (path / "layer.erofs").write_bytes(b"half")
    publish(backend, "layers/x")
    assert backend.read("layers/x/layer.erofs", 100) == b"image"
    assert everything(backend) == ["layers", "layers/x", "layers/x/layer.erofs", f"layers/x/{MARK}"]


def test_what_a_crash_leaves_is_not_seen(backend: PosixBackend) -> None:
    path = Path(backend.name, "layers/.x.0123.tmp")
    path.mkdir(parents=True)
    (path / MARK).write_bytes(b"{}")
    assert list(backend.names("layers")) == []


def test_everything_is_on_the_disk_before_it_has_its_name(backend: PosixBackend) -> None:
    """The files, then their directory; after the rename, the directory above."""
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_sync(fd: int) -> None:
        steps.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    def note_rename(source: str, target: str) -> None:
        steps.append(f"-> {os.path.basename(target)}")
        rename(source, target)

    with mock.patch("os.fsync", note_sync), mock.patch("os.rename", note_rename):
        publish(backend, "layers/x")
    staged, last = steps[-5:-2], steps[-2:]
    assert sorted(staged[:2]) == ["layer.erofs", MARK]
    assert staged[2].startswith(".x.")
    assert last == ["-> x", "layers"]


def test_permissions_are_those_of_the_umask(backend: PosixBackend) -> None:
    """A store is shared: what is published is not for its publisher alone."""
    old = os.umask(0o022)
    try:
        publish(backend, "layers/x")
        backend.write("ias.json", b"{}")
    finally:
        os.umask(old)
    root = Path(backend.name)
    assert (root / "layers/x").stat().st_mode & 0o777 == 0o755
    assert (root / "layers/x" / MARK).stat().st_mode & 0o777 == 0o644
    assert (root / "ias.json").stat().st_mode & 0o777 == 0o644


def test_a_small_file(backend: PosixBackend) -> None:
    backend.write("ias.json", b"old")
    backend.write("ias.json", b"newer")
    assert backend.read("ias.json", 3) == b"new"
    assert everything(backend) == ["ias.json"]
    with pytest.raises(BlobNotFound) as caught:
        backend.read("not.json", 1)
    assert caught.value.filename == os.path.join(backend.name, "not.json")
    with mock.patch("os.replace", side_effect=OSError(errno.ENOSPC, "full")):
        with pytest.raises(StorageError, match="full") as full:
            backend.write("ias.json", b"newest")
        assert full.value.errno == errno.ENOSPC
    assert (backend.read("ias.json", 10), everything(backend)) == (b"newer", ["ias.json"])


def test_a_blob_has_the_size_it_should(backend: PosixBackend) -> None:
    publish(backend, "layers/x")
    assert backend.blob("layers/x/layer.erofs", 5).read_at(1, 3) == b"mag"
    with pytest.raises(StorageError, match="5 bytes, not 6"):
        backend.blob("layers/x/layer.erofs", 6)
    with pytest.raises(BlobNotFound):
        backend.blob("layers/y/layer.erofs", 6)


def test_removing(backend: PosixBackend) -> None:
    publish(backend, "layers/x")
    blob = backend.blob("layers/x/layer.erofs", 5)
    backend.remove("layers/x")
    backend.remove("layers/x")
    assert everything(backend) == ["layers"]
    assert blob.read_at(0, 5) == b"image"


def test_names_lead_nowhere_else(backend: PosixBackend) -> None:
    for name in ("../x", "/etc/passwd", "", ".hidden"):
        for ask in (backend.remove, lambda name: backend.read(name, 1)):
            with pytest.raises(ValueError, match="cannot be a name"):
                ask(name)


def test_a_file_in_the_way(backend: PosixBackend) -> None:
    os.makedirs(backend.name)
    Path(backend.name, "layers").write_bytes(b"")
    with pytest.raises(StorageError), backend.publishing("layers/x"):
        pass


def test_pickles_by_its_root(backend: PosixBackend) -> None:
    publish(backend, "layers/x")
    assert pickle.loads(pickle.dumps(backend)).read(f"layers/x/{MARK}", 9) == b"{}"
