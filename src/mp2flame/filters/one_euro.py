"""The one-euro filter: little noise where the face is still, little delay where it moves.

G. Casiez, N. Roussel, D. Vogel: 1 € filter: a simple speed-based low-pass filter for noisy input in interactive
systems. CHI 2012.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.filters.base import N_VECTOR_CHANNELS, ChannelArray, Filter, check_settings

_Row = NDArray[np.float64]
_TURN: Final = 2 * math.pi


@dataclass(frozen=True)
class _State:
    time: float
    """Seconds, of the last frame that had values."""
    raw: _Row
    """(C,) its input."""
    smooth: _Row
    """(C,) its output."""
    speed: _Row
    """(C,) units a second, smoothed."""


@dataclass(kw_only=True, eq=False)
class OneEuro(Filter):
    """A first-order low-pass for each channel whose cutoff frequency rises with that channel's own speed.

    Channels are independent, so one eye's blink is not damped because the other eye is still. The cutoff is
    `cutoff + x_speed * |speed|`; a steadily moving channel lags by at most 1 / (2 pi x_speed) of its unit, which with
    the defaults is 0.1 of an expression coefficient's standard deviation, half a degree and half a millimeter.
    MediaPipe's noise on a still face is a slow drift, which only a low `cutoff` removes; a blink is a hundred times
    as fast as this noise, and passes.

    Rows that hold NaN (no face) pass as they are and change nothing. Rotations are filtered as three components,
    which is right up to well over a radian; beyond half a turn axis-angle vectors jump.

    Raises:
        InputError: a setting is not a positive number.
    """

    cutoff: float = 0.15
    """Hz, of a channel that does not move."""
    expression_speed: float = 1.5
    """Hz for a speed of one coefficient a second."""
    rotation_speed: float = 20.0
    """Hz for a speed of one radian a second."""
    translation_speed: float = 300.0
    """Hz for a speed of one meter a second."""
    speed_cutoff: float = 10.0
    """Hz, of the low-pass that the speed itself goes through."""
    max_gap: float = 0.25
    """Seconds; a longer gap without values starts the filter anew."""
    smoothing: float = 1.0
    """2 removes twice as much as 1: the cutoff of a still channel, and the speed at which a channel begins to pass,
    are divided by it."""

    def __post_init__(self) -> None:
        check_settings(self)
        vectors = [self.rotation_speed] * (N_VECTOR_CHANNELS - 3) + [self.translation_speed] * 3
        self._vector_gains = np.array(vectors) / self.smoothing
        self._state: _State | None = None

    @override
    def _apply(self, channels: ChannelArray) -> None:
        expression_gains = np.full(channels.n_expression, self.expression_speed / self.smoothing)
        gains = np.concatenate([expression_gains, self._vector_gains])
        for index in np.flatnonzero(np.isfinite(channels.values).all(axis=1)):
            self._state = self._next(self._state, float(channels.time[index]), channels.values[index], gains)
            channels.values[index] = self._state.smooth

    def _next(self, state: _State | None, time: float, row: _Row, gains: _Row) -> _State:
        """The state after one row; a repeated time has no duration and changes nothing."""
        if state is None or time - state.time > self.max_gap:
            return _State(time, row.copy(), row.copy(), np.zeros_like(row))
        elapsed = time - state.time
        if elapsed == 0:
            return state
        # Weight a = r / (r + 1) with r = 2 pi cutoff dt, written so that nothing is divided by a tiny dt.
        rate = _TURN * self.speed_cutoff
        speed = state.speed + rate / (1 + rate * elapsed) * (row - state.raw - state.speed * elapsed)
        r = _TURN * elapsed * (self.cutoff / self.smoothing + gains * np.abs(speed))
        smooth = state.smooth + r / (1 + r) * (row - state.smooth)
        return _State(time, row.copy(), smooth, speed)

    @override
    def reset(self) -> None:
        super().reset()
        self._state = None
