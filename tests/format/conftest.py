"""Fixtures of this room's tests: with the C code, with its twins, with both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from extents import DECODERS
from helpers import missing
from iasfs.format import codec, zindex
from payloads import python_only


@pytest.fixture(params=["C", "Python"])
def both(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the test with the C code, and once more with its twins."""
    if request.param == "Python":
        with python_only():
            yield
        return
    if codec.fast is None:
        missing("compiler", "the extension is not compiled")
    yield


@pytest.fixture(scope="session")
def compiled() -> None:
    """Run the test only with the C code."""
    if codec.fast is None:
        missing("compiler", "the extension is not compiled")


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test with each decoder of the classic index."""
    monkeypatch.setattr(zindex, "decode", DECODERS[request.param])
