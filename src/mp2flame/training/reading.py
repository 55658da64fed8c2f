"""Reading the next batch while the last one is worked on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["read_ahead"]

_Item = TypeVar("_Item")


def read_ahead(items: Iterable[_Item]) -> Iterator[_Item]:
    """The same items, the next one fetched in a thread meanwhile; at most two are held at a time.

    Errors of the fetch are raised where its item was due.
    """
    iterator = iter(items)
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, iterator, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, iterator, end)
            yield item  # type: ignore[misc]
