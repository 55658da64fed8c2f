"""The ends of the live road for its benchmarks: when pictures come, when messages leave, who receives them."""

from __future__ import annotations

import json
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from mediapipe import Image
from mediapipe.tasks.python.vision import FaceDetector, FaceLandmarker
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from mp2flame.data import Frame, Observation
from mp2flame.sinks.base import Sink
from mp2flame.sources.detection import Detector
from tests.helpers import viser_client

Receipts = dict[int, tuple[int, float]]
"""By the checksum of one mesh: which message of the connection it came in, and when (`time.perf_counter`)."""


class Arrivals:
    """When each picture was there, and how long MediaPipe itself had it, by the time that the frame carries.

    Args:
        detector: sees the faces, with MediaPipe.
    """

    def __init__(self, detector: Detector) -> None:
        self.moments: dict[float, float] = {}
        self.inside: dict[float, float] = {}
        self._detector = detector
        self._spent = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count the time inside MediaPipe while this is open: its copy of the picture, and its two detectors."""
        calls = ((Image, "__init__"), (FaceLandmarker, "detect_for_video"), (FaceDetector, "detect"))
        before = [getattr(owner, name) for owner, name in calls]
        for (owner, name), call in zip(calls, before, strict=True):
            setattr(owner, name, self._timed(call))
        try:
            yield
        finally:
            for (owner, name), call in zip(calls, before, strict=True):
                setattr(owner, name, call)

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*words: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*words, **options)
            finally:
                self._spent += time.perf_counter() - began

        return timed

    def detect(self, picture: np.ndarray, time_of_frame: float, *, keep_image: bool = False) -> Observation:
        """What is seen in one picture (H, W, 3)."""
        began, self._spent = time.perf_counter(), 0.0
        observation = self._detector.detect(picture, time_of_frame, keep_image=keep_image)
        self.moments[time_of_frame], self.inside[time_of_frame] = began, self._spent
        return observation

    def reset(self) -> None:
        """Forget what was seen and free what is held."""
        self._detector.reset()


@contextmanager
def page_leavings() -> Iterator[list[float]]:
    """When each message of the page was with its socket, in their order; for one browser."""
    send = ServerConnection.send
    moments: list[float] = []

    async def noted(*words: Any, **options: Any) -> None:
        await send(*words, **options)
        moments.append(time.perf_counter())

    ServerConnection.send = noted  # type: ignore[method-assign]
    try:
        yield moments
    finally:
        ServerConnection.send = send  # type: ignore[method-assign]


def sink_leavings(sink: Sink) -> dict[float, float]:
    """When each frame was written, by its time; the sink notes it from now on."""
    write = sink.write
    moments: dict[float, float] = {}

    def noted(frame: Frame) -> None:
        write(frame)
        moments[float(frame.observation.time[0])] = time.perf_counter()

    sink.write = noted  # type: ignore[method-assign]
    return moments


class Nobody:
    """A director that is never asked."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def browse(port: int, mesh: str, pipe: Connection) -> None:
    """Note when each new head was there, by the checksum of one mesh, until the page goes away."""
    receipts: Receipts = {}
    count = 0
    try:
        with suppress(ConnectionClosed), viser_client.connected(port) as tab:
            pipe.send("connected")
            while True:
                frame = tab.recv()
                now = time.perf_counter()
                points = viser_client.vertices(frame).get(mesh)
                if points is not None:
                    receipts[zlib.crc32(points)] = (count, now)
                count += 1
    finally:
        pipe.send(receipts)


def listen(port: int, pipe: Connection) -> None:
    """Note when each datagram was there, by the frame's time in it, until none comes for three seconds."""
    receipts: dict[float, float] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", port))
        receiver.settimeout(3.0)
        pipe.send("connected")
        while True:
            try:
                message = receiver.recv(65535)
            except TimeoutError:
                break
            receipts[round(json.loads(message)["time"], 6)] = time.perf_counter()
    pipe.send(receipts)


def free_port() -> int:
    """A UDP port that is free on this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
