"""Values for frames without a face: hold, then ease to neutral, and come back without a jump."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.filters.base import ChannelArray, Filter, check_settings

_Row = NDArray[np.float64]


@dataclass(frozen=True)
class _State:
    shown: _Row | None = None
    """(C,) the last output; None before the first row."""
    lost_at: float | None = None
    """Seconds: the last time with a face; None before any."""
    held: _Row | None = None
    """(C,) the output at that time."""
    missing: bool = False
    """The last row had no face."""
    back_at: float = -math.inf
    """Seconds: when the face came back."""
    surplus: _Row | None = None
    """(C,) output less input at that moment; fades away."""


@dataclass(kw_only=True, eq=False)
class Hold(Filter):
    """Gives frames without a face values; `found` stays False for them, and all rows come out finite.

    Face lost: the last pose is held for `hold_seconds`, then eases to neutral (all zero; the translation stays) in
    `ease_seconds`. Before any face: neutral. Face back: the step between the last output and the input fades away in
    `return_seconds`, while every new movement, such as a blink, passes in full.

    Raises:
        InputError: a duration is negative or not finite.
    """

    hold_seconds: float = 0.3
    """How long the last pose stays."""
    ease_seconds: float = 0.7
    """How long the way to neutral takes."""
    return_seconds: float = 0.25
    """How long the way back takes."""

    def __post_init__(self) -> None:
        check_settings(self, zero=True)
        self._state = _State()

    @override
    def _apply(self, channels: ChannelArray) -> None:
        values, state = channels.values, self._state
        valid = channels.found & np.isfinite(values).all(axis=1)
        for index, time in enumerate(channels.time.tolist()):
            row = values[index]
            state = self._with_face(state, time, row) if valid[index] else self._without_face(state, time, len(row))
            row[:] = state.shown
        self._state = state

    def _with_face(self, state: _State, time: float, row: _Row) -> _State:
        back_at, surplus = state.back_at, state.surplus
        if state.missing:
            assert state.shown is not None
            back_at, surplus = time, state.shown - row
            if state.lost_at is None:
                surplus[-3:] = 0  # There was no place to come from.
        shown = row.copy()
        if surplus is not None:
            remains = 1 - _progress(time - back_at, self.return_seconds)
            shown += remains * surplus
            surplus = surplus if remains > 0 else None
        return _State(shown, time, shown, False, back_at, surplus)

    def _without_face(self, state: _State, time: float, n_channels: int) -> _State:
        if state.lost_at is None or state.held is None:
            return replace(state, shown=np.zeros(n_channels), missing=True)
        shown = state.held.copy()
        shown[:-3] *= 1 - _progress(time - state.lost_at - self.hold_seconds, self.ease_seconds)
        return replace(state, shown=shown, missing=True)

    @override
    def reset(self) -> None:
        super().reset()
        self._state = _State()


def _progress(elapsed: float, duration: float) -> float:
    """0 to 1, with a smooth start and end (3 p^2 - 2 p^3), `elapsed` seconds into an easing of `duration` seconds."""
    if duration == 0:
        return 1.0 if elapsed >= 0 else 0.0
    p = min(max(elapsed / duration, 0.0), 1.0)
    return p * p * (3 - 2 * p)
