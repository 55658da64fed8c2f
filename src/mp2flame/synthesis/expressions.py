"""Random expressions: of a head's ARKit shapes, as faces combine them, and of its coefficients alone.

Letters: N faces, E expression coefficients, 52 blendshapes in ARKit's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams
from mp2flame.errors import InputError
from mp2flame.geometry.face_regions import head_regions
from mp2flame.geometry.symmetry import head_jacobian
from mp2flame.head import FlameHead
from mp2flame.mapping.linear import N_ROTATIONS

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


# --- weights of the named shapes ------------------------------------------------------------------------------------

_COLUMN: Final = {name: index for index, name in enumerate(ARKIT)}
# (shapes without their side, probability that one of them is active, probability that it is active on one side only).
_GROUPS: Final[tuple[tuple[tuple[str, ...], float, float], ...]] = (
    (("mouthSmile", "mouthFrown", "mouthStretch", "mouthDimple", "mouthPress"), 0.50, 0.20),
    (
        ("mouthPucker", "mouthFunnel", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
        0.35,
        0.0,
    ),
    (("mouthUpperUp", "mouthLowerDown"), 0.25, 0.15),
    (("jawOpen",), 0.45, 0.0),
    (("mouthLeft", "mouthRight", "jawLeft", "jawRight", "jawForward"), 0.20, 0.0),
    (("browDown", "browInnerUp", "browOuterUp"), 0.50, 0.10),
    (("eyeBlink",), 0.30, 0.12),
    (("eyeSquint", "eyeWide"), 0.25, 0.10),
    (("cheekPuff", "cheekSquint", "noseSneer"), 0.20, 0.15),
)
_NEUTRAL: Final = 0.06
"""Fraction of faces that are neutral."""
_CLOSED_JAW: Final = 0.35
"""Factor on an open jaw behind closed lips. Scores tell nothing of a jaw that opens wide behind closed lips, and such
faces would teach a regression to underestimate every open jaw."""
_SPARSE: Final = 0.4
"""Fraction of attenuated faces that keep one or two shapes only."""
_MAX_STRENGTH: Final = 1.5
"""The strength of attenuated faces is uniform from 0 to this."""
_IS_EYE: Final = np.array([name.startswith("eye") for name in ARKIT])


def sample_weights(n: int, rng: np.random.Generator) -> Float32:
    """Weights (n, 52) of random faces in ARKit's order, 0..1.

    Shapes that act together are drawn in groups: one of the smiles, frowns and stretches, mostly on both sides; lips;
    jaw; brows; lids; the gaze of both eyes together. mouthClose comes only with a slightly open jaw, as ARKit defines
    it. A few faces are neutral.
    """
    weights = np.zeros((n, len(ARKIT)), dtype=np.float32)
    for row in weights:
        if rng.random() < _NEUTRAL:
            continue
        for shapes, probability, one_sided in _GROUPS:
            if rng.random() < probability:
                _activate(row, shapes, one_sided, rng)
        if rng.random() < 0.7:
            _turn_eyes(row, rng)
        if row[_COLUMN["jawOpen"]] > 0 and rng.random() < 0.1:
            row[_COLUMN["jawOpen"]] *= _CLOSED_JAW
            row[_COLUMN["mouthClose"]] = row[_COLUMN["jawOpen"]] * rng.uniform(0.3, 1.0)
    return weights


def _activate(row: Float32, shapes: tuple[str, ...], one_sided: float, rng: np.random.Generator) -> None:
    shape = shapes[int(rng.random() * len(shapes))]
    names = [name for name in (shape, f"{shape}Left", f"{shape}Right") if name in _COLUMN]
    # Half of all blinks close the lids fully; everything else comes at any strength.
    full_blink = shapes == ("eyeBlink",) and rng.random() < 0.5
    strength = rng.uniform(0.85, 1.0) if full_blink else rng.beta(1.0, 1.2)
    # jawLeft and mouthLeft end in a side too, but are directions, and come alone.
    if len(names) == 2 and rng.random() < one_sided:
        names = [names[rng.integers(2)]]
    for name in names:
        row[_COLUMN[name]] = np.clip(strength * (1 + 0.12 * rng.standard_normal()), 0, 1)


def _turn_eyes(row: Float32, rng: np.random.Generator) -> None:
    """Both eyes look the same way; they reach farther sideways than up and down."""
    left, up = np.clip(rng.normal(scale=(0.45, 0.35)), -1, 1)
    to_left, to_right = ("eyeLookOutLeft", "eyeLookInRight"), ("eyeLookInLeft", "eyeLookOutRight")
    for name in to_left if left > 0 else to_right:
        row[_COLUMN[name]] = abs(left)
    for side in ("Left", "Right"):
        row[_COLUMN[f"eyeLook{'Up' if up > 0 else 'Down'}{side}"]] = abs(up)


def attenuate(weights: NDArray[np.floating], rng: np.random.Generator) -> tuple[Float64, Float64]:
    """Faces as in videos: of every strength between neutral and lively, and often with few shapes at once.

    A regression that is fitted on lively faces alone reads motion into what light, head turns and MediaPipe's noise do
    to a calm face. Lids and gaze keep their strength, because calm faces blink and look around, too.

    Args:
        weights: (N, 52) of lively faces.
        rng: draws.

    Returns:
        (N, 52) weights, and (N, 1) the strength of each face.
    """
    strength = rng.uniform(0, _MAX_STRENGTH, size=(len(weights), 1))
    result = weights.astype(np.float64)
    for number in np.flatnonzero(rng.random(len(result)) < _SPARSE):
        _keep_few(result[number], rng)
    result[:, ~_IS_EYE] *= strength
    return result, strength


def _keep_few(row: Float64, rng: np.random.Generator) -> None:
    """Keep one or two of the active shapes, with both of their sides."""
    active = np.flatnonzero((row > 0) & ~_IS_EYE)
    shapes = [ARKIT[column].removesuffix("Left").removesuffix("Right") for column in active]
    if len(set(shapes)) > 1:
        kept = rng.choice(sorted(set(shapes)), size=rng.integers(1, 3), replace=False)
        row[active[~np.isin(shapes, kept)]] = 0


# --- shapes carried over from another head --------------------------------------------------------------------------

_GEOMETRY_ERROR: Final = 3e-4
"""Meters, root mean square over the face, by which carried-over shapes may be off."""
_N_WHITENING: Final = 20_000
_TURNS_JAW: Final = 0.02
"""Radians of the jaw above which a shape counts as one that turns the jaw."""
_MIN_VARIANCE: Final = 1e-3
"""In a direction in which faces drawn from the shapes have this variance, half of unit variance remains."""


@dataclass(frozen=True, eq=False)
class WhitenedShapes:
    """Shapes whose random combinations have coefficients of at most unit variance, and what is missing to that."""

    expressions: Float64
    """(52, E) of the shapes at weight 1."""
    directions: Float64
    """(E, E) orthonormal rows."""
    variance: Float64
    """(E,) along each direction, of faces drawn from the shapes alone, 0..1."""

    def remainder(self, gain: Float64, rng: np.random.Generator) -> Float64:
        """(N, E) random coefficients that fill the variance up to one.

        They do not depend on the signs of the directions, nor on how directions of equal variance are rotated, which
        linear algebra libraries choose freely.

        Args:
            gain: (N,) factor on the shapes in each face, 0..1.
            rng: draws them.
        """
        std = np.sqrt(1 - gain[:, None] ** 2 * self.variance)
        result: Float64 = ((rng.normal(size=std.shape) @ self.directions.T) * std) @ self.directions
        return result


def whiten_shapes(head: FlameHead, shapes: Float64) -> WhitenedShapes:
    """Bring carried-over shapes to the convention of FLAME's coefficients: uncorrelated, of unit variance over faces.

    Geometry alone may ask for forty standard deviations of a component that hardly moves the skin, and moves another
    one a third as far as faces do. First each shape becomes the maximum a posteriori expression that moves the face as
    the shape does, with a standard normal prior (ridge regression). Then all are multiplied by the inverse square root
    of the covariance that coefficients have in faces of `sample_weights`: zero-phase (ZCA) whitening, damped in
    directions that the shapes hardly have. Shapes that turn the jaw are not whitened: the angle gives their size.

    Args:
        head: the head.
        shapes: (52, E + 9) ARKit's shapes at weight 1.
    """
    e = shapes.shape[1] - N_ROTATIONS
    fixed_jaw = np.abs(shapes[:, e : e + 3]).max(axis=1) < _TURNS_JAW
    moves = head_jacobian(head)[:e, head_regions(head)["face"]].astype(np.float64)
    gram = np.einsum("ivc,jvc->ij", moves, moves) / moves.shape[1]
    likeliest = np.linalg.solve(gram + _GEOMETRY_ERROR**2 * np.eye(e), gram @ shapes[:, :e].T).T
    weights = sample_weights(_N_WHITENING, np.random.default_rng(0))[:, fixed_jaw].astype(np.float64)
    values, vectors = np.linalg.eigh(likeliest[fixed_jaw].T @ np.cov(weights.T) @ likeliest[fixed_jaw])
    values = np.maximum(values, 0)
    expressions = likeliest.copy()
    expressions[fixed_jaw] = (likeliest[fixed_jaw] @ vectors / np.sqrt(values + _MIN_VARIANCE)) @ vectors.T
    return WhitenedShapes(expressions, vectors.T, values / (values + _MIN_VARIANCE))


# --- the sampler ----------------------------------------------------------------------------------------------------

_MIN_MOVEMENT: Final = 1e-6
"""Meters that a vertex must move with one unit of a coefficient for the coefficient to count."""
_COEFFICIENTS_ONLY: Final = 0.1
"""Fraction of faces of a head with shapes of its own that are drawn from the coefficients' own distribution, with gaze,
lids and jaw but without other shapes."""
_COEFFICIENT_STD: Final = (0.4, 1.0)
"""Least and largest standard deviation of the coefficients in those faces; each face has one of its own."""
_NOISE_STD: Final = (0.02, 0.2)
"""The same of the noise that is added to faces of the head's own shapes."""
_RANDOM_FRACTION: Final = (0.2, 0.8)
"""Least and largest fraction of a coefficient's standard deviation that is random in faces of carried-over shapes,
which are only roughly what faces do; each face has one of its own."""
_JAW_STD: Final = (0.010, 0.005, 0.002)
"""Standard deviation of the noise that is added to the jaw, radians."""
_GAIN_STD: Final = {"own": 0.1, "carried over": 0.2}
"""Standard deviation of the logarithm of a subject's gain on each shape."""
_KEPT_SHAPES: Final = np.array([name.startswith(("eye", "jawOpen")) for name in ARKIT])


@dataclass(frozen=True, eq=False)
class Faces:
    """N random faces of one subject."""

    params: FlameParams
    weights: Float64
    """(N, 52) of the shapes in them."""


def n_sampled_expression(head: FlameHead) -> int:
    """The number of expression coefficients that are drawn: those up to the last one that moves the head.

    Raises:
        InputError: none moves it.
    """
    moved = np.abs(head.arrays.shapedirs[:, :, head.n_shape :]).max(axis=(0, 1), initial=0.0)
    active = np.flatnonzero(moved > _MIN_MOVEMENT)
    if not len(active):
        raise InputError(
            f"expected a head whose expression components move it; this one ({head.version}) has "
            f"{head.n_expression} and none does: there is nothing to calibrate"
        )
    return int(active[-1]) + 1


class ExpressionSampler:
    """Draws random faces from a head's ARKit shapes.

    Args:
        head: the head.
        shapes: the parameters (52 rows) of ARKit's shapes on it, in ARKit's order. Shapes that the head does not bring
            itself count as carried over from another head.

    Raises:
        InputError: `shapes` has another number of rows, or no coefficient moves the head.
    """

    def __init__(self, head: FlameHead, shapes: FlameParams) -> None:
        if len(shapes) != len(ARKIT):
            raise InputError(f"expected {len(ARKIT)} shapes, one for each ARKit name; got {len(shapes)}")
        self.n_expression = e = n_sampled_expression(head)
        rows = shapes.to_rows().astype(np.float64)
        self._shapes = np.concatenate([rows[:, :e], rows[:, -N_ROTATIONS:]], axis=1)
        self._whitened = whiten_shapes(head, self._shapes) if head.arrays.blendshapes is None else None
        if self._whitened is not None:
            self._shapes[:, :e] = self._whitened.expressions

    def __call__(self, n: int, rng: np.random.Generator) -> Faces:
        """N random faces of one subject, whose shapes have gains of their own."""
        weights = sample_weights(n, rng).astype(np.float64)
        if self._whitened is None:
            unnamed = rng.random(n) < _COEFFICIENTS_ONLY
            weights[np.ix_(unnamed, ~_KEPT_SHAPES)] = 0
            gains = np.exp(rng.normal(scale=_GAIN_STD["own"], size=len(ARKIT)))
            std = np.where(unnamed, rng.uniform(*_COEFFICIENT_STD, size=n), rng.uniform(*_NOISE_STD, size=n))
            expression_gain, extra = np.ones(n), rng.normal(size=(n, self.n_expression)) * std[:, None]
        else:
            gains = np.exp(rng.normal(scale=_GAIN_STD["carried over"], size=len(ARKIT)))
            expression_gain = np.sqrt(1 - rng.uniform(*_RANDOM_FRACTION, size=n) ** 2)
            weights, strength = attenuate(weights, rng)
            extra = strength * self._whitened.remainder(expression_gain, rng)
        rows = (weights * gains) @ self._shapes
        rows[:, : self.n_expression] = expression_gain[:, None] * rows[:, : self.n_expression] + extra
        jaw = rows[:, self.n_expression : self.n_expression + 3]
        jaw += rng.normal(size=(n, 3)) * _JAW_STD
        jaw[:, 0] = np.maximum(jaw[:, 0], 0)
        return Faces(FlameParams.from_rows(rows), weights)


@dataclass(frozen=True)
class CoefficientDistribution:
    """Faces that are drawn from the coefficients alone, without shapes; both eyes turn alike."""

    n_expression: int
    """E, of the head; coefficients that are not drawn are zero."""
    n_drawn: int
    """The number of leading coefficients that are drawn."""
    std: tuple[float, float]
    """Least and largest standard deviation of the coefficients; each face has one of its own."""
    jaw: float
    """The widest opening of the jaw, radians; half of the mouths are closed."""
    gaze: tuple[float, float]
    """Standard deviation of the eyes' turns up and down, and sideways, radians."""
    jaw_aside: tuple[float, float] | None = None
    """Standard deviation of the jaw's other turns, radians; None for no such turns."""

    def sample(self, n: int, rng: np.random.Generator) -> FlameParams:
        """N random faces."""
        e = self.n_expression
        rows = np.zeros((n, e + N_ROTATIONS))
        rows[:, : self.n_drawn] = rng.normal(size=(n, self.n_drawn))
        low, high = self.std
        rows[:, : self.n_drawn] *= low if low == high else rng.uniform(low, high, size=(n, 1))
        rows[:, e] = np.maximum(0.0, rng.uniform(-self.jaw, self.jaw, size=n))
        if self.jaw_aside is not None:
            rows[:, e + 1 : e + 3] = rng.normal(scale=self.jaw_aside, size=(n, 2))
        rows[:, e + 3 : e + 5] = rows[:, e + 6 : e + 8] = rng.normal(scale=self.gaze, size=(n, 2))
        return FlameParams.from_rows(rows)
