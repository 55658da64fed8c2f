"""Where brows and hair grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BROW_ENDS = (0.012, 0.056)
"""Where a brow begins and ends, meters from the middle of the face."""

# The hair's edge from the nape over the temples to the forehead: how far before the eyes, and how far above them.
_EDGE_Z = (-0.086, -0.080, -0.062, -0.044, -0.028, -0.012, 0.002)
_EDGE_Y = (-0.080, -0.036, -0.002, 0.024, 0.042, 0.056, 0.064)


def brow_distance(x: NDArray[np.float64], above_eye: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far points are from the middle of a brow, in half widths of it.

    Args:
        x: (V,) meters from the middle of the face.
        above_eye: (V,) meters above the middle of the eyes.
    """
    along = np.clip((x - BROW_ENDS[0]) / (BROW_ENDS[1] - BROW_ENDS[0]), 0, 1)
    middle = 0.0130 + 0.0056 * np.sin(np.pi * along**1.2 * 0.82)
    half = 0.0046 * (1 - 0.62 * along**2)
    beyond = np.maximum(np.maximum(BROW_ENDS[0] - x, x - BROW_ENDS[1]), 0)
    return np.asarray(np.hypot(above_eye - middle, beyond) / half)


def hair_cover(above_eye: NDArray[np.float64], before_eye: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of the skin is under short hair, 0..1, wherever there is scalp.

    Args:
        above_eye: (V,) meters above the middle of the eyes.
        before_eye: (V,) meters in front of it.
    """
    edge = np.interp(before_eye, _EDGE_Z, _EDGE_Y)
    share = np.clip((above_eye - edge) / 0.009 + 0.5, 0, 1)
    return np.asarray(share * share * (3 - 2 * share))
