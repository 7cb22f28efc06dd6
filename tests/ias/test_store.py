"""Store: the same on a directory, in memory and on S3."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from iasfs.errors import BlobNotFound, FormatError, StorageError, UnsupportedFeature
from iasfs.ias import layout
from iasfs.ias.objects import ObjectBackend
from iasfs.ias.posix import PosixBackend
from iasfs.ias.store import Store, Written, connect
from stores import S3, s3_server

IMAGE = b"an image" * 1000


def diff_id(number: int) -> str:
    return f"sha256:{number:064x}"


def write(data: bytes = IMAGE) -> Written:
    return Written(metadata_size=4096, inodes=len(data) % 7)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["directory", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "directory":
        return Store(connect(tmp_path / "ias"))
    if request.param == "memory":
        return Store(connect(f"memory://{tmp_path.name}"))
    s3: S3 = request.getfixturevalue("s3")
    return Store(connect(f"s3://{s3.bucket()}/some/ias/", s3.options))


def publish(store: Store, number: int, data: bytes = IMAGE) -> layout.Layer:
    def put(path: str) -> Written:
        Path(path).write_bytes(data)
        return write(data)

    return store.publish(diff_id(number), put)


def test_a_layer_comes_back(store: Store) -> None:
    layer = publish(store, 1)
    digest = layout.format_digest(hashlib.sha256(IMAGE).hexdigest())
    assert layer == layout.Layer(diff_id(1), len(IMAGE), digest, *write())
    assert store.layer(diff_id(1)) == store.find(diff_id(1)) == layer
    assert store.blob(layer).read_at(3, 5) == IMAGE[3:8]
    assert list(store.layers()) == [layer]


def test_layers_are_listed_in_order(store: Store) -> None:
    assert list(store.layers()) == []
    layers = [publish(store, number) for number in (3, 1 << 255, 2)]
    assert list(store.layers()) == [layers[2], layers[0], layers[1]]


def test_what_is_not_there(store: Store) -> None:
    assert store.find(diff_id(5)) is None
    with pytest.raises(BlobNotFound) as caught:
        store.layer(diff_id(5))
    assert caught.value.filename == f"{store.backend.name}/{layout.descriptor_name(diff_id(5))}"
    store.remove(diff_id(5))


def test_a_removed_layer_is_gone(store: Store) -> None:
    publish(store, 1)
    other = publish(store, 2)
    store.remove(diff_id(1))
    assert list(store.layers()) == [other]
    assert list(store.backend.names(layout.LAYERS)) == [
        layout.image_name(diff_id(2)),
        layout.descriptor_name(diff_id(2)),
    ]


def test_a_published_layer_stays_as_it_is(store: Store) -> None:
    """Whoever comes second gets what the first has published."""

    def too_late(path: str) -> Written:
        Path(path).write_bytes(b"later")
        publish(store, 1)
        return Written(0, 0)

    layer = store.publish(diff_id(1), too_late)
    assert layer == store.layer(diff_id(1))
    assert store.blob(layer).read_at(0, len(IMAGE)) == IMAGE


def test_half_a_layer_is_none(store: Store) -> None:
    """It is not seen, and replaced."""
    store.backend.write(layout.image_name(diff_id(1)), b"half")
    assert store.find(diff_id(1)) is None
    assert list(store.layers()) == []
    layer = publish(store, 1)
    assert store.blob(layer).read_at(0, len(IMAGE)) == IMAGE


def test_a_failed_publish_leaves_no_layer(store: Store) -> None:
    def fail(path: str) -> Written:
        Path(path).write_bytes(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.publish(diff_id(1), fail)
    assert list(store.backend.names(layout.LAYERS)) == []


def test_a_damaged_descriptor_is_named(store: Store) -> None:
    name = layout.descriptor_name(diff_id(1))
    store.backend.write(name, b"{}")
    with pytest.raises(FormatError, match="without annotations") as caught:
        store.layer(diff_id(1))
    assert caught.value.path == f"{store.backend.name}/{name}"


def test_a_descriptor_may_not_be_endless(store: Store) -> None:
    store.backend.write(layout.descriptor_name(diff_id(1)), b" " * (1 << 20))
    with pytest.raises(FormatError, match="more than 65536 bytes"):
        store.layer(diff_id(1))


def test_a_store_says_what_it_is(store: Store) -> None:
    publish(store, 1)
    root = store.backend.read(layout.ROOT, 1000)
    assert json.loads(root) == {"what": "Image Attach Storage", "version": "1"}


def test_a_store_of_the_future_is_not_written_to(store: Store) -> None:
    store.backend.write(layout.ROOT, b'{"version": "2"}')
    with pytest.raises(UnsupportedFeature, match="version '2'"):
        publish(store, 1)
    assert list(store.backend.names(layout.LAYERS)) == []


def test_an_image_that_became_shorter_is_an_error(store: Store) -> None:
    layer = publish(store, 1)
    store.backend.write(layout.image_name(diff_id(1)), IMAGE[:-1])
    with pytest.raises(StorageError):
        store.blob(layer).read_at(len(IMAGE) - 10, 10)


def test_pickles(store: Store) -> None:
    layer = publish(store, 1)
    assert pickle.loads(pickle.dumps(store)).layer(diff_id(1)) == layer


@pytest.mark.parametrize("bad", ["", "x", f"sha256:{'0' * 63}", f"sha256:../{'0' * 61}"])
def test_what_is_no_diff_id(store: Store, bad: str) -> None:
    for ask in (store.find, store.layer, store.remove, lambda one: store.publish(one, print)):
        with pytest.raises(ValueError, match="is not sha256"):
            ask(bad)


def test_finding_a_layer_costs_one_request(s3: S3) -> None:
    store = Store(connect(f"s3://{s3.bucket()}", s3.options))
    publish(store, 1)
    s3.requests.clear()
    assert store.find(diff_id(1)) is not None
    assert [(method, status) for method, _, status in s3.requests] == [("GET", 206)]
    s3.requests.clear()
    assert store.find(diff_id(2)) is None
    assert [(method, status) for method, _, status in s3.requests] == [("GET", 404)]


def test_where_a_store_may_be(tmp_path: Path) -> None:
    for root in (tmp_path, str(tmp_path), f"file://{tmp_path}", f"local://{tmp_path}"):
        backend = connect(root)
        assert isinstance(backend, PosixBackend)
        assert backend.name == str(tmp_path)
    backend = connect("memory://some/where/")
    assert isinstance(backend, ObjectBackend)
    assert backend.name == "memory://some/where"


def test_the_root_of_a_file_system() -> None:
    connect("memory://").write("at-the-root", b"x")
    assert fsspec.filesystem("memory").cat_file("/at-the-root") == b"x"
