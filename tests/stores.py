"""Stores for tests: S3 and web servers on this machine, which say what they were asked."""

from __future__ import annotations

import io
import logging
import os
import re
import tarfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

from helpers import require_module

_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SECURITY_TOKEN": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
_LOGGED = re.compile(r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[0-9.]+" (?P<status>\d+)')

Request = tuple[str, str, int]
"""Method, path and status."""


class S3(logging.Handler):
    """An S3 server; ``options`` are what s3fs takes to reach it, ``requests`` what it answered."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.options: dict[str, Any] = {"endpoint_url": f"http://127.0.0.1:{port}"}
        self.requests: list[Request] = []

    def emit(self, record: logging.LogRecord) -> None:
        match = _LOGGED.search(re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage()))
        if match is not None:
            self.requests.append((match["method"], match["path"], int(match["status"])))

    def bucket(self) -> str:
        """The name of a new bucket."""
        import fsspec

        name = f"b{uuid.uuid4().hex[:12]}"
        fsspec.filesystem("s3", **self.options).mkdir(name)
        self.requests.clear()
        return name

    def put(self, url: str, data: bytes) -> None:
        """Store an object; the request is not counted."""
        import fsspec

        fsspec.filesystem("s3", **self.options).pipe_file(url, data)
        self.requests.clear()


@contextmanager
def s3_server() -> Iterator[S3]:
    """Run moto's S3 server, with credentials for it in the environment."""
    for name in ("moto", "s3fs"):
        require_module(name)
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    log = logging.getLogger("werkzeug")
    level, propagate = log.level, log.propagate
    with mock.patch.dict(os.environ, _CREDENTIALS):
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        server.start()
        _, port = server.get_host_and_port()
        s3 = S3(port)
        log.addHandler(s3)
        log.setLevel(logging.INFO)
        log.propagate = False
        try:
            yield s3
        finally:
            log.removeHandler(s3)
            log.setLevel(level)
            log.propagate = propagate
            S3FileSystem.clear_instance_cache()
            server.stop()


class Web(ThreadingHTTPServer):
    """A web server for some objects; ``requests`` are the ranges it was asked for."""

    daemon_threads = True

    def __init__(self, objects: Mapping[str, bytes], *, ranges: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = dict(objects)
        self.ranges = ranges
        self.status = 0
        """What to answer instead, if it is not 0."""
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        wanted = self.headers.get("Range", "")
        self.server.requests.append(f"{self.command} {wanted}".strip())
        data = self.server.objects.get(self.path.partition("?")[0])
        status = self.server.status or (404 if data is None else 200)
        data = data if data is not None and status == 200 else b""
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        if match is not None and self.server.ranges and status == 200:
            data = data[int(match[1]) : int(match[2]) + 1]
            status = 206
        self.send_response(status)
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@contextmanager
def web_server(objects: Mapping[str, bytes], *, ranges: bool = True) -> Iterator[Web]:
    """Serve ``objects``, bytes by path; without ``ranges`` always whole."""
    require_module("aiohttp")
    server = Web(objects, ranges=ranges)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tar_of(files: Mapping[str, bytes], compression: str = "") -> bytes:
    """A tar of regular files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
