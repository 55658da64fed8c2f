"""The objective of tracking, and the interface of its terms.

Letters: N frames, D entries of a state (`StateLayout`), K landmarks, P points on the skin.

For one video of a person whose identity, camera and landmark bias are known, the states x_1 .. x_N minimise::

    sum over n  1/2 r(x_n)' C^-1 r(x_n)                    LandmarkTerm: residuals r under the landmark error model
              + sum over p  w c^2/2 log(1 + q_p(x_n)/c^2)  PointTrackTerm: tracks of skin points, Cauchy kernel
              + 1/2 s_n |f_n / sigma|^2                    FacePrior: the face f_n, Student t by its scale s_n
              + 1/2 |left_n - right_n|^2 / sigma^2         EyePrior: both eyes look the same way
    + sum over n  1/2 |(x_n+1 - x_n) / sigma|^2 / dt       TemporalPrior: a random walk between frames of a shot

by Gauss-Newton steps (`solver`): every term adds its gradient and its Gauss-Newton Hessian to `NormalEquations`, whose
solution is the step. Between steps, terms may change their weights (iteratively reweighted least squares).

A new term is a subclass of `Term` in a file of `terms`, and one line in `solver.frame_terms`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

if TYPE_CHECKING:
    from typing_extensions import Self

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """A quadratic model of the objective about some states: its gradient g, and its Hessian H as blocks and coupling.

    H is block-tridiagonal: the blocks of single frames, plus J' diag(coupling) J, where J takes the differences of
    neighboring frames. Terms add to the arrays in place.
    """

    blocks: Float64
    """(N, D, D) symmetric, of each frame on its own."""
    gradient: Float64
    """(N, D)."""
    coupling: Float64
    """(N - 1, D) weights of the squared change from each frame to the next."""

    @classmethod
    def zeros(cls, n: int, d: int) -> NormalEquations:
        """Nothing yet, for N frames."""
        return cls(np.zeros((n, d, d)), np.zeros((n, d)), np.zeros((max(n - 1, 0), d)))

    def step(self) -> Float64:
        """(N, D) the Gauss-Newton step: the solution of H step = -g, by a banded Cholesky factorisation."""
        n, d = self.gradient.shape
        band = np.zeros((d + 1, n, d))
        for below in range(d):
            band[below, :, : d - below] = np.diagonal(self.blocks, -below, axis1=1, axis2=2)
        band[0, :-1] += self.coupling
        band[0, 1:] += self.coupling
        band[d, :-1] = -self.coupling
        steps = solveh_banded(
            band.reshape(d + 1, n * d), -self.gradient.ravel(), overwrite_ab=True, lower=True, check_finite=False
        )
        return np.asarray(steps, dtype=np.float64).reshape(n, d)


class Term(ABC):
    """A summand of the objective, over the N frames that are solved together."""

    @abstractmethod
    def cost(self, states: Float64) -> float:
        """The value at states (N, D)."""

    @abstractmethod
    def linearize(self, states: Float64, equations: NormalEquations) -> None:
        """Add gradient and Gauss-Newton Hessian at states (N, D) to `equations`."""

    def reweighted(self, states: Float64, equations: NormalEquations, n_steps: int) -> Self:  # noqa: ARG002
        """The term with the weights that its residuals ask for; the same term where it has none.

        Args:
            states: (N, D) after the last step.
            equations: from which that step was made.
            n_steps: number of steps so far.
        """
        return self


class Objective:
    """A sum of terms."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = tuple(terms)

    def cost(self, states: Float64) -> float:
        """The value at states (N, D)."""
        return sum(term.cost(states) for term in self.terms)

    def linearize(self, states: Float64) -> NormalEquations:
        """The normal equations of all terms at states (N, D)."""
        equations = NormalEquations.zeros(*states.shape)
        for term in self.terms:
            term.linearize(states, equations)
        return equations

    def reweighted(self, states: Float64, equations: NormalEquations, n_steps: int) -> Objective:
        """The same with every term's weights brought up to date; see `Term.reweighted`."""
        return Objective([term.reweighted(states, equations, n_steps) for term in self.terms])
