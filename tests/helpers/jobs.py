"""Work for pools of processes: each process imports it from here."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_info

from mp2flame.errors import InputError
from mp2flame.parallel import run_jobs


def square(number: int) -> int:
    return number * number


def refuse_three(number: int) -> int:
    if number == 3:
        raise InputError("expected anything but 3")
    return number


def blas_threads(_: int) -> list[int]:
    import numpy as np

    np.ones((4, 4)) @ np.ones((4, 4))
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@dataclass
class Killed:
    """Work whose process is killed on some items, as the system does when memory runs out."""

    fatal: frozenset[int]
    folder: Path

    def __call__(self, number: int) -> int:
        if number in self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        (self.folder / str(number)).touch()
        return number


@dataclass
class KilledOnce:
    """Work whose process is killed the first time that it gets one of the items."""

    folder: Path
    fatal: int

    def __call__(self, number: int) -> int:
        mark = self.folder / "killed"
        if number == self.fatal and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number


@dataclass
class Entered(AbstractContextManager["Entered"]):
    """Work that notes when a process enters and leaves it."""

    folder: Path

    def __enter__(self) -> Entered:
        (self.folder / f"entered {os.getpid()}").touch()
        return self

    def __exit__(self, *_: object) -> None:
        (self.folder / f"left {os.getpid()}").touch()

    def __call__(self, number: int) -> int:
        assert (self.folder / f"entered {os.getpid()}").exists()
        return os.getpid()


@dataclass
class Endless:
    """Work that never ends, and notes its process."""

    folder: Path

    def __call__(self, number: int) -> int:
        (self.folder / f"pid {os.getpid()}").touch()
        while True:
            time.sleep(0.05)


if __name__ == "__main__":
    for _ in run_jobs(Endless(Path(sys.argv[1])), range(4), processes=2):
        pass
