"""The house keeps its shape: who may import whom, how large things grow, what an import costs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import ROOT

SRC = ROOT / "src"
MODULES = sorted(SRC.rglob("*.py"))
MODULE_LINES = 600
FUNCTION_LINES = 70
IMPORTED_MODULES = 60
NOT_FOR_EVERYONE = {"click", "fsspec", "numpy", "rich", "zstandard"}


def name_of(path: Path) -> str:
    return str(path.relative_to(SRC))


def test_imports_keep_the_floors() -> None:
    """The contracts in .importlinter hold."""
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", lint, "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_stays_readable(path: Path) -> None:
    """No module is longer than 600 lines and no function longer than 70."""
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MODULE_LINES
    long = [
        f"{name_of(path)}:{function.lineno} {function.name} has {lines} lines"
        for function, lines in functions(ast.parse(source))
        if lines > FUNCTION_LINES
    ]
    assert not long, "\n".join(long)


def functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node, node.end_lineno - node.lineno + 1


def test_import_is_light() -> None:
    """``import iasfs`` brings no optional package and few modules of any kind."""
    code = (
        "import sys; before = set(sys.modules); import iasfs;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = done.stdout.split()
    assert not NOT_FOR_EVERYONE & {name.partition(".")[0] for name in new}
    assert len(new) <= IMPORTED_MODULES, f"{len(new)} modules: {' '.join(new)}"
