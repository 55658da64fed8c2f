"""The source that sees, with a detector that says what it was shown."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.data import Observation
from mp2flame.errors import SourceError
from mp2flame.sources.base import FrameReader, Image, TimedImage
from mp2flame.sources.detection import DetectedSource
from mp2flame.sources.stderr_filter import StderrFilter, mediapipe_stderr


class Counting(FrameReader):
    """Pictures with their number in the left pixel; every third cannot be read."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.open_now = 0
        self.woken = False

    def __iter__(self) -> Generator[TimedImage, None, None]:
        self.open_now += 1
        try:
            for number in range(self.count):
                picture = np.zeros((2, 3, 3), np.uint8)
                picture[:, 0] = number % 100
                yield number / 10, None if number % 3 == 2 else picture
        finally:
            self.open_now -= 1

    def close(self) -> None:
        self.woken = True


class Echo:
    """Finds a face in every picture, with the left pixel as its first score; remembers what it was asked."""

    def __init__(self) -> None:
        self.resets = 0
        self.seen: list[Image] = []

    def detect(self, picture: NDArray[Any], time: float, *, keep_image: bool = False) -> Observation:
        self.seen.append(picture)
        scores = np.zeros((1, 52), np.float32)
        scores[0, 0] = picture[0, 0, 0] / 100
        return Observation(
            time=np.array([time]), found=np.array([True]), scores=scores, picture=picture if keep_image else None
        )

    def reset(self) -> None:
        self.resets += 1
        self.seen.clear()


def test_each_image_is_an_observation() -> None:
    source = DetectedSource(Counting(6), Echo())
    for _ in range(2):
        frames = list(source)
        assert [float(frame.time[0]) for frame in frames] == [number / 10 for number in range(6)]
        assert [bool(frame.found[0]) for frame in frames] == [True, True, False, True, True, False]
        assert [round(float(frame.scores[0, 0]) * 100) for frame in frames if frame.found[0]] == [0, 1, 3, 4]
        assert all(frame.picture is None for frame in frames)


def test_nothing_is_read_before_it_is_iterated() -> None:
    reader, detector = Counting(6), Echo()
    source = DetectedSource(reader, detector)
    frames = iter(source)
    assert (reader.open_now, detector.resets) == (0, 0)
    next(frames)
    assert (reader.open_now, detector.resets) == (1, 1)


def test_closing_in_the_middle_frees_everything() -> None:
    reader, detector = Counting(6), Echo()
    with DetectedSource(reader, detector) as source:
        frames = iter(source)
        next(frames)
    assert (reader.open_now, detector.resets, reader.woken) == (0, 2, True)
    assert list(frames) == []
    source.close()
    with pytest.raises(SourceError, match="this source is closed: open it again"):
        iter(source)


def test_a_second_iteration_ends_the_first() -> None:
    reader = Counting(6)
    source = DetectedSource(reader, Echo())
    first = iter(source)
    next(first)
    second = iter(source)
    assert next(second).time[0] == 0.0
    assert list(first) == []
    assert reader.open_now == 1
    assert len(list(second)) == 5


def test_closing_from_another_thread_ends_the_iteration() -> None:
    reader = Counting(10**9)
    source = DetectedSource(reader, Echo())
    begun = threading.Event()

    def read() -> None:
        for _ in source:
            begun.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert begun.wait(5)
    source.close()
    thread.join(5)
    assert not thread.is_alive()
    assert reader.open_now == 0


def test_images_are_kept_only_when_asked_for() -> None:
    source = DetectedSource(Counting(2), Echo())
    source.keep_image = True
    for number, frame in enumerate(source):
        assert frame.picture is not None
        assert frame.picture[0, :, 0].tolist() == [number, 0, 0]


def test_mirrored_images_are_turned_back_before_detection() -> None:
    detector = Echo()
    source = DetectedSource(Counting(2), detector, mirror=True)
    source.keep_image = True
    frames = iter(source)
    next(frames)
    second = next(frames)
    assert detector.seen[1][0, :, 0].tolist() == [0, 0, 1]
    assert second.picture is not None
    assert second.picture[0, :, 0].tolist() == [0, 0, 1]
    frames.close()


CHATTER = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1795395901.9   9301 gl_context.cc:1 something\n"
    b"W0000 00:00:1795395901.955544    9306 inference_feedback_manager.cc:121] Feedback manager requires\n"
    b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    b"INFO: [environment.cc:36] Creating LiteRT environment with options\n"
)


def test_only_chatter_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    error = "E0000 00:00:1795395981.478962   12151 image_to_tensor_utils.cc:67] RET_CHECK failure\n"
    with mediapipe_stderr.hold():
        os.write(2, CHATTER)
        os.write(2, error.encode())
        os.write(2, b"a warning of ours\n")
        os.write(2, b"without an end of line")
    os.write(2, b"afterwards\n")
    heard = capfd.readouterr().err
    # The line without a bracket after the place is of no kind that is known.
    assert heard.splitlines() == [
        "I0000 00:00:1795395901.9   9301 gl_context.cc:1 something",
        error.strip(),
        "a warning of ours",
        "without an end of lineafterwards",
    ]


def test_lines_are_expected_for_some_images_only(capfd: pytest.CaptureFixture[str]) -> None:
    line = b"W0000 00:00:1795710105.445258   12906 runner.cc:1433] Input tensor memory is not aligned\n"
    few = StderrFilter(images=2)
    for started in (True, True, True, False):
        with few.while_detecting(started=started):
            os.write(2, line)
    # The third image of a running task is not filtered; a task that starts later is.
    assert capfd.readouterr().err.encode() == line


def test_blocks_within_blocks_end_in_any_order_of_threads(capfd: pytest.CaptureFixture[str]) -> None:
    with mediapipe_stderr.hold(), mediapipe_stderr.hold():
        os.write(2, CHATTER[:90])
        os.write(2, b"\nof ours\n")
    assert "of ours" in capfd.readouterr().err


def test_errors_go_through_with_what_was_said(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with mediapipe_stderr.hold():
            os.write(2, b"said before it went wrong\n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert capfd.readouterr().err == "said before it went wrong\n"
