"""Claim: an image of a Debian root is built faster than mksquashfs builds its own, and is as small.

Both read the same tar, use zstd at the same level and two processors, and write to the same
directory.  Targets: at most 1.07 times the size, at least the throughput.

    python benchmarks/build.py rootfs.tar [--runs 7] [--levels 3 9 15] [--write]

``--write`` puts the table into docs/benchmarks.md and the figures into benchmarks/history/.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from subprocess import run

from harness import (
    ROOT,
    Timing,
    debian_root,
    interleave,
    machine,
    replace_section,
    save,
    table,
    version_of,
)
from iasfs.format.codec import zstd_version

PROCESSORS = 2
SIZE_LIMIT = 1.07


def build_with_iasfs(tar: Path, target: Path, level: int) -> None:
    """In a process of its own, as mksquashfs is, with the interpreter's start counted."""
    command = [sys.executable, "-m", "iasfs", "mkfs", str(tar), str(target)]
    run([*command, "--level", str(level), "--workers", str(PROCESSORS)], check=True)


def build_with_mksquashfs(tar: Path, target: Path, level: int) -> None:
    """From the same tar, on its standard input; no export table, which EROFS has none of either."""
    target.unlink(missing_ok=True)
    options = f"-tar -comp zstd -Xcompression-level {level} -b 128K -processors {PROCESSORS}"
    with tar.open("rb") as source:
        run(
            ["mksquashfs", "-", str(target), *options.split(), "-no-progress", "-quiet"],
            stdin=source,
            check=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    debian_root(parser)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--levels", type=int, nargs="+", default=[3, 9, 15])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    content = arguments.tar.stat().st_size
    rows, figures = [], []
    with tempfile.TemporaryDirectory(dir=arguments.tar.parent) as folder:
        for level in arguments.levels:
            ours, theirs = Path(folder, "image.erofs"), Path(folder, "image.squashfs")
            timings = interleave(
                {
                    "iasfs": partial(build_with_iasfs, arguments.tar, ours, level),
                    "mksquashfs": partial(build_with_mksquashfs, arguments.tar, theirs, level),
                },
                arguments.runs,
            )
            sizes = {"iasfs": ours.stat().st_size, "mksquashfs": theirs.stat().st_size}
            rows += _rows(level, timings, sizes, content)
            figures.append({"level": level, "sizes": sizes, "timings": timings})
    text = "\n".join(
        [
            f"A tar of {content / 1e6:.1f} MB, medians of {arguments.runs} runs in turn,"
            f" {PROCESSORS} processors; ratios are against mksquashfs at the same level.",
            "",
            table(["level", "tool", "size MB", "ratio", "wall s", "MB/s", "ratio", "CPU s"], rows),
            "",
            f"{machine()}. iasfs with libzstd {_dotted(zstd_version())};"
            f" {version_of(['mksquashfs', '-version'])}.",
        ]
    )
    print(text)
    if arguments.write:
        replace_section(ROOT / "docs" / "benchmarks.md", "build", text)
        save("build", {"time": int(time.time()), "machine": machine(), "figures": figures})


def _rows(
    level: int, timings: dict[str, Timing], sizes: dict[str, int], content: int
) -> list[list[object]]:
    peer, peer_size = timings["mksquashfs"], sizes["mksquashfs"]
    return [
        [
            level,
            name,
            f"{sizes[name] / 1e6:.1f}",
            f"{sizes[name] / peer_size:.3f}",
            f"{timing.wall:.2f}",
            f"{content / 1e6 / timing.wall:.1f}",
            f"{peer.wall / timing.wall:.2f}",
            f"{timing.cpu:.2f}",
        ]
        for name, timing in timings.items()
    ]


def _dotted(version: int) -> str:
    return f"{version // 10000}.{version // 100 % 100}.{version % 100}"


if __name__ == "__main__":
    main()
