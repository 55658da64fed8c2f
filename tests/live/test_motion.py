"""What a session does to parameters before they are filtered."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.head import load_head
from mp2flame.live.desk import Desk
from mp2flame.live.motion import smoothing_filters
from mp2flame.live.sliders import observe_weights
from mp2flame.mapping import load_mapping, read_mapping, with_zero_neutral
from tests.helpers.fakes import observation
from tests.helpers.live import blendshape_mapping

_RNG = np.random.default_rng(0)


def _seen(index: int = 3):  # type: ignore[no-untyped-def]
    return observation(index, scores=_RNG.random(52).astype(np.float32))


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
    foreign = replace(read_mapping(good), metadata={"head_version": "FLAME 2020", "head_hash": "0" * 64})  # type: ignore[type-var]
    foreign.save(tmp_path / "foreign.safetensors")

    def desk(mapping: Path, *, allow_head_mismatch: bool) -> Desk:
        return Desk(
            head, str(mapping), head_pose="none", allow_head_mismatch=allow_head_mismatch, show_second=lambda _: None
        )

    with pytest.raises(HeadMismatchError, match="--allow-head-mismatch"):
        desk(tmp_path / "foreign.safetensors", allow_head_mismatch=False)
    desk(tmp_path / "foreign.safetensors", allow_head_mismatch=True)
    running = desk(good, allow_head_mismatch=False)
    before = running.mapping()(observation(0))
    with pytest.raises(HeadMismatchError):
        running.set_mapping("A", str(tmp_path / "foreign.safetensors"))
    np.testing.assert_array_equal(running.mapping()(observation(0)).expression, before.expression)


def test_rest_without_a_face_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    desk = Desk(
        load_head("builtin"),
        str(blendshape_mapping(tmp_path / "m.safetensors")),
        head_pose="none",
        allow_head_mismatch=False,
        show_second=lambda _: None,
    )
    rest = _seen()
    desk.set_rest(rest)
    assert np.abs(desk.mapping()(rest).expression).max() < 1e-5
    with pytest.raises(InputError, match="face"):
        desk.set_rest(observation(0, found=False))
    assert np.abs(desk.mapping()(rest).expression).max() < 1e-5
