"""Shapes carried over from another head, brought to what this head's coefficients say of faces.

A coefficient of FLAME counts in standard deviations of the faces that the head was made from. Shapes carried over by
geometry know nothing of that: one may ask for forty deviations of a component that hardly moves the skin, another go
a third as far as faces go. The coefficients' own convention mends both.

Letters: N frames, E expression coefficients, V vertices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.geometry.face_regions import head_regions
from mp2flame.geometry.symmetry import head_jacobian
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.synthesis.sampling import sample_weights

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["Plausible", "plausible_shapes"]

Float64 = NDArray[np.float64]

_TRUST: Final = 3e-4
"""Metres, root mean square over the face, by which carried-over geometry may be off: what moves the skin by less is
left to the coefficients."""
_DRAWN: Final = 20_000
_TURNS: Final = 0.02
"""Radians of the jaw from which on a shape is that turn, and its expression only what goes with it."""
_FAINT: Final = 1e-3
"""A direction whose variance in faces drawn from the shapes is this small is half theirs, half chance."""


@dataclass(frozen=True, eq=False)
class Plausible:
    """Shapes' expressions, and what chance adds so that faces drawn have coefficients of unit variance."""

    expressions: Float64
    """(52, E)"""
    directions: Float64
    """(E, E) orthonormal rows."""
    known: Float64
    """(E,) the variance in each direction of faces drawn from the shapes alone, 0..1."""

    def remainder(self, share: Float64, rng: np.random.Generator) -> Float64:
        """(N, E) random coefficients that fill the variance up to one.

        Args:
            share: (N,) what the shapes of each frame are multiplied by, 0..1.
            rng: draws them.
        """
        spread = np.sqrt(1 - share[:, None] ** 2 * self.known)
        filled: Float64 = (rng.normal(size=spread.shape) * spread) @ self.directions
        return filled


def plausible_shapes(head: FlameHead, shapes: Float64) -> Plausible:
    """Shapes such that faces drawn from them agree with the coefficients' convention.

    First each shape becomes the likeliest expression that moves the face nearly as it does, where coefficients are of
    unit variance and uncorrelated. Then all are multiplied by the inverse root of the covariance that coefficients
    have in faces drawn by `sample_weights`, the least change that makes it the identity (zero-phase whitening), but in
    directions that the shapes hardly have. Shapes that turn the jaw take no part in that: the jaw says how far they go.

    Args:
        head: the head.
        shapes: (52, E + 9) ARKit's shapes at full strength.
    """
    e = shapes.shape[1] - N_ROTATIONS
    still = np.abs(shapes[:, e : e + 3]).max(axis=1) < _TURNS
    moves = head_jacobian(head)[:e, head_regions(head)["face"]].astype(np.float64)
    gram = np.einsum("ivc,jvc->ij", moves, moves) / moves.shape[1]
    likely = np.linalg.solve(gram + _TRUST**2 * np.eye(e), gram @ shapes[:, :e].T).T
    weights = sample_weights(_DRAWN, np.random.default_rng(0))[:, still].astype(np.float64)
    values, vectors = np.linalg.eigh(likely[still].T @ np.cov(weights.T) @ likely[still])
    values = np.maximum(values, 0)
    expressions = likely.copy()
    expressions[still] = (likely[still] @ vectors / np.sqrt(values + _FAINT)) @ vectors.T
    return Plausible(expressions, vectors.T, values / (values + _FAINT))
