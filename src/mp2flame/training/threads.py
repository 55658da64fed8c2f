"""Working on parts in threads, with results in the order of the parts."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Final, TypeVar

from threadpoolctl import ThreadpoolController

__all__ = ["in_threads", "one_blas_thread", "read_ahead"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Batches fetched before they are needed: fetching and working take turns at being slow.
_AHEAD: Final = 2


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    """Looking up the process' BLAS takes longer than a small sum, so it is done once."""
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[object]:
    """BLAS at one thread for the block.

    It splits long, thin products of frames badly, where whole parts split well; and a thread that it had for a small
    product goes on spinning for a while, in the way of ours.
    """
    limit: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limit


def in_threads(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """`work` of each item, in the items' order, on as many threads as there are processors, BLAS at one thread."""
    with one_blas_thread(), ThreadPoolExecutor(min(len(items), os.cpu_count() or 1)) as pool:
        yield from pool.map(work, items)


def read_ahead(items: Iterable[_Item]) -> Iterator[_Item]:
    """The same items, the next ones fetched in a thread meanwhile; at most `_AHEAD` wait at a time.

    Errors of the fetch are raised where its item was due.
    """
    iterator = iter(items)
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming: deque[Future[object]] = deque(pool.submit(next, iterator, end) for _ in range(_AHEAD))
        while (item := coming.popleft().result()) is not end:
            coming.append(pool.submit(next, iterator, end))
            yield item  # type: ignore[misc]
