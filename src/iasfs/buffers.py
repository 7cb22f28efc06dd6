"""The types of bytes and of places in bytes, shared by every floor."""

from __future__ import annotations

Buffer = bytes | bytearray | memoryview
"""Bytes that are only looked at."""
Range = tuple[int, int]
"""``(offset, size)``, both in bytes."""
