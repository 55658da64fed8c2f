"""Every mapping and every filter keeps the same promises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mp2flame.data import FlameParams, Observation, concatenate
from mp2flame.errors import InputError
from mp2flame.filters import Chain, Filter, Hold, Limits, OneEuro, default_filters
from mp2flame.mapping import HeadPose, LinearMapping, Mapping, Preferred
from mp2flame.mapping.landmarks import N_INPUTS, LandmarkMapping

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
        default_scores=_REST,
        whitening=rng.normal(0, 0.03, (N_INPUTS, 12)).astype(np.float32),
        layers=tuple(
            (rng.normal(0, 0.3, shape).astype(np.float32), np.zeros((2, 1, shape[2]), dtype=np.float32))
            for shape in shapes
        ),
    )


_REST = np.linspace(0, 0.5, 52, dtype=np.float32)

MAPPINGS: dict[str, Callable[[], Mapping]] = {
    "plain": _linear,
    "intercept": lambda: _linear(intercept=np.arange(_E + 9, dtype=np.float32)),
    "features": lambda: _linear(features=("square", "scores", "signed_root")),
    "relative": lambda: _linear(uses_rest=True, default_rest=_REST),
    "landmarks": _landmarks,
    "preferred": lambda: Preferred(_landmarks(), _linear()),
    "head pose": lambda: HeadPose(_linear()),
    "relative head pose": lambda: HeadPose(_linear(uses_rest=True), to="neck_pose", relative=True),
}

FILTERS: dict[str, Callable[[], Filter]] = {
    "one-euro": OneEuro,
    "hold": Hold,
    "limits": Limits,
    "chain": lambda: Chain(OneEuro(), Hold()),
    "default": default_filters,
}


@pytest.fixture(params=MAPPINGS)
def mapping(request: pytest.FixtureRequest) -> Mapping:
    return MAPPINGS[request.param]()


@pytest.fixture(params=FILTERS)
def make_filter(request: pytest.FixtureRequest) -> Callable[[], Filter]:
    return FILTERS[request.param]


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


def _params(n: int = 40) -> FlameParams:
    rng = np.random.default_rng(5)
    found = rng.uniform(size=n) > 0.3
    arrays = {name: rng.normal(0, 0.3, (n, 3)).astype(np.float32) for name in _FIELDS[1:]}
    arrays["expression"] = rng.normal(size=(n, _E)).astype(np.float32)
    for array in arrays.values():
        array[~found] = np.nan
    return FlameParams(time=np.cumsum(rng.uniform(0, 0.1, n)), found=found, **arrays)


def _bytes(params: FlameParams) -> list[bytes]:
    return [params.time.tobytes(), params.found.tobytes(), *(getattr(params, name).tobytes() for name in _FIELDS)]


def test_a_mapping_is_pure(mapping: Mapping) -> None:
    observation = _observation()
    first = _bytes(mapping(observation))
    mapping(_observation(3))
    mapping.for_person(_observation(4))
    assert _bytes(mapping(observation)) == first


def test_a_mapping_keeps_time_and_found_and_is_nan_without_a_face(mapping: Mapping) -> None:
    observation = _observation()
    params = mapping(observation)
    np.testing.assert_array_equal(params.time, observation.time)
    np.testing.assert_array_equal(params.found, observation.found)
    assert params.n_expression == mapping.n_expression == _E
    assert params.expression.dtype == np.float32
    for name in ("expression", "jaw_pose", "leye_pose", "reye_pose"):
        np.testing.assert_array_equal(np.isnan(getattr(params, name)).all(axis=1), ~observation.found)


def test_a_mapping_of_single_frames_is_that_of_the_batch(mapping: Mapping) -> None:
    observation = _observation()
    batch = mapping(observation)
    singles = concatenate(mapping(observation[i]) for i in range(len(observation)))
    for name in _FIELDS:
        np.testing.assert_allclose(getattr(singles, name), getattr(batch, name), rtol=1e-4, atol=1e-5)


def test_a_mapping_takes_a_frame_without_a_face(mapping: Mapping) -> None:
    params = mapping(Observation.missing(1.5))
    assert not params.found.any()
    assert np.isnan(params.expression).all()


def test_a_mapping_for_a_person_is_zero_at_that_rest(mapping: Mapping) -> None:
    rest = _observation(1, lost=())
    params = mapping.for_person(rest)(rest)
    np.testing.assert_allclose(params.expression, 0, atol=1e-5)
    np.testing.assert_allclose(params.jaw_pose, 0, atol=1e-5)


def test_a_mapping_refuses_a_rest_without_a_face(mapping: Mapping) -> None:
    with pytest.raises(InputError, match="expected rest frames with a face; got none among 1"):
        mapping.for_person(Observation.missing(0.0))


def test_a_filter_in_pieces_gives_the_same_bytes(make_filter: Callable[[], Filter]) -> None:
    params = _params()
    whole = _bytes(make_filter()(params))
    for cuts in ([20], [1, 2, 3, 39], list(range(1, 40))):
        step = make_filter()
        pieces = [step(params[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(params)], strict=True)]
        assert _bytes(concatenate(pieces)) == whole


def test_a_filter_after_reset_is_as_new(make_filter: Callable[[], Filter]) -> None:
    params = _params()
    used = make_filter()
    first = _bytes(used(params))
    used.reset()
    assert _bytes(used(params)) == first


def test_a_filter_keeps_time_found_and_shape(make_filter: Callable[[], Filter]) -> None:
    params = FlameParams(time=np.zeros(1), found=[True], expression=np.ones((1, _E)), shape=np.ones(3))
    got = make_filter()(params)
    assert _bytes(got)[:2] == _bytes(params)[:2]
    assert got.shape is not None
    assert got.expression.dtype == np.float32


def test_a_filter_takes_repeated_times(make_filter: Callable[[], Filter]) -> None:
    step = make_filter()
    sample = FlameParams(time=np.zeros(3), found=np.ones(3, dtype=bool), expression=np.ones((3, _E), dtype=np.float32))
    assert np.isfinite(step(sample).expression).all()
    assert np.isfinite(step(sample).expression).all()


def test_a_filter_refuses_time_that_runs_backwards_and_goes_on_after_it(make_filter: Callable[[], Filter]) -> None:
    params = _params()
    step, fresh = make_filter(), make_filter()
    step(params[:20])
    fresh(params[:20])
    with pytest.raises(InputError, match=r"expected time to rise; got .* call reset"):
        step(params[:20])
    with pytest.raises(InputError, match="expected time to rise"):
        step(params[20:][::-1])
    assert _bytes(step(params[20:])) == _bytes(fresh(params[20:]))


def test_a_filter_refuses_another_number_of_coefficients(make_filter: Callable[[], Filter]) -> None:
    step = make_filter()
    step(FlameParams.neutral(1, n_expression=50, time=[0.0]))
    with pytest.raises(InputError, match="expected 50 expression coefficients as before; got 100"):
        step(FlameParams.neutral(1, n_expression=100, time=[1.0]))
    step.reset()
    assert step(FlameParams.neutral(1, n_expression=100, time=[0.0])).n_expression == 100
