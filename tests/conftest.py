"""Settings and fixtures of all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from helpers import disk_directory, on_tmpfs

# A shared machine stalls now and then, hence no deadline.  In CI the examples are many and the
# same on every run, so that a change fails for what it changed; elsewhere they are few and new.
settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=200, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture
def disk_path(tmp_path: Path) -> Iterator[Path]:
    """As ``tmp_path``, but never on a tmpfs: the kernel mounts no image that lies on one."""
    if not on_tmpfs(tmp_path):
        yield tmp_path
        return
    path = disk_directory()
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path)
