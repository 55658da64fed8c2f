"""Work beside each other: in order, without waiting for itself, and without threads where a process forks."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from mp2flame.parallel import in_threads, one_blas_thread, side_by_side


def _helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("side_by_side")]


@pytest.fixture(autouse=True)
def _three_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)


def test_results_are_in_the_items_order() -> None:
    expected = [number**2 for number in range(40)]
    assert side_by_side(lambda number: number**2, range(40)) == expected
    assert list(in_threads(lambda number: number**2, iter(range(40)))) == expected
    assert side_by_side(lambda number: number, []) == []


def test_an_error_of_the_work_is_raised() -> None:
    def work(number: int) -> float:
        return 1 / (number - 5)

    with pytest.raises(ZeroDivisionError):
        side_by_side(work, range(10))
    assert side_by_side(abs, [-1, -2]) == [1, 2]


def test_work_may_have_work_done_itself() -> None:
    def sums(number: int) -> int:
        return sum(side_by_side(abs, range(number)))

    found: list[list[int]] = []
    caller = threading.Thread(target=lambda: found.append(side_by_side(sums, range(30))), daemon=True)
    caller.start()
    caller.join(timeout=60)
    assert found == [[number * (number - 1) // 2 for number in range(30)]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
def test_no_helper_is_alive_at_a_fork_and_both_sides_go_on() -> None:
    side_by_side(abs, range(30))
    assert _helpers()
    child = os.fork()
    if child == 0:
        os._exit(0 if not _helpers() and side_by_side(abs, [-1, -2, -3]) == [1, 2, 3] else 1)
    assert not _helpers()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert side_by_side(abs, [-1, -2, -3]) == [1, 2, 3]


def test_blas_has_one_thread_for_the_block_only() -> None:
    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    np.ones((4, 4)) @ np.ones((4, 4))
    before = threads()
    inside: list[int] = []

    def failing() -> None:
        with one_blas_thread():
            inside.extend(threads())
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert len(inside) == len(before)
    assert set(inside) <= {1}
    assert threads() == before
