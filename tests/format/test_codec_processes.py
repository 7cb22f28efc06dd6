"""Codec: where libzstd comes from, threads, processes and the GIL."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers import missing, require_module
from iasfs.format import codec
from iasfs.format.codec import Algorithm, Compressor, Decoder, Job, crc32c
from payloads import (
    BLOCK,
    MIB,
    TEXT,
    noise,
)

SRC = str(Path(codec.__file__).parents[2])
"""Where the library that is tested was imported from."""


def run_python(code: str, **environment: str) -> str:
    """Run code in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": SRC, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


ROUND_TRIP = """
from iasfs.format import codec
c = codec.Compressor("zstd", 3)
data = b"some text " * 1000
[payload] = c.compress([data])
assert codec.Decoder(4096).decode_one(payload, codec.Algorithm.ZSTD, len(data)) == data
"""


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("absent", "left"),
    [
        ((), "_from_zstandard"),
        (("zstandard",), "libzstd.so.1"),
        (("zstandard", "libzstd.so.1", "libzstd.1.dylib"), "backports.zstd._zstd"),
    ],
)
def test_zstd_sources(absent: tuple[str, ...], left: str) -> None:
    """Each source alone is enough."""
    if left.startswith("lib"):
        if not codec.lib.iasfs_symbol(left.encode(), b"ZSTD_versionNumber"):
            missing("libzstd", f"{left} is not installed")
    elif left.startswith("backports"):
        require_module("backports")
        require_module("backports.zstd")
    code = f"""
import sys
absent = {absent!r}
if "zstandard" in absent:
    sys.modules["zstandard"] = None
from iasfs.format import codec
real = codec._from_library
codec._from_library = lambda path: (lambda name: 0) if path in absent else real(path)
assert codec.zstd_version() >= 10400
{ROUND_TRIP}
"""
    run_python(code)


@pytest.mark.usefixtures("compiled")
def test_zstd_refuses_strangers() -> None:
    """Functions of which one is missing, or that are too old, are not taken."""
    code = """
from iasfs.format import codec
a = codec.ffi.new("struct iasfs_zstd_addresses *")
assert codec.lib.iasfs_zstd_install(a) == 0
assert codec.lib.iasfs_symbol(b"no such library", b"x") == 0
codec._zstd_sources = lambda: iter([lambda name: 0, codec._from_library("no such library")])
assert codec.zstd_version() == 0
import warnings
data = b"some text " * 1000
c = codec.Compressor("zstd", 3)
[payload] = c.compress([data])
assert codec.Decoder(4096).decode_one(payload, 3, len(data)) == data
"""
    run_python(code)


def test_python_only_process() -> None:
    """IASFS_PURE_PYTHON turns the C code off, without a warning: it was asked for."""
    code = f"""
import iasfs._native as native
assert native.fast is native.lib is native.ffi is None and not native.missing
{ROUND_TRIP}
assert codec.crc32c(b"123456789") == 0x1CF96D7C
print("done")
"""
    assert run_python(code, IASFS_PURE_PYTHON="1") == "done\n"


def test_zstd_is_loaded_late() -> None:
    """Importing the codec does not load any zstd."""
    code = "import sys, iasfs.format.codec; assert 'zstandard' not in sys.modules"
    run_python(code)


@pytest.mark.usefixtures("both")
def test_threads() -> None:
    """Many threads share a decoder."""
    chunks = [TEXT[i:] + noise(i % 50) for i in range(0, 60_000, 3000)]
    expected = b"".join(chunks)
    jobs, at = [], 0
    for index, chunk in enumerate(chunks):
        compressor = Compressor(("zstd", "lz4", "deflate")[index % 3], 1)
        (payload,) = compressor.compress([chunk])
        jobs.append(Job(payload, compressor.algorithm, len(chunk), 0, len(chunk), at))
        at += len(chunk)
    decoder = Decoder(BLOCK)

    def work(_: int) -> bool:
        target = bytearray(at)
        decoder.decode(jobs, target)
        return target == expected

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(24)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork() -> None:
    """A child that was forked while other threads decode can decode too."""
    code = """
import os, threading, warnings
from iasfs.format.codec import Algorithm, Compressor, Decoder, Job
warnings.simplefilter("ignore")  # fork beside threads
data = bytes(range(256)) * 1024
c = Compressor("zstd", 1)
[payload] = c.compress([data])
decoder = Decoder(4096)
jobs = [Job(payload, Algorithm.ZSTD, len(data), 0, len(data), i * len(data)) for i in range(12)]
def decode():
    target = bytearray(len(data) * len(jobs))
    decoder.decode(jobs, target)
    assert target == data * len(jobs)
stop = threading.Event()
def work():
    while not stop.is_set():
        decode()
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(10):
    child = os.fork()
    if not child:
        decode()
        assert c.compress([data]) == [payload]
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
"""
    run_python(code)


@pytest.mark.usefixtures("compiled")
def test_short_decodes_keep_the_gil() -> None:
    """A short decode does not let a busy thread in; a long one does."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("this Python has no GIL")
    data = TEXT * 18
    chunks = [data[i : i + 65536] for i in range(0, 2 * MIB, 65536)]
    payloads = Compressor("zstd", 1, 65536).compress(chunks)
    jobs = [Job(p, Algorithm.ZSTD, 65536, 0, 65536, i << 16) for i, p in enumerate(payloads)]
    target = bytearray(2 * MIB)
    decoder, compressor = Decoder(BLOCK), Compressor("lz4", 1)
    decoder.decode(jobs, target)
    stop = threading.Event()

    def be_busy() -> None:
        while not stop.is_set():
            pass

    def seconds(call: Callable[[], object]) -> float:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin

    def short() -> None:
        decoder.decode(jobs[:16], target)
        compressor.fill(TEXT, BLOCK)
        crc32c(TEXT)

    busy = threading.Thread(target=be_busy)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.5)  # for so long the busy thread keeps the GIL, once it has it
    try:
        busy.start()
        waits = [seconds(short) for _ in range(8)]
        assert sum(wait > 0.25 for wait in waits) <= 1  # at most when our own time was over
        # The busy thread has to wake before we are back, which on a busy machine it may not.
        assert any(seconds(lambda: decoder.decode(jobs, target)) > 0.25 for _ in range(50))
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        busy.join()
