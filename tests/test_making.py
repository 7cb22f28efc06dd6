"""mkfs takes a directory, a tar in any form, or a tree."""

from __future__ import annotations

import io
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from iasfs.blob import BytesBlob, FileBlob
from iasfs.errors import WriteError
from iasfs.making import mkfs
from iasfs.read.image import Image
from trees import tree_of


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    """A tar with two files."""
    path = tmp_path / "source.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in (("dir/.wh.gone", b""), ("dir/kept", b"data" * 1000)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_a_directory_a_tar_and_a_tree_give_the_same_files(tar: Path, tmp_path: Path) -> None:
    (tmp_path / "source" / "dir").mkdir(parents=True)
    (tmp_path / "source" / "dir" / "kept").write_bytes(b"data" * 1000)
    (tmp_path / "source" / "dir" / ".wh.gone").write_bytes(b"")
    url = tar.as_uri()
    with open(tar, "rb") as seekable, open(tar, "rb") as raw:
        pipe = io.BufferedReader(Unseekable(raw))
        tree = tree_of({"dir/kept": b"data" * 1000, "dir/.wh.gone": b""})
        sources: list[Any] = [tree, tmp_path / "source", str(tar), tar, url, seekable, pipe]
        for source in [*sources, FileBlob(tar), BytesBlob(tar.read_bytes())]:
            target = io.BytesIO()
            mkfs(source, target)
            image = Image(BytesBlob(target.getvalue()))
            assert image.glob("**", recursive=True, include_hidden=True) == [
                *("dir", "dir/.wh.gone", "dir/kept")
            ]
            assert image.read_bytes("dir/kept") == b"data" * 1000


class Unseekable(io.RawIOBase):
    """A file that comes as a stream."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), 1000))
        buffer[: len(data)] = data
        return len(data)


def test_whiteouts_become_those_of_overlayfs(tar: Path) -> None:
    target = io.BytesIO()
    mkfs(tar, target, whiteouts="overlay")
    image = Image(BytesBlob(target.getvalue()))
    assert image.listdir("dir") == ["gone", "kept"]
    status = image.lstat("dir/gone")
    assert (stat.S_IFMT(status.st_mode), status.st_rdev) == (stat.S_IFCHR, 0)


def test_a_clash_of_options_is_said_before_the_source_is_read() -> None:
    with pytest.raises(WriteError, match="mount"):
        mkfs("absent", io.BytesIO(), compression="zstd", min_kernel="5.4")
