"""Header blocks and pax records: tables of bytes and values."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.write import tarheader
from iasfs.write.acl import parse_acl
from iasfs.write.tarheader import Header
from tarmaker import GNU, USTAR, V7, base256, block, octal, record, seal


@pytest.mark.parametrize(
    ("field", "number"),
    [
        (b"0000644\0", 0o644),
        (b"000644 \0", 0o644),
        (b"   644 \0", 0o644),
        (b"00000644", 0o644),
        (b"644\0\0\0\0\0", 0o644),
        (b"644 junk", 0o644),
        (b"644\0junk", 0o644),
        (b"\0\0\0\0\0\0\0\0", 0),
        (b"        ", 0),
        (b"77777777777\0", 8**11 - 1),
        (base256(0, 8), 0),
        (base256(2097152, 8), 2097152),
        (base256(-1, 8), -1),
        (base256(-1, 12), -1),
        (base256(-62135596800, 12), -62135596800),
        (base256(2**62, 12), 2**62),
        (b"\x80" + b"\xff" * 7, 2**56 - 1),
        (b"\xff" * 8, -1),
        (b"\xc0" + bytes(7), -(2**62)),
        (b"\xbf" + b"\xff" * 7, 2**62 - 1),
    ],
)
def test_number(field: bytes, number: int) -> None:
    assert tarheader.unpack_number(field) == number


@pytest.mark.parametrize(
    "field",
    [b"0000648\0", b"-000001\0", b"0x1ff\0\0\0", b"0o644\0\0\0", b"6_4\0\0\0\0\0", b"+644\0\0\0\0"],
)
def test_number_is_malformed(field: bytes) -> None:
    with pytest.raises(FormatError, match="malformed number"):
        tarheader.unpack_number(field)


@given(st.integers(-(2**94), 2**94 - 1))
def test_base_256_in_both_directions(number: int) -> None:
    assert tarheader.unpack_number(base256(number, 12)) == number


@given(st.integers(0, 8**11 - 1))
def test_octal_in_both_directions(number: int) -> None:
    assert tarheader.unpack_number(octal(number, 12)) == number


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        (b"0", 0),
        (b"1", 1_000_000_000),
        (b"1.5", 1_500_000_000),
        (b"1.", 1_000_000_000),
        (b"1.000000001", 1_000_000_001),
        (b"1700000000.123456789", 1_700_000_000_123_456_789),
        (b"1.9999999999", 1_999_999_999),
        (b"-1", -1_000_000_000),
        (b"-1.5", -1_500_000_000),
        (b"-0.25", -250_000_000),
        (b"-0.0000000001", -1),
        (b"-1.0000000000", -1_000_000_000),
        (b"9223372036.854775807", 9_223_372_036_854_775_807),
    ],
)
def test_time(value: bytes, ns: int) -> None:
    """Exact: 1700000000.123456789 has no float."""
    assert tarheader.parse_time(value) == ns


@pytest.mark.parametrize("value", [b"", b"x", b"1e9", b".5", b"1.5.5", b"+1", b" 1", b"1" * 5000])
def test_time_is_malformed(value: bytes) -> None:
    with pytest.raises(FormatError, match="malformed time"):
        tarheader.parse_time(value)


def test_dialects() -> None:
    """The front part of a name is where the dialect says, or nowhere."""
    prefix = {345: b"some/where"}
    assert tarheader.unpack_header(block(magic=USTAR, patches=prefix)).name == b"some/where/file"
    assert tarheader.unpack_header(block(magic=GNU, patches=prefix)).name == b"file"
    assert tarheader.unpack_header(block(magic=V7, patches=prefix)).name == b"file"
    star = {345: b"p" * 130, 476: octal(7, 12), 488: octal(7, 12), 508: b"tar\0"}
    assert tarheader.unpack_header(block(patches=star)).name == b"p" * 130 + b"/file"
    full = {345: b"p" * 131 + b"garbage", 508: b"tar\0"}
    assert tarheader.unpack_header(block(patches=full)).name == b"p" * 131 + b"/file"
    full = {345: b"p" * 155}
    header = tarheader.unpack_header(block(b"n" * 100, patches=full))
    assert header.name == b"p" * 155 + b"/" + b"n" * 100


def test_fields() -> None:
    header = tarheader.unpack_header(
        block(b"dev", kind=b"3", mode=0o4755, uid=7, gid=8, mtime=9, device=(5, 1), link=b"x")
    )
    assert header == Header(b"dev", b"x", b"3", 0o4755, 7, 8, 0, 9_000_000_000, 5, 1)
    assert tarheader.unpack_header(block(magic=V7, kind=b"3", device=(5, 1))).major == 0
    assert tarheader.unpack_header(block(device=(5, 1))).major == 0


def test_checksums() -> None:
    """The sum of the bytes, or of the bytes as signed characters, as some old tars took them."""
    data = block(b"\xe4\xf6\xfc")
    assert tarheader.unpack_header(data).name == b"\xe4\xf6\xfc"
    assert tarheader.unpack_header(seal(data, signed=True)).name == b"\xe4\xf6\xfc"
    full = block(b"\xff" * 100, patches={345: b"\xff" * 155, 157: b"\xff" * 100})
    assert tarheader.unpack_header(full).link == b"\xff" * 100
    assert tarheader.unpack_header(seal(full, signed=True)).link == b"\xff" * 100
    for bad in (data[:10] + b"x" + data[11:], data[:148] + b"x" * 8 + data[156:], b"x" * 512):
        with pytest.raises(FormatError, match="checksum"):
            tarheader.unpack_header(bad)


RECORDS = [
    (b"", {}),
    (b"8 a=123\n", {b"a": b"123"}),
    (b"5 a=\n", {b"a": b""}),
    (b"8 a=b=c\n6 d= \n", {b"a": b"b=c", b"d": b" "}),
    (b"6 a=1\n6 a=2\n", {b"a": b"2"}),
    (b"10 a=\n\n\n\0\n", {b"a": b"\n\n\n\0"}),
    (b"000008 a=\n"[2:] + b"6 b=1\n", {b"a": b"", b"b": b"1"}),
]


@pytest.mark.parametrize(("data", "records"), RECORDS)
def test_pax_records(data: bytes, records: dict[bytes, bytes]) -> None:
    assert tarheader.parse_pax(data) == records


KEYS = st.binary(min_size=1).filter(
    lambda key: b"=" not in key and not key.startswith(b"GNU.sparse.")
)


@given(st.dictionaries(KEYS, st.binary()))
def test_pax_records_in_both_directions(records: dict[bytes, bytes]) -> None:
    data = b"".join(record(key, value) for key, value in records.items())
    assert tarheader.parse_pax(data) == records


@pytest.mark.parametrize(
    "data",
    [
        b"8 a=1234\n",
        b"7 a=123\n",
        b"9 a=123\n",
        b"8a=1234\n",
        b"x a=1\n",
        b"-8 a=123\n",
        b"6 =12\n",
        b"6 abc\n",
        b"2 \n",
        b"0 a=1\n",
        b"99999999999999999999 a=1\n",
        b"9" * 30 + b" a=1\n",
        b"6 a=1\n\0\0",
        b"6 a=1\n6",
    ],
)
def test_pax_records_are_malformed(data: bytes) -> None:
    with pytest.raises(FormatError, match="a pax record"):
        tarheader.parse_pax(data)


def applied(*records: tuple[bytes, bytes]) -> Header:
    header = tarheader.unpack_header(block(b"old", link=b"to", uid=1, gid=2, mtime=3))
    data = b"".join(record(key, value) for key, value in records)
    tarheader.apply_pax(header, tarheader.parse_pax(data))
    return header


def test_pax_overrides() -> None:
    header = applied(
        (b"path", b"new"),
        (b"linkpath", b"there"),
        (b"uid", b"4294967295"),
        (b"gid", b"70000"),
        (b"size", b"9000000000"),
        (b"mtime", b"-1.5"),
        (b"atime", b"whatever"),
        (b"uname", b"\xff"),
        (b"hdrcharset", b"BINARY"),
        (b"SCHILY.devmajor", b"300"),
        (b"SCHILY.devminor", b"70000"),
        (b"comment", b""),
    )
    expected = Header(
        b"new", b"there", b"0", 0o644, 4294967295, 70000, 9_000_000_000, -1_500_000_000
    )
    expected.major, expected.minor = 300, 70000
    assert header == expected


def test_an_empty_value_leaves_the_field() -> None:
    header = applied((b"path", b""), (b"linkpath", b""), (b"uid", b""), (b"mtime", b""))
    assert (header.name, header.link, header.uid, header.mtime_ns) == (b"old", b"to", 1, 3 * 10**9)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"uid", b"-1"),
        (b"uid", b"1.0"),
        (b"size", b"0x10"),
        (b"size", b"9" * 5000),
        (b"mtime", b"soon"),
        (b"path", b"a\0b"),
        (b"linkpath", b"\0"),
        (b"SCHILY.xattr.", b"x"),
        (b"SCHILY.xattr.user.a\0b", b"x"),
        (b"LIBARCHIVE.xattr.user.a%00b", b"eA"),
        (b"LIBARCHIVE.xattr.user.a", b"A"),
        (b"SCHILY.acl.access", b"user::rwx"),
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.name", b"a\0b"),
        (b"GNU.sparse.map", b"0,1"),
    ],
)
def test_pax_value_is_malformed(key: bytes, value: bytes) -> None:
    with pytest.raises(FormatError):
        applied((key, value))


def test_xattrs() -> None:
    """All spellings; the raw one wins, and what is empty is there all the same."""
    acl = b"user::rw-,user:1:r--,group::r--,mask::r--,other::r--"
    header = applied(
        (b"SCHILY.xattr.user.raw", b"\0\xff=\n"),
        (b"SCHILY.xattr.user.empty", b""),
        (b"SCHILY.xattr.user.a%3Db%253D", b"gnu"),
        (b"SCHILY.xattr.user.%C3%B6", b"libarchive"),
        (b"SCHILY.xattr.user.100%", b"as it is"),
        (b"SCHILY.xattr.user.both", b"raw"),
        (b"LIBARCHIVE.xattr.user.both", base64.b64encode(b"encoded")),
        (b"LIBARCHIVE.xattr.user.%c3%a4%20b", base64.b64encode(b"1234").rstrip(b"=")),
        (b"LIBARCHIVE.xattr.user.padded", base64.b64encode(b"1234")),
        (b"RHT.security.selinux", b"system_u:object_r:etc_t:s0"),
        (b"SCHILY.acl.access", acl),
        (b"SCHILY.acl.default", acl),
    )
    assert header.xattrs == {
        b"user.raw": b"\0\xff=\n",
        b"user.empty": b"",
        b"user.a=b%3D": b"gnu",
        b"user.\xc3\xb6": b"libarchive",
        b"user.100%": b"as it is",
        b"user.both": b"raw",
        b"user.\xc3\xa4 b": b"1234",
        b"user.padded": b"1234",
        b"security.selinux": b"system_u:object_r:etc_t:s0\0",
        b"system.posix_acl_access": parse_acl(acl).value,
        b"system.posix_acl_default": parse_acl(acl).value,
    }


def test_an_acl_says_what_the_permission_bits_are() -> None:
    """A minimal access ACL is no more than that; a minimal default ACL still is an ACL."""
    minimal = b"user::rwx,group::r-x,other::---"
    header = applied((b"SCHILY.acl.access", minimal), (b"SCHILY.acl.default", minimal))
    assert header.mode == 0o750
    assert header.xattrs == {b"system.posix_acl_default": parse_acl(minimal).value}
    header = applied((b"SCHILY.acl.access", b"user::rwx,group::r-x,mask::rwx,other::---"))
    assert header.mode == 0o770
    assert applied((b"SCHILY.acl.access", b""), (b"SCHILY.acl.default", b"")).mode == 0o644


def test_global_headers_speak_of_all_files() -> None:
    data = record(b"uid", b"5") + record(b"comment", b"x" * 100) + record(b"mtime", b"1")
    assert tarheader.parse_global_pax(data) == {b"uid": b"5", b"mtime": b"1"}
    for key in (
        b"SCHILY.xattr.user.a",
        b"SCHILY.acl.access",
        b"GNU.sparse.map",
        b"GNU.sparse.size",
    ):
        with pytest.raises(UnsupportedFeature, match="global"):
            tarheader.parse_global_pax(record(key, b"1"))


def test_sparse_versions_in_pax() -> None:
    pairs = ((b"GNU.sparse.offset", b"0"), (b"GNU.sparse.numbytes", b"5"))
    more = ((b"GNU.sparse.offset", b"100"), (b"GNU.sparse.numbytes", b"7"))
    header = applied((b"GNU.sparse.size", b"200"), (b"GNU.sparse.numblocks", b"2"), *pairs, *more)
    assert (header.sparse, header.real_size, header.name) == ([(0, 5), (100, 7)], 200, b"old")
    header = applied(
        (b"GNU.sparse.name", b"real"),
        (b"path", b"GNUSparseFile.0/real"),
        (b"GNU.sparse.size", b"200"),
        (b"GNU.sparse.map", b"0,5,100,7"),
    )
    assert (header.sparse, header.real_size, header.name) == ([(0, 5), (100, 7)], 200, b"real")
    header = applied(
        (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"200")
    )
    assert (header.sparse, header.real_size, header.more_sparse) == ([], 200, True)
    with pytest.raises(UnsupportedFeature, match=r"version 2\.0"):
        applied((b"GNU.sparse.major", b"2"), (b"GNU.sparse.realsize", b"200"))
    with pytest.raises(FormatError, match="pairs"):
        applied((b"GNU.sparse.size", b"200"), *pairs, pairs[1])
    with pytest.raises(FormatError, match="sparse map"):
        applied((b"GNU.sparse.size", b"200"), *pairs, pairs[0])


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"0\n", ([], 512)),
        (b"1\n5\n6\n", ([(5, 6)], 512)),
        (b"1\n5\n6\n" + bytes(600), ([(5, 6)], 512)),
        (b"2\n5\n6\n70000000000\n1\n" + bytes(600), ([(5, 6), (70000000000, 1)], 512)),
        (b"60\n" + b"11111\n1\n" * 60 + bytes(600), ([(11111, 1)] * 60, 512)),
        (b"70\n" + b"11111\n1\n" * 70 + bytes(600), ([(11111, 1)] * 70, 1024)),
        (b"", None),
        (b"12", None),
        (b"2\n5\n6\n", None),
        (b"2\n5\n6\n7\n8", None),
    ],
)
def test_sparse_map(data: bytes, found: object) -> None:
    assert tarheader.parse_sparse_map(data) == found


@pytest.mark.parametrize(
    "data", [b"x\n", b"-1\n", b"1\nx\n6\n", b"1\n\n6\n", b"9999999\n", b"1" * 30]
)
def test_sparse_map_is_malformed(data: bytes) -> None:
    with pytest.raises(FormatError):
        tarheader.parse_sparse_map(data)


def test_old_sparse_headers() -> None:
    """GNU and star place their pieces differently; a piece without a size ends the list."""

    def piece(offset: int, size: int) -> bytes:
        return octal(offset, 12) + octal(size, 12)

    two = piece(0, 5) + piece(100, 7)
    gnu = block(kind=b"S", magic=GNU, patches={386: two, 483: octal(200, 12)})
    star = block(kind=b"S", patches={356: two, 452: octal(200, 12), 508: b"tar\0"})
    for data in (gnu, star):
        header = tarheader.unpack_header(data)
        assert (header.sparse, header.more_sparse, header.real_size) == (
            [(0, 5), (100, 7)],
            False,
            200,
        )
    four = two + piece(200, 1) + piece(300, 1)
    assert tarheader.unpack_header(
        block(kind=b"S", magic=GNU, patches={386: four, 482: b"\1"})
    ).more_sparse
    area = (piece(1000, 1) * 21).ljust(504, b"\0")
    assert tarheader.unpack_sparse_extension(area + b"\1" + bytes(7)) == ([(1000, 1)] * 21, True)
    assert tarheader.unpack_sparse_extension(two.ljust(512, b"\0")) == ([(0, 5), (100, 7)], False)


@pytest.mark.parametrize(
    "fields",
    [
        {"uid": -1},
        {"gid": 1 << 32},
        {"size": -1},
        {"size": 1 << 63},
        {"real_size": 1 << 63},
        {"mtime_ns": 10**9 << 63},
        {"name": b"x" * 65537},
        {"link": b"x" * 65537},
    ],
)
def test_what_no_file_can_be(fields: dict[str, object]) -> None:
    header = tarheader.unpack_header(block())
    header.check()
    for name, value in fields.items():
        setattr(header, name, value)
    with pytest.raises(FormatError):
        header.check()
