"""A lost face: hold, ease to neutral, return without a jump."""

from __future__ import annotations

import numpy as np
import pytest

from mp2flame.data import FlameParams
from mp2flame.errors import InputError
from mp2flame.filters import Chain, Hold, Limits, OneEuro, default_filters

_E = 4


def _sequence(found: list[bool], value: float = 1.0, rate: float = 30) -> FlameParams:
    seen = np.array(found)
    column = np.where(seen, value, np.nan)[:, None]
    three, wide = (column * np.ones(3)).astype(np.float32), (column * np.ones(_E)).astype(np.float32)
    return FlameParams(
        time=np.arange(len(found)) / rate,
        found=seen,
        expression=wide,
        jaw_pose=0.1 * three,
        leye_pose=0.2 * three,
        reye_pose=-0.2 * three,
        global_orient=0.3 * three,
        translation=0.4 * three,
    )


def test_holds_then_eases_to_neutral_and_stays_there() -> None:
    params = _sequence([True] * 3 + [False] * 60)
    got = Hold(hold_seconds=0.3, ease_seconds=0.7)(params)
    lost_for = params.time - params.time[2]
    held = (lost_for >= 0) & (lost_for <= 0.3)
    np.testing.assert_array_equal(got.expression[held], 1.0)
    neutral = lost_for >= 1.0
    for name in ("expression", "jaw_pose", "leye_pose", "reye_pose", "global_orient"):
        np.testing.assert_array_equal(getattr(got, name)[neutral], 0.0)
    easing = got.expression[(lost_for > 0.3) & (lost_for < 1.0), 0]
    assert (np.diff(easing) < 0).all()
    assert np.abs(np.diff(got.expression[:, 0])).max() < 0.1
    np.testing.assert_allclose(got.translation, np.float32(0.4), rtol=1e-6)
    np.testing.assert_array_equal(got.found, params.found)


def test_before_any_face_it_shows_neutral_and_then_comes_in_smoothly() -> None:
    params = _sequence([False] * 5 + [True] * 20)
    got = Hold(return_seconds=0.25)(params)
    np.testing.assert_array_equal(got.expression[:5], 0.0)
    np.testing.assert_array_equal(got.translation[:5], 0.0)
    assert np.abs(np.diff(got.expression[:, 0])).max() < 0.25
    np.testing.assert_array_equal(got.translation[5:], params.translation[5:])
    after = params.time >= params.time[5] + 0.25
    np.testing.assert_array_equal(got.expression[after], params.expression[after])


def test_the_first_frame_with_a_face_is_shown_at_once() -> None:
    params = _sequence([True] * 4)
    np.testing.assert_array_equal(Hold()(params).expression, params.expression)


def test_a_blink_during_the_return_is_shown_in_full() -> None:
    params = _sequence([True] * 3 + [False] * 60 + [True] * 20)
    values = params.expression.copy()
    values[65, 0] += 2.0
    blinking = FlameParams(time=params.time, found=params.found, expression=values)
    plain = FlameParams(time=params.time, found=params.found, expression=params.expression)
    difference = Hold()(blinking).expression - Hold()(plain).expression
    np.testing.assert_allclose(difference[65, 0], 2.0, atol=1e-6)
    assert np.abs(np.delete(difference[:, 0], 65)).max() == 0.0


def test_loss_return_and_loss_again_never_jump() -> None:
    found = [True] * 10 + [False] * 12 + [True] * 3 + [False] * 9 + [True] * 2 + [False] * 40 + [True] * 20
    got = Hold()(_sequence(found, value=1.0)).expression
    assert np.isfinite(got).all()
    assert np.abs(np.diff(got[:, 0])).max() < 0.25


@pytest.mark.parametrize("seconds", [0.0, 1e-9])
def test_without_durations_it_switches(seconds: float) -> None:
    params = _sequence([True, False, True])
    got = Hold(hold_seconds=0, ease_seconds=seconds, return_seconds=seconds)(params)
    np.testing.assert_array_equal(got.expression[1], 0.0)


@pytest.mark.parametrize("name", ["hold_seconds", "ease_seconds", "return_seconds"])
def test_hold_settings_are_checked(name: str) -> None:
    for value in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InputError, match=f"{name} must be a finite number at least 0"):
            Hold(**{name: value})


def test_limits_clip_jaw_and_eyes_only() -> None:
    rng = np.random.default_rng(0)
    wild = {
        name: rng.normal(0, 2, (50, 3)).astype(np.float32)
        for name in ("jaw_pose", "neck_pose", "leye_pose", "reye_pose")
    }
    expression = rng.normal(0, 9, (50, _E)).astype(np.float32)
    params = FlameParams(time=np.arange(50.0), found=np.ones(50, dtype=bool), expression=expression, **wild)
    got = Limits()(params)
    assert got.jaw_pose[:, 0].min() == 0.0
    assert got.jaw_pose[:, 0].max() <= 0.6 + 1e-6
    assert np.abs(got.jaw_pose[:, 1:]).max() <= 0.25
    for eye in (got.leye_pose, got.reye_pose):
        assert np.abs(eye[:, 0]).max() <= np.radians(25) + 1e-6
        assert np.abs(eye[:, 1]).max() <= np.radians(35) + 1e-6
    np.testing.assert_array_equal(got.expression, params.expression)
    np.testing.assert_array_equal(got.neck_pose, params.neck_pose)
    mild = FlameParams(time=np.zeros(1), found=[True], expression=np.zeros((1, _E)), jaw_pose=[[0.2, 0.1, -0.1]])
    np.testing.assert_array_equal(Limits()(mild).jaw_pose, mild.jaw_pose)


@pytest.mark.parametrize("name", ["jaw_open", "jaw_side", "gaze_vertical", "gaze_horizontal"])
def test_limits_settings_are_checked(name: str) -> None:
    for value in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match=f"{name} must be a finite number above 0"):
            Limits(**{name: value})


def test_a_chain_is_its_filters_in_order() -> None:
    params = _sequence([True] * 5 + [False] * 5 + [True] * 5)
    by_hand = Limits()(Hold()(OneEuro()(params)))
    got = default_filters()(params)
    np.testing.assert_array_equal(got.expression, by_hand.expression)
    np.testing.assert_array_equal(got.leye_pose, by_hand.leye_pose)
    with pytest.raises(InputError, match="at least one filter"):
        Chain()
