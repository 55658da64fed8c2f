"""What a face can do: jaw and eyes kept within anatomical limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from mp2flame.filters.base import Filter
from mp2flame.filters.rows import Order
from mp2flame.filters.settings import check_settings
from mp2flame.signals import FlameParams

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
        self._jaw = (
            np.array([0.0, -jaw_side, -jaw_side], dtype=np.float32),
            np.array([jaw_open, jaw_side, jaw_side], dtype=np.float32),
        )
        eye = np.array([*np.radians([gaze_vertical, gaze_horizontal]), _EYE_ROLL], dtype=np.float32)
        self._eye = (-eye, eye)
        self._order: Order | None = None

    def __call__(self, params: FlameParams) -> FlameParams:
        """Clip N frames; rows of NaN stay NaN.

        Raises:
            InputError: time runs backwards, or the number of coefficients changed since the last call.
        """
        self._order = Order.after(self._order, params)
        return replace(
            params,
            jaw_pose=np.clip(params.jaw_pose, *self._jaw),
            leye_pose=np.clip(params.leye_pose, *self._eye),
            reye_pose=np.clip(params.reye_pose, *self._eye),
        )

    def reset(self) -> None:
        """Forget the time of the last frame."""
        self._order = None
