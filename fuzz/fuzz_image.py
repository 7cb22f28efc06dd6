"""Invariant: any bytes, opened as an image, read right or give FormatError or StorageError.

Nothing else comes out of opening, walking, looking up, reading, fsck and dump, within a second
and 100 MB for an image under 1 MB.  An error says where.  What fsck passes can be read, all of
it; a path that the walk shows is found, and is what the walk said; a file reads alike in pieces.

    python fuzz/fuzz_image.py [libFuzzer options] [corpus directories]     with atheris
    python fuzz/fuzz_image.py --seconds 60                                 without
    python fuzz/fuzz_image.py --replay DIRECTORY...                        each input once

All begin with seeds made on the fly and with the inputs kept in fuzz/corpus/image.  The mutator
knows where numbers lie, and mostly makes the superblock's checksum good again.  With
IASFS_PURE_PYTHON=1 the twins in Python are held to the same.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import random
import resource
import stat
import sys
import tempfile
import time
from pathlib import Path

atheris = None
if __name__ == "__main__" and not {"--seconds", "--replay"} & set(sys.argv):
    with contextlib.suppress(ImportError):
        import atheris

ROOMS = ["iasfs.format", "iasfs.read"]
with atheris.instrument_imports(include=ROOMS) if atheris else contextlib.nullcontext():
    from iasfs.blob import BytesBlob
    from iasfs.errors import FormatError, StorageError
    from iasfs.format import disk, superblock
    from iasfs.making import mkfs
    from iasfs.read.check import dump, fsck
    from iasfs.read.image import Image
    from iasfs.tree import Node, Tree

CORPUS = Path(__file__).parent / "corpus" / "image"
INPUT_LIMIT = 1 << 20
SECONDS = 1.0
MEMORY = 100 << 10
"""KiB."""
NAMES_LIMIT = 500
"""Names that are looked at one by one;"""
READ_LIMIT = 4 << 20
"""bytes of files that are read."""
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def one_input(data: bytes, seconds: float = SECONDS) -> None:
    """Hold the invariant against one input."""
    if len(data) > INPUT_LIMIT:
        return
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    exercise(data)
    took = time.process_time() - start
    assert took < seconds, f"{took} s"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MEMORY, f"{grown} KiB"


def exercise(data: bytes) -> None:
    """Everything one can ask of an image."""
    try:
        image = Image(BytesBlob(data), name="image")
    except (FormatError, StorageError) as error:
        check_error(error)
        return
    errors = Reader(image).read()
    for error in errors:
        check_error(error)
    problems = list(fsck(image))
    assert not errors or problems, f"fsck passes what cannot be read: {errors[0]!r}"
    for problem in problems:
        assert str(problem).isprintable()
        assert problem.what
    assert dump(image).isascii() or True


def check_error(error: FormatError | StorageError) -> None:
    """An error names the file, and the inode or the byte."""
    if isinstance(error, FormatError):
        assert error.what
        assert error.path is not None, f"no path: {error!r}"


class Reader:
    """Reads all of an image by its paths, up to the limits; keeps the errors."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.errors: list[FormatError | StorageError] = []
        self.names = NAMES_LIMIT
        self.bytes = READ_LIMIT

    @contextlib.contextmanager
    def allowed(self, *numbers: int):
        try:
            yield
        except (FormatError, StorageError) as error:
            self.errors.append(error)
        except OSError as error:
            if error.errno not in numbers:
                raise

    def read(self) -> list[FormatError | StorageError]:
        with self.allowed():
            for top, dirs, files in self.image.walk(b"/"):
                with self.allowed():
                    assert self.image.listdir(top) == sorted(dirs + files)
                    for entry in self.image.scandir(top):
                        self.names -= 1
                        if self.names < 0:
                            return self.errors
                        with self.allowed():
                            self.look(entry)
        return self.errors

    def look(self, entry) -> None:
        path = entry.path
        status = self.image.lstat(path)
        assert status.st_ino == entry.inode()
        assert stat.S_ISDIR(status.st_mode) == entry.is_dir(follow_symlinks=False)
        with self.allowed(*_ABSENT):
            self.image.stat(path)
        with self.allowed():
            for name in self.image.listxattr(path, follow_symlinks=False):
                self.image.getxattr(path, name, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            assert 1 <= len(self.image.readlink(path)) <= 4095
        elif stat.S_ISREG(status.st_mode):
            self.read_file(path, status.st_size)
        if self.names % 8 == 0:
            dump(self.image, path)

    def read_file(self, path: bytes, size: int) -> None:
        with self.image.open(path) as file:
            head = file.read(min(size, 1 << 18, max(self.bytes, 0)))
            self.bytes -= len(head)
            for at in {0, len(head) // 2, len(head) - 1} if head else ():
                assert file.pread(3000, at)[: len(head) - at] == head[at : at + 3000]
            for at in (size // 2, max(size - 100, 0)):
                assert len(file.pread(100, at)) == min(100, size - at)
            assert file.pread(100, size) == b""


# --- seeds --------------------------------------------------------------------------------------


def seed_tree() -> Tree:
    """Few inodes, of every type and layout."""
    text = b"".join(b"%d bottles of beer on the wall\n" % number for number in range(700))
    noise = random.Random(1).randbytes(5000)
    label = {b"security.selinux": b"label", b"user.own": b"1"}
    tree = Tree()
    for path, content in {
        "a": b"inline",
        "b/text": text,
        "b/mixed": noise + text[:9000] + noise,
        "b/tail": text[:9000],
        "c/small": text[:3000],
        "c/zeros": bytes(70000),
        "empty": b"",
    }.items():
        node = Node(stat.S_IFREG | 0o644, 1, 2, 3, content=BytesBlob(content), xattrs=dict(label))
        tree.add(path, node)
    tree.add("hard", tree.get("a"))
    tree.add("d/link", Node(stat.S_IFLNK | 0o777, target=b"../b/text"))
    tree.add("d/loop", Node(stat.S_IFLNK | 0o777, target=b"loop"))
    tree.add("d/up", Node(stat.S_IFLNK | 0o777, target=b"/../b"))
    tree.add("d/long", Node(stat.S_IFLNK | 0o777, target=b"x/" * 1900 + b"y"))
    tree.add("dev", Node(stat.S_IFCHR | 0o600, rdev=os.makedev(1, 300)))
    tree.add("fifo", Node(stat.S_IFIFO | 0o600, xattrs=label))
    for number in range(30):
        tree.add(b"many/" + b"%d" % number * 80, tree.get("a"))
    return tree


def seeds() -> list[bytes]:
    """Small images of every codec and feature that we write, and the inputs that are kept."""
    made = []
    for options in (
        {"compression": "zstd", "extent_size": 8192, "pack_extent_size": 4096, "pack_limit": 4096},
        {"compression": "zstd", "pack_limit": 0, "extent_size": 4096},
        {"compression": "lz4", "min_kernel": "5.4"},
        {"compression": "lz4", "min_kernel": "5.13", "extent_size": 16384, "pack_limit": 0},
        {"compression": "lz4", "min_kernel": "6.1", "extent_size": 8192, "pack_limit": 8192},
        {"compression": "deflate", "extent_size": 8192, "pack_limit": 4096},
        {"compression": "none", "min_kernel": "5.4"},
        {"compression": "none", "min_kernel": "6.1"},
    ):
        target = io.BytesIO()
        mkfs(seed_tree(), target, workers=1, **options)
        made.append(target.getvalue())
    return made + [path.read_bytes() for path in sorted(CORPUS.glob("*"))]


# --- mutation -----------------------------------------------------------------------------------

NUMBERS = [0, 1, 2, 3, 4, 7, 8, 12, 13, 24, 31, 32, 255, 256, 1023, 1024, 2047, 2048, 4095, 4096]
NUMBERS += [4097, 0x7FFF, 0x8000, 0xFFFF, 1 << 16, 1 << 20, (1 << 20) + 1, 12 << 20, 1 << 27]
NUMBERS += [1 << 31, (1 << 32) - 1, 1 << 32, (1 << 48) - 1, 1 << 59, (1 << 59) + 37, 1 << 63]
NUMBERS += [(1 << 63) - 1, (1 << 64) - 1, (1 << 64) - 32]
SUPER_FIELDS = [(0x04, 4), (0x08, 4), (0x0C, 1), (0x0D, 1), (0x0E, 2), (0x10, 8), (0x18, 8)]
SUPER_FIELDS += [(0x20, 4), (0x24, 4), (0x28, 4), (0x2C, 4), (0x40, 16), (0x50, 4), (0x54, 2)]
SUPER_FIELDS += [(0x56, 2), (0x58, 2), (0x5A, 1), (0x5B, 1), (0x5C, 4), (0x60, 8), (0x68, 1)]
SUPER_FIELDS += [(0x70, 8), (0x80, 8), (0x88, 8)]
INODE_FIELDS = [(0, 2), (2, 2), (4, 2), (6, 2), (8, 4), (8, 8), (12, 4), (16, 2), (16, 4), (20, 4)]
INODE_FIELDS += [(24, 2), (32, 8), (40, 4), (44, 4), (64, 4), (68, 2), (70, 1), (71, 1), (68, 1)]
INODE_FIELDS += [(72, 4), (76, 4), (80, 2), (82, 2), (84, 4), (88, 8), (72, 8), (74, 2)]
FORMATS = [0o100644, 0o040755, 0o120777, 0o020600]


def mutate(data: bytes, limit: int, chance: random.Random) -> bytes:
    """A few changes to an image; the checksum is mostly made good again."""
    image = bytearray(data[:limit])
    if len(image) < 2048:
        image += bytes(2048 - len(image))
    steps = [set_super, set_inode, set_inode, set_number, set_number, set_bit, move, fill, resize]
    for _ in range(chance.choice([1, 1, 1, 2, 3, 5])):
        chance.choice(steps)(image, chance)
    image = image[:limit]
    if chance.random() < 0.97:
        seal(image)
    return bytes(image)


def seal(image: bytearray) -> None:
    start = disk.SUPER_OFFSET
    if len(image) > start + 128 and image[start + 8] & 1 and 9 <= image[start + 12] <= 16:
        with contextlib.suppress(FormatError):
            image[:] = superblock.with_checksum(image, image[start + 12])


def number(width: int, chance: random.Random) -> bytes:
    value = chance.choice(NUMBERS) + chance.choice([0, 0, 0, -1, 1])
    if chance.random() < 0.2:
        value = chance.getrandbits(8 * width) >> chance.randrange(8 * width)
    return (value % (1 << 8 * width)).to_bytes(width, "little")


def put(image: bytearray, at: int, data: bytes) -> None:
    end = min(at + len(data), len(image))
    if at < end:
        image[at:end] = data[: end - at]


def somewhere(image: bytearray, chance: random.Random, unit: int) -> int:
    """A place, near the front more often than not, and where something is."""
    size = len(image) if chance.random() < 0.2 else min(len(image), 6144)
    for _ in range(8):
        at = chance.randrange(size) // unit * unit
        if any(image[at : at + 2 * unit]):
            break
    return at


def set_super(image: bytearray, chance: random.Random) -> None:
    offset, width = chance.choice(SUPER_FIELDS)
    if offset in (0x08, 0x50):
        image[disk.SUPER_OFFSET + offset] ^= 1 << chance.randrange(8)
    else:
        put(image, disk.SUPER_OFFSET + offset, number(width, chance))


def set_inode(image: bytearray, chance: random.Random) -> None:
    at = somewhere(image, chance, disk.ISLOT_SIZE)
    offset, width = chance.choice(INODE_FIELDS)
    if offset == 0:
        put(image, at, bytes([chance.randrange(32), 0]))
    elif offset == 4:
        put(image, at + 4, chance.choice(FORMATS).to_bytes(2, "little"))
    else:
        put(image, at + offset, number(width, chance))


def set_number(image: bytearray, chance: random.Random) -> None:
    width = chance.choice([1, 2, 2, 4, 4, 8])
    at = somewhere(image, chance, min(width, 4))
    if chance.random() < 0.5 and at + width <= len(image):
        value = int.from_bytes(image[at : at + width], "little") + chance.choice([-1, 1, 32, -32])
        put(image, at, (value % (1 << 8 * width)).to_bytes(width, "little"))
    else:
        put(image, at, number(width, chance))


def set_bit(image: bytearray, chance: random.Random) -> None:
    image[somewhere(image, chance, 1)] ^= 1 << chance.randrange(8)


def move(image: bytearray, chance: random.Random) -> None:
    """Copy something over something else: inodes, names, nids."""
    size = chance.choice([2, 4, 8, 8, 12, 12, 24, 32, 64, 128, 4096])
    unit = chance.choice([1, 4, 8, 32])
    source, target = somewhere(image, chance, unit), somewhere(image, chance, unit)
    put(image, target, bytes(image[source : source + size]))


def fill(image: bytearray, chance: random.Random) -> None:
    size = chance.choice([1, 4, 12, 32, 64, 512])
    put(image, somewhere(image, chance, 4), chance.choice([b"\0", b"\xff", b"/", b"a"]) * size)


def resize(image: bytearray, chance: random.Random) -> None:
    if chance.random() < 0.7:
        del image[max(chance.randrange(len(image)), 1200) :]
    else:
        image += bytes(chance.choice([1, 100, 4096, 65536]))


# --- running ------------------------------------------------------------------------------------


def replay(directories: list[str]) -> None:
    """Each input once."""
    files = [path for name in directories for path in sorted(Path(name).rglob("*"))]
    for path in files:
        if path.is_file():
            try:
                one_input(path.read_bytes())
            except BaseException:
                print(path, file=sys.stderr)
                raise
    print(f"{len(files)} inputs")


def run_alone(seconds: float, seed: int | None) -> None:
    """The same without atheris: blind, but fast."""
    pool = seeds()
    end = time.monotonic() + seconds
    count = 0
    base = random.randrange(1 << 32) if seed is None else seed
    while time.monotonic() < end:
        chance = random.Random(base + count)
        data = chance.choice(pool)
        for _ in range(chance.choice([1, 1, 2, 6])):
            data = mutate(data, 1 << 18, chance)
        try:
            one_input(data)
        except BaseException:
            path = f"hurt-{base + count}.erofs"
            Path(path).write_bytes(data)
            print(f"wrote {path}", file=sys.stderr)
            raise
        count += 1
    print(f"{count} inputs")


def custom_mutator(data: bytes, max_size: int, seed: int) -> bytes:
    chance = random.Random(seed)
    if chance.random() < 0.1:
        image = bytearray(atheris.Mutate(data, max_size))
        seal(image)
        return bytes(image)
    return mutate(data, max_size, chance)


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--replay", action="store_true")
    known, rest = parser.parse_known_args()
    if known.replay:
        replay(rest or [str(CORPUS)])
        return
    if atheris is None:
        run_alone(known.seconds or 60, known.seed)
        return
    with tempfile.TemporaryDirectory() as directory:
        for count, seed in enumerate(seeds()):
            (Path(directory) / f"seed-{count}").write_bytes(seed)
        # Instrumented code is some ten times slower.
        atheris.Setup(
            [sys.argv[0], "-max_len=131072", *rest, directory],
            lambda data: one_input(data, 20 * SECONDS),
            custom_mutator=custom_mutator,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
