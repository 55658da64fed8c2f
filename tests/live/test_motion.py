"""What a session does to parameters before they are filtered."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams, concatenate
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.head import load_head
from mp2flame.live.desk import Desk
from mp2flame.live.motion import Motion, Posed, smoothing_filters, without_rest
from mp2flame.live.sliders import observe_weights
from mp2flame.mapping import load_mapping
from tests.helpers.fakes import FirstScores, observation
from tests.helpers.live import blendshape_mapping

_RNG = np.random.default_rng(0)


def _seen(index: int = 3):  # type: ignore[no-untyped-def]
    return observation(index, scores=_RNG.random(52).astype(np.float32))


def test_gains_multiply_expression_and_jaw_and_nothing_else(tmp_path: Path) -> None:
    mapping = load_mapping(blendshape_mapping(tmp_path / "m.safetensors"))
    seen = _seen()
    plain, louder = mapping(seen), Motion(mapping, expression_gain=1.5, jaw_gain=0.25)(seen)
    np.testing.assert_allclose(louder.expression, 1.5 * plain.expression, rtol=1e-6)
    np.testing.assert_allclose(louder.jaw_pose, 0.25 * plain.jaw_pose, rtol=1e-6)
    np.testing.assert_array_equal(louder.eye_pose, plain.eye_pose)


def test_narrow_mappings_are_padded_and_wide_ones_left() -> None:
    seen = _seen()
    params = Motion(FirstScores(), width=9)(seen)
    assert params.n_expression == 9
    np.testing.assert_array_equal(params.expression[:, :5], FirstScores()(seen).expression)
    assert not params.expression[:, 5:].any()
    assert Motion(FirstScores(), width=2)(seen).n_expression == 5


def test_the_head_turns_only_where_the_source_tells_it() -> None:
    turn = np.eye(4, dtype=np.float32)[None]
    turn[0, 0, 0] = turn[0, 2, 2] = np.cos(0.3)
    turn[0, 0, 2], turn[0, 2, 0] = np.sin(0.3), -np.sin(0.3)
    seen = replace(_seen(), head_transform=turn)
    np.testing.assert_allclose(Motion(FirstScores())(seen).global_orient, [[0, 0.3, 0]], atol=1e-6)
    np.testing.assert_allclose(Motion(FirstScores(), "neck_pose")(seen).neck_pose, [[0, 0.3, 0]], atol=1e-6)
    assert not Motion(FirstScores(), "none")(seen).global_orient.any()
    assert not Motion(FirstScores())(_seen()).global_orient.any()


def test_sliders_at_zero_are_the_neutral_face(tmp_path: Path) -> None:
    mapping = load_mapping(blendshape_mapping(tmp_path / "m.safetensors"))
    params = without_rest(mapping)(observe_weights(np.zeros(52, dtype=np.float32)))
    assert not params.expression.any()
    assert not params.jaw_pose.any()


def test_a_slider_is_its_blendshape(tmp_path: Path) -> None:
    mapping = without_rest(load_mapping(blendshape_mapping(tmp_path / "m.safetensors")))
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


def test_a_pose_is_the_same_in_every_frame() -> None:
    pose = FlameParams.neutral(n_expression=4)
    pose = replace(pose, expression=np.array([[1, 2, 3, 4]], dtype=np.float32))
    params = Posed(pose)(concatenate([observation(i, found=i != 1) for i in range(3)]))
    assert params.found.all()
    np.testing.assert_array_equal(params.expression, np.tile([1, 2, 3, 4], (3, 1)))
    np.testing.assert_allclose(params.time, np.arange(3) / 30)


def test_more_smoothing_leaves_less_jitter_and_none_leaves_all() -> None:
    rng = np.random.default_rng(1)
    times = np.arange(300) / 30
    noisy = FlameParams(
        time=times,
        found=np.ones(300, dtype=np.bool_),
        expression=rng.normal(0, 0.02, (300, 6)).astype(np.float32),
    )
    left = [float(smoothing_filters(amount)(noisy).expression[60:].std()) for amount in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert left[0] == pytest.approx(float(noisy.expression[60:].std()), rel=1e-6)
    assert all(less < more for more, less in pairwise(left))


def test_a_mapping_for_another_head_is_refused_before_and_during_a_session(tmp_path: Path) -> None:
    head = load_head("builtin")
    good = blendshape_mapping(tmp_path / "good.safetensors")
    foreign = replace(load_mapping(good), metadata={"head_version": "FLAME 2020", "head_hash": "0" * 64})  # type: ignore[type-var]
    foreign.save(tmp_path / "foreign.safetensors")

    def desk(mapping: Path, *, any_head: bool) -> Desk:
        return Desk(head, str(mapping), head_pose="none", any_head=any_head, show_second=lambda _: None)

    with pytest.raises(HeadMismatchError, match="--any-head"):
        desk(tmp_path / "foreign.safetensors", any_head=False)
    desk(tmp_path / "foreign.safetensors", any_head=True)
    running = desk(good, any_head=False)
    before = running.mapping()(observation(0))
    with pytest.raises(HeadMismatchError):
        running.set_mapping("A", str(tmp_path / "foreign.safetensors"))
    np.testing.assert_array_equal(running.mapping()(observation(0)).expression, before.expression)


def test_rest_without_a_face_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    desk = Desk(
        load_head("builtin"),
        str(blendshape_mapping(tmp_path / "m.safetensors")),
        head_pose="none",
        any_head=False,
        show_second=lambda _: None,
    )
    rest = _seen()
    desk.set_rest(rest)
    assert np.abs(desk.mapping()(rest).expression).max() < 1e-5
    with pytest.raises(InputError, match="face"):
        desk.set_rest(observation(0, found=False))
    assert np.abs(desk.mapping()(rest).expression).max() < 1e-5
