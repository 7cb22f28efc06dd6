"""Recent: a small bounded cache, least recently used out first, without a lock.

A lock held by another thread at the moment of a ``fork`` stays locked in the child for ever, and
image readers live in forking programs.  So each step here is one atomic operation on a dict; a
race costs a second look at the source, never a wrong value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Values by key: at most ``limit`` of them, or ``limit`` in all by ``weigh`` where given."""

    def __init__(self, limit: int, weigh: Callable[[Value], int] | None = None) -> None:
        self._limit = limit
        self._weigh = weigh
        self._values: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """The value, if it is still here; it is now the most recent."""
        value = self._values.pop(key, None)
        if value is not None:
            self._values[key] = value
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep a value; the oldest go until all fit."""
        self._values[key] = value
        while self._weight() > self._limit:
            try:
                self._values.pop(next(iter(self._values)), None)
            except RuntimeError:  # another thread changed it at this moment
                continue
            except StopIteration:
                break

    def _weight(self) -> int:
        if self._weigh is None:
            return len(self._values)
        return sum(map(self._weigh, list(self._values.values())))

    def clear(self) -> None:
        """Keep nothing."""
        self._values.clear()
