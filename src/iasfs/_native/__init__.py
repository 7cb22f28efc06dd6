"""The compiled part: ``ffi`` and ``lib`` of cffi, and ``fast``; all None where there is none.

``lib`` holds what runs without the GIL: cffi releases it around every call.  To get it back
beside a busy thread takes up to a switch interval (5 ms), so what is short must keep it:
``fast`` is a module of plain built-in functions that lies in the same shared object.

Every function has a twin in Python.  The twins serve where the extension was not compiled, and
then ``missing`` is true; or where the environment variable ``IASFS_PURE_PYTHON`` asks for them.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

ffi: Any = None
lib: Any = None
fast: Any = None
missing = False

if not os.environ.get("IASFS_PURE_PYTHON"):
    try:
        _core = import_module("iasfs._native._core")
    except ImportError:
        missing = True
    else:
        ffi, lib = _core.ffi, _core.lib
        if lib.iasfs_fast_init() != 0:
            raise ImportError("iasfs._native: out of memory")
        fast = sys.modules["iasfs._native._fast"]

__all__ = ["fast", "ffi", "lib", "missing"]
