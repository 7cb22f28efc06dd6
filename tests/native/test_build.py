"""Build: the C code compiles without a warning, the wheel serves all later Pythons, and where
there is no compiler the package installs all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from helpers import ROOT, missing, require, run

NATIVE = ROOT / "src" / "iasfs" / "_native"
BUILD = "import sys; from setuptools import build_meta as b; b.build_{}(sys.argv[1])"
NEEDED = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "src")

USE = """
from iasfs.format.codec import Algorithm, Compressor, Decoder, crc32c, fast
data = b"some text " * 100
for name in ("lz4", "zstd", "deflate"):
    [payload] = Compressor(name, 3).compress([data])
    algorithm = Algorithm[name.upper()]
    assert Decoder(4096).decode_one(payload, algorithm, len(data)) == data
assert crc32c(b"123456789") == 0x1CF96D7C
print("C" if fast else "Python")
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build needs, without what builds left behind."""
    for package, oldest in (("setuptools", 77), ("cffi", 1)):
        try:
            if int(version(package).split(".")[0]) < oldest:
                missing("build", f"{package} is older than {oldest}")
        except PackageNotFoundError:
            missing("build", f"{package} is not installed")
    copy = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("_core.*", "__pycache__", "*.egg-info")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


def build(kind: str, source: Path, **environment: str) -> Path:
    """Run a build hook of setuptools, in place, and return what it made."""
    out = source / "dist"
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-c", BUILD.format(kind), str(out)],
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.iterdir()
    return made


def use(wheel: Path, into: Path) -> subprocess.CompletedProcess[str]:
    """Unpack a wheel and use it."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into)
    environment = {key: value for key, value in os.environ.items() if key != "IASFS_PURE_PYTHON"}
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", USE],
        cwd=into,
        env={**environment, "PYTHONPATH": str(into)},
        capture_output=True,
        text=True,
        check=True,
    )


def test_wheel(checkout: Path, tmp_path: Path) -> None:
    """The sdist holds all that the wheel is made of; the wheel holds one extension for all."""
    require("cc")
    with tarfile.open(build("sdist", checkout)) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    wheel = build("wheel", source)
    assert "-cp311-abi3-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.endswith(".so")] == ["iasfs/_native/_core.abi3.so"]
    assert "iasfs/py.typed" in names
    assert not [name for name in names if name.endswith((".c", ".h"))]
    done = use(wheel, tmp_path / "used")
    assert done.stdout == "C\n"
    assert "RuntimeWarning" not in done.stderr


def test_without_compiler(checkout: Path, tmp_path: Path) -> None:
    """Without a compiler the build succeeds, and Python takes over with one warning."""
    wheel = build("wheel", checkout, CC="/bin/false")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]
    done = use(wheel, tmp_path)
    assert done.stdout == "Python\n"
    assert done.stderr.count("RuntimeWarning") == 1
    assert "using slow Python" in done.stderr


@pytest.mark.parametrize("path", sorted(NATIVE.glob("[a-z]*.c")), ids=lambda path: path.name)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_warnings(compiler: str, path: Path) -> None:
    """Each C file compiles by itself without a word, by either compiler."""
    run(
        require(compiler),
        *("-std=c11", "-O2", "-fsyntax-only", "-DPy_LIMITED_API=0x030B0000"),
        *("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror"),
        *("-isystem", sysconfig.get_paths()["include"]),
        path,
    )


@pytest.mark.parametrize("path", sorted(NATIVE.glob("*.[ch]")), ids=lambda path: path.name)
def test_small_files(path: Path) -> None:
    """No C file is longer than 600 lines, and each begins by saying what it is."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 600
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("/* ")
