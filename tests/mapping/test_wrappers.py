"""Mappings around mappings: the head's rotation (axes, zero, error on a video of known truth), gains, a pose."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.data import FlameParams, Observation, concatenate
from mp2flame.errors import InputError
from mp2flame.head import load_head
from mp2flame.mapping import (
    ConstantPose,
    LinearMapping,
    WithGains,
    WithHeadPose,
    load_mapping,
)
from mp2flame.mapping.wrappers import estimate_frontal_rotation
from tests.helpers.fakes import FirstScores, observation
from tests.helpers.live import blendshape_mapping

_RNG = np.random.default_rng(0)
_MATRIX = _RNG.normal(size=(52, 59)).astype(np.float32)


def _mapping(straight: NDArray[np.float64] | None = None) -> LinearMapping:
    metadata = {} if straight is None else {"straight": json.dumps(straight.tolist())}
    return LinearMapping(matrix=_MATRIX, metadata=metadata)


def _transforms(turns: NDArray[np.float64], scale: float = 1.0) -> NDArray[np.float64]:
    transforms = np.tile(np.eye(4), (len(turns), 1, 1))
    transforms[:, :3, :3] = scale * rotations.matrix(turns)
    transforms[:, :3, 3] = _RNG.normal(size=(len(turns), 3)) * 20
    return transforms


def _observe(transforms: NDArray[np.float64] | None, n: int, found: list[bool] | None = None) -> Observation:
    return Observation(
        time=np.arange(n) / 30,
        found=np.ones(n, dtype=np.bool_) if found is None else np.array(found),
        scores=np.zeros((n, 52), dtype=np.float32),
        head_transform=None if transforms is None else transforms.astype(np.float32),
    )


@pytest.mark.parametrize("to", ["global_orient", "neck_pose"])
def test_rotations_are_those_of_the_transform_whatever_its_scale(to: str) -> None:
    turns = np.concatenate([np.eye(3) * 0.4, _RNG.normal(0, 0.5, (10, 3)), np.zeros((1, 3))])
    params = WithHeadPose(_mapping(), to)(_observe(_transforms(turns, 1.07), len(turns)))
    np.testing.assert_allclose(getattr(params, to), turns, atol=1e-6)
    other = "neck_pose" if to == "global_orient" else "global_orient"
    assert not getattr(params, other).any()


def test_what_the_mapping_knows_of_straight_ahead_is_taken_out() -> None:
    straight = np.array([0.08, -0.01, 0.02])
    truth = _RNG.normal(0, 0.4, (10, 3))
    reported = _transforms(rotations.compose(truth, straight))
    params = WithHeadPose(_mapping(straight))(_observe(reported, 10))
    np.testing.assert_allclose(params.global_orient, truth, atol=1e-5)
    np.testing.assert_allclose(estimate_frontal_rotation(reported, truth), straight, atol=1e-7)


def test_frames_without_a_face_are_nan_and_need_no_transform() -> None:
    found = [True, False, True]
    params = WithHeadPose(_mapping())(_observe(_transforms(np.zeros((3, 3))), 3, found))
    np.testing.assert_array_equal(np.isnan(params.global_orient).all(axis=1), ~params.found)
    assert np.isnan(WithHeadPose(_mapping())(Observation.missing(0.0)).global_orient).all()


@pytest.mark.parametrize("to", ["global_orient", "neck_pose"])
def test_without_a_transform_the_head_stays_as_the_wrapped_mapping_gives_it(to: str) -> None:
    angles: dict[str, Any] = {to: np.array([[0.1, 0.2, 0.3]], dtype=np.float32)}
    turned = replace(FlameParams.neutral(n_expression=3), **angles)
    params = WithHeadPose(ConstantPose(turned), to)(_observe(None, 2))
    np.testing.assert_allclose(getattr(params, to), [[0.1, 0.2, 0.3]] * 2)


def test_without_a_transform_a_head_that_is_not_turned_stays_so() -> None:
    params = WithHeadPose(_mapping())(_observe(None, 2))
    assert params.found.all()
    assert not params.global_orient.any()


def test_a_persons_neutral_does_not_change_the_rotation() -> None:
    turns = _RNG.normal(0, 0.3, (4, 3))
    observation = _observe(_transforms(turns), 4)
    params = WithHeadPose(_mapping()).for_person(observation)(observation)
    np.testing.assert_allclose(params.global_orient, turns, atol=1e-6)


def test_only_two_joints_turn_the_head() -> None:
    with pytest.raises(InputError, match="global_orient or neck_pose; got 'head'"):
        WithHeadPose(_mapping(), "head")


@pytest.mark.parametrize(("frames", "turns"), [(0, 0), (2, 3), (3, 0)])
def test_straight_needs_frames(frames: int, turns: int) -> None:
    with pytest.raises(InputError, match=r"expected head_transform \(N, 4, 4\) and global_orient"):
        estimate_frontal_rotation(np.zeros((frames, 4, 4)), np.zeros((turns, 3)))


def _degrees(found: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    difference = rotations.compose(found, rotations.inverse(truth))
    angles: NDArray[np.float64] = np.degrees(np.linalg.norm(difference, axis=1))
    return angles


def test_the_video_of_known_rotations_is_right_within_three_degrees(shared_data: Path, landmarker: Path) -> None:
    pytest.importorskip("mp2flame.render", reason="PyVista comes with the render extra")
    pytest.importorskip("mediapipe", reason="needs the track extra")
    pytest.importorskip("pyvista", reason="needs the render extra")
    from mp2flame.synthesis.appearance import SubjectColors
    from mp2flame.synthesis.render import measure_frontal_rotation

    sources = pytest.importorskip("mp2flame.sources", reason="MediaPipe comes with the track extra")
    film = shared_data / "video" / "performance_a.mp4"
    if not film.is_file():
        pytest.skip(f"no film at {film}")
    head = load_head(shared_data / "head" / "ict_head.npz")
    offset = measure_frontal_rotation(head, landmarker, SubjectColors(head), subjects=4)
    with sources.open_source(film, landmarker=landmarker) as source:
        observation = concatenate(source)
    truth = np.load(film.with_suffix(".npz"))["global_orient"]
    params: FlameParams = WithHeadPose(_mapping(offset))(observation)
    errors = _degrees(params.global_orient, truth)
    assert errors.mean() < 2.0
    assert errors.max() < 3.0
    blind = WithHeadPose(_mapping())(observation)
    assert _degrees(blind.global_orient, truth).mean() < 3.0


def test_gains_multiply_expression_and_jaw_and_nothing_else(tmp_path: Path) -> None:
    mapping = load_mapping(blendshape_mapping(tmp_path / "m.safetensors"))
    seen = observation(3, scores=_RNG.random(52).astype(np.float32))
    plain, louder = mapping(seen), WithGains(mapping, expression_gain=1.5, jaw_gain=0.25)(seen)
    np.testing.assert_allclose(louder.expression, 1.5 * plain.expression, rtol=1e-6)
    np.testing.assert_allclose(louder.jaw_pose, 0.25 * plain.jaw_pose, rtol=1e-6)
    np.testing.assert_array_equal(louder.eye_pose, plain.eye_pose)


def test_narrow_mappings_are_padded_and_wide_ones_left() -> None:
    seen = observation(3, scores=_RNG.random(52).astype(np.float32))
    params = WithGains(FirstScores(), n_expression=9)(seen)
    assert params.n_expression == 9
    np.testing.assert_array_equal(params.expression[:, :5], FirstScores()(seen).expression)
    assert not params.expression[:, 5:].any()
    assert WithGains(FirstScores(), n_expression=2)(seen).n_expression == 5
    assert WithGains(FirstScores(), n_expression=9).info.n_expression == 9


def test_a_pose_is_the_same_in_every_frame() -> None:
    pose = FlameParams.neutral(n_expression=4)
    pose = replace(pose, expression=np.array([[1, 2, 3, 4]], dtype=np.float32))
    params = ConstantPose(pose)(concatenate([observation(i, found=i != 1) for i in range(3)]))
    assert params.found.all()
    np.testing.assert_array_equal(params.expression, np.tile([1, 2, 3, 4], (3, 1)))
    np.testing.assert_allclose(params.time, np.arange(3) / 30)
