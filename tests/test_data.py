"""The nouns are valid from birth, read-only, and come apart and together without loss."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from mp2flame.data import FlameParams, Observation, concatenate
from mp2flame.errors import InputError


def _observation(n: int = 3, **changes: Any) -> Observation:
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {
        "time": np.arange(n) / 30,
        "found": np.ones(n, dtype=bool),
        "scores": rng.random((n, 52)),
        "landmarks": rng.random((n, 478, 3)),
        "head_transform": np.tile(np.eye(4), (n, 1, 1)),
        "image_size": (640, 480),
    }
    return Observation(**(values | changes))


def _params(n: int = 3, **changes: Any) -> FlameParams:
    values: dict[str, Any] = {
        "time": np.arange(n) / 30,
        "found": np.ones(n, dtype=bool),
        "expression": np.random.default_rng(1).random((n, 50)),
    }
    return FlameParams(**(values | changes))


def test_arrays_are_float32_and_read_only_and_the_caller_keeps_his() -> None:
    scores = np.zeros((3, 52), dtype=np.float32)
    observation = _observation(scores=scores)
    assert observation.scores.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        observation.scores[0, 0] = 1
    scores[0, 0] = 1
    with pytest.raises(FrozenInstanceError):
        observation.time = np.zeros(3)  # type: ignore[misc]


def test_rows_without_a_face_become_nan() -> None:
    observation = _observation(found=[True, False, True])
    assert np.isnan(observation.scores[1]).all()
    assert observation.landmarks is not None
    assert np.isnan(observation.landmarks[1]).all()
    assert np.isfinite(observation.scores[[0, 2]]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.zeros((3, 51))}, r"Observation.scores must have shape \(3, 52\); got \(3, 51\)"),
        ({"scores": None}, "scores must be an array of float32; got NoneType"),
        ({"scores": np.full((3, 52), np.nan)}, "finite where a face was found.*row 0.*found=False"),
        ({"scores": np.full((3, 52), 50.0)}, "divide percentages by 100"),
        ({"scores": "abc"}, "must be an array of float32; got str"),
        ({"landmarks": np.zeros((3, 468, 3))}, r"\(3, 478, 3\); got \(3, 468, 3\)"),
        ({"head_transform": np.zeros((3, 3, 3))}, r"\(3, 4, 4\)"),
        ({"time": [0.0, np.inf, 1.0]}, "time must be finite seconds"),
        ({"found": [True]}, r"found must have shape \(3,\)"),
        ({"image_size": (1, 2, 3)}, r"image_size must have shape \(2,\)"),
        ({"picture": np.zeros((4, 4, 3))}, "single frame; got 3"),
    ],
)
def test_bad_observations_are_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _observation(**changes)


def test_no_frames_is_refused() -> None:
    with pytest.raises(InputError, match="at least one frame"):
        _observation(0)
    with pytest.raises(InputError, match="at least one frame"):
        _params(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expression": np.zeros(50)}, r"expression must have shape \(3, E\); got \(50,\)"),
        ({"jaw_pose": np.zeros((3, 6))}, r"jaw_pose must have shape \(3, 3\)"),
        ({"leye_pose": np.full((3, 3), np.inf)}, "leye_pose must be finite"),
        ({"shape": np.full(100, np.nan)}, "shape must be finite"),
        ({"shape": np.zeros((3, 100))}, r"shape must have shape \(S,\)"),
    ],
)
def test_bad_parameters_are_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _params(**changes)


def test_unfound_parameters_may_be_nan() -> None:
    expression = np.zeros((3, 50))
    expression[1] = np.nan
    params = _params(expression=expression, found=[True, False, True])
    assert np.isnan(params.expression[1]).all()


def test_poses_left_out_are_zero_and_eyes_are_left_first() -> None:
    params = _params(leye_pose=np.full((3, 3), 0.1))
    assert params.neck_pose.shape == (3, 3)
    assert not params.jaw_pose.any()
    np.testing.assert_array_equal(params.eye_pose[0], np.array([0.1, 0.1, 0.1, 0, 0, 0], dtype=np.float32))
    assert params.n_expression == 50


def _same(first: Observation | FlameParams, second: Observation | FlameParams) -> bool:
    pairs = [(getattr(first, name), getattr(second, name)) for name in vars(first)]
    return all((a is None and b is None) or np.array_equal(a, b) for a, b in pairs)


def test_taking_apart_and_joining_gives_the_same() -> None:
    observation, params = _observation(5), _params(5, shape=np.ones(10))
    assert _same(observation, concatenate([observation[i] for i in range(5)]))
    assert _same(params, concatenate([params[i] for i in range(5)]))
    assert len(observation[1:3]) == 2
    np.testing.assert_array_equal(observation[-1].time, observation.time[-1:])
    np.testing.assert_array_equal(params[np.array([4, 0])].time, params.time[[4, 0]])


def test_joining_unlike_parts_is_refused() -> None:
    with pytest.raises(InputError, match="same landmarks"):
        concatenate([_observation(), _observation(landmarks=None)])
    with pytest.raises(InputError, match="same expression"):
        concatenate([_params(), _params(expression=np.zeros((3, 100)))])
    with pytest.raises(InputError, match="got none"):
        concatenate([])


def test_frames_without_a_face_join_those_that_have_more_fields() -> None:
    joined = concatenate([Observation.missing(0.0), _observation(2), Observation.missing(1.0)])
    assert joined.landmarks is not None
    np.testing.assert_array_equal(np.isnan(joined.landmarks[:, 0, 0]), [True, False, False, True])
    np.testing.assert_array_equal(joined.found, [False, True, True, False])


def test_missing_is_one_frame_without_a_face() -> None:
    observation = Observation.missing(0.5, image_size=(4, 2), picture=np.zeros((2, 4, 3), dtype=np.uint8))
    assert len(observation) == 1
    assert not observation.found[0]
    assert observation.picture is not None
    assert observation.without_picture().picture is None
    assert np.isnan(observation.scores).all()
