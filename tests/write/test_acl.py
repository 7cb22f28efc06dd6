"""ACLs: the text of a tar, the bytes of the attribute."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from helpers import require, require_root, run
from iasfs.errors import FormatError, UnsupportedFeature
from iasfs.write.acl import parse_acl

ANYBODY = 0xFFFFFFFF


def attribute(*entries: tuple[int, int, int]) -> bytes:
    """``(tag, permissions, id)`` as Linux stores them."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NAMED_USER = attribute(
    (1, 6, ANYBODY), (2, 5, 502), (4, 4, ANYBODY), (16, 5, ANYBODY), (32, 4, ANYBODY)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            b"user::rw-,group::r--,other::r--",
            attribute((1, 6, ANYBODY), (4, 4, ANYBODY), (32, 4, ANYBODY)),
        ),
        (b"user::rw-,user:502:r-x,group::r--,mask::r-x,other::r--", NAMED_USER),
        (b"user::rw-\nuser:502:r-x\ngroup::r--\nmask::r-x\nother::r--\n", NAMED_USER),
        (b"user::rw-,user:lisa:r-x:502,group::r--,mask::r-x,other::r--", NAMED_USER),
        (b"u::rw,u:502:rx,g::r,m::rx,o::r", NAMED_USER),
        (b"user::rw-, user:502:xr-, group::r--, mask:r-x, other:r--", NAMED_USER),
        (
            b"# file: x\nuser::rw-\t# owner\nuser:502:r-x\t#effective:r-x\ngroup::r--\n"
            b"mask::r-x\nother::r--",
            NAMED_USER,
        ),
        (b"other::r--,mask::r-x,group::r--,user:502:r-x,user::rw-", NAMED_USER),
        (
            b"user::rwx,user:7:---,user:3:r--,group::---,group:9:-w-,group:8:--x,mask::rwx,other::---",
            attribute(
                (1, 7, ANYBODY),
                (2, 4, 3),
                (2, 0, 7),
                (4, 0, ANYBODY),
                (8, 1, 8),
                (8, 2, 9),
                (16, 7, ANYBODY),
                (32, 0, ANYBODY),
            ),
        ),
        (
            b"user::rwx,group::r-x,mask::r--,other::r-x",
            attribute((1, 7, ANYBODY), (4, 5, ANYBODY), (16, 4, ANYBODY), (32, 5, ANYBODY)),
        ),
    ],
)
def test_text_becomes_the_attribute(text: bytes, value: bytes) -> None:
    assert parse_acl(text).value == value


@pytest.mark.parametrize(
    ("text", "mode", "is_minimal"),
    [
        (b"user::rw-,group::r-x,other::--x", 0o651, True),
        (b"user::rw-,group::r-x,mask::---,other::--x", 0o601, False),
        (b"user::---,user:5:r--,group::---,mask::rwx,other::---", 0o070, False),
    ],
)
def test_permission_bits(text: bytes, mode: int, is_minimal: bool) -> None:
    """The group's are those of the mask, where there is one."""
    assert parse_acl(text)[1:] == (mode, is_minimal)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"user::rw-",
        b"user::rw-,group::r--",
        b"user::rw-,group::r--,other::r-q",
        b"user::rw-,group::r--,others::r--",
        b"user::rw-,user::rw-,group::r--,other::r--",
        b"user::rw-,user:1:r--,group::r--,other::r--",
        b"user::rw-,user:1:r--,user:1:rw-,group::r--,mask::r--,other::r--",
        b"user::rw-,user:4294967295:r--,group::r--,mask::r--,other::r--",
        b"user::rw-,user:99999999999:r--,group::r--,mask::r--,other::r--",
        b"user::rw-,group::r--,mask:1:r--,other::r--",
        b"user::rw-,group::r--,other::r--:1:2",
        b"user,group::r--,other::r--",
        b":",
    ],
)
def test_what_linux_would_refuse(text: bytes) -> None:
    with pytest.raises(FormatError):
        parse_acl(text)


def test_a_name_without_a_number_is_refused() -> None:
    """It would mean whoever has the name on the machine that makes the image."""
    with pytest.raises(UnsupportedFeature, match="lisa"):
        parse_acl(b"user::rw-,user:lisa:r-x,group::r--,mask::r-x,other::r--")


def test_the_kernel_agrees(tmp_path: Path) -> None:
    """setfacl(1) on a real file gives the same bytes."""
    require_root()
    setfacl = require("setfacl")
    path = tmp_path / "file"
    path.touch(0o640)
    text = "user::rw-,user:70000:r-x,user:3:---,group::r--,group:5:-w-,mask::rwx,other::---"
    run(setfacl, "--set", text, path)
    try:
        expected = os.getxattr(path, "system.posix_acl_access")
    except OSError:
        pytest.skip("this file system has no ACLs")
    assert parse_acl(text.encode()).value == expected
    assert parse_acl(text.encode()).mode == path.stat().st_mode & 0o777
