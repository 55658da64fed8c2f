"""What a face can do: jaw and eyes kept within anatomical limits."""

from __future__ import annotations

from typing import Final

import numpy as np

from mp2flame.filters.base import Filter
from mp2flame.filters.rows import VECTORS, Order, Rows
from mp2flame.filters.settings import check_settings

__all__ = ["Limits"]

_EYE_ROLL: Final = 0.1
"""Radians; the eyes turn about their own axis by little, and nothing that is measured here tells how much."""


class Limits(Filter):
    """Clips the jaw and the eyes; everything else passes.

    Args:
        jaw_open: largest jaw x, radians; the smallest is 0, as teeth meet there.
        jaw_side: largest size of jaw y and z, radians.
        gaze_vertical: largest size of eye x, degrees.
        gaze_horizontal: largest size of eye y, degrees.

    Raises:
        InputError: a limit is not a positive number.
    """

    def __init__(
        self,
        *,
        jaw_open: float = 0.6,
        jaw_side: float = 0.25,
        gaze_vertical: float = 25.0,
        gaze_horizontal: float = 35.0,
    ) -> None:
        limits = {
            "jaw_open": jaw_open,
            "jaw_side": jaw_side,
            "gaze_vertical": gaze_vertical,
            "gaze_horizontal": gaze_horizontal,
        }
        check_settings(limits)
        jaw = [jaw_open, jaw_side, jaw_side]
        eye = [*np.radians([gaze_vertical, gaze_horizontal]), _EYE_ROLL]
        most = {"jaw_pose": jaw, "leye_pose": eye, "reye_pose": eye}
        self._most = np.array([most.get(name, [np.inf] * 3) for name in VECTORS]).ravel()
        self._least = -self._most
        self._least[3 * VECTORS.index("jaw_pose")] = 0.0
        self._order: Order | None = None

    def step(self, rows: Rows) -> None:
        """Clip N frames where they are; rows of NaN stay NaN.

        Raises:
            InputError: time runs backwards, or the number of coefficients changed since the last call.
        """
        self._order = Order.after(self._order, rows)
        vectors = rows.values[:, rows.n_expression :]
        np.clip(vectors, self._least, self._most, out=vectors)

    def reset(self) -> None:
        """Forget the time of the last frame."""
        self._order = None
