"""Priors: faces are near neutral, both eyes look the same way, and neighboring frames are alike.

Letters: N frames, E expression coefficients, D entries of a state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.tracking.config import PriorConfig
from mp2flame.tracking.objective import NormalEquations, Term
from mp2flame.tracking.state import StateLayout

if TYPE_CHECKING:
    from typing_extensions import Self

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FacePrior(Term):
    """The face f (expression, jaw, eyes) of every frame is drawn from a Student t about the neutral face.

    cost = 1/2 s_n |f_n / sigma|^2, where the scale s_n is the latent precision of the Student t, which `reweighted`
    sets to its expectation (Liu and Rubin 1995, "ML estimation of the t distribution using EM"): neutral frames are
    held near neutral, lively ones are left free.
    """

    layout: StateLayout
    scale: Float64
    """(N,)."""
    config: PriorConfig

    @override
    def cost(self, states: Float64) -> float:
        return 0.5 * float(self.scale @ self._energy(self.layout.face(states)))

    def _energy(self, faces: Float64) -> Float64:
        energy: Float64 = faces**2 @ self.layout.face_std**-2.0
        return energy

    @override
    def linearize(self, states: Float64, equations: NormalEquations) -> None:
        n = self.layout.n_face
        face, pose = np.arange(n), np.arange(n, self.layout.width)
        weight = self.scale[:, None] * self.layout.face_std**-2.0
        equations.blocks[:, face, face] += weight
        equations.gradient[:, :n] += weight * self.layout.face(states)
        equations.blocks[:, pose, pose] += self.config.pose_damping

    @override
    def reweighted(self, states: Float64, equations: NormalEquations, n_steps: int) -> Self:
        n, freedom = self.layout.n_face, self.config.face_freedom
        variance = np.diagonal(np.linalg.inv(equations.blocks), axis1=1, axis2=2)[:, :n]
        # Half of the variance that frames would have alone, since they are tied to their neighbors.
        energy = self._energy(self.layout.face(states)) + 0.5 * variance @ self.layout.face_std**-2.0
        return replace(self, scale=(n + freedom) / (energy + freedom))


@dataclass(frozen=True, eq=False)
class EyePrior(Term):
    """Both eyes look the same way: cost = 1/2 |left - right|^2 / sigma^2 of their axis-angle rotations."""

    layout: StateLayout
    config: PriorConfig

    @override
    def cost(self, states: Float64) -> float:
        left, right = self.layout.eyes
        return 0.5 * float(((states[:, left] - states[:, right]) ** 2).sum()) / self.config.eye_difference_std_rad**2

    @override
    def linearize(self, states: Float64, equations: NormalEquations) -> None:
        left, right = self.layout.eyes
        weight = self.config.eye_difference_std_rad**-2.0
        difference = weight * (states[:, left] - states[:, right])
        for own, other, sign in ((left, right, 1), (right, left, -1)):
            equations.blocks[:, own, own] += weight
            equations.blocks[:, own, other] -= weight
            equations.gradient[:, own] += sign * difference


@dataclass(frozen=True, eq=False)
class TemporalPrior(Term):
    """A random walk in time: cost = 1/2 sum |(x_n+1 - x_n) / sigma|^2 / dt, within a shot.

    Its maximum a posteriori trajectory is that of a Rauch-Tung-Striebel smoother (1965, "Maximum likelihood estimates
    of linear dynamic systems").
    """

    weight: Float64
    """(N - 1, D) inverse variance of each entry's change to the next frame; 0 across a cut."""

    @classmethod
    def of(cls, layout: StateLayout, time: Float64, shot: NDArray[np.int64], config: PriorConfig) -> TemporalPrior:
        """The prior of frames at times (N,), seconds, in numbered shots (N,)."""
        walks = [config.expression_walk, config.jaw_walk_rad, config.eye_walk_rad]
        walk = np.repeat([*walks, config.head_walk_rad, config.head_walk_m], [layout.n_expression, 3, 6, 3, 3])
        thirtieths = 30 * np.maximum(np.diff(time), config.min_interval_s)
        return cls((np.diff(shot) == 0)[:, None] / (walk**2 * thirtieths[:, None]))

    @override
    def cost(self, states: Float64) -> float:
        return 0.5 * float((self.weight * np.diff(states, axis=0) ** 2).sum())

    @override
    def linearize(self, states: Float64, equations: NormalEquations) -> None:
        slope = self.weight * np.diff(states, axis=0)
        equations.gradient[:-1] -= slope
        equations.gradient[1:] += slope
        equations.coupling[:] += self.weight
