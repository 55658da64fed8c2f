"""The error model of MediaPipe's landmarks on a head: bias and covariance as functions of what the head is and does.

Letters: N images, K landmarks, E expression and S' identity coefficients, F = 1 + 2 + (E + 9) + S' features, Q
components.

An error is where MediaPipe sees a landmark minus where the head has it, in meters, in upright camera axes: x right, y
up, z towards the viewer, the image turned about its axis so that the head is upright in it, because MediaPipe turns a
face upright before it detects landmarks. Errors in x and y are at the point's own depth. MediaPipe's z has no origin,
so errors in z are relative to their mean over all landmarks. Errors are divided by the size of the head relative to the
mean identity's, because an image does not tell a small head from a far one. The model is

    error = bias · features + subject + frame

The bias is linear: MediaPipe answers to a smile, to closing lids, to a face longer than usual with a part of it, and
neighboring landmarks take part. It is fitted by ridge regression. `subject` is a deviation that stays with a subject,
`frame` one that each image has anew; both are normal and strongly correlated between landmarks. Two covariances are
fitted, each as a low-rank part and a diagonal: that of both together (`absolute`), and that of the difference between
an image and the same subject's neutral face (`relative`), from which `subject` cancels. They are the sample covariances
shrunk towards their diagonals (after Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional
covariance matrices").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular

from mp2flame.data import FlameParams
from mp2flame.errors import FormatError, InputError
from mp2flame.files import Arrays, encode_safetensors, read_safetensors, write_atomic
from mp2flame.geometry.camera import Intrinsics
from mp2flame.geometry.skinned_points import n_active_expression, n_estimated_identity
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.synthesis.appearance import SubjectColors
from mp2flame.synthesis.expressions import CoefficientDistribution
from mp2flame.synthesis.render import RenderSettings, Scene, detect_scenes
from mp2flame.synthesis.views import FRONTAL, random_view
from mp2flame.validation import check_header

Float64 = NDArray[np.float64]

DEFAULT_IMAGES: Final = RenderSettings(subjects=400, images=4)
"""How MediaPipe errs on a subject is predicted from the subject's identity, which takes many subjects to learn."""

_FORMAT: Final = "mp2flame-landmark-errors"
_FORMAT_VERSION: Final = 1
_MAX_BYTES: Final = 256 * 1024**2
_N_VIEW: Final = 2
_RIDGE: Final = 100.0
"""Ridge penalty on standardized features: equivalent to so many images with an error of zero. Constant and view are not
penalized."""
_SHRINKAGE: Final = 0.3
"""Shrinkage of covariances towards their diagonals; held-out subjects were likeliest at 0.2 to 0.4."""
_MAX_COMPONENTS: Final = 200
_OUTLIER: Final = 4.0
"""An image whose error is this many times the median is left out: the face in it was not detected as such."""
_MIN_STD: Final = 1e-4
"""Meters: no landmark is more certain than this."""


def landmark_slopes(landmarks: ArrayLike, camera: Intrinsics) -> Float64:
    """(N, K, 3) meters right, up and towards the viewer for each meter of depth, of normalized landmarks (N, K, 3)."""
    width, height = camera.size
    scale = np.array([width, -height, -width]) / camera.focal
    slopes: Float64 = (np.asarray(landmarks, dtype=np.float64) - (0.5, 0.5, 0.0)) * scale
    return slopes


def landmark_offsets(points: Float64, slopes: Float64) -> Float64:
    """The errors of landmarks that are detected at slopes (N, K, 3), and should be at points (N, K, 3).

    Args:
        points: meters, in camera coordinates: x right, y up, z towards the viewer.
        slopes: from `landmark_slopes`.

    Returns:
        (N, K, 3) meters, in camera axes: not turned for a head that is tilted.
    """
    depth = -points[..., 2]
    offsets = slopes * depth[..., None]
    offsets[..., 2] = slopes[..., 2] * depth.mean(axis=1, keepdims=True)
    offsets -= points
    offsets[..., 2] -= offsets[..., 2].mean(axis=1, keepdims=True)
    return offsets


@dataclass(frozen=True, eq=False)
class LowRankCovariance:
    """A covariance of errors flattened from (K, 3): cᵀc of the components c, and a diagonal."""

    components: Float64
    """(Q, 3K) meters."""
    noise: Float64
    """(3K,) meters, standard deviation of what the components leave."""

    @property
    def deviation(self) -> Float64:
        """(3K,) meters, standard deviation of each number."""
        result: Float64 = np.sqrt((self.components**2).sum(axis=0) + self.noise**2)
        return result


class Information:
    """The inverse of a covariance, for sums of squares weighted by it (Woodbury's identity).

    Args:
        covariance: the covariance.
        weight: (3K,) 0..1: how much each number counts; its noise is divided by the root of it. None is 1 everywhere.
    """

    def __init__(self, covariance: LowRankCovariance, weight: Float64 | None = None) -> None:
        self._diagonal = covariance.noise**-2.0 if weight is None else weight * covariance.noise**-2.0
        scaled = covariance.components * self._diagonal
        inner = np.eye(len(scaled)) + scaled @ covariance.components.T
        self._common: Float64 = solve_triangular(np.linalg.cholesky(inner), scaled, lower=True)

    def normal(self, jacobian: Float64, residual: Float64) -> tuple[Float64, Float64]:
        """Normal equations of N frames: JᵀPJ (N, D, D) and JᵀPr (N, D).

        Args:
            jacobian: (N, D, 3K).
            residual: (N, 3K).
        """
        n, d, m = jacobian.shape
        both = np.concatenate([jacobian, residual[:, None]], axis=1)
        common = (both.reshape(-1, m) @ self._common.T).reshape(n, d + 1, -1)
        matrix = (jacobian * self._diagonal) @ both.swapaxes(1, 2) - common[:, :d] @ common.swapaxes(1, 2)
        return matrix[:, :, :d], matrix[:, :, d]

    def square(self, residual: Float64) -> Float64:
        """(N,) rᵀPr of residuals (N, 3K)."""
        common = residual @ self._common.T
        result: Float64 = (residual**2 @ self._diagonal) - (common**2).sum(axis=1)
        return result


@dataclass(frozen=True, eq=False)
class LandmarkErrorModel:
    """Bias and covariance of landmark errors on one head."""

    bias: Float64
    """(F, 3K) meters for one unit of each feature: constant, view, face, identity."""
    absolute: LowRankCovariance
    """Of what the bias leaves."""
    relative: LowRankCovariance
    """Of what the bias leaves of the difference to the same subject's neutral face."""
    n_face: int
    """E + 9."""

    def scaled(self, size: float) -> LandmarkErrorModel:
        """The same for a head of this size relative to the mean identity's: all lengths are multiplied by it."""
        absolute, relative = (
            LowRankCovariance(size * part.components, size * part.noise) for part in (self.absolute, self.relative)
        )
        return LandmarkErrorModel(size * self.bias, absolute, relative, self.n_face)

    def view_bias(self, view: Float64) -> Float64:
        """(N, 3K) meters: the constant bias and that of the view (N, 2)."""
        result: Float64 = self.bias[0] + view @ self.bias[1 : 1 + _N_VIEW]
        return result

    @property
    def face_response(self) -> Float64:
        """(E + 9, 3K) meters for one unit of each parameter of a face."""
        return self.bias[1 + _N_VIEW : 1 + _N_VIEW + self.n_face]

    @property
    def identity_response(self) -> Float64:
        """(S', 3K) meters for one unit of each identity coefficient."""
        return self.bias[1 + _N_VIEW + self.n_face :]

    def save(self, path: Path) -> None:
        """Write the model as `.safetensors`.

        Raises:
            MissingFileError: the folder does not exist.
            SinkError: the file cannot be written.
        """
        arrays: Arrays = {"bias": self.bias.astype(np.float32)}
        for name, part in (("absolute", self.absolute), ("relative", self.relative)):
            arrays |= {f"{name}_components": part.components.astype(np.float32), f"{name}_noise": part.noise}
        header = {"format": _FORMAT, "format_version": str(_FORMAT_VERSION), "n_face": str(self.n_face)}
        write_atomic(path, encode_safetensors(arrays, header))


def load_error_model(path: Path) -> LandmarkErrorModel:
    """Load what `LandmarkErrorModel.save` wrote.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is truncated, or another kind of file.
    """
    what = "landmark error model"
    arrays, header = read_safetensors(path, what, limit=_MAX_BYTES, advice="delete it: it is computed again")
    check_header(header, expected=_FORMAT, newest=_FORMAT_VERSION, source=path)
    try:
        absolute, relative = (
            LowRankCovariance(*(arrays[f"{name}_{part}"].astype(np.float64) for part in ("components", "noise")))
            for name in ("absolute", "relative")
        )
        return LandmarkErrorModel(arrays["bias"].astype(np.float64), absolute, relative, int(header["n_face"]))
    except (KeyError, ValueError) as error:
        raise FormatError(f"{path}: expected a {what}; it lacks {error}: delete it, it is computed again") from error


# --- fitting --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ErrorSamples:
    """Errors in images of known geometry; cameras and heads have no roll, so camera axes are upright."""

    errors: Float64
    """(N, K, 3) meters, for a head of the mean identity's size."""
    view: Float64
    """(N, 2) x and y of the unit vector from the head to the camera, in the head's axes."""
    face: Float64
    """(N, E + 9) expression, jaw, left eye, right eye; all zero for neutral faces."""
    identity: Float64
    """(N, S') the leading identity coefficients; all others are zero."""
    subject: NDArray[np.int64]
    """(N,) number of the subject."""


def render_error_samples(
    head: FlameHead,
    embedding: LandmarkEmbedding,
    landmarker: Path,
    settings: RenderSettings = DEFAULT_IMAGES,
    *,
    on_image: Callable[[], None] = lambda: None,
) -> ErrorSamples:
    """Render a head as many subjects and measure the errors of MediaPipe's landmarks.

    Args:
        head: the head; the identity that is baked into it is not used.
        embedding: where the landmarks lie.
        landmarker: MediaPipe's face landmarker file.
        settings: the number of images.
        on_image: called after each image.

    Raises:
        InputError: MediaPipe finds the face in less than half of the images.
        MissingExtraError: PyVista or MediaPipe is not installed.
    """
    samples = []
    mean_size = _size(head.with_shape(np.zeros(0)), embedding)
    scenes = _scenes(head, SubjectColors(head, embedding), settings)
    for scene, detected in detect_scenes(head, landmarker, scenes, first_required=False, on_image=on_image):
        assert detected.landmarks is not None
        camera = scene.camera
        points = camera.to_camera(embedding.positions(scene.subject(scene.params), head.faces))
        landmarks = detected.landmarks[:, embedding.landmark_index]
        errors = landmark_offsets(points, landmark_slopes(landmarks, camera.intrinsics))[0]
        size = _size(scene.subject, embedding) / mean_size
        shape = () if scene.subject.shape is None else scene.subject.shape[: n_estimated_identity(head)]
        samples.append((errors / size, camera.axes[2, :2], scene.params.to_rows()[0], shape, scene.number))
    offsets, view, face, identity, subject = (np.array(column) for column in zip(*samples, strict=True))
    return ErrorSamples(offsets, view, face.astype(np.float64), identity.astype(np.float64), subject)


def _scenes(head: FlameHead, colors: SubjectColors, settings: RenderSettings) -> Iterator[Scene]:
    """Every coefficient is drawn in every face, which tells their responses from fewer images than faces that occur."""
    e = n_active_expression(head)
    faces = CoefficientDistribution(e, e, std=(0.2, 1.2), jaw=0.32, jaw_aside=(0.03, 0.01), gaze=(0.10, 0.17))
    for number in range(settings.subjects):
        rng = np.random.default_rng([settings.seed, number])
        subject = head.with_shape(rng.normal(size=n_estimated_identity(head)).astype(np.float32))
        painted = colors(rng)
        random = faces.sample(settings.images, rng)
        for i in range(settings.images):
            # Not every subject faces the camera squarely with a neutral face.
            view = FRONTAL if i == 0 and number % 2 == 0 else random_view(rng)
            params = FlameParams.neutral(n_expression=e) if i == 0 else random[i]
            yield Scene(subject, params, view, painted, number)


def _size(subject: FlameHead, embedding: LandmarkEmbedding) -> float:
    """Meters, root mean square distance of the neutral face's landmarks from their mean."""
    points = embedding.positions(subject.neutral_vertices, subject.faces)
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))


def fit_error_model(samples: ErrorSamples) -> LandmarkErrorModel:
    """Fit bias and covariances.

    Raises:
        InputError: there are too few subjects, or too few of them with a neutral face.
    """
    flat = samples.errors.reshape(len(samples.errors), -1)
    length = np.sqrt((flat**2).mean(axis=1))
    kept = length < _OUTLIER * np.median(length)
    flat, subject, neutral = flat[kept], samples.subject[kept], ~samples.face[kept].any(axis=1)
    parts = (samples.view, samples.face, samples.identity)
    features = np.concatenate([np.ones((len(kept), 1)), *parts], axis=1)[kept]
    bias = _ridge(features, flat)
    residual = flat - features @ bias
    reference = {int(subject[row]): row for row in np.flatnonzero(neutral)}
    others = np.array([row for row in np.flatnonzero(~neutral) if int(subject[row]) in reference], dtype=np.int64)
    if len(reference) < 3 or len(others) < 3:
        raise InputError(
            f"expected images of several subjects with neutral and other faces; got {len(reference)}, {len(others)}"
        )
    difference = residual[others] - residual[[reference[int(subject[row])] for row in others]]
    return LandmarkErrorModel(bias, _covariance(residual), _covariance(difference), samples.face.shape[1])


def _ridge(features: Float64, flat: Float64) -> Float64:
    """(F, 3K) coefficients; those of features that never vary are zero, and the constant is not penalized."""
    mean, std = features.mean(axis=0), features.std(axis=0)
    mean[0], std[0] = 0.0, 1.0
    varies = std > 1e-6
    standard = (features - mean)[:, varies] / std[varies]
    penalty = np.full(int(varies.sum()), _RIDGE)
    penalty[: 1 + _N_VIEW] = 1e-6
    result = np.zeros((len(std), flat.shape[1]))
    solution = np.linalg.solve(standard.T @ standard + np.diag(penalty), standard.T @ flat)
    result[varies] = solution / std[varies][:, None]
    # Back to features that are not centered.
    result[0] -= mean @ result
    return result


def _covariance(errors: Float64) -> LowRankCovariance:
    """The shrunk covariance of errors (N, 3K) of mean zero."""
    scatter = errors / np.sqrt(len(errors))
    deviation = np.sqrt(np.maximum((scatter**2).sum(axis=0), _MIN_STD**2))
    _, size, direction = np.linalg.svd(scatter, full_matrices=False)
    q = min(_MAX_COMPONENTS, len(size))
    components = np.sqrt(1 - _SHRINKAGE) * size[:q, None] * direction[:q]
    # The diagonal takes what the omitted components held.
    rest = deviation**2 - (components**2).sum(axis=0)
    return LowRankCovariance(components, np.sqrt(np.maximum(rest, _SHRINKAGE * deviation**2)))
