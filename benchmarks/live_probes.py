"""Probes for the live benchmarks: when images arrive, when messages leave, and clients that receive them."""

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

from benchmarks import viser_client
from mp2flame.data import Frame, Observation
from mp2flame.sinks.base import Sink
from mp2flame.sources.detection import Detector

Receipts = dict[int, tuple[int, float]]
"""By the checksum of one mesh: which message of the connection it came in, and when (`time.perf_counter`)."""


class DetectorProbe:
    """When each image arrived, and the seconds inside MediaPipe, by the time of the frame.

    Args:
        detector: detects faces with MediaPipe.
    """

    def __init__(self, detector: Detector) -> None:
        self.moments: dict[float, float] = {}
        self.inside: dict[float, float] = {}
        self._detector = detector
        self._spent = 0.0

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure the time inside MediaPipe while this is open: its copy of the image, and its two detectors."""
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
        def timed(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                self._spent += time.perf_counter() - start

        return timed

    def detect(self, picture: np.ndarray, time_of_frame: float, *, keep_image: bool = False) -> Observation:
        """The face in one image (H, W, 3)."""
        start, self._spent = time.perf_counter(), 0.0
        observation = self._detector.detect(picture, time_of_frame, keep_image=keep_image)
        self.moments[time_of_frame], self.inside[time_of_frame] = start, self._spent
        return observation

    def reset(self) -> None:
        """Forget earlier images and release the detector's resources."""
        self._detector.reset()


@contextmanager
def page_send_times() -> Iterator[list[float]]:
    """When each message of the page was handed to its socket, in their order; for one browser."""
    send = ServerConnection.send
    moments: list[float] = []

    async def noted(*args: Any, **options: Any) -> None:
        await send(*args, **options)
        moments.append(time.perf_counter())

    ServerConnection.send = noted  # type: ignore[method-assign]
    try:
        yield moments
    finally:
        ServerConnection.send = send  # type: ignore[method-assign]


def sink_write_times(sink: Sink) -> dict[float, float]:
    """When each frame is written from now on, by its time."""
    write = sink.write
    moments: dict[float, float] = {}

    def noted(frame: Frame) -> None:
        write(frame)
        moments[float(frame.observation.time[0])] = time.perf_counter()

    sink.write = noted  # type: ignore[method-assign]
    return moments


def browse(port: int, mesh: str, pipe: Connection) -> None:
    """Receive heads until the page is closed; sends back when each came, by the checksum of one mesh."""
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
    """Receive datagrams until none comes for three seconds; sends back when each came, by the time of its frame."""
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
