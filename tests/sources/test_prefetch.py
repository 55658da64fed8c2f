"""Prefetching: the same items, made in another thread, and everything freed at the end."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from mp2flame.sources.detection import prefetch


class _Items:
    """Counts up, and knows who counted how far."""

    def __init__(self, count: int, *, fails: bool = False) -> None:
        self.made = 0
        self.threads: set[int] = set()
        self.closed = threading.Event()
        self.full = threading.Event()
        self._count, self._fails = count, fails

    def __call__(self, *, full: int = 0) -> Generator[int, None, None]:
        try:
            for number in range(self._count):
                self.threads.add(threading.get_ident())
                self.made += 1
                if self.made == full:
                    self.full.set()
                yield number
            if self._fails:
                raise ValueError("cut off")
        finally:
            self.closed.set()


@pytest.mark.parametrize("size", [2, 3, 50])
def test_items_come_whole_and_in_order_from_another_thread(size: int) -> None:
    items = _Items(20)
    assert list(prefetch(items(), size=size)) == list(range(20))
    assert threading.get_ident() not in items.threads
    assert items.closed.is_set()


def test_nothing_is_made_before_the_first_is_asked_for() -> None:
    items = _Items(20)
    ahead = prefetch(items())
    assert items.made == 0
    ahead.close()
    assert items.made == 0


def test_it_runs_ahead_by_its_size_and_no_further() -> None:
    items = _Items(1000)
    ahead = prefetch(items(full=4), size=3)
    assert next(ahead) == 0
    # One was taken; three wait behind it.
    assert items.full.wait(30)
    assert next(ahead) == 1
    assert items.made <= 5
    ahead.close()
    assert items.made <= 5


def test_closing_in_the_middle_closes_the_items_and_ends_the_thread() -> None:
    before = threading.active_count()
    items = _Items(10**9)
    ahead = prefetch(items())
    assert next(ahead) == 0
    ahead.close()
    assert items.closed.is_set()
    assert threading.active_count() == before
    assert list(ahead) == []


def test_what_the_items_raise_comes_after_those_before_it() -> None:
    items = _Items(3, fails=True)
    ahead = prefetch(items())
    assert [next(ahead), next(ahead), next(ahead)] == [0, 1, 2]
    with pytest.raises(ValueError, match="cut off"):
        next(ahead)
    assert items.closed.is_set()
