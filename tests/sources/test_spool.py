"""A spooled source gives again what it scanned, images included, and detects nothing twice."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.data import N_LANDMARKS, N_SCORES, Observation
from mp2flame.errors import SourceError
from mp2flame.sources.base import FrameReader, TimedImage
from mp2flame.sources.detection import DetectedSource
from mp2flame.sources.spool import SpooledSource
from tests.helpers.fakes import ListSource, observation

_FRAMES = 7


class _Reader(FrameReader):
    """Images that hold their number; the third cannot be read."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def __iter__(self) -> Generator[TimedImage, None, None]:
        for number in range(_FRAMES):
            yield number / 25, None if number == 3 else np.full((8, 6, 3), number, dtype=np.uint8)
        if self.error is not None:
            raise self.error


class _CountingDetector:
    """Says what it saw in scores and landmarks; the image with number 5 has no face."""

    def __init__(self) -> None:
        self.detected = 0

    def detect(self, image: NDArray[Any], time: float, *, keep_image: bool = False) -> Observation:
        self.detected += 1
        number = int(image[0, 0, 0])
        picture = image if keep_image else None
        if number == 5:
            return Observation.missing(time, image_size=np.array([6, 8]), picture=picture)
        rng = np.random.default_rng(number)
        return Observation(
            time=np.array([time]),
            found=np.array([True]),
            scores=rng.random((1, N_SCORES)),
            landmarks=rng.random((1, N_LANDMARKS, 3)),
            head_transform=np.eye(4)[None] * (number + 1),
            image_size=np.array([6, 8]),
            picture=picture,
        )

    def reset(self) -> None:
        pass


def _same(first: Observation, second: Observation) -> None:
    for name in ("time", "found", "scores", "landmarks", "head_transform", "image_size", "picture"):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None), name
        if one is not None:
            np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.mark.parametrize("keep_image", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
def test_what_was_scanned_comes_again_without_another_detection(keep_image: bool, mirror: bool) -> None:
    detector = _CountingDetector()
    with SpooledSource(DetectedSource(_Reader(), detector, mirror=mirror)) as spooled:
        assert len(list(spooled.scan())) == _FRAMES
        detected = detector.detected
        spooled.keep_image = keep_image
        again = list(spooled)
        assert detector.detected == detected
        assert spooled.n_frames == _FRAMES
    expected_source = DetectedSource(_Reader(), _CountingDetector(), mirror=mirror)
    expected_source.keep_image = keep_image
    for first, second in zip(expected_source, again, strict=True):
        _same(first, second)


def test_a_scan_that_ends_early_gives_as_much_again() -> None:
    with SpooledSource(DetectedSource(_Reader(), _CountingDetector())) as spooled:
        scan = spooled.scan()
        times = [float(next(scan).time[0]) for _ in range(4)]
        scan.close()
        assert [float(one.time[0]) for one in spooled] == times


def test_an_error_comes_behind_the_frames_that_were_read_before_it() -> None:
    with SpooledSource(DetectedSource(_Reader(SourceError("cut off")), _CountingDetector())) as spooled:
        assert len(list(spooled.scan())) == _FRAMES
        times: list[float] = []
        with pytest.raises(SourceError, match="cut off"):
            times.extend(float(one.time[0]) for one in spooled)
        assert len(times) == _FRAMES


def test_a_source_that_detects_nothing_is_read_again() -> None:
    source = ListSource([observation(number) for number in range(5)])
    with SpooledSource(source) as spooled:
        scanned = list(spooled.scan())
        assert [float(one.scores[0, 0]) for one in spooled] == [float(one.scores[0, 0]) for one in scanned]
    assert source.yielded == 10
    assert not source.closed


def test_images_that_are_wanted_later_belong_to_their_frames() -> None:
    with SpooledSource(DetectedSource(_Reader(), _CountingDetector())) as spooled:
        list(spooled.scan())
        numbers = {}
        for number, frame in enumerate(spooled):
            spooled.keep_image = number >= 3
            if frame.picture is not None:
                numbers[number] = int(frame.picture[0, 0, 0])
        assert numbers == {4: 4, 5: 5, 6: 6}
