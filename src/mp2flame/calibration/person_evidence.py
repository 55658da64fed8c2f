"""What frames of a person tell about the scale of each score: left against right, and how far it goes from rest."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.data import N_SCORES
from mp2flame.mapping.person import PAIRED

__all__ = ["REACH_PERCENTILE", "reach_of", "side_balance"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

REACH_PERCENTILE: Final = 98
"""Higher than nearly all of a minute, yet some thirty frames of it lie above: one bad frame moves nothing."""

_MIRROR = mirror_permutation(MEDIAPIPE)
# What a face does and holds is seen once, however many frames it fills; a look is the strongest frame of this long.
_LOOK_SECONDS = 0.5

# Chosen by errors on people that mappings were not fitted on, see docs/personal.md.
_FIRES = 0.05
_ENOUGH_LOOKS = 2.0
_NATURAL = 0.15
_LARGEST = 1.8


def reach_of(relative: Float32) -> Float32:
    """(52,) how far each score goes from rest, from scores relative to rest (N, 52); never negative."""
    reach: Float32 = np.maximum(np.percentile(relative, REACH_PERCENTILE, axis=0), 0).astype(np.float32)
    return reach


def _looks(level: Float64, time: Float64) -> NDArray[np.intp]:
    """Of each half second, or part of one, in which `level` (N,) is up: the frame where it is highest."""
    rows = np.flatnonzero(level > _FIRES)
    if not len(rows):
        return rows
    slot = np.floor(time[rows] / _LOOK_SECONDS)
    starts = np.flatnonzero(np.r_[True, (np.diff(rows) > 1) | (np.diff(slot) != 0)])
    return np.array([part[np.argmax(level[part])] for part in np.split(rows, starts[1:])])


def side_balance(relative: Float32, time: Float64) -> Float32:
    """What makes left and right equally strong, from moments in which both sides move together.

    For each pair of scores the line through the origin that fits left against right best, in the total least squares
    sense (Deming's regression through the origin). Its slope is believed by how well the two follow each other (the
    fourth power of their cosine) and by how often they were seen to; small differences, such as between people's two
    sides by nature, are left as they are, and large ones hardly shrunk (the non-negative garrote, Breiman 1995).

    Args:
        relative: (N, 52) scores relative to rest.
        time: (N,) seconds.

    Returns:
        (52,) natural logarithms of factors; the two of a pair add up to zero.
    """
    balance = np.zeros(N_SCORES, dtype=np.float32)
    for left in np.flatnonzero(PAIRED & (np.arange(N_SCORES) < _MIRROR)):
        right = _MIRROR[left]
        both = relative[:, [left, right]].astype(np.float64)
        both = both[_looks(both.max(axis=1), time)]
        (a, shared), (_, b) = both.T @ both
        if shared <= 0:
            continue
        angle = 0.5 * np.arctan2(2 * shared, a - b)
        ratio = float(np.clip(np.log(np.tan(angle)), -_LARGEST, _LARGEST))
        together = (shared / np.sqrt(a * b)) ** 4
        seen = len(both) / (len(both) + _ENOUGH_LOOKS)
        odd = max(0.0, 1 - (_NATURAL / max(abs(ratio), 1e-9)) ** 2)
        balance[left] = 0.5 * ratio * odd * together * seen
        balance[right] = -balance[left]
    return balance
