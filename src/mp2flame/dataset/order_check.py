"""Signs that scores are not in the order, or the unit, that they are said to be in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE, ORDERS
from mp2flame.data import SCORE_LIMIT, FlameParams
from mp2flame.dataset.table import FrameTable
from mp2flame.errors import InputError
from mp2flame.geometry.face_regions import Apertures, head_apertures, head_regions

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["OrderCheck"]

# MediaPipe's `_neutral` and noseSneerRight hardly ever rise above a few hundredths.
_FIRST_MEAN = 0.02
_LAST_MEAN = 0.2
_ENOUGH_FRAMES = 50
_LID_FRAMES = 400
_BLINKS = ("eyeBlinkLeft", "eyeBlinkRight")

_FOLLOWED = (
    ("jawOpen", 0, 1),
    *((f"eyeLookDown{side}", column, 1) for side, column in (("Left", 1), ("Right", 3))),
    *((f"eyeLookUp{side}", column, -1) for side, column in (("Left", 1), ("Right", 3))),
    *(("eyeLookOutLeft", 2, 1), ("eyeLookInLeft", 2, -1), ("eyeLookInRight", 4, 1), ("eyeLookOutRight", 4, -1)),
)
"""Scores that jaw and eyes follow: the angle's column in `_angles`, and its sign in FLAME."""
_N_ANGLES = 5
_LATE = "one place late"
_CANDIDATES = {name: ORDERS[name] for name in ("mediapipe", "arkit", "lam")} | {_LATE: ("", *MEDIAPIPE[:-1])}
"""Orders that are told apart by them; Live Link's table differs from Apple's in jaw and mouth to the side alone."""
_STILL = 0.01
"""Radians, standard deviation, below which an angle tells nothing."""
_DOUBTED, _CLEARER = 0.25, 0.2
"""Mean correlation below which an order is doubted, and by how much more another must have."""


class OrderCheck:
    """Looks at scores as they pass by, and says whether they can be in MediaPipe's order.

    Args:
        head: the head that the parameters are for; with it, blinks are compared with the true lids.
    """

    def __init__(self, head: FlameHead | None) -> None:
        self._head = head
        self._gaps: Apertures | None = None if head is None else head_apertures(head, head_regions(head))
        self._count = 0
        # Of scores and angles together: sums, and sums of products.
        self._sums = np.zeros(len(MEDIAPIPE) + _N_ANGLES)
        self._products = np.zeros((len(self._sums), len(self._sums)))
        self._lids: list[NDArray[np.float32]] = []
        self._blinks: list[NDArray[np.float32]] = []

    def add(self, rows: FrameTable) -> None:
        """Take in frames of one subject.

        Raises:
            InputError: scores are not about 0..1.
        """
        good = np.flatnonzero(rows.usable & ~rows.neutral)
        scores = rows.columns["scores"][good]
        if len(good) and np.abs(scores).max() > SCORE_LIMIT:
            raise InputError(
                f"expected scores about 0..1; got {np.abs(scores).max():.4g} for subject {rows.subject}: "
                "divide percentages by 100"
            )
        both = np.concatenate([scores, _angles(rows)[good]], axis=1, dtype=np.float64)
        self._sums += both.sum(axis=0)
        self._products += both.T @ both
        self._count += len(good)
        if self._head is None or self._gaps is None or not len(good):
            return
        if sum(len(part) for part in self._lids) < _LID_FRAMES:
            some = good[:: max(1, len(good) // 100)][:100]
            self._lids.append(self._gaps.lid_gaps(self._head(FlameParams.from_rows(rows.parameters[some]))))
            self._blinks.append(rows.columns["scores"][some][:, [MEDIAPIPE.index(name) for name in _BLINKS]])

    def check(self) -> None:
        """Say what is wrong.

        Raises:
            InputError: the scores cannot be MediaPipe's in MediaPipe's order.
        """
        if self._count < _ENOUGH_FRAMES:
            return
        mean = self._sums[: len(MEDIAPIPE)] / self._count
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
        self._check_followed(remedy)
        if self._lids:
            self._check_lids(remedy)

    def _check_followed(self, remedy: str) -> None:
        """Jaw and eyes go with the scores that name them, if these are where they are looked for."""
        n = len(MEDIAPIPE)
        mean = self._sums / self._count
        covariance = self._products / self._count - np.outer(mean, mean)
        deviation = np.sqrt(np.maximum(covariance.diagonal(), 1e-12))
        together = covariance[:n, n:] / np.outer(deviation[:n], deviation[n:])
        moving = [(name, column, sign) for name, column, sign in _FOLLOWED if deviation[n + column] > _STILL]
        if not moving:
            return
        agreement = {
            order: float(np.mean([sign * together[names.index(name), column] for name, column, sign in moving]))
            for order, names in _CANDIDATES.items()
        }
        stated, best = agreement["mediapipe"], max(agreement, key=lambda order: agreement[order])
        if stated >= _DOUBTED or agreement[best] < stated + _CLEARER:
            return
        seen = (
            f"jaw and eyes follow the scores by {stated:.2f} on average in MediaPipe's order, by {agreement[best]:.2f}"
        )
        if best == _LATE:
            raise InputError(f"{seen} if each were one column earlier: leave out the first column, which is no score's")
        raise InputError(f"{seen} in {best!r} order: {remedy}")

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


def _angles(rows: FrameTable) -> NDArray[np.float32]:
    """(N, 5) radians: the jaw's opening, each eye's down and to the subject's left."""
    jaw, eyes = rows.columns["jaw"], rows.columns["eyes"]
    return np.concatenate([jaw[:, :1], eyes[:, :2], eyes[:, 3:5]], axis=1)
