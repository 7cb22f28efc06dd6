"""What CI checks, a session each; plain ``nox`` runs them all.

What the tests ask of the machine, and where to get it, is in CONTRIBUTING.md.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2024.4"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "imports", "docs", "wheel", "fuzz", "tests"]
nox.options.error_on_missing_interpreters = False


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff: its rules and its format."""
    session.install("ruff")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Run mypy, strict, on the library."""
    session.install(".[lint]")
    session.run("mypy", *session.posargs)


@nox.session
def imports(session: nox.Session) -> None:
    """Hold the floors: who may import whom."""
    session.install(".[lint]")
    session.run("lint-imports", "--no-cache", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the tests on the library as it would be installed."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation and run the examples in the docstrings."""
    session.install(".[docs]")
    out = Path(session.create_tmp())
    for builder in ("html", "doctest"):
        session.run("sphinx-build", "-q", "-n", "-W", "-b", builder, "docs", str(out / builder))
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)
    session.log(f"read it at {out / 'html' / 'index.html'}")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel; one serves every CPython from 3.11 on."""
    session.install("build")
    out = Path(session.create_tmp())
    session.run("python", "-m", "build", "-q", "--wheel", "--outdir", str(out), ".")
    if not list(out.glob("iasfs-*-cp311-abi3-*.whl")):
        session.error("the wheel is not tagged cp311-abi3")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Run each fuzz target for some seconds: ``nox -s fuzz -- 600``."""
    session.install(".[fuzz]")
    session.run(".ci/fuzz", *(session.posargs or ["5"]), external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks, or those named: ``nox -s bench -- benchmarks/build.py``."""
    session.install(".[test]")
    scripts = sorted(str(path) for path in Path("benchmarks").glob("*.py"))
    for script in session.posargs or [path for path in scripts if not path.endswith("harness.py")]:
        session.run("python", script, "--write")
