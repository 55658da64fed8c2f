"""The data classes are checked, read-only, behave as lists of frames, and convert to rows and to smplx's arguments."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mp2flame.data import POSES, VECTORS, FlameParams, Frame, Observation, concatenate, replace_unchecked
from mp2flame.errors import InputError
from mp2flame.formats import load_params


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
        ({"image_size": (0, 480)}, "image_size must be from 1 to 1048576 pixels; got 0 x 480"),
        ({"image_size": (0.4, 0.4)}, "image_size must be an array of int64"),
        ({"image_size": (2**70, 480)}, "image_size must be an array of int64"),
        ({"image_size": (1e30, 480)}, "image_size must be an array of int64"),
        ({"found": ["no", "no", "no"]}, "found must be an array of bool; got list"),
        ({"found": [2, 0, 1]}, "found must be an array of bool"),
        ({"time": [10**400, 1, 2]}, "time must be an array of float64"),
        ({"scores": np.zeros((3, 52), dtype=complex)}, "scores must be an array of float32; got complex128"),
        ({"scores": np.ma.masked_invalid(np.full((3, 52), np.nan))}, "scores must not be masked"),
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


@pytest.mark.parametrize("data", [_observation(), _params()])
def test_frames_are_iterated_and_indexed_as_those_of_a_list(data: Observation | FlameParams) -> None:
    assert [float(frame.time[0]) for frame in data] == pytest.approx([0, 1 / 30, 2 / 30])
    assert len(list(data)) == len(data) == 3
    assert all(len(frame) == 1 for frame in data)
    for index in (-3, -1, 0, 2, np.int64(1)):
        assert data[index].time[0] == data.time[index]
    for index in (3, -4, 99):
        with pytest.raises(IndexError, match=f"frame {index} is out of range for 3 frames"):
            data[index]
    for rows in (slice(1, 99), slice(None, None, 2), [0, 2], np.array([True, False, True])):
        assert len(data[rows]) == 2
    with pytest.raises(InputError, match="chooses none"):
        data[5:]
    with pytest.raises(IndexError):
        data[np.array([7])]


def test_chosen_frames_are_read_only_too() -> None:
    for part in (_params()[1], _params()[[0, 2]], concatenate([_params(), _params()])):
        with pytest.raises(ValueError, match="read-only"):
            part.expression[0, 0] = 1


def test_text_of_data_is_one_short_line() -> None:
    frame = Frame(_observation(1), _params(1, shape=np.ones(10)), np.zeros((7, 3), dtype=np.float32))
    for data in (_observation(), _params(), _observation(1), frame):
        assert "\n" not in repr(data)
        assert len(repr(data)) < 300
    assert repr(_params(found=[True, False, True])) == (
        "FlameParams(3 frames, 0.000 to 0.067 s, face in 2, 50 expression coefficients)"
    )
    assert "7 vertices" in repr(frame)
    assert "not posed" in repr(Frame(_observation(1), _params(1)))
    assert "640 x 480 pixels" in repr(_observation(1))


def test_unchecked_changes_keep_everything_else() -> None:
    params = _params(shape=np.ones(4))
    changed = replace_unchecked(params, jaw_pose=np.ones((3, 3), dtype=np.float32))
    assert changed.jaw_pose.all()
    assert changed.expression is params.expression
    assert changed.shape is params.shape
    assert not params.jaw_pose.any()


def _full_params(n: int = 4, n_expression: int = 6) -> FlameParams:
    rng = np.random.default_rng(2)
    vectors = {name: rng.normal(size=(n, 3)) for name in VECTORS}
    return _params(n, expression=rng.normal(size=(n, n_expression)), shape=np.arange(5.0), **vectors)


@pytest.mark.parametrize("vectors", [("jaw_pose", "leye_pose", "reye_pose"), VECTORS, ()])
def test_rows_hold_the_expression_and_then_the_named_vectors(vectors: tuple[str, ...]) -> None:
    params = _full_params()
    rows = params.to_rows(vectors)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows[:, :6], params.expression)
    for place, name in enumerate(vectors):
        np.testing.assert_array_equal(rows[:, 6 + 3 * place : 9 + 3 * place], getattr(params, name))
    back = FlameParams.from_rows(rows, vectors, time=params.time, found=params.found, shape=params.shape)
    for name in ("expression", "time", "found", "shape", *vectors):
        np.testing.assert_array_equal(getattr(back, name), getattr(params, name))
    assert not any(getattr(back, name).any() for name in VECTORS if name not in vectors)


def test_rows_of_fewer_coefficients_are_filled_with_zeros() -> None:
    params = FlameParams.from_rows(np.ones((2, 5 + 9)), n_expression=8)
    np.testing.assert_array_equal(params.expression, [[1, 1, 1, 1, 1, 0, 0, 0]] * 2)
    assert params.found.all()
    assert params.reye_pose.all()
    for rows, n_expression in ((np.ones((2, 8)), None), (np.ones((2, 14)), 4), (np.ones(14), None)):
        with pytest.raises(InputError, match="rows of FlameParams"):
            FlameParams.from_rows(rows, n_expression=n_expression)
    with pytest.raises(InputError, match="finite"):
        FlameParams.from_rows(np.full((2, 14), np.nan))
    assert np.isnan(FlameParams.from_rows(np.full((2, 14), np.nan), found=[False, False]).jaw_pose).all()


class _Tensor:
    """A PyTorch tensor as far as we use one."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def detach(self) -> _Tensor:
        return self

    def cpu(self) -> _Tensor:
        return self

    def numpy(self) -> Any:
        return self._array


def test_smplx_names_there_and_back() -> None:
    params = _full_params()
    arrays = params.to_smplx()
    assert set(arrays) == {"expression", "transl", "betas", *POSES}
    assert {name: array.shape for name, array in arrays.items()} == {
        "expression": (4, 6), "betas": (4, 5), "transl": (4, 3), **dict.fromkeys(POSES, (4, 3)),
    }  # fmt: skip
    for values in (arrays, {name: _Tensor(array) for name, array in arrays.items()}):
        back = FlameParams.from_smplx(values, time=params.time)
        for name in ("expression", "time", "shape", *VECTORS):
            np.testing.assert_array_equal(getattr(back, name), getattr(params, name))
    assert "betas" not in _params().to_smplx()


def test_smplx_arguments_that_do_not_fit_are_refused() -> None:
    expression = np.zeros((4, 6))
    short = FlameParams.from_smplx({"expression": expression, "betas": np.ones(3)}, frame_rate=10)
    np.testing.assert_allclose(short.time, [0, 0.1, 0.2, 0.3])
    np.testing.assert_array_equal(short.shape, [1, 1, 1])
    for arrays, message in (
        ({"jaw_pose": np.zeros((4, 3))}, "expected expression .*; got jaw_pose"),
        ({"expression": expression, "body_pose": np.zeros((4, 63))}, "got body_pose"),
        ({"expression": expression, "betas": np.arange(4.0)[:, None]}, "one identity"),
        ({"expression": expression, "jaw_pose": np.zeros((1, 3))}, r"jaw_pose must have shape \(4, 3\)"),
    ):
        with pytest.raises(InputError, match=message):
            FlameParams.from_smplx(arrays)


def test_saving_finds_the_format_by_the_suffix(tmp_path: Path) -> None:
    params = _full_params()
    params.save(tmp_path / "a.npz")
    np.testing.assert_array_equal(load_params(tmp_path / "a.npz").expression, params.expression)
    with pytest.raises(InputError, match="expected a parameter file"):
        params.save(tmp_path / "a.xyz")
