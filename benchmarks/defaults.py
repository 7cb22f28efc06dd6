"""Why the defaults are what they are: size, build time and read cost of a Debian root by option.

For each combination: the size of the image and of its metadata zone, the CPU time to build it,
the time of a first read of 1,000 random small files and of 1,000 random 4 KiB reads in large
files, and how many bytes of the image these touch.

    python benchmarks/defaults.py rootfs.tar [--write]
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

import iasfs
from harness import ROOT, cpu_seconds, debian_root, machine, replace_section, table
from iasfs.testing import RecordingBlob
from iasfs.write.tar import read_tar

KIB = 1 << 10
LAYOUTS = [
    # extent_size, pack_extent_size, pack_limit
    (64, 64, 0),
    (128, 64, 0),
    (128, 16, 16),
    (128, 32, 16),
    (128, 64, 32),
    (128, 128, 128),
    (256, 32, 32),
    (256, 64, 32),
    (256, 128, 32),
    (256, 128, 128),
    (1024, 64, 32),
    (1024, 1024, 1024),
]
LEVELS = [1, 3, 6, 9, 12, 15, 19]
CODECS = [("zstd", 9), ("deflate", 9), ("lz4", 9), ("lz4", 1), ("none", None)]
READS = 1000


def build(tree: iasfs.Tree, image: Path, **options: object) -> tuple[iasfs.Made, float]:
    """The image, and the CPU seconds it took."""
    start = cpu_seconds()
    made = iasfs.mkfs(tree, image, **options)  # type: ignore[arg-type]
    return made, cpu_seconds() - start


def read_cost(image: Path, tree: iasfs.Tree) -> list[str]:
    """``us, KB fetched`` for a first read of a small file and for a random 4 KiB read."""
    files = [(path, node.content.size) for path, node in tree.walk() if node.is_file]
    small = [(path, 0, None) for path, size in files if 4 * KIB <= size <= 16 * KIB]
    large = [(path, size) for path, size in files if size >= 1 << 20]
    pick = random.Random(1)
    pieces = []
    for _ in range(READS):
        path, size = pick.choice(large)
        pieces.append((path, pick.randrange(size - 4 * KIB), 4 * KIB))
    cells = []
    for reads in (pick.sample(small, min(READS, len(small))), pieces):
        blob = RecordingBlob(iasfs.FileBlob(image))
        with iasfs.open(blob) as opened:
            opened.stat("/")
            before, start = blob.bytes_read, time.thread_time()
            for path, offset, size in reads:
                opened.read_many([(path, offset, size)])
            spent = (time.thread_time() - start) / len(reads)
            cells += [f"{spent * 1e6:.0f}", f"{(blob.bytes_read - before) / len(reads) / 1e3:.1f}"]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    debian_root(parser)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    tree = read_tar(iasfs.FileBlob(arguments.tar))
    with tempfile.TemporaryDirectory(dir=arguments.tar.parent) as folder:
        image = Path(folder, "image.erofs")
        layouts, levels, codecs = [], [], []
        for extent, pack_extent, limit in LAYOUTS:
            made, spent = build(
                tree,
                image,
                extent_size=extent * KIB,
                pack_extent_size=pack_extent * KIB,
                pack_limit=limit * KIB,
            )
            packed = [pack_extent, limit] if limit else ["-", "-"]
            layouts.append([extent, *packed, *_made(made, spent), *read_cost(image, tree)])
        for level in LEVELS:
            made, spent = build(tree, image, level=level)
            levels.append([level, *_made(made, spent)])
        for codec, level in CODECS:
            made, spent = build(tree, image, compression=codec, level=level)
            codecs.append([codec, level or "-", *_made(made, spent), *read_cost(image, tree)])
    size = ["image MB", "metadata MB", "build CPU s"]
    cost = ["small file us", "KB", "4 KiB at random us", "KB"]
    head = ["extent KiB", "pack extent KiB", "pack below KiB", *size, *cost]
    text = "\n\n".join(
        [
            table(head, layouts),
            table(["level", *size], levels),
            table(["codec", "level", *size, *cost], codecs),
            f"{machine()}; the image in the page cache, nothing decoded before, one read a call.",
        ]
    )
    print(text)
    if arguments.write:
        replace_section(ROOT / "docs" / "defaults.md", "defaults", text)


def _made(made: iasfs.Made, spent: float) -> list[str]:
    return [f"{made.size / 1e6:.1f}", f"{made.metadata_size / 1e6:.2f}", f"{spent:.1f}"]


if __name__ == "__main__":
    main()
