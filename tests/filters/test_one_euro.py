"""The one-euro filter against a plain loop for one channel, and what it is for: still faces, sharp blinks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import InputError
from mp2flame.filters import OneEuro

_E = 6


def _params(time: NDArray[np.float64], expression: NDArray[np.float64], **poses: NDArray[np.float64]) -> FlameParams:
    found = np.isfinite(expression.sum(axis=1))
    vectors = {name: value.astype(np.float32) for name, value in poses.items()}
    return FlameParams(time=time, found=found, expression=expression.astype(np.float32), **vectors)


def _plain(time: list[float], values: list[float], *, gain: float, cutoff: float, speed_cutoff: float) -> list[float]:
    """Algorithm 1 of the paper, one channel, speed from the raw values."""
    result: list[float] = []
    speed = 0.0
    for i, value in enumerate(values):
        if i == 0:
            result.append(value)
            continue
        dt = time[i] - time[i - 1]
        if dt > 0:
            alpha = 1 / (1 + 1 / (2 * math.pi * speed_cutoff * dt))
            speed = alpha * (value - values[i - 1]) / dt + (1 - alpha) * speed
            alpha = 1 / (1 + 1 / (2 * math.pi * (cutoff + gain * abs(speed)) * dt))
            result.append(alpha * value + (1 - alpha) * result[-1])
        else:
            result.append(result[-1])
            values[i] = values[i - 1]
    return result


def test_agrees_with_the_paper_on_irregular_times() -> None:
    rng = np.random.default_rng(3)
    time = np.cumsum(rng.uniform(0.004, 0.12, 80))
    time[40] = time[39]
    values = rng.normal(size=(80, _E)).cumsum(axis=0).astype(np.float32).astype(np.float64)
    jaw = (0.1 * rng.normal(size=(80, 3))).astype(np.float32).astype(np.float64)
    place = (0.01 * rng.normal(size=(80, 3))).astype(np.float32).astype(np.float64)
    got = OneEuro(cutoff=0.7, expression_speed=0.4, rotation_speed=5, translation_speed=50, speed_cutoff=3)(
        _params(time, values, jaw_pose=jaw, translation=place)
    )
    for array, filtered, gain in ((values, got.expression, 0.4), (jaw, got.jaw_pose, 5), (place, got.translation, 50)):
        for channel in range(array.shape[1]):
            expected = _plain(time.tolist(), array[:, channel].tolist(), gain=gain, cutoff=0.7, speed_cutoff=3)
            np.testing.assert_allclose(filtered[:, channel], expected, rtol=1e-5, atol=1e-6)


def test_first_interval_counts_when_time_starts_at_zero() -> None:
    values = np.linspace(0, 1, 20)[:, None] * np.ones(_E)
    time = np.arange(20) / 30
    at_zero = OneEuro()(_params(time, values)).expression
    later = OneEuro()(_params(time + 5, values)).expression
    np.testing.assert_allclose(at_zero, later, atol=1e-6)
    assert 0 < at_zero[1, 0] < values[1, 0]


def _drifting_noise(rng: np.random.Generator, n: int, scale: float) -> NDArray[np.float64]:
    """Noise like MediaPipe's in video mode: each frame keeps 0.93 of the one before."""
    noise = np.zeros((n, _E))
    for i in range(1, n):
        noise[i] = 0.93 * noise[i - 1] + rng.normal(0, scale, _E)
    return noise


def test_a_still_face_moves_at_most_a_quarter() -> None:
    rng = np.random.default_rng(0)
    noise = _drifting_noise(rng, 300, 0.008)
    filtered = OneEuro()(_params(np.arange(300) / 30, noise)).expression
    moved = np.abs(np.diff(filtered[30:], axis=0)).mean()
    assert moved < 0.25 * np.abs(np.diff(noise[30:], axis=0)).mean()


@pytest.mark.parametrize("phase", [0.0, 0.2, 0.4, 0.6, 0.8])
def test_a_blink_of_100_ms_keeps_its_depth_and_its_moment(phase: float) -> None:
    rng = np.random.default_rng(1)
    time = np.arange(90) / 30
    since = (time - (1.5 + phase / 30)) / 0.1
    blink = np.where((since > 0) & (since < 1), 0.5 - 0.5 * np.cos(2 * np.pi * since), 0.0)
    directions = np.array([2.0, -1.5, 0.8, 0.5, 1.0, -0.6])  # coefficients that a blink moves, in deviations
    raw = blink[:, None] * directions + _drifting_noise(rng, 90, 0.008)
    filtered = OneEuro()(_params(time, raw)).expression
    depth_raw = (raw - raw[44]) @ directions
    depth = (filtered - filtered[44]) @ directions
    assert depth.max() >= 0.85 * depth_raw.max()
    assert 0 <= int(depth.argmax()) - int(depth_raw.argmax()) <= 1
    assert np.abs(depth[52:]).max() < 0.1 * depth_raw.max()


def test_channels_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(2)
    time = np.arange(60) / 30
    both = rng.normal(size=(60, _E))
    one = both.copy()
    one[:, 1:] = 0
    eye = rng.normal(0, 0.1, size=(60, 3))
    together = OneEuro()(_params(time, both, leye_pose=eye, reye_pose=-3 * eye))
    alone = OneEuro()(_params(time, one, leye_pose=eye))
    np.testing.assert_array_equal(together.expression[:, 0], alone.expression[:, 0])
    np.testing.assert_array_equal(together.leye_pose, alone.leye_pose)


def test_rows_without_a_face_pass_and_leave_no_trace() -> None:
    rng = np.random.default_rng(4)
    time = np.arange(40) / 30
    values = rng.normal(size=(40, _E))
    holes = values.copy()
    holes[[0, 10, 11, 25]] = np.nan
    got = OneEuro()(_params(time, holes)).expression
    seen = np.isfinite(holes).all(axis=1)
    assert np.isnan(got[~seen]).all()
    np.testing.assert_array_equal(got[seen], OneEuro()(_params(time[seen], values[seen])).expression)


def test_a_single_nan_in_a_row_without_a_face_is_no_value() -> None:
    time = np.arange(3) / 30
    values = np.ones((3, _E), dtype=np.float32)
    values[1, 2] = np.nan
    found = np.array([True, False, True])
    got = OneEuro()(FlameParams(time=time, found=found, expression=values)).expression
    np.testing.assert_array_equal(got, values)


def test_after_a_long_gap_it_starts_anew() -> None:
    values = np.zeros((4, _E))
    values[2:] = 1
    got = OneEuro(max_gap=0.25)(_params(np.array([0, 0.03, 0.5, 0.53]), values)).expression
    np.testing.assert_array_equal(got, values)


def test_steady_motion_lags_by_the_stated_amount() -> None:
    time = np.arange(300) / 30
    for slope in (0.2, 2.0, 20.0):
        values = slope * time[:, None] * np.ones(_E)
        lag = (values - OneEuro(expression_speed=3.0)(_params(time, values)).expression)[100:]
        assert 0 < lag.min() <= lag.max() <= 1 / (2 * np.pi * 3.0)


def test_the_output_stays_between_old_and_new() -> None:
    rng = np.random.default_rng(5)
    time = np.cumsum(rng.choice([0.0, 1e-12, 0.001, 0.03, 0.2], 200))
    values = rng.normal(size=(200, _E)) * 10.0 ** rng.integers(-6, 6, (200, 1))
    got = OneEuro()(_params(time, values)).expression.astype(np.float64)
    raw = values.astype(np.float32).astype(np.float64)
    low, high = np.minimum(got[:-1], raw[1:]), np.maximum(got[:-1], raw[1:])
    slack = 1e-6 * np.maximum(np.abs(low), np.abs(high))
    assert ((got[1:] >= low - slack) & (got[1:] <= high + slack)).all()


@pytest.mark.parametrize("name", ["cutoff", "expression_speed", "rotation_speed", "speed_cutoff", "max_gap"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_settings_are_checked(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} must be a finite number above 0"):
        OneEuro(**{name: value})


def test_smoothing_divides_the_cutoffs() -> None:
    rng = np.random.default_rng(8)
    params = _params(np.arange(40) / 30, rng.normal(size=(40, _E)), jaw_pose=0.1 * rng.normal(size=(40, 3)))
    twice = OneEuro(cutoff=0.6, expression_speed=2.0, rotation_speed=10.0, translation_speed=100.0, smoothing=2.0)
    plain = OneEuro(cutoff=0.3, expression_speed=1.0, rotation_speed=5.0, translation_speed=50.0)
    got, expected = twice(params), plain(params)
    np.testing.assert_array_equal(got.expression, expected.expression)
    np.testing.assert_array_equal(got.jaw_pose, expected.jaw_pose)
