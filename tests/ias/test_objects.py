"""FsspecBlob and ObjectBackend, on S3, the web and memory."""

from __future__ import annotations

import errno
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iasfs.blob import BytesBlob, coalesce
from iasfs.errors import BlobNotFound, StorageError
from iasfs.ias.objects import FsspecBlob, ObjectBackend, open_stream, redact
from stores import S3, s3_server, web_server

DATA = bytes(os.urandom(1000) * 3000)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def url(s3: S3) -> str:
    """The URL of an object that holds ``DATA``."""
    url = f"s3://{s3.bucket()}/data"
    s3.put(url, DATA)
    return url


def test_bytes_of_an_object(s3: S3, url: str) -> None:
    blob = FsspecBlob(url, **s3.options)
    assert blob.size == len(DATA)
    assert blob.read_at(0, 10) == DATA[:10]
    assert blob.read_at(len(DATA) - 10, 10) == DATA[-10:]
    assert blob.read_at(5, 0) == b""
    assert blob.read_at(0, len(DATA)) == DATA


def test_size_costs_a_request_unless_it_is_given(s3: S3, url: str) -> None:
    s3.requests.clear()
    blob = FsspecBlob(url, **s3.options)
    assert [method for method, _, _ in s3.requests] == ["HEAD"]
    s3.requests.clear()
    blob = FsspecBlob(url, size=len(DATA), **s3.options)
    assert (blob.read_at(7, 1), s3.requests) == (DATA[7:8], [("GET", f"/{url[5:]}", 206)])


def test_many_ranges_become_few_requests(s3: S3, url: str) -> None:
    """Near ranges are one request, far ones are fetched side by side, empty ones not at all."""
    blob = FsspecBlob(url, **s3.options)
    far = 2_000_000
    ranges = [(far, 100), (0, 10), (50_000, 10), (0, 0), (far + 50, 100), (0, 10), (1_000_000, 1)]
    s3.requests.clear()
    assert blob.read_many(ranges) == [DATA[offset : offset + size] for offset, size in ranges]
    assert [status for _, _, status in s3.requests] == [206] * 3
    assert blob.read_many([]) == []
    assert blob.read_many([(3, 0)]) == [b""]


@given(st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 200_000)), max_size=8))
def test_ranges_read_together_are_those_read_alone(ranges: list[tuple[int, int]]) -> None:
    fsspec.filesystem("memory").pipe_file("/property/data", DATA)
    blob = FsspecBlob("memory://property/data")
    assert blob.read_many(ranges) == BytesBlob(DATA).read_many(ranges)


def test_a_range_beyond_the_end_is_refused(s3: S3, url: str) -> None:
    blob = FsspecBlob(url, **s3.options)
    for offset, size in ((len(DATA), 1), (0, len(DATA) + 1), (-1, 1), (0, -1)):
        with pytest.raises(StorageError, match="only 3000000 bytes"):
            blob.read_at(offset, size)
        with pytest.raises(StorageError, match="only 3000000 bytes"):
            blob.read_many([(0, 1), (offset, size)])


def test_what_is_not_there(s3: S3, url: str) -> None:
    for missing in (f"{url}-not", "s3://no-such-bucket-here/x", "memory://not/there"):
        options = s3.options if missing.startswith("s3") else {}
        with pytest.raises(BlobNotFound) as caught:
            FsspecBlob(missing, **options)
        assert caught.value.filename == missing
        with pytest.raises(BlobNotFound):
            FsspecBlob(missing, size=10, **options).read_at(0, 10)


def test_an_object_that_shrank_gives_an_error(s3: S3, url: str) -> None:
    """S3 answers a range that ends beyond the object with the bytes there are."""
    blob = FsspecBlob(url, size=len(DATA) + 100, **s3.options)
    with pytest.raises(StorageError, match="10 bytes came for 20 at offset 2999990"):
        blob.read_at(len(DATA) - 10, 20)
    with pytest.raises(StorageError, match="10 bytes came for 20"):
        blob.read_many([(0, 1), (len(DATA) - 10, 20)])


def test_a_directory_is_no_blob(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is a directory") as caught:
        FsspecBlob(f"file://{tmp_path}")
    assert caught.value.errno == errno.EISDIR


def test_an_unknown_protocol() -> None:
    with pytest.raises(StorageError, match="Protocol not known: nosuch"):
        FsspecBlob("nosuch://x")


def test_a_closed_blob_reads_nothing(s3: S3, url: str) -> None:
    with FsspecBlob(url, **s3.options) as blob:
        pass
    with pytest.raises(StorageError) as caught:
        blob.read_at(0, 1)
    assert caught.value.errno == errno.EBADF


def test_a_chained_url(s3: S3, url: str) -> None:
    options = {"s3": dict(s3.options)}
    blob = FsspecBlob(f"simplecache::{url}", **options)
    assert blob.size == len(DATA)
    assert blob.read_many([(0, 5), (2_000_000, 5)]) == [DATA[:5], DATA[2_000_000:2_000_005]]
    assert options == {"s3": s3.options}
    s3.requests.clear()
    assert blob.read_at(100, 100) == DATA[100:200]
    assert s3.requests == []


# --- processes and threads ------------------------------------------------------------------------


def test_pickles_by_url_and_options(s3: S3, url: str) -> None:
    blob = FsspecBlob(url, **s3.options)
    s3.requests.clear()
    again = pickle.loads(pickle.dumps(blob))
    assert (again.size, again.name, s3.requests) == (len(DATA), url, [])
    assert again.read_at(3, 3) == DATA[3:6]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_works_in_a_child(s3: S3, url: str) -> None:
    """Also while the parent goes on."""
    blob = FsspecBlob(url, **s3.options)
    assert blob.read_at(0, 1) == DATA[:1]
    child = os.fork()
    if child == 0:
        try:
            right = blob.read_at(9, 9) == DATA[9:18]
            right &= blob.read_many([(0, 5), (2_000_000, 5)])[1] == DATA[2_000_000:2_000_005]
            os._exit(0 if right else 1)
        except BaseException:
            os._exit(2)
    assert blob.read_at(9, 9) == DATA[9:18]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_read_side_by_side(s3: S3, url: str) -> None:
    blob = FsspecBlob(url, **s3.options)
    wrong: list[int] = []

    def read(number: int) -> None:
        for step in range(10):
            offset = number * 300_000 + step * 1000
            data, _ = blob.read_many([(offset, 50), (2_900_000 - offset, 3)])
            if data != DATA[offset : offset + 50]:
                wrong.append(offset)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- the web --------------------------------------------------------------------------------------


def test_ranges_from_the_web() -> None:
    with web_server({"/data": DATA}) as server:
        blob = FsspecBlob(f"{server.url}/data")
        server.requests.clear()
        assert blob.read_many([(0, 5), (2_000_000, 5)]) == [DATA[:5], DATA[2_000_000:2_000_005]]
        assert sorted(server.requests) == ["GET bytes=0-4", "GET bytes=2000000-2000004"]


def test_a_server_that_ignores_ranges_gives_no_wrong_bytes() -> None:
    with web_server({"/data": DATA}, ranges=False) as server:
        blob = FsspecBlob(f"{server.url}/data")
        assert blob.read_at(0, len(DATA)) == DATA
        with pytest.raises(StorageError, match="ignores ranges"):
            blob.read_at(0, 10)
        with pytest.raises(StorageError, match="ignores ranges"):
            blob.read_many([(0, 10), (2_000_000, 10)])
        assert FsspecBlob(f"simplecache::{server.url}/data").read_at(7, 10) == DATA[7:17]


@pytest.mark.parametrize("status", [403, 500, 503])
def test_trouble_is_not_absence(status: int) -> None:
    """Where fsspec says that nothing is there for whatever went wrong."""
    with web_server({"/data": DATA}) as server:
        blob = FsspecBlob(f"{server.url}/data")
        server.status = status
        for read in (lambda: FsspecBlob(f"{server.url}/data"), lambda: blob.read_at(0, 1)):
            with pytest.raises(StorageError, match=str(status)) as caught:
                read()
            assert not isinstance(caught.value, BlobNotFound)


def test_a_server_that_is_gone() -> None:
    with web_server({"/data": DATA}) as server:
        url = f"{server.url}/data"
    with pytest.raises(StorageError) as caught:
        FsspecBlob(url)
    assert caught.value.errno == errno.ECONNREFUSED


# --- errors and secrets ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "number", "kind"),
    [
        (FileNotFoundError("x"), errno.ENOENT, BlobNotFound),
        (PermissionError("no"), errno.EACCES, StorageError),
        (OSError(errno.EBUSY, "busy"), errno.EBUSY, StorageError),
        (TimeoutError(), errno.ETIMEDOUT, StorageError),
        (RuntimeError("what"), errno.EIO, StorageError),
    ],
)
def test_foreign_errors_are_translated(error: Exception, number: int, kind: type) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/translated", DATA)
    blob = FsspecBlob("memory://translated")
    with mock.patch.object(type(fs), "cat_file", side_effect=error):
        for read in (lambda: blob.read_at(0, 1), lambda: blob.read_many([(0, 1), (2_000_000, 1)])):
            with pytest.raises(StorageError) as caught:
                read()
            assert type(caught.value) is kind
            assert (caught.value.errno, caught.value.filename) == (number, "memory://translated")
            assert caught.value.__cause__ is error


def test_secrets_are_not_told() -> None:
    """Neither by names nor by errors, whatever the libraries below put into theirs."""
    secrets = {"key": "AKIAXXXX", "client_kwargs": {"token": "t0psecret"}, "anon": "plain"}
    url = "http://user:hunter2@127.0.0.1:1/x?X-Amz-Signature=feed"
    foreign = RuntimeError(f"cannot reach {url} with AKIAXXXX, t0psecret and plain")
    blob = FsspecBlob(url, size=10, **secrets)
    with (
        mock.patch("fsspec.core.url_to_fs", side_effect=foreign),
        pytest.raises(StorageError) as caught,
    ):
        blob.read_at(0, 1)
    told = f"{caught.value} {caught.value!r} {caught.value.__cause__} {blob!r} {blob.name}"
    for secret in ("hunter2", "feed", "AKIAXXXX", "t0psecret"):
        assert secret not in told
    assert "cannot reach http://***@127.0.0.1:1/x?*** with ***, *** and plain" in told
    assert pickle.loads(pickle.dumps(blob)).name == blob.name


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://bucket/key", "s3://bucket/key"),
        ("simplecache::https://u:p@host/x?a=b", "simplecache::https://***@host/x?***"),
        ("what? nothing", "what? nothing"),
    ],
)
def test_redact(text: str, told: str) -> None:
    assert redact(text) == told


# --- streams and backends -------------------------------------------------------------------------


def test_stream(s3: S3, url: str) -> None:
    with open_stream(url, s3.options) as stream:
        assert stream.name == url
        assert stream.read(10) + stream.read() == DATA
    with pytest.raises(BlobNotFound), open_stream(f"{url}-not", s3.options):
        pass


def test_the_mark_is_uploaded_last_and_removed_first(s3: S3) -> None:
    backend = ObjectBackend(f"s3://{s3.bucket()}/ias", s3.options)
    with backend.publishing("layers/x") as folder:
        for name in ("layer.json", "a", "z"):
            Path(folder, name).write_bytes(name.encode())
        s3.requests.clear()
    uploads = [path.rpartition("/")[2] for method, path, _ in s3.requests if method == "PUT"]
    assert uploads == ["a", "z", "layer.json"]
    assert sorted(backend.names("layers")) == ["layers/x/a", "layers/x/layer.json", "layers/x/z"]
    s3.requests.clear()
    backend.remove("layers/x")
    removals = [path.rpartition("/")[2] for method, path, _ in s3.requests if method == "DELETE"]
    assert removals[0] == "layer.json"
    assert list(backend.names("layers")) == []


def test_the_web_is_only_read() -> None:
    with web_server({"/ias/ias.json": b"{}"}) as server:
        backend = ObjectBackend(f"{server.url}/ias/")
        assert backend.read("ias.json", 10) == b"{}"
        with pytest.raises(BlobNotFound):
            backend.read("not.json", 10)
        writes: list[Any] = [
            lambda: backend.write("ias.json", b""),
            lambda: backend.remove("layers"),
            lambda: backend.publishing("layers").__enter__(),
        ]
        for write in writes:
            with pytest.raises(StorageError, match="only read") as caught:
                write()
            assert caught.value.errno == errno.EROFS


def test_a_store_that_has_directories(tmp_path: Path) -> None:
    """They are made where they are missing."""
    backend = ObjectBackend(f"file://{tmp_path}/some/ias")
    backend.write("ias.json", b"{}")
    with backend.publishing("layers/x") as folder:
        Path(folder, "layer.json").write_bytes(b"{}")
    assert backend.read("layers/x/layer.json", 10) == backend.read("ias.json", 10) == b"{}"
    assert list(backend.names("layers")) == ["layers/x/layer.json"]


def test_a_bucket_is_not_made(s3: S3) -> None:
    backend = ObjectBackend("s3://no-such-bucket-either/ias", s3.options)
    with pytest.raises(BlobNotFound), backend.publishing("layers/x") as folder:
        Path(folder, "layer.json").write_bytes(b"{}")
    assert not fsspec.filesystem("s3", **s3.options).exists("no-such-bucket-either")


def test_the_rule_for_merging_is_that_of_coalesce(s3: S3, url: str) -> None:
    """What tests count with RecordingBlob is what the server is asked for."""
    blob = FsspecBlob(url, **s3.options)
    ranges = [(0, 10), (65_546, 10), (131_093, 10)]
    s3.requests.clear()
    blob.read_many(ranges)
    merged = coalesce(ranges, gap=blob.merge_gap, limit=blob.merge_limit)
    assert len(s3.requests) == len(merged) == 2
