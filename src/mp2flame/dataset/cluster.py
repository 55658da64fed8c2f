"""The same passes on Ray, on one machine or many: a worker that dies costs only what it was doing."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mp2flame.dataset.extract import Extraction, Task, run_task
from mp2flame.dataset.store import Dataset
from mp2flame.errors import InputError, MissingExtraError, Mp2FlameError
from mp2flame.regression.gather import Gathered, Kind, gather

try:
    import ray
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("ray", "cluster", "run on a cluster") from error

__all__ = ["ClusterExtraction", "cluster", "gather_on_cluster"]

# A task is tried again when the worker or the machine that had it is gone; errors of the task itself are raised.
_RETRIES = 5
_KNOCK_SECONDS = 5.0


@contextmanager
def cluster(address: str) -> Iterator[None]:
    """Connect to Ray for the block.

    Args:
        address: of a running cluster (`host:port`, `ray://...`, `auto`), or `local` to start Ray on this machine.

    Raises:
        InputError: nothing answers there.
    """
    _knock(address)
    options: dict[str, Any] = {} if address == "local" else {"address": address}
    try:
        ray.init(include_dashboard=False if address == "local" else None, log_to_driver=False, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"expected a Ray cluster at {address}; none answers ({error})") from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Open a connection to the address where it is a host and a port: Ray itself tries for minutes.

    Raises:
        InputError: it has no port, or nothing listens there.
    """
    if address in ("local", "auto"):
        return
    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"expected a Ray cluster as host:port, ray://host:port, auto or local; got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()
    except OSError as error:
        raise InputError(
            f"expected a Ray cluster at {address}; nothing listens there ({error}): start one with `ray start --head`, "
            "or name its address"
        ) from error


def _collect(pending: list[Any], advance: Callable[[Any], None]) -> list[Any]:
    """The results of remote calls in the order of the calls; `advance` is told each one as it is done."""
    waiting = list(pending)
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1)
        advance(done[0])
    try:
        results: list[Any] = ray.get(pending)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Mp2FlameError):
            raise error.cause from error
        raise
    return results


def gather_on_cluster(data: Dataset, features: tuple[str, ...], *, kind: Kind) -> Gathered:
    """One pass over a data set, a task for each subject; its folder must be where every machine can read it.

    The sums are added in the order of the subjects, whichever worker is done first.
    """
    remote = ray.remote(max_retries=_RETRIES)(_gather_subject)
    pending = [remote.remote(str(data.path.resolve()), subject, features, kind) for subject in data.subjects]
    parts: list[Gathered] = _collect(pending, lambda _: None)
    for part in parts[1:]:
        parts[0].merge(part)
    return parts[0]


def _gather_subject(path: str, subject: str, features: tuple[str, ...], kind: Kind) -> Gathered:
    return gather(Dataset(path), (subject,), features, kind=kind)


class ClusterExtraction(Extraction):
    """Runs extraction tasks on Ray; pictures and the results' folder must be where every machine can reach them."""

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> None:
        """Do all tasks that are not done yet, see `Extraction.run`."""
        self.folder.mkdir(exist_ok=True)
        remote = ray.remote(max_retries=_RETRIES)(_run_task)
        lengths = {}
        for task in tasks:
            if self.target(task).is_file():
                advance(len(task))
            else:
                lengths[remote.remote(task, str(self.folder.resolve()))] = len(task)
        _collect(list(lengths), lambda done: advance(lengths[done]))


def _run_task(task: Task, folder: str) -> None:
    run_task(task, Path(folder))
