"""Tables of extents, and the image that they refer to."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from extents import GEOMETRY
from iasfs.errors import FormatError
from iasfs.format import disk, extent, superblock
from iasfs.format.extent import Extent, ExtentTable, Geometry, Kind
from iasfs.format.superblock import Device

DEVICES = (Device(b"one", 100, 0), Device(b"two", 100, 1000))
EXTENTS = [
    Extent(0, 65536, 4096, 28672, Kind.ZSTD),
    Extent(65536, 65536, 32768, 28672, Kind.ZSTD),
    Extent(131072, 65536, 61440, 28672, Kind.ZSTD),
    Extent(196608, 3392, 90112, 4096, Kind.PLAIN),
]


def test_resolve() -> None:
    plain = Extent(0, 4096, 0x5000, 4096, Kind.PLAIN)
    unified = plain._replace(address=1005 << 12)
    second = plain._replace(device=2)
    assert extent.resolve(plain, GEOMETRY) == (0, 0x5000)
    attached = replace(GEOMETRY, devices=DEVICES)
    assert extent.resolve(plain, attached) == (0, 0x5000)
    assert extent.resolve(unified, attached) == (2, 0x5000)
    assert extent.resolve(second, attached) == (2, 0x5000)
    flat = replace(attached, attached=False)
    assert extent.resolve(unified, flat) == (0, 1005 << 12)
    assert extent.resolve(second, flat) == (0, 1005 << 12)
    with pytest.raises(FormatError):
        extent.resolve(plain._replace(address=1 << 40), attached)


def test_devices_do_not_overlap() -> None:
    with pytest.raises(FormatError, match="addresses of device 2 overlap"):
        Geometry(image_size=1, devices=(Device(b"", 10, 5), Device(b"", 10, 14)))


def test_geometry_of_a_superblock() -> None:
    found = superblock.Superblock(blkszbits=9, packed_nid=5, algorithms=8)
    assert Geometry.of(found, 4096).packed_nid == 0
    with_fragments = found._replace(feature_incompat=disk.FEATURE_INCOMPAT_FRAGMENTS)
    geometry = Geometry.of(with_fragments, 4096, packed_size=10)
    assert geometry == Geometry(4096, 9, disk.FEATURE_INCOMPAT_FRAGMENTS, 8, 5, 10)


def test_table() -> None:
    extents = EXTENTS
    table = ExtentTable.of(extents)
    assert len(table) == 4
    assert list(table) == extents
    assert [table[0], table[-1]] == [extents[0], extents[3]]
    assert [table.find(at) for at in (0, 65535, 65536, 199999)] == [0, 0, 1, 3]
    assert list(table.overlapping(65535, 2)) == extents[:2]
    assert list(table.overlapping(65536, 1 << 40)) == extents[1:]
    assert list(table.overlapping(10, 0)) == list(table.overlapping(200000, 5)) == []
    assert table == pickle.loads(pickle.dumps(table))
    assert hash(table) == hash(ExtentTable.of(extents))
    assert table != extents
    assert repr(table) == "<ExtentTable of 4 extents, 200000 bytes>"
    for offset in (-1, 200000):
        with pytest.raises(IndexError):
            table.find(offset)
    for index in (4, -5):
        with pytest.raises(IndexError):
            table[index]


def test_empty_table() -> None:
    table = ExtentTable()
    assert (len(table), table.size, table.nbytes, list(table)) == (0, 0, 0, [])
    assert list(table.overlapping(0, 10)) == []


def test_addresses_have_64_bits() -> None:
    far = Device(b"", (1 << 48) - 1, (1 << 48) - 1)
    geometry = Geometry(image_size=1, blkszbits=16, devices=(far,))
    assert len(geometry.packed_regions) == 2 * 16
    assert geometry.place(far.uniaddr << 16, 1) == 0
    assert geometry.place(far.uniaddr << 16, 1 << 48) is None
