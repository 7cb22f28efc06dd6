"""Names and descriptors: what goes out comes back, and nothing else comes in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.ias import layout

HEX = "ab" + "0" * 62
DIFF_ID = f"sha256:{HEX}"
LAYER = layout.Layer(DIFF_ID, size=8192, digest=DIFF_ID, metadata_size=4096, inodes=3)


def test_names() -> None:
    assert layout.layer_directory(DIFF_ID) == f"layers/sha256/ab/{HEX}"
    assert layout.image_name(DIFF_ID) == f"layers/sha256/ab/{HEX}/layer.erofs"
    assert layout.descriptor_name(DIFF_ID) == f"layers/sha256/ab/{HEX}/layer.json"


@given(st.binary(min_size=32, max_size=32))
def test_a_diff_id_comes_back_from_its_name(digest: bytes) -> None:
    diff_id = layout.format_digest(digest.hex())
    assert layout.diff_id_of(layout.descriptor_name(diff_id)) == diff_id
    assert layout.diff_id_of(layout.image_name(diff_id)) is None
    assert layout.check_name(layout.image_name(diff_id))


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        f"sha512:{HEX}",
        f"sha256:{HEX.upper()}",
        f"sha256:{HEX}0",
        f"sha256:{HEX[1:]}",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"sha256:{'٣' * 64}",
        f"sha256:../{HEX[3:]}",
        None,
        b"sha256:" + HEX.encode(),
    ],
)
def test_what_is_no_digest_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="not sha256"):
        layout.parse_digest(text)


@pytest.mark.parametrize(
    "name",
    [
        f"layers/sha256/ac/{HEX}/layer.json",
        f"layers/sha256/ab/{HEX}/layer.json/layer.json",
        f"layers/sha256/ab/.{HEX}.0.tmp/layer.json",
        f"x/layers/sha256/ab/{HEX}/layer.json",
        f"layers/sha256/ab/{HEX}/layer.jsonx",
        "ias.json",
    ],
)
def test_a_name_that_is_no_descriptors(name: str) -> None:
    assert layout.diff_id_of(name) is None


@pytest.mark.parametrize(
    "name", ["", "/", "/etc", "..", "a/../b", "a//b", "a/", ".a", "a\\b", "a b"]
)
def test_a_name_never_leads_out(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a name"):
        layout.check_name(name)


def test_descriptor() -> None:
    """A descriptor of OCI, in a form that people can read."""
    data = layout.pack_layer(LAYER)
    assert json.loads(data) == {
        "mediaType": "application/vnd.erofs.layer.v1",
        "digest": DIFF_ID,
        "size": 8192,
        "annotations": {
            "iasfs.diff_id": DIFF_ID,
            "iasfs.inodes": "3",
            "iasfs.metadata_size": "4096",
            "iasfs.version": "1",
        },
    }
    assert layout.unpack_layer(data, DIFF_ID) == LAYER


def changed(**changes: Any) -> bytes:
    """The descriptor, with other values; those with an underscore are annotations."""
    value = json.loads(layout.pack_layer(LAYER))
    for name, new in changes.items():
        where = value["annotations"] if "_" in name else value
        where[name.replace("_", ".", 1) if "_" in name else name] = new
    return json.dumps(value).encode()


def test_what_a_descriptor_does_not_know_is_passed_over() -> None:
    data = changed(urls=["https://example.org"], iasfs_root="sha256:00")
    assert layout.unpack_layer(data, DIFF_ID) == LAYER


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b'{"annotations": 1}',
        b"[" * 60000,
        b" " * (layout.DESCRIPTOR_MAX + 1),
        changed(size=-1),
        changed(size="1 "),
        changed(size=1.5),
        changed(size=True),
        changed(size=1 << 63),
        changed(size=4095),
        changed(digest="sha256:0"),
        changed(digest=1),
        changed(iasfs_inodes="x"),
        changed(iasfs_inodes=None),
        changed(iasfs_metadata_size=[]),
        changed(iasfs_diff_id=f"sha256:{'0' * 64}"),
        changed(iasfs_diff_id=None),
    ],
)
def test_a_damaged_descriptor_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        layout.unpack_layer(data, DIFF_ID)
    assert not isinstance(caught.value, UnsupportedFeature)


@pytest.mark.parametrize("data", [changed(iasfs_version="2"), changed(mediaType="text/plain")])
def test_a_descriptor_of_the_future_is_named(data: bytes) -> None:
    with pytest.raises(UnsupportedFeature):
        layout.unpack_layer(data, DIFF_ID)


def test_root() -> None:
    layout.check_root(layout.pack_root())
    with pytest.raises(UnsupportedFeature, match="version '2'"):
        layout.check_root(b'{"version": "2"}')
    with pytest.raises(FormatError, match="not a JSON object"):
        layout.check_root(b"1")
