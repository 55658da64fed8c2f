"""A file's frames are mapped together where that changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mp2flame.data import FlameParams, Observation
from mp2flame.filters import default_filters
from mp2flame.pipeline.pipeline import make_batches
from tests.helpers.fakes import FirstScores, ListSink, ListSource, LiveSource, observation, run


class _Counting(FirstScores):
    """Remembers how many frames came at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __call__(self, observation: Observation) -> FlameParams:
        self.sizes.append(len(observation))
        return super().__call__(observation)


def _frames(n: int) -> list[Observation]:
    rng = np.random.default_rng(0)
    return [observation(i, found=i % 11 != 4, scores=rng.random(52, dtype=np.float32)) for i in range(n)]


def test_files_are_mapped_in_batches_and_live_frames_one_by_one() -> None:
    frames = [observation(i) for i in range(50)]
    file, live = _Counting(), _Counting()
    run(ListSource(frames), file, None, [])
    assert max(file.sizes) == 8
    assert sum(file.sizes) == 50
    run(LiveSource(frames, interval=0.001), live, None, [])
    assert set(live.sizes) == {1}


def test_batches_give_what_single_frames_give() -> None:
    sink, one_by_one = ListSink(), default_filters()
    run(ListSource(_frames(60)), FirstScores(), None, [sink], filters=default_filters())
    assert len(sink.frames) == 60
    for frame, (_, params, _) in zip(_frames(60), sink.frames, strict=True):
        alone = one_by_one(FirstScores()(frame))
        np.testing.assert_allclose(params.expression, alone.expression, atol=1e-6)
        np.testing.assert_array_equal(params.time, alone.time)
        assert params.found[0] == alone.found[0]


def test_only_frames_that_share_their_fields_are_joined() -> None:
    small, large = np.array([640, 480]), np.array([1920, 1080])
    frames = [replace(observation(i), image_size=small if i < 5 else large) for i in range(10)]
    frames[7] = Observation.missing(7 / 30, image_size=large)
    groups = [
        [round(float(seen.time[0]) * 30) for _, seen in batch] for batch in make_batches([(0.0, f) for f in frames], 8)
    ]
    assert groups == [[0, 1, 2, 3, 4], [5, 6], [7], [8, 9]]


def test_a_frame_that_cannot_be_mapped_stops_after_those_before_it() -> None:
    class Bad(FirstScores):
        def __call__(self, observation: Observation) -> FlameParams:
            if (observation.scores[:, 0] == np.float32(0.005)).any():
                raise ValueError("frame 5")
            return super().__call__(observation)

    sink = ListSink()
    with pytest.raises(ValueError, match="frame 5"):
        run(ListSource([observation(i) for i in range(20)]), Bad(), None, [sink])
    assert len(sink.frames) == 5
