"""A check that scores are in the order, and in the unit, that they are said to be in."""

from __future__ import annotations

from typing import Final

import numpy as np

from mp2flame.blendshapes import MEDIAPIPE, ORDERS
from mp2flame.data import SCORE_LIMIT
from mp2flame.dataset.table import FrameTable
from mp2flame.errors import InputError

_FIRST_MEAN = 0.02
"""MediaPipe's `_neutral`, the first score, hardly ever rises above a few hundredths; nor does the last one."""
_LAST_MEAN = 0.2
_MIN_FRAMES = 50
_MIN_SPREAD = 0.01
"""Radians, standard deviation, below which an angle carries no information."""
_DOUBTFUL, _CLEARER = 0.25, 0.2
"""Mean correlation below which an order is doubtful, and by how much more another order must have."""

_ANGLES: Final = (
    ("jawOpen", 0, 1),
    *((f"eyeLookDown{side}", column, 1) for side, column in (("Left", 1), ("Right", 3))),
    *((f"eyeLookUp{side}", column, -1) for side, column in (("Left", 1), ("Right", 3))),
    *(("eyeLookOutLeft", 2, 1), ("eyeLookInLeft", 2, -1), ("eyeLookInRight", 4, 1), ("eyeLookOutRight", 4, -1)),
)
"""Scores that follow an angle: its column among jaw x, left eye x and y, right eye x and y, and its sign in FLAME."""
_LATE: Final = "one place late"
_CANDIDATES: Final = {name: ORDERS[name] for name in ("mediapipe", "arkit", "lam")} | {_LATE: ("", *MEDIAPIPE[:-1])}
"""Orders that the correlations can distinguish; Live Link's differs from Apple's in sideways jaw and mouth alone."""


class OrderCheck:
    """Adds up the correlations of scores with the angles of jaw and eyes, and compares orders by them."""

    def __init__(self) -> None:
        self._count = 0
        # Of scores and angles together: sums, and sums of products.
        self._sums = np.zeros(len(MEDIAPIPE) + 5)
        self._products = np.zeros((len(self._sums), len(self._sums)))

    def add(self, rows: FrameTable) -> None:
        """Add frames of one subject.

        Raises:
            InputError: scores are not about 0..1.
        """
        moving = rows[np.flatnonzero(rows.usable & ~rows.neutral)]
        scores, jaw, eyes = (moving.columns[name] for name in ("scores", "jaw", "eyes"))
        if len(moving) and np.abs(scores).max() > SCORE_LIMIT:
            raise InputError(
                f"expected scores about 0..1; got {np.abs(scores).max():.4g} for subject {rows.subject}: "
                "divide percentages by 100"
            )
        both = np.concatenate([scores, jaw[:, :1], eyes[:, :2], eyes[:, 3:5]], axis=1, dtype=np.float64)
        self._sums += both.sum(axis=0)
        self._products += both.T @ both
        self._count += len(moving)

    def check(self) -> None:
        """Compare the orders.

        Raises:
            InputError: the scores cannot be MediaPipe's in MediaPipe's order.
        """
        if self._count < _MIN_FRAMES:
            return
        n = len(MEDIAPIPE)
        mean = self._sums / self._count
        remedy = "state their order with --order (arkit, livelink-csv, lam, beat)"
        for row, limit, behavior in ((0, _FIRST_MEAN, "is near 0"), (n - 1, _LAST_MEAN, "hardly ever fires")):
            if mean[row] > limit:
                raise InputError(
                    f"score {row} is {mean[row]:.2f} on average; in MediaPipe's order it is {MEDIAPIPE[row]}, which "
                    f"{behavior}: {remedy}"
                )
        covariance = self._products / self._count - np.outer(mean, mean)
        deviation = np.sqrt(np.maximum(covariance.diagonal(), 1e-12))
        correlation = covariance[:n, n:] / np.outer(deviation[:n], deviation[n:])
        moving = [(name, column, sign) for name, column, sign in _ANGLES if deviation[n + column] > _MIN_SPREAD]
        if not moving:
            return
        agreement = {
            order: float(np.mean([sign * correlation[names.index(name), column] for name, column, sign in moving]))
            for order, names in _CANDIDATES.items()
        }
        stated, best = agreement["mediapipe"], max(agreement, key=lambda order: agreement[order])
        if stated >= _DOUBTFUL or agreement[best] < stated + _CLEARER:
            return
        finding = (
            f"the angles of jaw and eyes correlate with their scores by {stated:.2f} on average in MediaPipe's order, "
            f"by {agreement[best]:.2f}"
        )
        if best == _LATE:
            raise InputError(
                f"{finding} if each were one column earlier: leave out the first column, which is no score"
            )
        raise InputError(f"{finding} in {best!r} order: {remedy}")
