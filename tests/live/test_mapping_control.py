"""What a session's mappings, neutral, gains and smoothing do to parameters."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.head import load_head
from mp2flame.live import LiveSettings
from mp2flame.live.mapping_control import MappingController
from mp2flame.live.sliders import observe_weights
from mp2flame.mapping import Person, load_mapping, read_mapping, with_zero_neutral
from tests.helpers.fakes import observation
from tests.helpers.live import blendshape_mapping

_RNG = np.random.default_rng(0)


def _seen(index: int = 3):  # type: ignore[no-untyped-def]
    return observation(index, scores=_RNG.random(52).astype(np.float32))


def _controller(mapping: Path, **options: Any) -> MappingController:
    settings = LiveSettings(**{"mappings": (str(mapping),), "head_pose": "none", **options})
    return MappingController(load_head("builtin"), settings, lambda _: None)


def test_sliders_at_zero_are_the_neutral_face(tmp_path: Path) -> None:
    mapping = load_mapping(blendshape_mapping(tmp_path / "m.safetensors"))
    params = with_zero_neutral(mapping)(observe_weights(np.zeros(52, dtype=np.float32)))
    assert not params.expression.any()
    assert not params.jaw_pose.any()


def test_a_slider_is_its_blendshape(tmp_path: Path) -> None:
    mapping = with_zero_neutral(load_mapping(blendshape_mapping(tmp_path / "m.safetensors")))
    shapes = load_head("builtin").blendshapes()
    for name in ("jawOpen", "mouthSmileLeft", "eyeLookInRight"):
        weights = np.zeros(52, dtype=np.float32)
        weights[ARKIT.index(name)] = 1.0
        params = mapping(observe_weights(weights))
        np.testing.assert_allclose(params.expression[0], shapes.expression[ARKIT.index(name)], atol=1e-5)
        np.testing.assert_allclose(params.jaw_pose[0], shapes.jaw_pose[ARKIT.index(name)], atol=1e-6)
        np.testing.assert_allclose(params.reye_pose[0], shapes.reye_pose[ARKIT.index(name)], atol=1e-6)


def test_tongue_out_is_carried_beside_the_scores() -> None:
    weights = np.zeros(52, dtype=np.float32)
    weights[ARKIT.index("tongueOut")] = 0.7
    seen = observe_weights(weights)
    assert seen.tongue_out is not None
    assert seen.tongue_out[0] == pytest.approx(0.7)
    assert not seen.scores.any()


def test_more_smoothing_leaves_less_jitter_and_none_leaves_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    times = np.arange(300) / 30
    noisy = FlameParams(
        time=times,
        found=np.ones(300, dtype=np.bool_),
        expression=rng.normal(0, 0.02, (300, 6)).astype(np.float32),
    )
    controller = _controller(blendshape_mapping(tmp_path / "m.safetensors"))
    left = []
    for amount in (0.0, 0.5, 1.0, 2.0, 4.0):
        controller.set_smoothing(amount)
        left.append(float(controller.filters()(noisy).expression[60:].std()))
    assert left[0] == pytest.approx(float(noisy.expression[60:].std()), rel=1e-6)
    assert all(less < more for more, less in pairwise(left))


def test_a_mapping_for_another_head_is_refused_before_and_during_a_session(tmp_path: Path) -> None:
    good = blendshape_mapping(tmp_path / "good.safetensors")
    foreign = replace(read_mapping(good), metadata={"head_version": "FLAME 2020", "head_hash": "0" * 64})  # type: ignore[type-var]
    foreign.save(tmp_path / "foreign.safetensors")

    with pytest.raises(HeadMismatchError, match="--allow-head-mismatch"):
        _controller(tmp_path / "foreign.safetensors")
    _controller(tmp_path / "foreign.safetensors", allow_head_mismatch=True)
    running = _controller(good)
    before = running.mapping()(observation(0))
    with pytest.raises(HeadMismatchError):
        running.set_mapping("A", str(tmp_path / "foreign.safetensors"))
    np.testing.assert_array_equal(running.mapping()(observation(0)).expression, before.expression)


def test_a_neutral_without_a_face_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    controller = _controller(blendshape_mapping(tmp_path / "m.safetensors"))
    neutral = _seen()
    controller.set_neutral(neutral)
    assert np.abs(controller.mapping()(neutral).expression).max() < 1e-5
    with pytest.raises(InputError, match="face"):
        controller.set_neutral(observation(0, found=False))
    assert np.abs(controller.mapping()(neutral).expression).max() < 1e-5


def test_without_a_neutral_of_the_session_the_given_person_counts(tmp_path: Path) -> None:
    person, other = _seen(), _seen()
    controller = _controller(blendshape_mapping(tmp_path / "m.safetensors"), neutral=Person(neutral=person))
    assert np.abs(controller.mapping()(person).expression).max() < 1e-5
    controller.set_neutral(other)
    assert np.abs(controller.mapping()(other).expression).max() < 1e-5
    assert np.abs(controller.mapping()(person).expression).max() > 0.1
    controller.set_neutral(None)
    assert np.abs(controller.mapping()(person).expression).max() < 1e-5


def test_gains_multiply_and_narrow_mappings_are_as_wide_as_the_head(tmp_path: Path) -> None:
    controller = _controller(blendshape_mapping(tmp_path / "m.safetensors"))
    seen = _seen()
    plain = controller.mapping()(seen)
    controller.set_gains(1.5, 0.25)
    louder = controller.mapping()(seen)
    np.testing.assert_allclose(louder.expression, 1.5 * plain.expression, rtol=1e-5)
    np.testing.assert_allclose(louder.jaw_pose, 0.25 * plain.jaw_pose, rtol=1e-5)
    assert louder.n_expression == load_head("builtin").n_expression


def test_mappings_are_offered_once_and_by_short_names_where_these_differ(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    own = blendshape_mapping(tmp_path / "own.safetensors")
    other = blendshape_mapping(tmp_path / "other" / "own.safetensors")
    controller = _controller(own, mappings=(str(own), str(own), "builtin"), compare=str(own))
    assert controller.specs == {"own.safetensors": str(own), "builtin": "builtin"}
    controller = _controller(own, compare=str(other))
    assert controller.specs == {"own.safetensors": str(own), str(other): str(other)}
    controller.set_mapping("A", str(own))
    assert controller.names == {"A": "own.safetensors", "B": None}
