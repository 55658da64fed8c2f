"""What to show while there is no face: hold, then ease to rest, and come back without a jump."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mp2flame.filters.base import Filter
from mp2flame.filters.rows import Order, Rows
from mp2flame.filters.settings import check_settings

__all__ = ["Hold"]

_Row = NDArray[np.float64]


@dataclass(frozen=True)
class _State:
    order: Order
    shown: _Row | None = None
    """(C,) what went out last; None before the first row."""
    lost_at: float | None = None
    """Seconds: the last time with a face; None before any."""
    held: _Row | None = None
    """(C,) what went out then."""
    missing: bool = False
    """The last row had no face."""
    back_at: float = -math.inf
    """Seconds: when the face came back."""
    surplus: _Row | None = None
    """(C,) what was shown less what came in at that moment; fades away."""


def _ease(progress: float) -> float:
    """0 to 1 with a smooth start and end: 3 p^2 - 2 p^3."""
    p = min(max(progress, 0.0), 1.0)
    return p * p * (3 - 2 * p)


class Hold(Filter):
    """Rows without a face get values; `found` keeps telling which they are.

    Lost: the last pose is held for `hold_seconds`, then eases to rest (all zero; the translation stays) in
    `ease_seconds`. Before any face: rest. Back: the step between what was shown and what comes in fades away in
    `return_seconds`, while every new movement, such as a blink, passes in full.

    Args:
        hold_seconds: how long the last pose stays.
        ease_seconds: how long the way to rest takes.
        return_seconds: how long the way back takes.

    Raises:
        InputError: a setting is negative or not finite.
    """

    def __init__(self, *, hold_seconds: float = 0.3, ease_seconds: float = 0.7, return_seconds: float = 0.25) -> None:
        settings = {"hold_seconds": hold_seconds, "ease_seconds": ease_seconds, "return_seconds": return_seconds}
        check_settings(settings, zero=True)
        self._hold = hold_seconds
        self._ease = ease_seconds
        self._return = return_seconds
        self._state: _State | None = None

    def step(self, rows: Rows) -> None:
        """Fill N frames where they are; all of them come out finite.

        Raises:
            InputError: time runs backwards, or the number of coefficients changed since the last call.
        """
        order = Order.after(None if self._state is None else self._state.order, rows)
        state = _State(order) if self._state is None else self._state
        values = rows.values
        seen = rows.found & np.isfinite(values).all(axis=1)
        for index, time in enumerate(rows.time.tolist()):
            row = values[index]
            state = self._seen(state, time, row) if seen[index] else self._missing(state, time, len(row))
            row[:] = state.shown
        self._state = replace(state, order=order)

    def _seen(self, state: _State, time: float, row: _Row) -> _State:
        back_at, surplus = state.back_at, state.surplus
        if state.missing:
            assert state.shown is not None
            back_at, surplus = time, state.shown - row
            if state.lost_at is None:
                surplus[-3:] = 0  # there was no place to come from
        shown = row.copy()
        if surplus is not None:
            remains = 1 - _progress(time - back_at, self._return)
            shown += remains * surplus
            surplus = surplus if remains > 0 else None
        return _State(state.order, shown, time, shown, False, back_at, surplus)

    def _missing(self, state: _State, time: float, channels: int) -> _State:
        if state.lost_at is None or state.held is None:
            return replace(state, shown=np.zeros(channels), missing=True)
        shown = state.held.copy()
        shown[:-3] *= 1 - _progress(time - state.lost_at - self._hold, self._ease)
        return replace(state, shown=shown, missing=True)

    def reset(self) -> None:
        """Forget everything: what follows is filtered as by a new filter."""
        self._state = None


def _progress(elapsed: float, duration: float) -> float:
    """How far an easing of `duration` seconds is after `elapsed`; one without duration is over at once."""
    if duration == 0:
        return 1.0 if elapsed >= 0 else 0.0
    return _ease(elapsed / duration)
