"""Which frames show a face at rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import Observation, concatenate
from mp2flame.mapping.neutral import estimate_neutral, find_neutral_frames, neutral_candidates
from mp2flame.pipeline.pipeline import take_neutral_prefix
from tests.helpers.fakes import observation


def _calm(i: int) -> NDArray[np.float32]:
    return np.full(52, 0.2 + 0.005 * (i % 3), dtype=np.float32)


def test_an_open_mouth_is_not_neutral() -> None:
    scores = _calm(0)
    scores[MEDIAPIPE.index("jawOpen")] = 0.6
    assert find_neutral_frames(concatenate([observation(i, scores=scores) for i in range(30)])) is None
    assert find_neutral_frames(concatenate([observation(i, scores=_calm(0)) for i in range(30)])) is not None
    assert find_neutral_frames(concatenate([observation(i, scores=_calm(0)) for i in range(3)])) is None


def _turning(i: int) -> Observation:
    """A calm face on a head that turns away from the twentieth frame on."""
    scores = _calm(i)
    turned = np.tile(np.eye(4, dtype=np.float32), (1, 1, 1))
    degrees = 1.3 * max(0, i - 20)
    # MediaPipe reads some of a turn as brows.
    scores[MEDIAPIPE.index("browInnerUp")] += 0.03 * degrees
    turned[0, :3, :3] = rotations.matrix([0.0, np.radians(degrees), 0.0])
    return replace(observation(i, scores=scores), head_transform=turned)


def test_a_neutral_face_on_a_head_that_turns_away_is_neutral_until_then() -> None:
    rest, items = take_neutral_prefix((0.0, _turning(i)) for i in range(40))
    assert rest is not None
    np.testing.assert_allclose(rest.time * 30, np.arange(23), atol=1e-4)
    assert len(list(items)) == 40
    headless = concatenate(replace(_turning(i), scores=_calm(i)[None], head_transform=None) for i in range(30))
    calm = find_neutral_frames(headless)
    assert calm is not None
    assert calm.tolist() == list(range(30))
    shaken = [_turning(20 + 3 * i) for i in range(30)]
    assert find_neutral_frames(concatenate(shaken)) is None


def test_rest_is_looked_for_from_the_first_face_and_no_frame_is_lost() -> None:
    frames = [observation(i, found=i >= 40, scores=_calm(i)) for i in range(100)]
    rest, items = take_neutral_prefix((0.0, frame) for frame in frames)
    assert rest is not None
    assert 29 <= len(rest) <= 32
    assert len(list(items)) == 100


def test_a_source_without_a_face_is_not_held_back() -> None:
    taken = 0

    def endless() -> Iterator[tuple[float, Observation]]:
        nonlocal taken
        while True:
            taken += 1
            yield 0.0, observation(taken, found=False)

    rest, items = take_neutral_prefix(endless())
    assert rest is None
    assert taken < 400
    assert next(items)[1].time[0] == pytest.approx(1 / 30)


def test_a_still_moment_is_neutral_at_the_beginning_only() -> None:
    moment = [_turning(i) for i in range(30)]
    away = [replace(_turning(20 + 6 * (i % 10)), time=np.array([1 + i / 30])) for i in range(60)]
    first, *others = neutral_candidates(concatenate([*moment, *away]))
    assert (first.rows.tolist(), others) == (list(range(23)), [])
    late = [replace(frame, time=frame.time + 3) for frame in moment]
    back = [replace(frame, time=frame.time + 3) for frame in away]
    assert neutral_candidates(concatenate([*away, *late, *back])) == []
    held = [replace(moment[0], time=np.array([3 + i / 30])) for i in range(40)]
    assert neutral_candidates(concatenate([*away, *held])) != []


def _video(scores: np.ndarray, *, fps: float = 30.0, yaw: np.ndarray | None = None) -> Observation:
    n = len(scores)
    transform = np.tile(np.eye(4), (n, 1, 1))
    if yaw is not None:
        transform[:, :3, :3] = rotations.matrix(np.stack([0 * yaw, yaw, 0 * yaw], axis=1))
    return Observation(time=np.arange(n) / fps, found=np.ones(n, np.bool_), scores=scores, head_transform=transform)


def _talking(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scores = rng.random((n, 52)) * 0.05
    scores[:, MEDIAPIPE.index("jawOpen")] = 0.5 + 0.2 * np.sin(np.arange(n))
    scores[:, MEDIAPIPE.index("mouthSmileLeft")] = 0.6
    return scores


def test_a_neutral_start_is_taken_although_the_face_is_seldom_neutral_later() -> None:
    scores = _talking(200)
    scores[:14] = 0.03
    estimate = estimate_neutral(_video(scores))
    assert estimate is not None
    assert estimate.at_start
    assert estimate.certain
    assert estimate.rows.max() < 14


def test_pauses_in_the_middle_are_found_where_the_start_is_lively() -> None:
    scores = _talking(300)
    scores[120:180] = 0.03
    estimate = estimate_neutral(_video(scores))
    assert estimate is not None
    assert not estimate.at_start
    assert estimate.certain
    assert ((estimate.rows >= 120) & (estimate.rows < 180)).all()


def test_a_smile_that_is_held_throughout_is_not_taken_for_neutral() -> None:
    scores = np.full((150, 52), 0.02)
    scores[:, [MEDIAPIPE.index("mouthSmileLeft"), MEDIAPIPE.index("mouthSmileRight")]] = 0.7
    assert estimate_neutral(_video(scores)) is None
    assert estimate_neutral(_video(scores[:1])) is None


def test_the_pauses_of_a_talker_who_never_rests_are_an_uncertain_neutral() -> None:
    scores = _talking(300)
    scores[::5, MEDIAPIPE.index("jawOpen")] = 0.3
    scores[::5, MEDIAPIPE.index("mouthSmileLeft")] = 0.0
    estimate = estimate_neutral(_video(scores))
    assert estimate is not None
    assert not estimate.certain
    assert (estimate.rows % 5 == 0).all()


def test_closed_eyes_at_the_start_are_not_neutral() -> None:
    scores = np.full((150, 52), 0.02)
    scores[:12, [MEDIAPIPE.index("eyeBlinkLeft"), MEDIAPIPE.index("eyeBlinkRight")]] = 0.8
    estimate = estimate_neutral(_video(scores))
    assert estimate is not None
    assert estimate.rows.min() >= 12


def test_of_two_equal_pauses_the_frontal_one_counts() -> None:
    scores = _talking(300)
    scores[50:90] = scores[200:240] = 0.03
    yaw = np.zeros(300)
    yaw[50:90] = 0.8
    estimate = estimate_neutral(_video(scores, yaw=yaw))
    assert estimate is not None
    assert (estimate.rows >= 200).sum() > 0.9 * len(estimate.rows) * (40 / 45)


def test_no_face_has_no_neutral() -> None:
    assert estimate_neutral(Observation.missing(0.0)) is None
