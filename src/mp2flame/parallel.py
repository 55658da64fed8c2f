"""Working on parts in threads, with results in the order of the parts."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock, current_thread
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

__all__ = ["in_threads", "one_blas_thread", "side_by_side"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@lru_cache(maxsize=1)
def _blas() -> list[Any]:
    """The BLAS libraries of this process; looking them up takes longer than a small sum, so it is done once."""
    libraries: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return libraries


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS at one thread for the block.

    It splits long, thin products of frames badly, where whole parts split well; and a thread that it had for a small
    product goes on spinning for a while, in the way of ours.
    """
    before = [(library, library.get_num_threads()) for library in _blas()]
    for library, _ in before:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, threads in before:
            library.set_num_threads(threads)


class _Helpers:
    """Threads that wait for work of milliseconds: starting them anew each time costs as much as a twentieth of it.

    None are started before they are needed, and none are alive while this process forks.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        if hasattr(os, "register_at_fork"):
            free = self._lock.release
            os.register_at_fork(before=self._dismiss, after_in_parent=free, after_in_child=free)

    def submit(self, work: Callable[[], None], times: int) -> list[Future[None]]:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "side_by_side")
            return [self._pool.submit(work) for _ in range(times)]

    def _dismiss(self) -> None:
        self._lock.acquire()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=not current_thread().name.startswith("side_by_side"))


_HELPERS = _Helpers()


def side_by_side(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """`work` of each item, in the items' order, on all processors, for work of milliseconds; BLAS at one thread.

    The calling thread works too. The first error of the work is raised once no thread works any more.
    """
    queue = deque(enumerate(items))
    results: dict[int, _Result] = {}

    def drain() -> None:
        while queue:
            try:
                number, item = queue.popleft()
            except IndexError:  # another thread took the last one
                return
            results[number] = work(item)

    helpers = min(os.cpu_count() or 1, len(items)) - 1
    with one_blas_thread():
        futures = _HELPERS.submit(drain, helpers) if helpers > 0 else []
        try:
            drain()
        finally:
            # What no helper began is done already; waiting for it could be waiting for oneself.
            begun = [future for future in futures if not future.cancel()]
            wait(begun)
        for future in begun:
            future.result()
    return [results[number] for number in range(len(items))]


def in_threads(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """`work` of each item, in the items' order, on as many threads as there are processors, BLAS at one thread.

    Items are taken as they are needed, so that no more results wait than there are threads. Errors of the work are
    raised where its result was due.
    """
    threads = os.cpu_count() or 1
    waiting: deque[Future[_Result]] = deque()
    with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
