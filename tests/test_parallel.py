"""Pools of processes lose no work, leave no process behind and end at once; threads keep the order of their items."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from mp2flame.errors import InputError, WorkerError
from mp2flame.parallel import in_threads, one_blas_thread, run_jobs
from tests.helpers.jobs import Entered, Killed, blas_threads, refuse_three, square

_POSIX = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")


@pytest.mark.parametrize("processes", [1, 2, 9])
def test_every_item_has_its_result(processes: int) -> None:
    assert sorted(run_jobs(square, range(7), processes=processes)) == [(n, n * n) for n in range(7)]
    assert list(run_jobs(square, [], processes=processes)) == []


@_POSIX
def test_a_killed_process_loses_its_own_item_alone(tmp_path: Path) -> None:
    results: list[tuple[int, int]] = []
    jobs = run_jobs(
        Killed(frozenset({2, 5}), tmp_path),
        range(8),
        processes=2,
        label=lambda number: f"item {number}",
        kept="the rest is in the folder",
    )
    with pytest.raises(WorkerError, match=r"worked on item \d, item \d was killed.*the rest is in the folder"):
        results.extend(jobs)
    assert sorted(results) == [(n, n) for n in (0, 1, 3, 4, 6, 7)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "3", "4", "6", "7"]


@_POSIX
def test_a_killed_process_can_be_a_result(tmp_path: Path) -> None:
    work = Killed(frozenset({1}), tmp_path)
    results = dict(run_jobs(work, range(4), processes=2, on_death=lambda number, error: -len(str(error))))
    assert results[1] < 0
    assert [results[n] for n in (0, 2, 3)] == [0, 2, 3]


@_POSIX
def test_processes_that_cannot_start_end_the_pool(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="expected processes that can start"):
        list(run_jobs(Killed(frozenset(range(50)), tmp_path), range(50), processes=2))


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_the_work_is_raised(processes: int) -> None:
    with pytest.raises(InputError, match="anything but 3"):
        list(run_jobs(refuse_three, range(6), processes=processes))


@pytest.mark.parametrize("processes", [1, 2])
def test_every_process_enters_and_leaves_the_work(processes: int, tmp_path: Path) -> None:
    pids = {pid for _, pid in run_jobs(Entered(tmp_path), range(8), processes=processes)}
    names = {path.name for path in tmp_path.iterdir()}
    assert {f"entered {pid}" for pid in pids} <= names
    assert {name.split()[1] for name in names if name.startswith("entered")} == {
        name.split()[1] for name in names if name.startswith("left")
    }


def test_processes_have_one_blas_thread() -> None:
    for _, threads in run_jobs(blas_threads, range(4), processes=2):
        assert set(threads) <= {1}


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_for(condition: object, seconds: float) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the states of processes from /proc")
@pytest.mark.parametrize("signals", ["SIGKILL to the parent", "SIGINT to all"])
def test_no_process_is_left_behind(signals: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.helpers.jobs", str(tmp_path)]
    root = Path(__file__).parents[1]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert _wait_for(lambda: len(list(tmp_path.iterdir())) == 2, 60)
    workers = [int(path.name.split()[1]) for path in tmp_path.iterdir()]
    start = time.monotonic()
    if signals == "SIGKILL to the parent":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert _wait_for(lambda: not any(map(_alive, workers)), 3)
    assert time.monotonic() - start < 3
    # The parent's own KeyboardInterrupt is the only traceback: its processes say nothing.
    assert errors.count("Traceback") == (signals == "SIGINT to all")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the states of processes from /proc")
def test_a_pool_that_is_abandoned_ends_its_processes(tmp_path: Path) -> None:
    jobs = run_jobs(Entered(tmp_path), range(9), processes=2)
    next(jobs)
    jobs.close()  # type: ignore[attr-defined]
    workers = [int(path.name.split()[1]) for path in tmp_path.iterdir() if path.name.startswith("entered")]
    assert workers
    assert _wait_for(lambda: not any(map(_alive, workers)), 3)


def test_threads_keep_the_order_of_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert list(in_threads(lambda number: number**2, iter(range(40)))) == [number**2 for number in range(40)]
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda number: 1 / (number - 5), range(10)))


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
