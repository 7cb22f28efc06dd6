"""Extended attributes: names, entries, areas, the name filter, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from example import BLOCK
from iasfs.errors import FormatError, WriteError
from iasfs.format import xattr

NAMES = {
    b"user.foo": (1, b"foo"),
    b"user.\xff": (1, b"\xff"),
    b"user.user.foo": (1, b"user.foo"),
    b"system.posix_acl_access": (2, b""),
    b"system.posix_acl_default": (3, b""),
    b"trusted.overlay.opaque": (4, b"overlay.opaque"),
    b"lustre.lov": (5, b"lov"),
    b"security.capability": (6, b"capability"),
}
HASHES = {  # full name: XXH32 of the rest of it, the bit of the filter
    b"system.posix_acl_access": (0x0857597E, 30),
    b"system.posix_acl_default": (0x59EEABB5, 21),
    b"user.foo": (0x6B6AB58C, 12),
    b"user.bar": (0x5DD79BE0, 0),
    b"trusted.overlay.opaque": (0x4CE0A7F4, 20),
    b"trusted.overlay.redirect": (0x887EC271, 17),
    b"security.selinux": (0x9490146B, 11),
    b"security.capability": (0x8C47AC5D, 29),
}
FOO = bytes.fromhex("0301 0300 666f 6f62 6172 0000")
"""``user.foo=bar`` of the example image."""

Xattrs = dict[bytes, bytes]
xattr_dicts = st.dictionaries(
    st.one_of(
        st.sampled_from(sorted(NAMES)),
        st.binary(min_size=1, max_size=250).map(lambda rest: b"user." + rest),
    ),
    st.binary(max_size=200),
    max_size=8,
)


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_names_have_a_prefix(name: bytes) -> None:
    """Both directions."""
    assert xattr.split_name(name) == NAMES[name]
    assert xattr.full_name(*NAMES[name]) == name


@pytest.mark.parametrize(
    "name", [b"", b"user", b"user.", b"system.nfs4_acl", b"system.posix_acl_access.x", b"other.x"]
)
def test_a_name_that_erofs_has_no_place_for(name: bytes) -> None:
    with pytest.raises(WriteError, match="cannot store"):
        xattr.split_name(name)


def test_names_that_linux_hides() -> None:
    """Prefixes it does not know, and ACLs with a name."""
    prefixes = [(4, b"overlay."), (1, b"")]
    assert xattr.full_name(0, b"a") is None
    assert xattr.full_name(7, b"a") is None
    assert xattr.full_name(2, b"a") is None
    assert xattr.full_name(0x82, b"a", prefixes) is None
    assert xattr.full_name(0x80, b"opaque", prefixes) == b"trusted.overlay.opaque"
    assert xattr.full_name(0x81, b"foo", prefixes) == b"user.foo"


@pytest.mark.parametrize("name", HASHES)
def test_the_filter_is_a_hash_of_the_name(name: bytes) -> None:
    index, rest = xattr.split_name(name)
    value, bit = HASHES[name]
    assert xattr.xxh32(rest, 0x25BBE08F + index) == value
    assert xattr.filter_bit(index, rest) == 1 << bit


@pytest.mark.parametrize(
    ("data", "seed", "value"),
    [
        (b"", 0, 0x02CC5D05),
        (b"", 0x9E3779B1, 0x36B78AE7),
        (b"a", 0, 0x550D7456),
        (b"abc", 0, 0x32D153FF),
        (b"Nobody inspects the spammish repetition", 0, 0xE2293B2F),
        (b"0123456789abcdef", 0, 0xC2C45B69),
    ],
)
def test_xxh32(data: bytes, seed: int, value: int) -> None:
    assert xattr.xxh32(data, seed) == value


# --- entries and areas --------------------------------------------------------------------------


def test_an_entry_is_these_bytes() -> None:
    assert xattr.pack_entry(b"user.foo", b"bar") == FOO
    assert xattr.entry_size(FOO[:4]) == len(FOO)
    assert xattr.unpack_entry(FOO) == (1, b"foo", b"bar")


def test_the_area_of_the_example() -> None:
    """The writer of that image left the name filter out."""
    area = BLOCK[0x660:0x678]
    assert xattr.unpack_area(area, 0x660) == ([(1, b"foo", b"bar")], [])
    packed = xattr.pack_area({b"user.foo": b"bar"}, {})
    assert packed == (0xFFFFFFFF & ~(1 << 12)).to_bytes(4, "little") + area[4:]


def test_an_area_with_shared_entries() -> None:
    """As mkfs.erofs made it for ``security.selinux`` and ``user.common``."""
    area = bytes.fromhex("ffd7ffff 02000000 00000000 20010000 2a010000")
    assert xattr.unpack_area(area, 0) == ([], [0x120, 0x12A])
    xattrs = {b"security.selinux": b"label", b"user.common": b"value"}
    shared = {(b"security.selinux", b"label"): 0x120, (b"user.common", b"value"): 0x12A}
    ours = xattr.pack_area(xattrs, shared)
    assert ours[:12] == area[:12]
    assert xattr.unpack_area(ours, 0) == ([], [0x12A, 0x120])


@given(xattr_dicts, st.data())
def test_what_is_packed_is_there(xattrs: Xattrs, data: st.DataObject) -> None:
    """Some of it by reference; the filter lets every name through, the order is always the same."""
    pairs = data.draw(st.lists(st.sampled_from(sorted(xattrs.items())))) if xattrs else []
    shared = {pair: 5 + number for number, pair in enumerate(dict.fromkeys(pairs))}
    area = xattr.pack_area(xattrs, shared)
    assert area == xattr.pack_area(dict(reversed(xattrs.items())), shared)
    assert len(area) % 4 == 0
    entries, ids = xattr.unpack_area(area, 0)
    numbers = {number: pair for pair, number in shared.items()}
    found = [(xattr.full_name(index, rest), value) for index, rest, value in entries]
    assert dict(found + [numbers[number] for number in ids]) == xattrs
    assert len(found) + len(ids) == len(xattrs)
    name_filter = int.from_bytes(area[:4], "little")
    assert not any(name_filter & xattr.filter_bit(*xattr.split_name(name)) for name in xattrs)


def test_an_inode_refers_to_255_shared_entries() -> None:
    xattrs = {b"user.%d" % number: b"" for number in range(300)}
    shared = {pair: number for number, pair in enumerate(xattrs.items())}
    entries, ids = xattr.unpack_area(xattr.pack_area(xattrs, shared), 0)
    assert (len(entries), len(ids)) == (45, 255)


def test_an_area_has_a_largest_size() -> None:
    """What the inode's 16 bits can count."""
    rest = xattr.AREA_MAX - 12 - 3 * (4 + 2 + 65534) - 6
    xattrs = {b"user.%02d" % number: bytes(65534) for number in range(3)}
    assert len(xattr.pack_area({**xattrs, b"user.xx": bytes(rest)}, {})) == xattr.AREA_MAX
    with pytest.raises(WriteError, match="more than"):
        xattr.pack_area({**xattrs, b"user.xx": bytes(rest + 1)}, {})


def test_what_two_inodes_have_can_be_shared() -> None:
    inodes = [{b"a": b"1", b"b": b"2"}, {b"a": b"1", b"b": b"3"}, {b"a": b"1"}, {}]
    assert xattr.shareable(inodes, 2) == [(b"a", b"1")]
    assert xattr.shareable(inodes, 1) == [(b"a", b"1"), (b"b", b"2"), (b"b", b"3")]
    assert xattr.shareable(inodes, 4) == []


# --- long prefixes ------------------------------------------------------------------------------


def test_long_prefixes() -> None:
    """As mkfs.erofs wrote ``trusted.overlay.`` and ``user.k``."""
    table = bytes.fromhex("0900 04 6f7665726c61792e 00 0200 01 6b 0000")
    assert xattr.unpack_long_prefixes(table, 2) == [(4, b"overlay."), (1, b"k")]
    assert xattr.unpack_long_prefixes(b"", 0) == []


@pytest.mark.parametrize("table", ["", "00", "0000 01", "0200 01", "0101 01" + 256 * "61"])
def test_a_broken_prefix_table_is_refused(table: str) -> None:
    with pytest.raises(FormatError, match="long xattr prefix 0"):
        xattr.unpack_long_prefixes(bytes.fromhex(table), 1)


@given(st.binary(max_size=300), st.integers(0, 255))
def test_any_bytes_are_a_prefix_table_or_an_error(table: bytes, count: int) -> None:
    with contextlib.suppress(FormatError):
        assert len(xattr.unpack_long_prefixes(table, count)) == count


# --- what is refused ----------------------------------------------------------------------------

HEADER = bytes(12)


@pytest.mark.parametrize(
    ("area", "offset"),
    [
        (HEADER[:8], 1000),
        (b"\0\0\0\0\1" + bytes(7), 1000),
        (b"\0\0\0\0\xff" + bytes(100), 1000),
        (HEADER + FOO[:8], 1012),
        (HEADER + FOO + b"\3\1\4\0", 1024),
        (HEADER + b"\xff\1\xff\xff", 1012),
    ],
)
def test_a_broken_area_is_refused(area: bytes, offset: int) -> None:
    with pytest.raises(FormatError) as caught:
        xattr.unpack_area(area, 1000)
    assert caught.value.offset == offset


@given(st.binary(max_size=200))
def test_any_bytes_are_an_area_or_an_error(area: bytes) -> None:
    with contextlib.suppress(FormatError):
        entries, ids = xattr.unpack_area(area + bytes(-len(area) % 4), 0)
        assert 4 * len(ids) + 4 * len(entries) <= len(area) + 3
