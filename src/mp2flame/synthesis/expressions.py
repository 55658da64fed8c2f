"""What a head's faces are drawn from: its named shapes in the combinations of faces, and its coefficients' own spread.

Letters: N frames, E expression coefficients, 52 blendshapes in ARKit's order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams
from mp2flame.errors import InputError
from mp2flame.geometry.face_regions import head_apertures, head_regions
from mp2flame.head import FlameHead
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.synthesis.collision import Contact
from mp2flame.synthesis.plausible import Plausible, plausible_shapes
from mp2flame.synthesis.sampling import NARROW, calm, sample_weights

__all__ = ["Drawer", "Faces", "live_coefficients"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_MOVES: Final = 1e-6
"""Metres that a vertex must move at one unit of a coefficient for the coefficient to count as one."""
_OWN: Final = 0.1
"""Share of faces of a head with shapes of its own that are drawn from the coefficients' own distribution, without named
shapes but with gaze, lids and jaw."""
_OWN_SPREAD: Final = (0.4, 1.0)
"""Least and largest standard deviation of the coefficients in those; each face has one of its own."""
_NOISE: Final = (0.02, 0.2)
"""The same of what is added to the head's own shapes elsewhere."""
_CHANCE: Final = (0.2, 0.8)
"""Of carried-over shapes, which are only roughly what faces do: the least and largest share of a coefficient's standard
deviation that is chance; each face has one of its own."""
_JAW_NOISE: Final = (0.010, 0.005, 0.002)
"""Standard deviation of what is added to the jaw, radians."""
_MANNER: Final = (0.2, 0.1)
"""How much people differ in how far each of their shapes goes, as the standard deviation of a logarithm: of shapes
carried over, and of the head's own."""
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
    moved = [np.abs(head(FlameParams.from_rows(row[None]))[0] - head.neutral_vertices).max() for row in units]
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
        return FlameParams.from_rows(self.values)


@dataclass(frozen=True, eq=False)
class _Recipe:
    """What N faces are made of."""

    weights: Float64
    """(N, 52)"""
    manner: Float64
    """(52,) how far this person goes in each shape."""
    share: Float64
    """(N, 1) what the shapes' expressions are multiplied by; jaw and eyes turn as they do."""
    extra: Float64
    """(N, E + 9) what comes on top."""

    def of(self, rows: NDArray[np.intp]) -> _Recipe:
        """Of some of the faces."""
        return _Recipe(self.weights[rows], self.manner, self.share[rows], self.extra[rows])


def _wide(expression: Float64) -> Float64:
    """(N, E + 9): expression, and rotations of zero."""
    return np.concatenate([expression, np.zeros((len(expression), N_ROTATIONS))], axis=1)


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
        joined = shapes.to_rows()
        kept = np.r_[0 : self.n_expression, joined.shape[1] - N_ROTATIONS : joined.shape[1]]
        self._shapes = joined[:, kept].astype(np.float64)
        self._plausible: Plausible | None = None
        if head.arrays.blendshapes is None:
            self._plausible = plausible_shapes(head, self._shapes)
            self._shapes[:, : self.n_expression] = self._plausible.expressions
        self._contact = Contact(head, shapes)
        self._gaps = head_apertures(head, head_regions(head))

    def draw(self, person: FlameHead, n: int, rng: np.random.Generator, wanted: Float64 | None = None) -> Faces:
        """Random faces of one person.

        Args:
            person: the head at their identity.
            n: how many.
            rng: draws them.
            wanted: (52,) how much more often than usual each shape shall come; None is as usual.
        """
        weights = sample_weights(n, rng, wanted).astype(np.float64)
        if self._plausible is None:
            recipe = self._of_own_shapes(weights, rng)
        else:
            recipe = self._of_carried_shapes(weights, self._plausible, rng)
        recipe.extra[:, self.n_expression : self.n_expression + 3] = rng.normal(size=(n, 3)) * _JAW_NOISE
        recipe = self._closed(person, recipe, rng.random(n) < _CLOSED)
        return self._apart(person, self._values(recipe).astype(np.float32), recipe.weights.astype(np.float32))

    def _of_own_shapes(self, weights: Float64, rng: np.random.Generator) -> _Recipe:
        n = len(weights)
        own = rng.random(n) < _OWN
        kept = np.array([name.startswith(_WITHOUT_SHAPES) for name in ARKIT])
        weights[np.ix_(own, ~kept)] = 0
        manner = np.exp(rng.normal(scale=_MANNER[1], size=len(ARKIT)))
        spread = np.where(own, rng.uniform(*_OWN_SPREAD, size=n), rng.uniform(*_NOISE, size=n))
        noise = rng.normal(size=(n, self.n_expression)) * spread[:, None]
        return _Recipe(weights, manner, np.ones((n, 1)), _wide(noise))

    def _of_carried_shapes(self, weights: Float64, plausible: Plausible, rng: np.random.Generator) -> _Recipe:
        manner = np.exp(rng.normal(scale=_MANNER[0], size=len(ARKIT)))
        share = np.sqrt(1 - rng.uniform(*_CHANCE, size=len(weights)) ** 2)
        weights, strength = calm(weights, rng)
        return _Recipe(weights, manner, share[:, None], _wide(strength * plausible.remainder(share, rng)))

    def _values(self, recipe: _Recipe) -> Float64:
        values: Float64 = (recipe.weights * recipe.manner) @ self._shapes
        values[:, : self.n_expression] *= recipe.share
        values += recipe.extra
        jaw = self.n_expression
        values[:, jaw] = np.maximum(values[:, jaw], 0)
        return values

    def _closed(self, person: FlameHead, recipe: _Recipe, closed: NDArray[np.bool_]) -> _Recipe:
        """Some open jaws are narrowed, and get as much of mouthClose as brings the lips together."""
        opened, close = ARKIT.index("jawOpen"), ARKIT.index("mouthClose")
        rows = np.flatnonzero(closed & (recipe.weights[:, opened] > 0.05) & (recipe.weights[:, close] == 0))
        if not len(rows):
            return recipe
        part = recipe.of(rows)
        part.weights[:, opened] *= NARROW
        without, full = part.weights.copy(), part.weights.copy()
        without[:, close], full[:, close] = 0, part.weights[:, opened]
        gaps = [
            self._gaps.lip_gap(person(FlameParams.from_rows(self._values(replace(part, weights=w))))).astype(np.float64)
            for w in (without, full)
        ]
        rest = float(self._gaps.lip_gap(person.neutral_vertices[None])[0])
        share = (gaps[0] - rest) / np.maximum(gaps[0] - gaps[1], 1e-4)
        changed: Float64 = recipe.weights.copy()
        changed[rows] = part.weights
        changed[rows, close] = np.clip(share, 0, 1.2) * part.weights[:, opened]
        return replace(recipe, weights=changed)

    def _apart(self, person: FlameHead, values: Float32, weights: Float32) -> Faces:
        """Faces that cut into themselves are made weaker until they do not."""
        face = self.n_expression + 3  # gaze stays
        rows = np.arange(len(values))
        for _ in range(_SHRINKS):
            rows = rows[self._contact.cuts(person, person(FlameParams.from_rows(values[rows])))]
            if not len(rows):
                break
            values[rows, :face] *= _SHRINK
            weights[rows] *= _SHRINK
        return Faces(values, weights)
