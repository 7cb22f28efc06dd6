"""Build script of ``iasfs._native._core``, named by setup.py and never imported at run time.

Every C file of this folder is compiled into one extension; ``api.h`` alone is what cffi shows
to Python.  The extension keeps to the limited API of Python 3.11, so that one binary serves
all later versions, and is optional: without a compiler the package installs all the same and
works with its twins in Python.
"""

import sysconfig
from pathlib import Path

from cffi import FFI  # type: ignore[import-untyped]

here = Path(__file__).parent
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))  # knows no limited API

ffi = FFI()
ffi.cdef((here / "api.h").read_text())
ffi.set_source(
    "iasfs._native._core",
    '#include "core.h"',
    sources=sorted(str(path) for path in here.glob("[a-z]*.c")),
    depends=sorted(str(path) for path in here.glob("*.h")),
    include_dirs=[str(here)],
    define_macros=[] if free_threaded else [("Py_LIMITED_API", "0x030B0000")],
    extra_compile_args=["-std=c11", "-O3", "-fvisibility=hidden"],
    optional=True,
)
