"""What a head's faces are drawn from: its named shapes in the combinations of faces, and its coefficients' own spread.

Letters: N frames, E expression coefficients, 52 blendshapes in ARKit's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.errors import InputError
from mp2flame.head import FlameHead
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.signals import FlameParams
from mp2flame.training.calibration.contact import Contact
from mp2flame.training.calibration.sampling import sample_weights
from mp2flame.training.gaps import head_gaps
from mp2flame.training.regions import head_regions
from mp2flame.training.surface import join, split

__all__ = ["Drawer", "Faces", "live_coefficients"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_MOVES: Final = 1e-6
"""Metres that a vertex must move at one unit of a coefficient for the coefficient to count as one."""
_OWN: Final = (0.6, 0.1)
"""Share of faces drawn from the coefficients' own distribution, without named shapes but with gaze, lids and jaw; of
shapes carried over, only how they turn eyes and jaw.

This and some settings below are pairs: for shapes carried over from another head, which are only roughly what faces do,
and for the head's own, which are known.
"""
_OWN_SPREAD: Final = (0.4, 1.0)
"""Least and largest standard deviation of the coefficients in those; each face has one of its own."""
_NOISE: Final = ((0.05, 0.6), (0.02, 0.2))
"""The same of what is added to the named shapes elsewhere; a pair."""
_JAW_NOISE: Final = (0.010, 0.005, 0.002)
"""The same for the jaw, radians."""
_MANNER: Final = (0.2, 0.1)
"""How much people differ in how far each of their shapes goes, as the standard deviation of a logarithm; a pair."""
_CLOSED: Final = 0.10
"""Share of open jaws whose lips meet all the same, as in m, b and p."""
_SHRINK: Final = 0.85
_SHRINKS: Final = 10
_WITHOUT_SHAPES: Final = ("eye", "jawOpen")
"""Beginnings of the shapes that faces of the coefficients' own distribution keep."""


def live_coefficients(head: FlameHead) -> int:
    """E', one more than the last expression coefficient that moves the head.

    Raises:
        InputError: none moves it.
    """
    e = head.n_expression
    units = np.concatenate([np.eye(e), np.zeros((e, N_ROTATIONS))], axis=1)
    moved = [np.abs(head(split(row[None]))[0] - head.neutral_vertices).max() for row in units]
    live = np.flatnonzero(np.array(moved) > _MOVES)
    if not len(live):
        raise InputError(
            f"expected a head whose expression components move it; this one ({head.version}) has {e} and none does: "
            "there is nothing to calibrate"
        )
    return int(live[-1]) + 1


@dataclass(frozen=True, eq=False)
class Faces:
    """N faces."""

    values: Float32
    """(N, E + 9) expression, jaw, left eye, right eye."""
    weights: Float32
    """(N, 52) how much of each named shape is in them."""

    @property
    def params(self) -> FlameParams:
        """As the noun."""
        return split(self.values)


class Drawer:
    """Draws faces that a head can make without cutting into itself.

    Args:
        head: the head.
        shapes: the parameters (52 rows) of ARKit's shapes on it, in ARKit's order.

    Raises:
        InputError: `shapes` has another number of rows, or no coefficient moves the head.
    """

    def __init__(self, head: FlameHead, shapes: FlameParams) -> None:
        if len(shapes) != len(ARKIT):
            raise InputError(f"expected {len(ARKIT)} shapes, one for each ARKit name; got {len(shapes)}")
        self.n_expression = live_coefficients(head)
        self._known = int(head.arrays.blendshapes is not None)
        joined = join(shapes)
        kept = np.r_[0 : self.n_expression, joined.shape[1] - N_ROTATIONS : joined.shape[1]]
        self._shapes = joined[:, kept].astype(np.float64)
        self._contact = Contact(head, shapes)
        self._gaps = head_gaps(head, head_regions(head))

    def draw(self, person: FlameHead, n: int, rng: np.random.Generator, wanted: Float64 | None = None) -> Faces:
        """Random faces of one person.

        Args:
            person: the head at their identity.
            n: how many.
            rng: draws them.
            wanted: (52,) how much more often than usual each shape shall come; None is as usual.
        """
        weights = sample_weights(n, rng, wanted).astype(np.float64)
        own = rng.random(n) < _OWN[self._known]
        kept = np.array([name.startswith(_WITHOUT_SHAPES) for name in ARKIT])
        weights[np.ix_(own, ~kept)] = 0
        manner = np.exp(rng.normal(scale=_MANNER[self._known], size=len(ARKIT)))
        spread = np.where(own, rng.uniform(*_OWN_SPREAD, size=n), rng.uniform(*_NOISE[self._known], size=n))
        noise = rng.normal(size=(n, self.n_expression)) * spread[:, None]
        jaw = rng.normal(size=(n, 3)) * _JAW_NOISE
        extra = np.concatenate([noise, jaw, np.zeros((n, 6))], axis=1)
        closed = rng.random(n) < _CLOSED
        if not self._known:
            # Carried-over shapes are rough; here the coefficients alone say what faces do.
            extra[own, : self.n_expression] -= (weights[own] * manner) @ self._shapes[:, : self.n_expression]
            closed &= ~own
        weights = self._closed(person, weights, manner, extra, closed)
        values = self._values(weights, manner, extra)
        return self._apart(person, values.astype(np.float32), weights.astype(np.float32))

    def _values(self, weights: Float64, manner: Float64, extra: Float64) -> Float64:
        values: Float64 = (weights * manner) @ self._shapes + extra
        jaw = self.n_expression
        values[:, jaw] = np.maximum(values[:, jaw], 0)
        return values

    def _closed(
        self, person: FlameHead, weights: Float64, manner: Float64, extra: Float64, closed: NDArray[np.bool_]
    ) -> Float64:
        """Open jaws get as much of mouthClose as brings the lips together."""
        opened, close = ARKIT.index("jawOpen"), ARKIT.index("mouthClose")
        rows = np.flatnonzero(closed & (weights[:, opened] > 0.05))
        if not len(rows):
            return weights
        without, full = weights[rows].copy(), weights[rows].copy()
        without[:, close], full[:, close] = 0, weights[rows, opened]
        gaps = [
            self._gaps.lip_gap(person(split(self._values(w, manner, extra[rows])))).astype(np.float64)
            for w in (without, full)
        ]
        rest = float(self._gaps.lip_gap(person.neutral_vertices[None])[0])
        share = (gaps[0] - rest) / np.maximum(gaps[0] - gaps[1], 1e-4)
        changed: Float64 = weights.copy()
        changed[rows, close] = np.clip(share, 0, 1.2) * weights[rows, opened]
        return changed

    def _apart(self, person: FlameHead, values: Float32, weights: Float32) -> Faces:
        """Faces that cut into themselves are made weaker until they do not."""
        face = self.n_expression + 3  # gaze stays
        rows = np.arange(len(values))
        for _ in range(_SHRINKS):
            rows = rows[self._contact.cuts(person, person(split(values[rows])))]
            if not len(rows):
                break
            values[rows, :face] *= _SHRINK
            weights[rows] *= _SHRINK
        return Faces(values, weights)
