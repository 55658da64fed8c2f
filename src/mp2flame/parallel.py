"""Jobs of seconds or minutes in processes, and work of milliseconds in threads."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import lru_cache
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController, threadpool_limits

from mp2flame.errors import WorkerError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def run_jobs(
    work: Callable[[_Item], _Result],
    items: Sequence[_Item],
    *,
    processes: int,
    label: Callable[[_Item], str] = str,
    kept: str = "the finished results are kept",
    on_death: Callable[[_Item, WorkerError], _Result] | None = None,
) -> Iterator[tuple[_Item, _Result]]:
    """Do `work` on each item in several processes; yields each item with its result as it is finished.

    A job that takes long writes its result to a file, and its caller leaves out the items whose file exists: then an
    interrupted run continues where it was. A process that dies (the system ends processes when memory runs out) loses
    only its own item. BLAS has one thread in each process. Ctrl-C, an error and the death of this process end all
    processes at once.

    Args:
        work: a picklable callable. If it is a context manager too, each process enters it before its first item.
        items: picklable arguments of `work`.
        processes: the largest number of processes; 1 does the work in this process.
        label: names an item in the error message.
        kept: says in the error message what remains of the work, as a clause without a full stop.
        on_death: makes the result of an item whose process died. Without it the error is raised after the other items.

    Raises:
        WorkerError: a process died; all other items are finished.
        Exception: what `work` raises.
    """
    count = min(processes, len(items))
    if count < 2:
        with work if isinstance(work, AbstractContextManager) else nullcontext():
            yield from ((item, work(item)) for item in items)
        return
    lost: list[str] = []
    for item, result in _in_processes(work, items, count):
        if not isinstance(result, BrokenProcessPool):
            yield item, result
        elif on_death is not None:
            yield item, on_death(item, _death([label(item)], kept))
        else:
            lost.append(label(item))
    if lost:
        raise _death(lost, kept)


def _death(labels: list[str], kept: str) -> WorkerError:
    shown = ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")
    return WorkerError(
        f"the process that worked on {shown} was killed, perhaps because memory ran out; {kept}: run the command "
        "again, with fewer processes if memory is short"
    )


def _in_processes(
    work: Callable[[_Item], _Result], items: Sequence[_Item], count: int
) -> Iterator[tuple[_Item, _Result | BrokenProcessPool]]:
    waiting, finished, deaths = deque(items), 0, 0
    running: dict[Future[_Result], tuple[_Worker, _Item]] = {}
    with ExitStack() as stack:
        workers = [stack.enter_context(_Worker(work)) for _ in range(count)]
        for worker in workers:
            item = waiting.popleft()
            running[worker.submit(item)] = worker, item
        while running:
            results = []
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                worker, item = running.pop(future)
                result: _Result | BrokenProcessPool
                try:
                    result, finished = future.result(), finished + 1
                except BrokenProcessPool as error:
                    result, deaths = error, deaths + 1
                    worker.restart()
                    if deaths > 2 * count and not finished:
                        # No process can start at all, such as those of a script without `if __name__ == "__main__"`.
                        raise WorkerError(f"expected processes that can start; {deaths} died at once") from error
                results.append((item, result))
                if waiting:
                    following = waiting.popleft()
                    running[worker.submit(following)] = worker, following
            yield from results
        for worker in workers:
            worker.finish()


class _Worker(AbstractContextManager["_Worker"]):
    """One process with an executor of its own, so that its death is the loss of a known item."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work
        self.restart()

    def restart(self) -> None:
        # Spawned, not forked: the threads of MediaPipe do not survive a fork.
        self._executor = ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin, initargs=(self._work,))
        self._processes: set[Any] = set()

    def submit(self, item: Any) -> Future[Any]:
        if self._processes:
            return self._executor.submit(_run, item)
        before = set(active_children())
        with _interrupts_held():
            future = self._executor.submit(_run, item)
        self._processes = set(active_children()) - before
        return future

    def finish(self) -> None:
        with suppress(BrokenProcessPool):
            self._executor.submit(_leave).result()
        self._executor.shutdown()

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            with suppress(ValueError):  # closed: it has ended
                process.kill()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back for the block: a process that starts inherits this and leaves Ctrl-C to its parent."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# The state of a worker process: what it works with, and what it has entered.
_work: Callable[[Any], Any] | None = None
_entered: ExitStack | None = None


def _begin(work: Callable[[Any], Any]) -> None:
    global _work  # noqa: PLW0603
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Without a graphics card Mesa draws on the processors, of which one is this process's.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(item: Any) -> Any:
    global _entered  # noqa: PLW0603
    assert _work is not None
    with threadpool_limits(1):
        if _entered is None:
            _entered = ExitStack()
            if isinstance(_work, AbstractContextManager):
                _entered.enter_context(_work)
        return _work(item)


def _leave() -> None:
    if _entered is not None:
        _entered.close()


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """The numerical libraries of this process; finding them takes longer than a small product."""
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[None]:
    """BLAS at one thread for the block, where threads of ours share the work, or where products are small."""
    limits: AbstractContextManager[None] = _libraries().limit(limits=1, user_api="blas")
    return limits


def in_threads(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """The results of `work` in the order of the items, on as many threads as there are processors; BLAS has one.

    Items are taken as they are needed, so that no more results wait than there are threads. An error of the work is
    raised in the place of its result.
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
