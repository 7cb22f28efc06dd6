"""What the documentation shows runs.

Each page of ``README.md`` and ``docs/`` is one test: its ``python`` blocks (statements, or
``>>>`` with the expected answers) and its ``sh`` blocks run in the order they stand in.  The
Python ones share their names, and all share a directory that begins with a small tree,
``rootfs/``, and the same tree as ``layer.tar.gz``.  A block behind the comment
``<!-- not run: reason -->`` is left out.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from helpers import ROOT

FENCE = re.compile(
    r"^(?P<skip><!-- not run: .+ -->\n\n?)?```(?P<language>python|sh)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
FILES = {
    "etc/motd": "Welcome.\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "usr/bin/hello": "#!/bin/sh\necho hello\n",
    "usr/share/table.csv": "name,size\nhello,21\n",
}


class Block(NamedTuple):
    language: str
    code: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match["skip"] is None:
            line = text.count("\n", 0, match.start("code"))
            yield Block(match["language"], match["code"], line)


PAGES = {
    str(page.relative_to(ROOT)): page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page.exists() and any(blocks(page))
}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rootfs = tmp_path / "rootfs"
    for name, text in FILES.items():
        path = rootfs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (rootfs / "usr/bin/hello").chmod(0o755)
    (rootfs / "usr/bin/hi").symlink_to("hello")
    with tarfile.open(tmp_path / "layer.tar.gz", "w:gz") as tar:
        tar.add(rootfs, ".")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # The commands of the environment that runs the tests, whether it is activated or not.
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable), prepend=os.pathsep)
    return tmp_path


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("name", PAGES)
def test_the_code_on_a_page_runs(name: str) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(PAGES[name]):
        if block.language == "sh":
            run_shell(block, name)
        elif block.code.startswith(">>>"):
            run_dialogue(block, name, names)
        else:
            # The lines before make tracebacks point into the page.
            exec(compile("\n" * block.line + block.code, PAGES[name], "exec"), names)


def run_shell(block: Block, name: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        where = f"{name}, line {block.line + 1}: exit status {done.returncode}"
        pytest.fail(f"{where}\n{block.code}{done.stdout}", pytrace=False)


def run_dialogue(block: Block, name: str, names: dict[str, Any]) -> None:
    test = doctest.DocTestParser().get_doctest(block.code, names, name, name, block.line)
    test.globs = names  # get_doctest takes a copy; what a block defines, the next one uses
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    if runner.run(test, out=said.append, clear_globs=False).failed:
        pytest.fail("".join(said), pytrace=False)
