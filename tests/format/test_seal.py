"""The header in front of the superblock."""

from __future__ import annotations

import pytest

from iasfs.format import seal
from iasfs.format.seal import Header

HEADER = Header(image_size=0x1234000, metadata_size=0x5000)
DATA = bytes.fromhex("4941534653 0d0a1a 01000000 00000000 0040230100000000 0050000000000000")


def test_a_header_is_these_bytes() -> None:
    assert seal.pack(HEADER) == DATA
    assert seal.unpack(DATA) == HEADER
    assert seal.unpack(DATA + bytes(1000)) == HEADER


@pytest.mark.parametrize(
    "front",
    [
        b"",
        DATA[:-1],
        bytes(1024),
        b"iasfs" + DATA[5:],
        DATA[:8] + b"\2" + DATA[9:],
        seal.pack(Header(image_size=4096, metadata_size=4097)),
    ],
    ids=["nothing", "short", "no-magic", "other-magic", "other-version", "longer-than-the-image"],
)
def test_what_is_no_header_is_none(front: bytes) -> None:
    """It is a hint: an image without one, or with one that lies, reads all the same."""
    assert seal.unpack(front) is None
