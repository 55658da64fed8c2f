"""Anatomical limits of the jaw and the eyes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from typing_extensions import override

from mp2flame.data import VECTORS
from mp2flame.filters.base import ChannelArray, Filter, check_settings

_EYE_ROLL: Final = 0.1
"""Radians; the eyes turn about their own axis by little, and nothing that is measured here tells how much."""


@dataclass(kw_only=True, eq=False)
class Limits(Filter):
    """Clips the jaw and the eyes; everything else passes. Rows of NaN stay NaN.

    Raises:
        InputError: a limit is not a positive number.
    """

    jaw_open: float = 0.6
    """Largest jaw x, radians; the smallest is 0, as teeth meet there."""
    jaw_side: float = 0.25
    """Largest size of jaw y and z, radians."""
    gaze_vertical: float = 25.0
    """Largest size of eye x, degrees."""
    gaze_horizontal: float = 35.0
    """Largest size of eye y, degrees."""

    def __post_init__(self) -> None:
        check_settings(self)
        jaw = [self.jaw_open, self.jaw_side, self.jaw_side]
        eye = [*np.radians([self.gaze_vertical, self.gaze_horizontal]), _EYE_ROLL]
        largest = {"jaw_pose": jaw, "leye_pose": eye, "reye_pose": eye}
        self._largest = np.array([largest.get(name, [np.inf] * 3) for name in VECTORS]).ravel()
        self._smallest = -self._largest
        self._smallest[3 * VECTORS.index("jaw_pose")] = 0.0

    @override
    def _apply(self, channels: ChannelArray) -> None:
        vectors = channels.values[:, channels.n_expression :]
        np.clip(vectors, self._smallest, self._largest, out=vectors)
