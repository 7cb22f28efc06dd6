"""The small cache: bounded, the oldest out first, and no lock that a fork could leave shut."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iasfs.read.recent import Recent


@given(st.integers(1, 20), st.lists(st.integers(0, 30), max_size=200))
def test_at_most_so_many_are_kept_and_they_are_right(limit: int, keys: list[int]) -> None:
    cache: Recent[int, str] = Recent(limit)
    for key in keys:
        assert cache.get(key) in (None, str(key))
        cache.put(key, str(key))
        assert cache.get(key) == str(key)
        assert sum(cache.get(other) is not None for other in range(31)) <= limit


def test_the_oldest_go_first() -> None:
    cache: Recent[int, str] = Recent(4)
    for key in range(4):
        cache.put(key, str(key))
    cache.get(0)
    cache.put(4, "4")
    assert [key for key in range(5) if cache.get(key) is not None] == [0, 3, 4]


@pytest.mark.parametrize("size", [1, 10, 75])
def test_values_have_a_weight(size: int) -> None:
    cache: Recent[int, bytes] = Recent(100, len)
    for key in range(1000):
        cache.put(key, bytes(size))
    kept = [key for key in range(1000) if cache.get(key) is not None]
    assert 1 <= len(kept) * size <= 100
    assert kept == list(range(1000 - len(kept), 1000))


def test_the_newest_stays_whatever_its_weight() -> None:
    """It is in use; the next one takes its place."""
    cache: Recent[int, bytes] = Recent(100, len)
    for key, size in ((1, 10), (2, 1000)):
        cache.put(key, bytes(size))
    assert cache.get(1) is None
    assert cache.get(2) == bytes(1000)
    cache.put(3, bytes(10))
    assert cache.get(2) is None
    assert cache.get(3) == bytes(10)


def test_threads_may_use_it_at_once() -> None:
    cache: Recent[int, int] = Recent(50)

    def work(seed: int) -> bool:
        for step in range(3000):
            key = (step * 7 + seed) % 90
            if cache.get(key) not in (None, key):
                return False
            cache.put(key, key)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    cache.put(1000, 1000)
    assert sum(cache.get(key) is not None for key in range(1001)) <= 51
