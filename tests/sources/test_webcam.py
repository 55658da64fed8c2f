"""Webcams, with a device that comes and goes in place of a real one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.errors import SourceError
from mp2flame.sources.webcam import WebcamReader
from tests.helpers.streams import eventually

Reading = Iterator[tuple[float, NDArray[np.uint8] | None]]


class Device:
    """A camera that delivers as many frames as it is told, then is gone; counts what is held open."""

    open_now = 0

    def __init__(self, frames: int, clock: Clock) -> None:
        self.frames = frames
        self.clock = clock
        Device.open_now += 1

    def grab(self) -> bool:
        self.clock.now += 0.04
        self.frames -= 1
        return self.frames >= 0

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        blue = np.zeros((4, 6, 3), np.uint8)
        blue[..., 0] = 255
        return True, blue

    def release(self) -> None:
        Device.open_now -= 1


class Clock:
    """Seconds that pass when something happens."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture(autouse=True)
def every_device_is_released() -> Iterator[None]:
    Device.open_now = 0
    yield
    assert Device.open_now == 0


def opening(clock: Clock, *lives: int | None) -> Callable[[int], Device | None]:
    """Opens a device that lives so many frames each time; None where there is no device at that moment."""
    left = list(lives)

    def open_capture(index: int) -> Device | None:
        assert index == 3
        clock.now += 0.5
        frames = left.pop(0) if left else None
        return None if frames is None else Device(frames, clock)

    return open_capture


def test_frames_have_the_time_of_their_arrival_and_are_rgb() -> None:
    clock = Clock()
    reader = WebcamReader(3, retry_seconds=0.001, open_capture=opening(clock, 1000), clock=clock)
    assert reader.live
    reading: Reading = iter(reader)
    frames = [next(reading) for _ in range(4)]
    np.testing.assert_allclose([when for when, _ in frames], [0, 0.041, 0.082, 0.123], atol=1e-6)
    assert frames[0][1] is not None
    assert frames[0][1][0, 0].tolist() == [0, 0, 255]
    reading.close()  # type: ignore[attr-defined]


def test_no_camera() -> None:
    clock = Clock()
    reader = WebcamReader(3, retry_seconds=0.001, open_capture=opening(clock), clock=clock)
    with pytest.raises(SourceError, match="no camera with index 3 can be opened: is it plugged in"):
        next(iter(reader))


def test_a_camera_that_vanishes_is_opened_again() -> None:
    clock = Clock()
    reader = WebcamReader(3, retry_seconds=0.001, open_capture=opening(clock, 2, None, None, 2, 5), clock=clock)
    reading: Reading = iter(reader)
    times = [next(reading)[0] for _ in range(7)]
    assert all(late > early for early, late in pairwise(times))
    # Gone from the third frame on, for three attempts of half a second.
    assert times[2] - times[1] > 1.5
    assert reader.warnings == ("camera 3 vanished and came back 2 times",)
    reading.close()  # type: ignore[attr-defined]


def test_a_camera_that_does_not_come_back_is_given_up() -> None:
    clock = Clock()
    reader = WebcamReader(3, retry_seconds=0.001, give_up_seconds=5, open_capture=opening(clock, 1), clock=clock)
    reading: Reading = iter(reader)
    next(reading)
    with pytest.raises(SourceError, match="camera 3 vanished and did not come back within 5 s"):
        next(reading)


def test_a_camera_that_opens_but_delivers_nothing_is_given_up() -> None:
    clock = Clock()
    reader = WebcamReader(
        3, retry_seconds=0.001, give_up_seconds=5, open_capture=opening(clock, 1, *[0] * 500), clock=clock
    )
    with pytest.raises(SourceError, match="did not come back within 5 s"):
        list(reader)
    assert clock.now - 1000 < 8


def test_closing_ends_the_wait() -> None:
    clock = Clock()
    reader = WebcamReader(3, retry_seconds=60.0, open_capture=opening(clock, 1), clock=clock)
    frames: list[object] = []
    thread = threading.Thread(target=lambda: frames.extend(reader))
    thread.start()
    assert eventually(lambda: reader.warnings == ("camera 3 is gone; waiting for it",))
    reader.close()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert len(frames) == 1
