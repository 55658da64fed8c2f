"""Jobs on Ray, on one machine or many: a worker that dies costs only the job that it had."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from mp2flame.errors import InputError, MissingExtraError, Mp2FlameError

try:
    import ray
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("ray", "cluster", "run on a cluster") from error

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_RETRIES = 5
"""Times that a job is tried again when its worker or machine is gone; errors of the job itself are raised."""
_CONNECT_SECONDS = 5.0


@contextmanager
def cluster(address: str) -> Iterator[None]:
    """Connect to Ray for the block.

    Args:
        address: of a running cluster (`host:port`, `ray://...`, `auto`), or `local` to start Ray on this machine.

    Raises:
        InputError: no cluster answers there.
    """
    _check_address(address)
    options: dict[str, Any] = {} if address == "local" else {"address": address}
    try:
        ray.init(include_dashboard=False if address == "local" else None, log_to_driver=False, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"expected a Ray cluster at {address}; none answers ({error})") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
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
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(
            f"expected a Ray cluster at {address}; nothing listens there ({error}): start one with `ray start --head`, "
            "or name its address"
        ) from error


def run_on_cluster(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[tuple[_Item, _Result]]:
    """Do `work` on each item on the connected Ray; yields each item with its result as it is finished.

    The same as `mp2flame.parallel.run_jobs` on this machine. Files that the work reads and writes must be where every
    machine can reach them.
    """
    remote = ray.remote(max_retries=_RETRIES)(_do)
    running = {remote.remote(work, item): item for item in items}
    while running:
        (done, *_), _ = ray.wait(list(running))
        try:
            result = ray.get(done)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, Mp2FlameError):
                raise error.cause from error
            raise
        yield running.pop(done), result


def _do(work: Callable[[_Item], _Result], item: _Item) -> _Result:
    return work(item)
