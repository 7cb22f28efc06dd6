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
    """Values by key, as many as ``limit`` allows: each counts 1, or what ``weigh`` says."""

    def __init__(self, limit: int, weigh: Callable[[Value], int] = lambda value: 1) -> None:
        self._limit = limit
        self._weigh = weigh
        self._values: dict[Key, Value] = {}
        self._weight = 0
        """Of all values, about: threads may miscount, and the next eviction counts anew."""

    def get(self, key: Key) -> Value | None:
        """The value, if it is still here; it is now the most recent."""
        value = self._values.pop(key, None)
        if value is not None:
            self._values[key] = value
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep a value; when all do not fit any more, the oldest go."""
        self._values[key] = value
        self._weight += self._weigh(value)
        if self._weight > self._limit:
            self._evict()

    def _evict(self) -> None:
        """Let the oldest go, a quarter of all at once: to count costs a look at each.

        The newest stays, whatever its weight: it is in use.
        """
        weight = 0
        for number, (key, value) in enumerate(reversed(list(self._values.items()))):
            weight += self._weigh(value)
            if number and weight > self._limit - self._limit // 4:
                self._values.pop(key, None)
                weight -= self._weigh(value)
        self._weight = weight
