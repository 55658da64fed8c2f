"""The scripted performance: still at first, every pose reached, smooth in between."""

from __future__ import annotations

import numpy as np
import pytest

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams
from mp2flame.demo_animation import SCRIPT, animate, both_sides, sample_weights
from mp2flame.errors import InputError


def test_the_first_second_is_neutral() -> None:
    weights, turn = sample_weights(np.linspace(0, 1, 31))
    assert not weights.any()
    assert not turn.any()


def test_every_key_pose_is_reached() -> None:
    weights, turn = sample_weights(np.array([key.time for key in SCRIPT]))
    for row, angle, key in zip(weights, turn, SCRIPT, strict=True):
        assert {n: pytest.approx(w) for n, w in zip(ARKIT, row, strict=True) if w} == {
            n: w for n, w in key.weights.items() if w
        }
        np.testing.assert_allclose(np.degrees(angle), key.head, atol=1e-5)


def test_motion_is_continuous() -> None:
    fine = np.arange(0, SCRIPT[-1].time, 1e-3)
    weights, _ = sample_weights(fine)
    # The quickest move is a blink of 0.10 s; a smooth step is at most 1.5 times as fast as a straight line.
    assert np.abs(np.diff(weights, axis=0)).max() <= 1.5 * 1e-3 / 0.1 + 1e-6


def test_parameters_are_the_weighted_sum_of_the_shapes() -> None:
    rng = np.random.default_rng(0)
    shapes = FlameParams(
        time=np.zeros(52),
        found=np.ones(52, dtype=bool),
        expression=rng.normal(size=(52, 50)).astype(np.float32),
        jaw_pose=rng.normal(size=(52, 3)).astype(np.float32),
    )
    params, weights = animate(shapes, fps=10)
    frame = 33
    expected = sum(w * shapes.expression[i] for i, w in enumerate(weights[frame]))
    np.testing.assert_allclose(params.expression[frame], expected, atol=1e-5)
    np.testing.assert_allclose(params.jaw_pose[frame], weights[frame] @ shapes.jaw_pose, atol=1e-5)


def test_sides_and_strangers() -> None:
    assert both_sides(mouthSmile=0.5) == {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}
    assert both_sides(jawOpen=1.0) == {"jawOpen": 1.0}
    with pytest.raises(InputError, match="'smirk'"):
        both_sides(smirk=1.0)
    with pytest.raises(InputError, match="expected 52 blendshapes"):
        animate(FlameParams.neutral(3, n_expression=50))
