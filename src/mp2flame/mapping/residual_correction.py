"""A linear correction of parameters by what they leave unexplained of the observed landmarks.

Letters: N frames, K = 478 landmarks, P = E + 9 parameters (expression, jaw, left eye, right eye).

A regression that was trained on rendered people answers timidly to real ones. How landmarks move with the parameters
is known better: MediaPipe's landmarks on renders, relative to the person's neutral landmarks, are nearly linear in the
parameters and in the rotation of the head. So the displacement that an estimate predicts is compared with the observed
one, and the difference corrects the estimate by the gain of a Kalman filter's measurement update (Kalman 1960), with
the covariance of the landmark errors and of the parameters. `mp2flame.regression.residual_correction` fits it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import N_LANDMARKS
from mp2flame.mapping.base import check_weights
from mp2flame.rotations import nearest_axis_angle

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

N_VIEW: Final = 13
"""Number of view features, see `view_features`."""
VIEW_MIRROR: Final = np.array([1, -1, -1, 1, 1, 1, -1, -1, 1, -1, 1, 1, -1], dtype=np.float32)
"""Signs of the view features in a mirrored image: yaw and roll change their sign."""
_LARGEST_ANGLES: Final = np.array([0.5, 0.7, 0.4])
"""Radians of pitch, yaw and roll beyond which the view features stay constant: renders do not go further."""
_OUTER_EYE_CORNERS: Final = (33, 263)


def view_features(head_transform: NDArray[np.floating]) -> Float32:
    """(N, 13) polynomial features of the head's rotation, from MediaPipe's head transforms (N, 4, 4).

    They are the rotation vector's components (pitch, yaw, roll in radians), their products and squares, and the cubic
    terms of pitch and yaw.
    """
    rotation = nearest_axis_angle(head_transform[:, :3, :3])
    x, y, z = np.clip(rotation, -_LARGEST_ANGLES, _LARGEST_ANGLES).T
    features = (x, y, z, x * x, y * y, z * z, x * y, x * z, y * z, y**3, x**3, x * y * y, y * x * x)
    return np.stack(features, axis=1).astype(np.float32)


def eye_distance(landmarks: NDArray[np.floating]) -> Float64:
    """(...) distance between the outer corners of the eyes of landmarks (..., 478, 3)."""
    first, second = _OUTER_EYE_CORNERS
    distance: Float64 = np.linalg.norm(landmarks[..., first, :] - landmarks[..., second, :], axis=-1)
    return distance


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualCorrection:
    """The correction's matrices: the gain, and the gain times what parameters and view explain.

    Raises:
        InputError: a shape is wrong or a value is not finite.
    """

    landmarks: Float32
    """(3K, P) parameters per displacement of a landmark in eye distances (the gain)."""
    params: Float32
    """(P, P) parameters per parameter: what the estimate itself explains of the displacement, times the gain."""
    view: Float32
    """(13, P) parameters per view feature: what the head's rotation explains, times the gain."""
    default_view: Float32
    """(13,) the view features of an average person's neutral frames."""

    def __post_init__(self) -> None:
        width = np.shape(self.landmarks)[-1] if np.ndim(self.landmarks) else 0
        shapes = {"landmarks": (3 * N_LANDMARKS, width), "params": (width, width), "view": (N_VIEW, width)}
        for name, shape in {**shapes, "default_view": (N_VIEW,)}.items():
            checked = check_weights(f"ResidualCorrection.{name}", getattr(self, name), shape)
            object.__setattr__(self, name, checked)

    def __call__(self, params: Float32, displacement: Float32, view: Float32) -> Float32:
        """The corrected parameters (N, P).

        Args:
            params: (N, P) the estimate.
            displacement: (N, 3K) aligned landmarks minus the neutral ones, in eye distances.
            view: (N, 13) view features minus those of the neutral frames.
        """
        corrected: Float32 = params + displacement @ self.landmarks
        corrected -= params @ self.params
        corrected -= view @ self.view
        return corrected
