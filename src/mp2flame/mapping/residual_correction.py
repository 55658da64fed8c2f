"""A linear correction of parameters by what they leave unexplained of the observed landmarks.

Letters: N frames, K = 478 landmarks, P = E + 9 parameters (expression, jaw, left eye, right eye).

A regression that was trained on rendered people answers timidly to real ones. How landmarks move with the parameters
is known better: MediaPipe's landmarks on renders, relative to the person's neutral landmarks, are nearly linear in the
parameters and in the rotation of the head. So the displacement that an estimate predicts is compared with the observed
one, and the residual corrects the estimate by the gain of a Kalman filter's measurement update (Kalman 1960), with
the covariance of the landmark errors and of the parameters. A residual that is as usual on renders says nothing new:
the correction fades in with the size of the part of it that renders do not show (innovation-based adaptation, Mehra
1972). `mp2flame.regression.residual_correction` fits it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import N_LANDMARKS
from mp2flame.errors import InputError
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


_USUAL: Final = 1.0
_UNUSUAL: Final = 1.7
"""Sizes of the unusual part of a residual, relative to its median on renders, from which on the correction begins and
is complete. The upper one is the 95th percentile on renders; real faces have 1 to 5."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualCorrection:
    """What landmarks do with parameters and view, and what their residual says of the parameters.

    Raises:
        InputError: a shape is wrong or a value is not finite.
    """

    gain: Float32
    """(3K, P) parameters for each displacement of a landmark in eye distances."""
    response: Float32
    """(P, 3K) displacement of the landmarks for each parameter, eye distances."""
    view_response: Float32
    """(13, 3K) displacement of the landmarks for each view feature, eye distances."""
    usual_residuals: Float32
    """(U, 3K) orthonormal basis of the residuals that renders show."""
    unusual_size: Float32
    """(1,) median on renders of the root mean square of what the basis leaves of a residual, eye distances."""
    default_view: Float32
    """(13,) the view features of an average person's neutral frames."""

    def __post_init__(self) -> None:
        width = np.shape(self.gain)[-1] if np.ndim(self.gain) else 0
        rank = np.shape(self.usual_residuals)[0] if np.ndim(self.usual_residuals) else 0
        size = 3 * N_LANDMARKS
        shapes: dict[str, tuple[int, ...]] = {
            "gain": (size, width),
            "response": (width, size),
            "view_response": (N_VIEW, size),
            "usual_residuals": (rank, size),
            "unusual_size": (1,),
            "default_view": (N_VIEW,),
        }
        for name, shape in shapes.items():
            checked = check_weights(f"ResidualCorrection.{name}", getattr(self, name), shape)
            object.__setattr__(self, name, checked)
        if self.unusual_size[0] <= 0:
            raise InputError(f"ResidualCorrection.unusual_size must be positive; got {self.unusual_size[0]}")

    def __call__(self, params: Float32, displacement: Float32, view: Float32) -> Float32:
        """The corrected parameters (N, P).

        Args:
            params: (N, P) the estimate.
            displacement: (N, 3K) aligned landmarks minus the neutral ones, in eye distances.
            view: (N, 13) view features minus those of the neutral frames.
        """
        residual = displacement - params @ self.response
        residual -= view @ self.view_response
        unusual = residual - (residual @ self.usual_residuals.T) @ self.usual_residuals
        size = np.sqrt((unusual * unusual).mean(axis=1)) / self.unusual_size
        weight = np.clip((size - _USUAL) / (_UNUSUAL - _USUAL), 0, 1).astype(np.float32)
        corrected: Float32 = params + weight[:, None] * (residual @ self.gain)
        return corrected
