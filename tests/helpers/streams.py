"""Faces, heads and readers for the tests of the network streams."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation
from mp2flame.rotations import matrix
from mp2flame.sources.base import Source
from tests.helpers.heads import HeadStub


def face(seed: int, time: float = 0.0, *, tongue: float | None = 0.25, head: bool = True) -> Observation:
    """A random face with a turned head."""
    rng = np.random.default_rng(seed)
    transform = np.eye(4, dtype=np.float32)
    transform[:3, :3] = matrix(rng.uniform(-0.6, 0.6, 3))
    return Observation(
        time=np.array([time]),
        found=np.array([True]),
        scores=rng.uniform(0, 1, (1, 52)).astype(np.float32),
        head_transform=transform[None] if head else None,
        tongue_out=None if tongue is None else np.array([tongue], dtype=np.float32),
    )


def pose(seed: int, observation: Observation, n_expression: int = 100) -> FlameParams:
    """Random parameters whose head is turned as the observed one, half of it by the neck where it is known."""
    rng = np.random.default_rng(seed + 1000)

    def some(scale: float) -> NDArray[np.float32]:
        return rng.uniform(-scale, scale, (1, 3)).astype(np.float32)

    return FlameParams(
        time=observation.time,
        found=observation.found,
        expression=rng.normal(size=(1, n_expression)).astype(np.float32),
        jaw_pose=some(0.4),
        global_orient=some(0.5),
        neck_pose=some(0.3),
        leye_pose=some(0.4),
        reye_pose=some(0.4),
        translation=some(0.1),
    )


def nobody(time: float, n_expression: int = 100) -> tuple[Observation, FlameParams]:
    """A frame without a face, as it leaves a mapping."""
    blank = np.full((1, 3), np.nan, dtype=np.float32)
    params = FlameParams(
        time=np.array([time]),
        found=np.array([False]),
        expression=np.full((1, n_expression), np.nan, dtype=np.float32),
        **dict.fromkeys(("jaw_pose", "neck_pose", "global_orient", "leye_pose", "reye_pose", "translation"), blank),
    )
    return Observation.missing(time), params


def surface(n_vertices: int = 6) -> HeadStub:
    """A head of a few vertices."""
    rng = np.random.default_rng(0)
    return HeadStub(
        faces=np.arange(n_vertices, dtype=np.uint32).reshape(-1, 3),
        neutral_vertices=rng.normal(size=(n_vertices, 3)).astype(np.float32),
        vertex_colors=rng.integers(0, 255, (n_vertices, 3), dtype=np.uint8),
        version="a small head",
        hash="abc",
    )


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port of this machine that nobody uses."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Reader:
    """Takes a source's frames in a thread of its own, until it is closed."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.frames: list[Observation] = []
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for frame in self.source:
                self.frames.append(frame)
        except Exception as error:  # noqa: BLE001 - shown to the test
            self.error = error

    @property
    def seen(self) -> list[Observation]:
        """The frames with a face."""
        return [frame for frame in self.frames if frame.found[0]]

    def ended(self, seconds: float = 30.0) -> bool:
        """The iteration ended within this time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()


@contextmanager
def reading(source: Source) -> Iterator[Reader]:
    """A reader of a source that is closed at the end, which must end the iteration."""
    reader = Reader(source)
    try:
        yield reader
    finally:
        source.close()
        assert reader.ended()


def eventually(condition: Callable[[], object], seconds: float = 30.0) -> bool:
    """Whether the condition comes true within this time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return bool(condition())


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """What runs inside leaves no thread and no open file or socket."""
    threads, files = set(threading.enumerate()), _open_files()
    yield
    assert eventually(lambda: set(threading.enumerate()) <= threads), threading.enumerate()
    assert eventually(lambda: _open_files() <= files), _open_files() - files


def _open_files() -> set[str]:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return set()
    found = set()
    for descriptor in folder.iterdir():
        # The listing itself has a descriptor, which is gone by now.
        with suppress(OSError):
            found.add(str(descriptor.readlink()))
    return {entry for entry in found if entry.startswith("socket:")}
