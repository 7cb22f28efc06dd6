"""What the benchmarks share: interleaved runs, medians, ratios against a peer, and how they print.

A figure alone says little on a machine that others use too.  So every claim is a ratio between
things that ran in turn, within one process or script, and each is the median of its runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Timing(NamedTuple):
    """Medians of some runs, in seconds; ``cpu`` counts this process's children as well."""

    wall: float
    cpu: float
    walls: list[float]


def cpu_seconds() -> float:
    """CPU time of this process and of all its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def interleave(cases: dict[str, Callable[[], object]], runs: int) -> dict[str, Timing]:
    """Run every case ``runs`` times, in turn, so that all meet the same moods of the machine."""
    walls: dict[str, list[float]] = {name: [] for name in cases}
    cpus: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(runs):
        for name, case in cases.items():
            wall, cpu = time.perf_counter(), cpu_seconds()
            case()
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(cpu_seconds() - cpu)
    return {
        name: Timing(statistics.median(walls[name]), statistics.median(cpus[name]), walls[name])
        for name in cases
    }


def version_of(command: Sequence[str]) -> str:
    """The first line that a tool prints of its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def machine() -> str:
    """One line about where the figures come from."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return (
        f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, {memory} GiB,"
        f" Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    )


def debian_root(parser: argparse.ArgumentParser) -> None:
    """Give a parser the argument ``tar``: a Debian root, as ``.ci/debian-root`` makes it."""
    default = os.environ.get("IASFS_DEBIAN_ROOT")
    parser.add_argument(
        "tar",
        type=Path,
        nargs="?" if default else None,
        default=default and Path(default),
        help="as .ci/debian-root makes it; left out: what IASFS_DEBIAN_ROOT names",
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replace_section(page: Path, name: str, text: str) -> None:
    """Put ``text`` between the markers ``<!-- name -->`` and ``<!-- /name -->`` of a page."""
    old = page.read_text()
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if begin not in old or end not in old:
        raise SystemExit(f"{page}: no section {name}")
    head, tail = old.split(begin)[0], old.split(end)[1]
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


def save(name: str, figures: object) -> None:
    """Append figures to the history of a benchmark, one JSON object a line."""
    history = ROOT / "benchmarks" / "history" / f"{name}.jsonl"
    history.parent.mkdir(exist_ok=True)
    with history.open("a") as file:
        file.write(json.dumps(figures, sort_keys=True) + "\n")
