"""Signs that scores are not in the order that they are said to be in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.errors import InputError
from mp2flame.training.gaps import Gaps, head_gaps
from mp2flame.training.regions import head_regions
from mp2flame.training.rows import Rows
from mp2flame.training.surface import split

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["OrderCheck"]

# MediaPipe's `_neutral` and noseSneerRight hardly ever rise above a few hundredths.
_FIRST_MEAN = 0.02
_LAST_MEAN = 0.2
_ENOUGH_FRAMES = 50
_LID_FRAMES = 400
_BLINKS = ("eyeBlinkLeft", "eyeBlinkRight")


class OrderCheck:
    """Looks at scores as they pass by, and says whether they can be in MediaPipe's order.

    Args:
        head: the head that the parameters are for; with it, blinks are compared with the true lids.
    """

    def __init__(self, head: FlameHead | None) -> None:
        self._head = head
        self._gaps: Gaps | None = None if head is None else head_gaps(head, head_regions(head))
        self._sum = np.zeros(len(MEDIAPIPE))
        self._count = 0
        self._lids: list[NDArray[np.float32]] = []
        self._blinks: list[NDArray[np.float32]] = []

    def add(self, rows: Rows) -> None:
        """Take in frames of one subject."""
        good = np.flatnonzero(rows.usable & ~rows.rest)
        scores = rows.columns["scores"][good]
        self._sum += scores.sum(axis=0, dtype=np.float64)
        self._count += len(good)
        if self._head is None or self._gaps is None or not len(good):
            return
        if sum(len(part) for part in self._lids) < _LID_FRAMES:
            some = good[:: max(1, len(good) // 100)][:100]
            self._lids.append(self._gaps.lid_gaps(self._head(split(rows.joined[some]))))
            self._blinks.append(rows.columns["scores"][some][:, [MEDIAPIPE.index(name) for name in _BLINKS]])

    def check(self) -> None:
        """Say what is wrong.

        Raises:
            InputError: the scores cannot be MediaPipe's in MediaPipe's order.
        """
        if self._count < _ENOUGH_FRAMES:
            return
        mean = self._sum / self._count
        remedy = "state the order that they are really in with --order (arkit, livelink-csv, lam, beat)"
        if mean[0] > _FIRST_MEAN:
            raise InputError(
                f"the first score is {mean[0]:.2f} on average; in MediaPipe's order it is `_neutral`, which is near 0: "
                f"{remedy}"
            )
        if mean[-1] > _LAST_MEAN:
            raise InputError(
                f"the last score is {mean[-1]:.2f} on average; in MediaPipe's order it is {MEDIAPIPE[-1]}, which "
                f"hardly ever fires: {remedy}"
            )
        if self._lids:
            self._check_lids(remedy)

    def _check_lids(self, remedy: str) -> None:
        lids, blinks = np.concatenate(self._lids), np.concatenate(self._blinks)
        if min(lids.std(axis=0).min() * 1000, blinks.std(axis=0).min() * 50) < 0.5 or len(lids) < _ENOUGH_FRAMES:
            return
        together = [float(np.corrcoef(lids[:, side], blinks[:, side])[0, 1]) for side in range(2)]
        if max(together) > 0.1:
            raise InputError(
                f"the lids do not close when eyeBlink rises (correlation {max(together):.2f}, expected well below 0): "
                f"the scores are in another order, {remedy}, or left and right are exchanged"
            )
