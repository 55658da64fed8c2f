"""The linear mapping against plain float64 arithmetic, and what rest does to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.mapping import LinearMapping, check_compatible
from mp2flame.mapping.linear import FEATURES, expand_features
from mp2flame.mapping.neutral import median_scores

_E = 50
_RNG = np.random.default_rng(0)
_MATRIX = _RNG.normal(size=(52, _E + 9)).astype(np.float32)


def _observe(scores: NDArray[Any], found: list[bool] | None = None) -> Observation:
    n = len(scores)
    return Observation(
        time=np.arange(n) / 30,
        found=np.ones(n, dtype=np.bool_) if found is None else np.array(found),
        scores=scores.astype(np.float32),
    )


def _values(params: FlameParams) -> NDArray[np.float32]:
    return np.concatenate([params.expression, params.jaw_pose, params.eye_pose], axis=1)


def _feature(name: str, x: float) -> float:
    return {"scores": x, "signed_root": math.copysign(abs(x) ** 0.5, x), "square": math.copysign(x * x, x)}[name]


_SCORES = _RNG.uniform(0, 1, (20, 52)).astype(np.float32)
_PERSON = _RNG.uniform(0, 0.4, 52).astype(np.float32)


def test_columns_are_expression_jaw_left_eye_right_eye() -> None:
    params = LinearMapping(matrix=_MATRIX)(_observe(_SCORES))
    product = _SCORES.astype(np.float64) @ _MATRIX.astype(np.float64)
    for got, columns in (
        (params.expression, slice(0, 50)),
        (params.jaw_pose, slice(50, 53)),
        (params.leye_pose, slice(53, 56)),
        (params.reye_pose, slice(56, 59)),
    ):
        np.testing.assert_allclose(got, product[:, columns], rtol=1e-5, atol=1e-5)
    assert not params.global_orient.any()
    assert not params.neck_pose.any()


@pytest.mark.parametrize("features", [FEATURES, ("square",), ("signed_root", "scores")])
def test_features_are_element_wise_blocks(features: tuple[str, ...]) -> None:
    scores = _RNG.uniform(-1, 1, (4, 52)).astype(np.float32)
    expected = [[_feature(name, x) for name in features for x in row] for row in scores.astype(float).tolist()]
    np.testing.assert_allclose(expand_features(scores, features), expected, rtol=1e-6, atol=1e-7)
    matrix = _RNG.normal(size=(52 * len(features), _E + 9)).astype(np.float32)
    mapping = LinearMapping(matrix=matrix, features=features, uses_neutral=True, default_neutral=_PERSON)
    relative = (scores.astype(np.float64) - _PERSON).tolist()
    expected = [[_feature(name, x) for name in features for x in row] for row in relative]
    got = _values(mapping(_observe(scores)))
    np.testing.assert_allclose(got, np.array(expected) @ matrix.astype(np.float64), rtol=1e-4, atol=1e-4)


def test_rest_of_a_mapping_trained_on_absolute_scores_takes_the_intercept_with_it() -> None:
    intercept = _RNG.normal(size=_E + 9).astype(np.float32)
    mapping = LinearMapping(matrix=_MATRIX, intercept=intercept)
    np.testing.assert_allclose(
        _values(mapping(_observe(_SCORES))), _SCORES @ _MATRIX.astype(np.float64) + intercept, rtol=1e-4, atol=1e-4
    )
    person = mapping.for_person(_observe(np.tile(_PERSON, (5, 1))))
    expected = (_SCORES.astype(np.float64) - _PERSON) @ _MATRIX.astype(np.float64)
    np.testing.assert_allclose(_values(person(_observe(_SCORES))), expected, rtol=1e-4, atol=1e-5)


def test_neutral_of_absolute_features_is_what_the_mapping_gives_for_the_neutral() -> None:
    matrix = _RNG.normal(size=(156, _E + 9)).astype(np.float32)
    mapping = LinearMapping(matrix=matrix, features=FEATURES, intercept=np.ones(_E + 9, dtype=np.float32))
    rest = _observe(_PERSON[None])
    frame, neutral = _values(mapping(_observe(_SCORES))), _values(mapping(rest))
    np.testing.assert_allclose(
        _values(mapping.for_person(rest)(_observe(_SCORES))), frame - neutral, rtol=1e-4, atol=1e-4
    )


def test_a_persons_neutral_replaces_the_average_persons() -> None:
    mapping = LinearMapping(matrix=_MATRIX, uses_neutral=True, default_neutral=np.full(52, 0.1, dtype=np.float32))
    stranger = _values(mapping(_observe(_SCORES)))
    np.testing.assert_allclose(stranger, (_SCORES.astype(np.float64) - 0.1) @ _MATRIX, rtol=1e-4, atol=1e-4)
    known = mapping.for_person(_observe(_PERSON[None]))
    np.testing.assert_allclose(
        _values(known(_observe(_SCORES))), (_SCORES.astype(np.float64) - _PERSON) @ _MATRIX, rtol=1e-4, atol=1e-4
    )
    assert mapping.neutral is None
    again = known.for_person(_observe(_SCORES[:1]))
    np.testing.assert_array_equal(again.neutral, _SCORES[0])


def test_rest_is_the_median_of_the_frames_with_a_face() -> None:
    frames = np.tile(_PERSON, (9, 1))
    frames[:4, 9] = 1.0  # a long blink
    frames[8] = 0.9
    got = median_scores(_observe(frames, [True] * 8 + [False]))
    expected = _PERSON.copy()
    expected[9] = np.median([1.0] * 4 + [_PERSON[9]] * 4)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert got.dtype == np.float32
    with pytest.raises(
        InputError, match=r"expected frames of a neutral face; no face was found in any of the 2 frames.*look straight"
    ):
        median_scores(_observe(frames[:2], [False, False]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"matrix": np.zeros((51, 59))}, r"matrix must have shape \(52, E \+ 9\); got \(51, 59\)"),
        ({"matrix": np.zeros((52, 9))}, r"matrix must have shape \(52, E \+ 9\); got \(52, 9\)"),
        ({"matrix": np.zeros(52)}, "matrix must have shape"),
        ({"matrix": np.full((52, 59), np.nan)}, "matrix must be finite"),
        ({"matrix": np.full((52, 59), 1e300)}, "matrix must be finite"),
        ({"matrix": np.full((52, 59), "a")}, "matrix must be an array of float32"),
        ({"features": ("cubes",)}, "expected distinct features among scores, signed_root, square"),
        ({"features": ()}, "expected distinct features"),
        ({"features": ("scores", "scores")}, "expected distinct features"),
        ({"features": ("scores", "square")}, r"matrix must have shape \(104, E \+ 9\)"),
        ({"intercept": np.zeros(50)}, r"intercept must have shape \(59,\); got \(50,\)"),
        ({"neutral": np.zeros(51)}, r"neutral must have shape \(52,\)"),
        ({"default_neutral": np.full(52, np.inf)}, "default_neutral must be finite"),
        ({"metadata": {"author": "me"}}, "expected metadata keys among head_version.*; got author"),
        ({"metadata": {"licence": 3}}, "expected metadata values to be strings; licence"),
    ],
)
def test_what_it_is_made_of_is_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LinearMapping(**({"matrix": _MATRIX} | settings))


def test_it_cannot_be_changed_from_outside() -> None:
    source = _MATRIX.copy()
    metadata = {"licence": "CC0-1.0"}
    mapping = LinearMapping(matrix=source, metadata=metadata)
    source[:] = 0
    metadata["licence"] = ""
    np.testing.assert_array_equal(mapping.matrix, _MATRIX)
    assert mapping.metadata["licence"] == "CC0-1.0"
    with pytest.raises(ValueError, match="read-only"):
        mapping.matrix[0, 0] = 1
    with pytest.raises(TypeError):
        mapping.metadata["licence"] = ""  # type: ignore[index]


@dataclass
class _Head:
    hash: str
    version: str
    n_expression: int
    faces: NDArray[np.uint32] = field(default_factory=lambda: np.zeros((1, 3), dtype=np.uint32))
    neutral_vertices: NDArray[np.float32] = field(default_factory=lambda: np.zeros((3, 3), dtype=np.float32))
    vertex_colors: NDArray[np.uint8] | None = None


def _mapping(**metadata: str) -> LinearMapping:
    return LinearMapping(matrix=_MATRIX, metadata=metadata)


def test_a_mapping_fits_the_head_it_was_made_for() -> None:
    check_compatible(_mapping(head_hash="ab12", head_version="X"), _Head("ab12", "renamed", 50))
    check_compatible(_mapping(head_version="FLAME 2020"), _Head("cd", "flame 2020", 100))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"head_hash": "ab", "head_version": "built-in"}, "made for built-in, this head is FLAME 2023.*ab against cd"),
        ({"head_version": "FLAME 2020"}, "made for FLAME 2020, this head is FLAME 2023"),
        ({"head_version": "FLAME 2023 Open"}, "made for FLAME 2023 Open, this head is FLAME 2023:"),
        ({"head_version": "FLAME"}, "made for FLAME, this head is FLAME 2023:"),
        ({}, "does not say which head it was made for, this head is FLAME 2023"),
    ],
)
def test_another_head_is_refused_with_what_to_do(metadata: dict[str, str], message: str) -> None:
    head = _Head("cd", "FLAME 2023", 100)
    with pytest.raises(HeadMismatchError, match=message) as caught:
        check_compatible(_mapping(**metadata), head)
    assert "--allow-head-mismatch" in str(caught.value)
    check_compatible(_mapping(**metadata), head, allow_mismatch=True)


def test_too_many_coefficients_are_refused_even_for_any_head() -> None:
    with pytest.raises(HeadMismatchError, match=r"gives 50 expression coefficients, the head \(tiny\) has only 10"):
        check_compatible(_mapping(), _Head("", "tiny", 10), allow_mismatch=True)
