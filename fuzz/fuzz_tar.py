"""Invariant: any bytes, read as a tar, give a Tree, FormatError or StorageError, nothing else.

It takes less than a second and less than 100 MB for an input under 1 MB; and an archive that is
spooled gives the same tree, or the same error, as one that is read in place.

    python fuzz/fuzz_tar.py [libFuzzer options] [corpus directories]     with atheris
    python fuzz/fuzz_tar.py --seconds 60                                 without

Both begin with seeds made on the fly and with fuzz/corpus/tar.  The mutator knows blocks, fields,
check sums and pax records, for a header whose check sum is wrong is as far as random bytes come.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import random
import resource
import sys
import tarfile
import tempfile
import time
from pathlib import Path

atheris = None
if __name__ == "__main__" and "--seconds" not in sys.argv:
    with contextlib.suppress(ImportError):
        import atheris

with atheris.instrument_imports(include=["iasfs"]) if atheris else contextlib.nullcontext():
    from iasfs.blob import BytesBlob
    from iasfs.errors import FormatError, StorageError
    from iasfs.write.tar import read_tar

CORPUS = Path(__file__).parent / "corpus" / "tar"
INPUT_LIMIT = 1 << 20
SIZE_LIMIT = 1 << 24
"""Of an archive when it is uncompressed: what a bomb unpacks to is not the parser's fault."""
SECONDS = 1.0
MEMORY = 100 << 10
"""KiB."""


def one_input(data: bytes, seconds: float = SECONDS) -> None:
    """Hold the invariant against one input."""
    if len(data) > INPUT_LIMIT:
        return
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    in_place = outcome(BytesBlob(data), "overlay")
    took = time.process_time() - start
    assert took < seconds, f"{took} s"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MEMORY, f"{grown} KiB"
    assert outcome(io.BytesIO(data), "overlay") == in_place
    outcome(BytesBlob(data), "keep")


def outcome(source: BytesBlob | io.BytesIO, whiteouts: str) -> object:
    """What can be compared of a tree, or the error."""
    try:
        tree = read_tar(source, whiteouts=whiteouts, max_size=SIZE_LIMIT)
    except (FormatError, StorageError) as error:
        return type(error), str(error)
    result = []
    for path, node in tree.walk():
        size = node.content.size
        ends = [bytes(node.content.read_at(at, 1)) for at in {0, size - 1} if 0 <= at < size]
        result.append(
            (path, node.mode, node.uid, node.mtime_ns, node.rdev, node.target, size, ends)
        )
    return result


# Seeds.


def sealed(block: bytes) -> bytes:
    """The header with its check sum made good."""
    blanked = block[:148] + b" " * 8 + block[156:512]
    return block[:148] + b"%06o\0 " % sum(blanked) + block[156:512]


def sparse_header() -> bytes:
    block = bytearray(512)
    for offset, field in [
        (0, b"sparse"),
        (100, b"0000644\0"),
        (124, b"00000000003\0"),
        (156, b"S"),
        (257, b"ustar  \0"),
        (386, b"00000000001\000000000001\000000000005\000000000002\0"),
        (483, b"00000000012\0"),
    ]:
        block[offset : offset + len(field)] = field
    return sealed(bytes(block)) + b"abc".ljust(512, b"\0")


def seeds() -> list[bytes]:
    """Small archives of every dialect that Python writes, and then some."""
    kinds = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE]
    names = [
        "a",
        "d/",
        "d/s",
        "d/hard",
        ".wh.a",
        "d/.wh..wh..opq",
        "n" * 60 + "/" + "m" * 60,
        "d/s/f",
        "./",
    ]
    extra = {
        "SCHILY.xattr.user.a": "1",
        "LIBARCHIVE.xattr.user.b": "MTIz",
        "SCHILY.acl.access": "user::rw-,user:5:r--,group::r--,mask::r--,other::---",
        "RHT.security.selinux": "label",
        "mtime": "-1.5",
        "uid": "70000",
    }
    sparse = {"GNU.sparse.size": "9", "GNU.sparse.map": "1,1,5,2", "GNU.sparse.name": "real"}
    inner = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
    made = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(
            fileobj=file, mode="w", format=form, pax_headers={"comment": "c"}
        ) as archive:
            for number, name in enumerate(names):
                info = tarfile.TarInfo(name)
                info.type = kinds[number % len(kinds)] if number < 5 else tarfile.REGTYPE
                info.linkname = "d/s" if info.type != tarfile.SYMTYPE else "../d"
                info.pax_headers = extra if number % 2 else {}
                data = bytes(range(number * 20))
                if info.type == tarfile.REGTYPE:
                    info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            for headers, data in [
                (sparse, b"abc"),
                (inner, b"2\n1\n1\n5\n2\n".ljust(512) + b"abc"),
            ]:
                info = tarfile.TarInfo("sparse")
                info.pax_headers, info.size = headers, len(data)
                archive.addfile(info, io.BytesIO(data))
        whole = file.getvalue().rstrip(b"\0")
        made.append(whole + bytes(-len(whole) % 512 + 1024))
    made.append(sparse_header() + bytes(1024))
    made.append(gzip.compress(made[0], mtime=0))
    return made + [path.read_bytes() for path in sorted(CORPUS.iterdir())]


# Mutation.

NUMBERS = [0, 1, 7, 511, 512, 513, 1 << 20, (1 << 31) - 1, 1 << 32, (1 << 33) - 1, 1 << 62, 1 << 63]
FIELDS = [(0, 100), (100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (157, 100), (257, 8)]
FIELDS += [(329, 8), (337, 8), (345, 155), (356, 96), (386, 96), (482, 1), (483, 12), (508, 4)]
WORDS = [b"..", b"/", b"./", b".wh.", b"d/s", b"-", b"=", b",", b"\n", b" ", b"\0", b"9" * 25]
WORDS += [b"GNU.sparse.map", b"GNU.sparse.offset", b"path", b"size", b"ustar\x0000", b"ustar  \0"]


def mutate(data: bytes, limit: int, chance: random.Random) -> bytes:
    """A few changes to an archive; the check sums are mostly made good again."""
    blocks = [bytearray(data[at : at + 512]) for at in range(0, min(len(data), limit), 512)]
    if not blocks:
        blocks = [bytearray(512)]
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(blocks))
        chance.choice([_set_field, _set_kind, _set_byte, _set_word, _move, _record])(
            blocks, at, chance
        )
    return b"".join(blocks)[:limit]


KEYS = [b"path", b"linkpath", b"size", b"uid", b"mtime", b"GNU.sparse.map", b"GNU.sparse.size"]
KEYS += [b"GNU.sparse.offset", b"GNU.sparse.numbytes", b"GNU.sparse.major", b"GNU.sparse.name"]
KEYS += [b"SCHILY.xattr.user.x", b"LIBARCHIVE.xattr.user.y", b"SCHILY.acl.default"]

Blocks = list[bytearray]


def _set_field(blocks: Blocks, at: int, chance: random.Random) -> None:
    offset, width = chance.choice(FIELDS)
    number = chance.choice(NUMBERS) + chance.randint(-2, 2)
    if chance.random() < 0.5 and number >= 0:
        field = b"%0*o\0" % (width - 1, number)
    else:
        field = bytearray((number % (1 << 8 * width)).to_bytes(width, "big"))
        field[0] |= 0x80
    if offset in (0, 157, 345) and chance.random() < 0.7:
        field = chance.choice(WORDS) * chance.randint(1, 9)
    blocks[at][offset : offset + width] = field[:width].ljust(width, b"\0")
    _seal(blocks, at, chance)


def _set_kind(blocks: Blocks, at: int, chance: random.Random) -> None:
    blocks[at][156:157] = bytes([chance.choice(b"01234567xgXLKSDMVAE\0Z")])
    _seal(blocks, at, chance)


def _set_byte(blocks: Blocks, at: int, chance: random.Random) -> None:
    if blocks[at]:
        blocks[at][chance.randrange(len(blocks[at]))] = chance.randrange(256)
    _seal(blocks, at, chance)


def _set_word(blocks: Blocks, at: int, chance: random.Random) -> None:
    word = chance.choice(WORDS)
    start = chance.randrange(512)
    blocks[at][start : start + len(word)] = word
    del blocks[at][512:]
    _seal(blocks, at, chance)


def _move(blocks: Blocks, at: int, chance: random.Random) -> None:
    size = chance.randint(1, 4)
    part = [bytearray(block) for block in blocks[at : at + size]]
    if chance.random() < 0.5:
        del blocks[at : at + size]
    where = chance.randint(0, len(blocks))
    blocks[where:where] = part * chance.choice([1, 1, 1, 2, 20])


def _record(blocks: Blocks, at: int, chance: random.Random) -> None:
    """Change a pax header's records, their lengths and the header's size kept right."""
    if blocks[at][156:157] not in (b"x", b"g", b"X") or at + 1 >= len(blocks):
        return
    key = chance.choice(KEYS)
    value = chance.choice([*WORDS, *(b"%d" % number for number in NUMBERS), b"1,2,3,4", b""])
    body = b" " + key + b"=" + value + b"\n"
    size = len(body) + 1
    while len(str(size)) + len(body) != size:
        size = len(str(size)) + len(body)
    records = (b"%d" % size + body) * chance.choice([1, 1, 2, 3])
    records = records[:512]
    blocks[at][124:136] = b"%011o\0" % len(records)
    blocks[at + 1][:] = records.ljust(512, b"\0")
    _seal(blocks, at, chance)


def _seal(blocks: Blocks, at: int, chance: random.Random) -> None:
    if len(blocks[at]) == 512 and chance.random() < 0.97:
        blocks[at][:] = sealed(bytes(blocks[at]))


# Running.


def run_alone(seconds: float) -> None:
    """The same without atheris: blind, but it needs nothing."""
    chance = random.Random()
    pool = seeds()
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        data = mutate(chance.choice(pool), 1 << 16, chance)
        for _ in range(chance.choice([0, 0, 1, 5])):
            data = mutate(data, 1 << 16, chance)
        try:
            one_input(data)
        except BaseException:
            path = f"hurt-{count}.tar"
            Path(path).write_bytes(data)
            print(f"wrote {path}", file=sys.stderr)
            raise
        count += 1
    print(f"{count} inputs")


def custom_mutator(data: bytes, max_size: int, seed: int) -> bytes:
    chance = random.Random(seed)
    if chance.random() < 0.2:
        return atheris.Mutate(data, max_size)
    return mutate(data, max_size, chance)


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seconds", type=float)
    known, rest = parser.parse_known_args()
    if atheris is None:
        run_alone(known.seconds or 60)
        return
    with tempfile.TemporaryDirectory() as directory:
        for number, seed in enumerate(seeds()):
            (Path(directory) / f"seed-{number}").write_bytes(seed)
        # Instrumented code is some ten times slower.
        atheris.Setup(
            [sys.argv[0], "-max_len=65536", *rest, directory],
            lambda data: one_input(data, 20 * SECONDS),
            custom_mutator=custom_mutator,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
