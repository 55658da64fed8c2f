"""The point-track term: where points of the skin and the eyes were found, against where the head has them.

Letters: N frames, P points, D entries of a state, S' identity coefficients, G = S' + 7.

Landmarks are off by millimeters and follow faces that are usual; a point track is exact to a fraction of a pixel, but
says only where a point went since the reference frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.geometry.skinned_points import SkinnedPoints
from mp2flame.parallel import in_threads
from mp2flame.tracking.objective import NormalEquations, Term
from mp2flame.tracking.state import chunks
from mp2flame.tracking.terms.reference_view import PointTracks, ReferenceView

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PointTrackTerm(Term):
    """cost = sum over frames and points of w c^2/2 log(1 + q/c^2), the Cauchy kernel of q = r' I r.

    r (2,) is the tracked minus the modelled position, pixels; I the information of the point and w its reliability.
    """

    view: ReferenceView
    tracks: PointTracks

    def __getitem__(self, frames: slice | NDArray[np.integer]) -> PointTrackTerm:
        return replace(self, tracks=self.tracks[frames])

    def _squares(self, residuals: Float64) -> Float64:
        """(N, P) q / c^2 of residuals (N, P, 2)."""
        squares: Float64 = np.einsum("npi,pij,npj->np", residuals, self.view.information, residuals, optimize=True)
        return squares / self.view.config.points.cauchy_std**2

    def _weights(self, residuals: Float64, frames: slice) -> Float64:
        """(N, P, 2, 2) the information of residuals (N, P, 2), reweighted by the Cauchy kernel."""
        weights = self.tracks.weights[frames] / (1 + self._squares(residuals))
        return np.asarray(weights[..., None, None] * self.view.information, dtype=np.float64)

    @override
    def cost(self, states: Float64) -> float:
        view = self.view
        residuals = self.tracks.positions - view.camera.project(view.points.pose(*view.layout.arguments(states)))
        kernel = np.log1p(self._squares(residuals))
        return 0.5 * self.view.config.points.cauchy_std**2 * float((self.tracks.weights * kernel).sum())

    @override
    def linearize(self, states: Float64, equations: NormalEquations) -> None:
        view, d = self.view, states.shape[1]

        def add(part: slice) -> None:
            coefficients = states[part, : view.layout.n_expression]
            projected, jacobian = _differentiate(view, view.points, coefficients, states[part])
            residuals = self.tracks.positions[part] - projected
            weighted = _times(jacobian, self._weights(residuals, part))
            n = len(projected)
            equations.blocks[part] += weighted @ jacobian.reshape(n, d, -1).swapaxes(1, 2)
            equations.gradient[part] -= (weighted @ residuals.swapaxes(1, 2).reshape(n, -1, 1))[..., 0]

        for _ in in_threads(add, chunks(len(states), view.config.chunk_frames)):
            pass

    def marginal_identity_equations(self, states: Float64, others: NormalEquations) -> tuple[Float64, Float64]:
        """Normal equations for the person, the states of the frames eliminated.

        Every frame is another view of points that stay on their lines of sight of the reference frame. So when
        identity, focal length or the head pose in the reference frame change, points slide along the skin
        (`ReferenceView.warp_jacobian`), and the states follow: they are eliminated by Schur's complement, as in
        bundle adjustment (Triggs et al. 2000, "Bundle adjustment: a modern synthesis").

        Args:
            states: (N, D) as solved.
            others: all other terms of these frames, priors included.

        Returns:
            Hessian (G, G) and gradient (G,), for identity, the head pose in the reference frame, and the logarithm
            of the focal length.
        """
        view, s = self.view, len(self.view.identity)
        center, e = view.camera.center, view.layout.n_expression
        reference = view.reference.state[None]

        def of_identity(state: Float64) -> tuple[Float64, Float64]:
            coefficients = np.concatenate([view.identity[None], state[:, :e]], axis=1)
            projected, jacobian = _differentiate(view, view.points_of_identity, coefficients, state)
            return projected[0], jacobian[0]

        projected, jacobian = of_identity(reference)
        # How each point would leave its line of sight of the reference frame: by identity, pose and focal length.
        leaving = np.concatenate([jacobian[:s], jacobian[-6:], (projected - center).T[None]])

        def one(i: int) -> tuple[Float64, Float64]:
            state = states[i : i + 1]
            projected, jacobian = of_identity(state)
            residuals = self.tracks.positions[i] - projected
            weights = view.config.points.identity_information * self._weights(residuals[None], slice(i, i + 1))[0]
            shared = -np.einsum("gip,poi->gop", leaving, view.warp_jacobian(state[0]))
            shared[:s] += jacobian[:s]
            shared[-1] += (projected - center).T
            both = np.concatenate([jacobian[s:], shared])
            weighted = _times(both, weights)
            hessian, gradient = weighted @ both.reshape(len(both), -1).T, -weighted @ residuals.T.ravel()
            d = state.shape[1]
            cross = hessian[d:, :d]
            own = np.column_stack([cross.T, others.gradient[i] + gradient[:d]])
            eliminated = np.linalg.solve(others.blocks[i] + hessian[:d, :d], own)
            return hessian[d:, d:] - cross @ eliminated[:, :-1], gradient[d:] - cross @ eliminated[:, -1]

        hessians, gradients = zip(*in_threads(one, range(len(states))), strict=True)
        return np.sum(hessians, axis=0), np.sum(gradients, axis=0)


def _differentiate(
    view: ReferenceView, points: SkinnedPoints, coefficients: Float64, states: Float64
) -> tuple[Float64, Float64]:
    """Pixels (N, P, 2) of points, and their derivatives (N, C + 15, 2, P) by coefficients (N, C), then poses."""
    _, poses, translation = view.layout.arguments(states)
    posed = points.differentiate(coefficients, poses, translation, view.layout.joints)
    pixels = view.camera.project(posed.positions)
    slopes = ((pixels - view.camera.center) / view.camera.focal).swapaxes(1, 2)
    jacobian = slopes[:, None] * posed.jacobian[:, :, 2:]
    jacobian[:, :, 0] += posed.jacobian[:, :, 0]
    jacobian[:, :, 1] -= posed.jacobian[:, :, 1]
    jacobian *= (view.camera.focal / -posed.positions[..., 2])[:, None, None]
    return pixels, jacobian


def _times(jacobian: Float64, weights: Float64) -> Float64:
    """(..., C, 2P) a Jacobian (..., C, 2, P) times symmetric weights (..., P, 2, 2)."""
    planes = np.moveaxis(weights, -3, -1)[..., None, :, :, :]
    product = jacobian[..., :1, :] * planes[..., 0, :, :] + jacobian[..., 1:, :] * planes[..., 1, :, :]
    return np.asarray(product, dtype=np.float64).reshape(*jacobian.shape[:-2], -1)
