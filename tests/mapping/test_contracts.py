"""Every mapping keeps the same promises, those around other mappings too."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mp2flame.data import FlameParams, Observation, concatenate
from mp2flame.errors import InputError
from mp2flame.mapping import (
    BlendshapeMapping,
    ConstantPose,
    LandmarkMapping,
    LandmarksOrScores,
    LinearMapping,
    Person,
    StoredMapping,
    WithGains,
    WithHeadPose,
    with_zero_neutral,
)
from mp2flame.mapping.landmark_mlp import N_INPUTS

_E = 7
_FIELDS = ("expression", "jaw_pose", "neck_pose", "global_orient", "leye_pose", "reye_pose", "translation")


def _linear(**settings: object) -> LinearMapping:
    rng = np.random.default_rng(11)
    features = settings.get("features", ("scores",))
    assert isinstance(features, tuple)
    matrix = rng.normal(size=(52 * len(features), _E + 9)).astype(np.float32)
    return LinearMapping(matrix=matrix, **settings)  # type: ignore[arg-type]


def _landmarks() -> LandmarkMapping:
    rng = np.random.default_rng(12)
    rest = rng.normal(size=(478, 3))
    shapes = ((2, 12, 8), (2, 8, _E + 9))
    return LandmarkMapping(
        alignment_weights=np.full(478, 1 / 478, dtype=np.float32),
        default_landmarks=(rest - rest.mean(axis=0)).astype(np.float32),
        default_scores=_NEUTRAL,
        whitening=rng.normal(0, 0.03, (N_INPUTS, 12)).astype(np.float32),
        layers=tuple(
            (rng.normal(0, 0.3, shape).astype(np.float32), np.zeros((2, 1, shape[2]), dtype=np.float32))
            for shape in shapes
        ),
    )


_NEUTRAL = np.linspace(0, 0.5, 52, dtype=np.float32)

MAPPINGS: dict[str, Callable[[], BlendshapeMapping]] = {
    "plain": _linear,
    "intercept": lambda: _linear(intercept=np.arange(_E + 9, dtype=np.float32)),
    "features": lambda: _linear(features=("square", "scores", "signed_root")),
    "relative": lambda: _linear(uses_neutral=True, default_neutral=_NEUTRAL),
    "landmarks": _landmarks,
    "landmarks or scores": lambda: LandmarksOrScores(_landmarks(), _linear()),
    "head pose": lambda: WithHeadPose(_linear()),
    "neck pose": lambda: WithHeadPose(_linear(uses_neutral=True), to="neck_pose"),
    "gains": lambda: WithGains(_linear(), 1.5, 0.5),
    "all": lambda: WithGains(WithHeadPose(LandmarksOrScores(_landmarks(), _linear())), 0.5),
    "zero neutral": lambda: with_zero_neutral(_linear(uses_neutral=True, default_neutral=_NEUTRAL)),
}


@pytest.fixture(params=MAPPINGS)
def mapping(request: pytest.FixtureRequest) -> BlendshapeMapping:
    return MAPPINGS[request.param]()


def _observation(n: int = 9, *, start: float = 0.0, lost: tuple[int, ...] = (2, 5)) -> Observation:
    rng = np.random.default_rng(n)
    found = np.ones(n, dtype=np.bool_)
    found[[i for i in lost if i < n]] = False
    return Observation(
        time=start + np.arange(n) / 30,
        found=found,
        scores=rng.uniform(0, 1, (n, 52)).astype(np.float32),
        landmarks=rng.uniform(0, 1, (n, 478, 3)).astype(np.float32),
        head_transform=np.tile(np.eye(4, dtype=np.float32), (n, 1, 1)),
        image_size=np.array([640, 480]),
    )


def _bytes(params: FlameParams) -> list[bytes]:
    return [params.time.tobytes(), params.found.tobytes(), *(getattr(params, name).tobytes() for name in _FIELDS)]


def test_a_mapping_is_pure(mapping: BlendshapeMapping) -> None:
    observation = _observation()
    first = _bytes(mapping(observation))
    mapping(_observation(3))
    mapping.for_person(_observation(4))
    assert _bytes(mapping(observation)) == first


def test_a_mapping_keeps_time_and_found_and_is_nan_without_a_face(mapping: BlendshapeMapping) -> None:
    observation = _observation()
    params = mapping(observation)
    np.testing.assert_array_equal(params.time, observation.time)
    np.testing.assert_array_equal(params.found, observation.found)
    assert params.n_expression == mapping.info.n_expression == _E
    assert params.expression.dtype == np.float32
    for name in ("expression", "jaw_pose", "leye_pose", "reye_pose"):
        np.testing.assert_array_equal(np.isnan(getattr(params, name)).all(axis=1), ~observation.found)


def test_a_mapping_of_single_frames_is_that_of_the_batch(mapping: BlendshapeMapping) -> None:
    observation = _observation()
    batch = mapping(observation)
    singles = concatenate(mapping(observation[i]) for i in range(len(observation)))
    for name in _FIELDS:
        np.testing.assert_allclose(getattr(singles, name), getattr(batch, name), rtol=1e-4, atol=1e-5)


def test_a_mapping_takes_a_frame_without_a_face(mapping: BlendshapeMapping) -> None:
    params = mapping(Observation.missing(1.5))
    assert not params.found.any()
    assert np.isnan(params.expression).all()


def test_a_mapping_for_a_person_is_zero_at_that_neutral(mapping: BlendshapeMapping) -> None:
    rest = _observation(1, lost=())
    params = mapping.for_person(rest)(rest)
    np.testing.assert_allclose(params.expression, 0, atol=1e-5)
    np.testing.assert_allclose(params.jaw_pose, 0, atol=1e-5)


def test_a_mapping_refuses_a_neutral_without_a_face(mapping: BlendshapeMapping) -> None:
    with pytest.raises(InputError, match="expected frames of a neutral face; no face was found in any of the 1 frames"):
        mapping.for_person(Observation.missing(0.0))


def test_a_mapping_for_a_person_is_that_for_the_neutral_frames(mapping: BlendshapeMapping) -> None:
    neutral, observation = _observation(6), _observation()
    by_frames, by_person = mapping.for_person(neutral), mapping.for_person(Person(neutral=neutral))
    for name in _FIELDS:
        np.testing.assert_array_equal(getattr(by_frames(observation), name), getattr(by_person(observation), name))


def test_a_mapping_refuses_scores_without_the_landmarks_that_it_reads_or_maps_them(mapping: BlendshapeMapping) -> None:
    observation = replace(_observation(), landmarks=None)
    if isinstance(mapping, LandmarkMapping):
        with pytest.raises(InputError, match="reads landmarks"):
            mapping(observation)
    else:
        assert np.isfinite(mapping(observation).expression[observation.found]).all()


def test_a_stored_mapping_goes_to_another_process_and_others_have_their_parts_info(mapping: BlendshapeMapping) -> None:
    observation = _observation()
    again = copy.deepcopy(mapping)
    assert _bytes(again(observation)) == _bytes(mapping(observation))
    assert again.info.n_expression == mapping.info.n_expression
    if isinstance(mapping, StoredMapping):
        assert isinstance(again, StoredMapping)
        assert again.encoded() == mapping.encoded()


def test_a_constant_pose_reads_only_the_time() -> None:
    pose = ConstantPose(FlameParams.neutral(n_expression=_E))
    params = pose.for_person(_observation(2))(_observation())
    assert params.found.all()
    np.testing.assert_array_equal(params.time, _observation().time)
    assert pose.info.n_expression == _E
    with pytest.raises(InputError, match="a ConstantPose is not a kind of mapping that a file holds"):
        pose.save("pose.safetensors")
