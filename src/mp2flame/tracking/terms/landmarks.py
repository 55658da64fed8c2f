"""The landmark term: MediaPipe's landmarks against those of the head, under the learned error model.

Letters: N frames, K landmarks, D entries of a state, F = 3K.

The world is the camera's: meters, x right, y up, z towards the viewer, the camera at the origin, so what is visible has
z < 0. The offset of a landmark is its detected minus its modelled position, at the modelled depth; MediaPipe's z has no
origin, so offsets in z are relative to their mean. Offsets are turned about the camera's axis so that the head stands
upright, since MediaPipe turns a face upright before its network sees it. The residual is the offset minus what the
`LandmarkErrorModel` predicts for the view and the face, minus the person's own bias. The upright turn and the view are
taken from the head's rotation and held during a step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame import rotations
from mp2flame.geometry.camera import Intrinsics
from mp2flame.geometry.skinned_points import SkinnedPoints
from mp2flame.landmark_model.error_model import Information, LandmarkErrorModel, landmark_offsets, landmark_slopes
from mp2flame.parallel import in_threads
from mp2flame.tracking.config import TrackerConfig
from mp2flame.tracking.objective import NormalEquations, Term
from mp2flame.tracking.state import StateLayout, chunks

if TYPE_CHECKING:
    from typing_extensions import Self

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PersonModel:
    """What is known of a person and a camera before the states of a video are estimated."""

    points: SkinnedPoints
    """The person's landmarks; expression moves them."""
    layout: StateLayout
    error_model: LandmarkErrorModel
    """Of this head, for the person's size."""
    person_bias: Float64
    """(F,) meters: the mean offset of this person's landmarks that the error model does not predict."""
    camera: Intrinsics
    config: TrackerConfig


def offset_derivatives(jacobian: Float64, slopes: Float64) -> Float64:
    """(N, D, 3, K) the derivatives of offsets, of points whose positions have the derivatives (N, D, 3, K)."""
    columns = slopes.swapaxes(1, 2)[:, None]
    depth = jacobian[:, :, 2:]
    result = np.empty_like(jacobian)
    np.multiply(columns[:, :, :2], depth, out=result[:, :, :2])
    np.multiply(columns[:, :, 2:], depth.mean(axis=3, keepdims=True), out=result[:, :, 2:])
    result += jacobian
    result[:, :, 2] -= result[:, :, 2].mean(axis=2, keepdims=True)
    return np.negative(result, out=result)


def upright_rotations(head_rotations: Float64) -> Float64:
    """(N, 3, 3) rotations about the camera's axis that set heads rotated by (N, 3, 3) upright, for rows of offsets."""
    roll = np.arctan2(head_rotations[:, 0, 1], head_rotations[:, 1, 1])
    result = np.zeros((len(roll), 3, 3))
    result[:, 0, 0] = result[:, 1, 1] = np.cos(roll)
    result[:, 1, 0], result[:, 0, 1] = -np.sin(roll), np.sin(roll)
    result[:, 2, 2] = 1.0
    return result


def view_directions(head_rotations: Float64) -> Float64:
    """(N, 2) x and y of the direction to the camera, in the axes of heads rotated by (N, 3, 3)."""
    return head_rotations[:, 2, :2]


@dataclass(frozen=True, eq=False)
class LandmarkTerm(Term):
    """cost = sum over frames of 1/2 r' C^-1 r, with the covariance C of the error model's differences to neutral.

    A landmark's weight divides the part of its variance that it does not share with others. `reweighted` gives
    outliers a small weight (iteratively reweighted least squares).
    """

    model: PersonModel
    slopes: Float64
    """(N, K, 3) of the detected landmarks."""
    weights: Float64
    """(N, K) 0..1."""
    base_weights: Float64
    """(N, K) 0..1, what `weights` are where no landmark is an outlier."""

    @classmethod
    def of(cls, model: PersonModel, landmarks: NDArray[np.floating], weights: Float64 | None = None) -> LandmarkTerm:
        """The term of normalized landmarks (N, K, 3); without weights, those outside the image have weight 0."""
        # MediaPipe extrapolates what it cannot see.
        inside = ((landmarks[..., :2] >= 0) & (landmarks[..., :2] <= 1)).all(axis=2)
        base = np.asarray(inside, dtype=np.float64) if weights is None else weights
        return cls(model, landmark_slopes(landmarks, model.camera), base, base)

    def residuals(self, states: Float64, frames: slice = slice(None)) -> Float64:
        """(N, F) meters, of some of the frames and their states (N, D)."""
        model, layout = self.model, self.model.layout
        rotation = rotations.matrix(layout.rotation(states))
        offsets = landmark_offsets(model.points.pose(*layout.arguments(states)), self.slopes[frames])
        offsets = (offsets @ upright_rotations(rotation)).reshape(len(states), -1)
        error_model = model.error_model
        predicted = error_model.view_bias(view_directions(rotation)) + layout.face(states) @ error_model.face_response
        residuals: Float64 = offsets - predicted - model.person_bias
        return residuals

    def jacobian(self, states: Float64, frames: slice = slice(None)) -> Float64:
        """(N, D, F) the derivatives of `residuals`, the view and the upright turn held."""
        model, layout = self.model, self.model.layout
        posed = model.points.differentiate(*layout.arguments(states), layout.joints)
        upright = upright_rotations(rotations.matrix(layout.rotation(states)))
        offsets = offset_derivatives(posed.jacobian, self.slopes[frames]).swapaxes(2, 3) @ upright[:, None]
        jacobian: Float64 = offsets.reshape(len(states), layout.width, -1)
        jacobian[:, : layout.n_face] -= model.error_model.face_response
        return jacobian

    def _information(self, frame: int) -> Information:
        return Information(self.model.error_model.relative, np.repeat(self.weights[frame], 3))

    @override
    def cost(self, states: Float64) -> float:
        residuals = self.residuals(states)
        squares = [self._information(i).square(residuals[i : i + 1])[0] for i in range(len(states))]
        return 0.5 * float(np.sum(squares))

    @override
    def linearize(self, states: Float64, equations: NormalEquations) -> None:
        unweighted = Information(self.model.error_model.relative)

        def add(part: slice) -> None:
            residuals, jacobian = self.residuals(states[part], part), self.jacobian(states[part], part)
            blocks, gradient = unweighted.normal(jacobian, residuals)
            for i in np.flatnonzero((self.weights[part] < 1).any(axis=1)):
                own = self._information(part.start + i).normal(jacobian[i : i + 1], residuals[i : i + 1])
                blocks[i], gradient[i] = (x[0] for x in own)
            equations.blocks[part] += blocks
            equations.gradient[part] += gradient

        for _ in in_threads(add, chunks(len(states), self.model.config.chunk_frames)):
            pass

    @override
    def reweighted(self, states: Float64, equations: NormalEquations, n_steps: int) -> Self:
        config = self.model.config.landmarks
        if n_steps < config.reweight_after_steps:
            return self
        n = len(states)
        std = self.model.error_model.relative.deviation.reshape(-1, 3)[:, :2]
        residuals = self.residuals(states).reshape(n, -1, 3)[..., :2]
        outlier = np.sqrt(((residuals / std) ** 2).mean(axis=2)) > config.outlier_std
        return replace(self, weights=self.base_weights * np.where(outlier, config.outlier_weight, 1.0))

    def normalised_residuals(self, states: Float64) -> tuple[Float64, Float64]:
        """Root mean square residuals (N,) of all landmarks in standard deviations, and (N,) of inliers in pixels."""
        residuals = self.residuals(states)
        whitened = np.sqrt(Information(self.model.error_model.relative).square(residuals) / residuals.shape[1])
        depth = -self.model.points.pose(*self.model.layout.arguments(states))[..., 2]
        pixels = residuals.reshape(len(states), -1, 3)[..., :2] * self.model.camera.focal / depth[..., None]
        inlier = self.weights > 0.5
        squares = ((pixels**2).sum(axis=2) * inlier).sum(axis=1)
        return whitened, np.sqrt(squares / np.maximum(inlier.sum(axis=1), 1))
