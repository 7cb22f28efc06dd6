"""Sphinx: ``sphinx-build -n -W docs docs/_build``."""

import builtins
import sys
from importlib.metadata import version as version_of

project = "iasfs"
author = copyright = "The iasfs developers"
version = release = version_of("iasfs")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.doctest", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"iasfs {release}"
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "show-inheritance": True,
}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

# The build reaches no network, so names of the standard library stay without a link.
nitpick_ignore_regex = [
    (r"py:.*", "|".join(name for name in dir(builtins) if not name.startswith("_"))),
    (r"py:.*", rf"_?({'|'.join(sorted(sys.stdlib_module_names))})(\..*)?"),
    (r"py:class", r"(Writeable|Readable)Buffer|SearchStrategy|fsspec\..*"),  # others' types
    (r"py:class", r"Openable|TarSource|Source|Target|Buffer|.*Data"),  # unions, internals
    (r"py:class", r"\w+\[.*"),  # what is left of a signature that has a default factory
]
