"""The one-euro filter: still where the face is still, quick where it is quick.

G. Casiez, N. Roussel, D. Vogel: 1 € filter: a simple speed-based low-pass filter for noisy input in interactive
systems. CHI 2012.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mp2flame.filters.base import Filter
from mp2flame.filters.rows import VECTORS, Order, Rows
from mp2flame.filters.settings import check_settings

__all__ = ["OneEuro"]

_Row = NDArray[np.float64]
_TURN = 2 * math.pi


@dataclass(frozen=True)
class _State:
    order: Order
    time: float = 0.0
    """Of the last frame that had values."""
    raw: _Row | None = None
    """(C,) what came in then; None before the first."""
    smooth: _Row | None = None
    """(C,) what went out then."""
    speed: _Row | None = None
    """(C,) units a second, smoothed."""


class OneEuro(Filter):
    """A first-order low-pass for each channel whose cutoff frequency rises with that channel's own speed.

    No channel looks at another, so one eye's blink is not damped by the other's rest. The cutoff is
    `cutoff + x_speed * |speed|`; a steadily moving channel lags by at most 1 / (2 pi x_speed) of its unit, which with
    the defaults is 0.1 of an expression coefficient's standard deviation, half a degree and half a millimetre.
    MediaPipe's noise on a still face is a slow drift, which only a low `cutoff` removes; a blink is a hundred times
    as fast as this noise, and passes.

    Rows that hold NaN (no face) pass as they are and leave no trace. Rotations are filtered as three components,
    which is right up to well over a radian; beyond half a turn axis-angle vectors jump.

    Args:
        cutoff: Hz, at rest.
        expression_speed: Hz for a speed of one coefficient a second.
        rotation_speed: Hz for a speed of one radian a second.
        translation_speed: Hz for a speed of one metre a second.
        speed_cutoff: Hz, of the low-pass that the speed itself goes through.
        forget_seconds: a gap without values that is longer than this starts the filter anew.
        smoothing: 2 takes away twice as much as 1: the cutoff at rest, and the speed at which a channel begins to
            pass, are divided by it.

    Raises:
        InputError: a setting is not a positive number.
    """

    def __init__(
        self,
        *,
        cutoff: float = 0.15,
        expression_speed: float = 1.5,
        rotation_speed: float = 20.0,
        translation_speed: float = 300.0,
        speed_cutoff: float = 10.0,
        forget_seconds: float = 0.25,
        smoothing: float = 1.0,
    ) -> None:
        settings = {
            "cutoff": cutoff,
            "expression_speed": expression_speed,
            "rotation_speed": rotation_speed,
            "translation_speed": translation_speed,
            "speed_cutoff": speed_cutoff,
            "forget_seconds": forget_seconds,
            "smoothing": smoothing,
        }
        check_settings(settings)
        self._cutoff = cutoff / smoothing
        self._expression_speed = expression_speed / smoothing
        speeds = [rotation_speed] * (3 * len(VECTORS) - 3) + [translation_speed] * 3
        self._vector_speeds = [speed / smoothing for speed in speeds]
        self._speed_cutoff = speed_cutoff
        self._forget_seconds = forget_seconds
        self._state: _State | None = None

    def step(self, rows: Rows) -> None:
        """Filter N frames where they are.

        Raises:
            InputError: time runs backwards, or the number of coefficients changed since the last call.
        """
        order = Order.after(None if self._state is None else self._state.order, rows)
        state = _State(order) if self._state is None else self._state
        gains = np.array([self._expression_speed] * rows.n_expression + self._vector_speeds)
        for index in np.flatnonzero(np.isfinite(rows.values).all(axis=1)):
            state = self._step(state, float(rows.time[index]), rows.values[index], gains)
            rows.values[index] = state.smooth
        self._state = _State(order, state.time, state.raw, state.smooth, state.speed)

    def _step(self, state: _State, time: float, raw: _Row, gains: _Row) -> _State:
        """The state after one row; a repeated time has no duration and changes nothing."""
        elapsed = time - state.time
        raw = raw.copy()
        if state.raw is None or elapsed > self._forget_seconds:
            return _State(state.order, time, raw, raw, np.zeros_like(raw))
        if elapsed == 0:
            return state
        assert state.smooth is not None
        assert state.speed is not None
        # Weight a = r / (r + 1) with r = 2 pi cutoff dt, written so that nothing is divided by a tiny dt.
        rate = _TURN * self._speed_cutoff
        speed = state.speed + rate / (1 + rate * elapsed) * (raw - state.raw - state.speed * elapsed)
        reach = _TURN * elapsed * (self._cutoff + gains * np.abs(speed))
        smooth = state.smooth + reach / (1 + reach) * (raw - state.smooth)
        return _State(state.order, time, raw, smooth, speed)

    def reset(self) -> None:
        """Forget everything: what follows is filtered as by a new filter."""
        self._state = None
