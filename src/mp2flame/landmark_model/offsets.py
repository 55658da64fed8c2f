"""How MediaPipe's landmarks miss the points of a head that they stand for.

Letters: N pictures, K landmarks, Q components.

Errors are in metres, in upright camera axes: x right, y up, z towards the viewer, the picture turned about its axis so
that the head stands upright in it, since MediaPipe turns a face upright before it looks. An error in x and y is that
at the point's own depth. MediaPipe's z has no origin, so errors in z are relative to their mean over all landmarks.

The model: an error is a bias, linear in the direction from which the head is seen, and a normal deviate with

    covariance = sum over Q components c cᵀ + diagonal noise²

which is the covariance of the pictures shrunk towards its own diagonal (after Ledoit and Wolf 2004, "A
well-conditioned estimator for large-dimensional covariance matrices"), by the amount that makes people who were left
out likeliest. What many landmarks do together is in the components: a face seen too low, a mouth too wide, a contour
slid along a cheek.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular

from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.files import AtomicFile, write_errors
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.synthesis.landmark_samples import Sitting

__all__ = ["ErrorModel", "fit_errors", "load_errors", "offsets", "sitting_errors"]

Float64 = NDArray[np.float64]

_FORMAT: Final = "mp2flame-landmark-errors"
_FORMAT_VERSION: Final = "1"
_N_FEATURES: Final = 3
_MIN_PICTURES: Final = 12
_FOLDS: Final = 4
_AMOUNTS: Final = tuple(np.geomspace(0.01, 0.8, 12).tolist())
_OUTLIER: Final = 4.0
"""A picture that misses by this many times the median was not understood, and does not count."""
_LEAST_DEVIATION: Final = 1e-4
"""Metres: no landmark is surer than this, however few pictures say so."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorModel:
    """Bias and covariance of landmark errors.

    Raises:
        InputError: shapes do not fit together, or the noise is not positive.
    """

    bias: Float64
    """(3, K, 3) metres: seen straight on, and by how much more for each unit of `view` in x and in y."""
    components: Float64
    """(Q, K, 3) metres, each as large as one standard deviation."""
    noise: Float64
    """(K, 3) metres, standard deviation of what the components leave."""
    pictures: int
    """N that it was learned from."""
    head_hash: str
    """`FlameHead.hash` of the head that was looked at."""

    def __post_init__(self) -> None:
        k = len(self.noise)
        shapes = {"bias": (_N_FEATURES, k, 3), "components": (len(self.components), k, 3), "noise": (k, 3)}
        for name, shape in shapes.items():
            array = np.asarray(getattr(self, name))
            if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
                raise InputError(f"ErrorModel.{name} must be finite numbers {shape}; got {array.dtype} {array.shape}")
            object.__setattr__(self, name, array.astype(np.float64))
        if self.noise.min() <= 0:
            raise InputError("ErrorModel.noise must be positive; got a standard deviation of zero or less")

    def bias_at(self, view: ArrayLike) -> Float64:
        """(N, K, 3) metres, the mean error from each direction.

        Args:
            view: (N, 2) x and y of the unit vector from the head to the camera, in the head's own axes. Directions
                well outside the ones learned from are extrapolated.
        """
        directions = np.asarray(view, dtype=np.float64)
        result: Float64 = np.einsum("nf,fkd->nkd", _features(directions), self.bias)
        return result

    def covariance(self) -> Float64:
        """(3K, 3K) square metres, of errors flattened from (K, 3)."""
        flat = self.components.reshape(len(self.components), -1)
        result: Float64 = flat.T @ flat
        result[np.diag_indices_from(result)] += self.noise.ravel() ** 2
        return result

    def whitening(self) -> Float64:
        """(3K, 3K) lower triangular W with WᵀW the inverse of the covariance: W · (error - bias) is standard normal."""
        lower = np.linalg.cholesky(self.covariance())
        result: Float64 = solve_triangular(lower, np.eye(len(lower)), lower=True)
        return result

    def save(self, path: str | Path) -> None:
        """Write the model as `.npz`.

        Raises:
            MissingFileError: the folder does not exist.
            SinkError: the file cannot be written.
        """
        target = Path(path)
        part = AtomicFile(target)
        try:
            with write_errors(target, "nothing was written"), part.temporary.open("wb") as file:
                fields: dict[str, Any] = {
                    "format": _FORMAT,
                    "format_version": _FORMAT_VERSION,
                    "head_hash": self.head_hash,
                    "pictures": self.pictures,
                    "bias": self.bias,
                    "components": self.components.astype(np.float32),
                    "noise": self.noise,
                }
                np.savez(file, **fields)
            part.publish()
        finally:
            part.discard()


def load_errors(path: str | Path) -> ErrorModel:
    """Load what `ErrorModel.save` wrote.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is truncated, or another kind of file.
    """
    source = Path(path)
    if not source.is_file():
        raise MissingFileError(f"expected landmark errors at {source}; there is no such file")
    try:
        with np.load(io.BytesIO(source.read_bytes()), allow_pickle=False) as file:
            fields = {key: file[key] for key in file.files}
        said = str(fields["format"]), str(fields["format_version"])
        if said != (_FORMAT, _FORMAT_VERSION):
            raise FormatError(f"{source}: expected {_FORMAT}, version {_FORMAT_VERSION}; got {said[0]}, {said[1]}")
        return ErrorModel(
            bias=fields["bias"],
            components=fields["components"],
            noise=fields["noise"],
            pictures=int(fields["pictures"]),
            head_hash=str(fields["head_hash"]),
        )
    except (
        KeyError,
        AttributeError,
        TypeError,
        ValueError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{source}: expected landmark errors (.npz); it is damaged or another kind") from error


def _features(view: Float64) -> Float64:
    if view.ndim != 2 or view.shape[1] != 2:
        raise InputError(f"expected view directions (N, 2); got {view.shape}")
    return np.concatenate([np.ones((len(view), 1)), view], axis=1)


def offsets(seen: ArrayLike, landmarks: ArrayLike, *, focal: ArrayLike, size: ArrayLike) -> Float64:
    """By how much MediaPipe's landmarks miss points of known place.

    Args:
        seen: (N, K, 3) metres, the points in camera coordinates: x right, y up, z towards the viewer.
        landmarks: (N, K, 3) normalised, as in an `Observation`.
        focal: (N,) or a number, focal length in pixels.
        size: (N, 2) or (2,) width and height in pixels.

    Returns:
        (N, K, 3) metres, in camera axes: not turned for a head that leans.
    """
    points, found = np.asarray(seen, dtype=np.float64), np.asarray(landmarks, dtype=np.float64)
    sizes = np.broadcast_to(np.asarray(size, dtype=np.float64), (len(points), 2))[:, None]
    focals = np.broadcast_to(np.asarray(focal, dtype=np.float64), (len(points),))[:, None]
    depth = -points[..., 2]
    across = (found[..., 0] - 0.5) * sizes[..., 0] / focals * depth
    up = (0.5 - found[..., 1]) * sizes[..., 1] / focals * depth
    nearer = -found[..., 2] * sizes[..., 0] / focals * depth.mean(axis=1, keepdims=True)
    errors: Float64 = np.stack([across, up, nearer], axis=-1) - points
    errors[..., 2] -= errors[..., 2].mean(axis=1, keepdims=True)
    return errors


def sitting_errors(
    sitting: Sitting, embedding: LandmarkEmbedding, faces: NDArray[np.integer]
) -> tuple[Float64, Float64]:
    """The errors (N, K, 3) in all pictures, metres, and the directions (N, 2) that they were taken from."""
    cameras = sitting.cameras
    truth = embedding.positions(sitting.vertices, faces)
    seen = np.stack([camera.to_camera(points) for camera, points in zip(cameras, truth, strict=True)])
    found = sitting.landmarks[:, embedding.landmark_index]
    focal, size = np.array([camera.focal for camera in cameras]), np.array([camera.size for camera in cameras])
    # Heads sit straight and cameras do not lean, so camera axes are upright and the view is the camera's own.
    view = np.stack([camera.axes[2, :2] for camera in cameras])
    return offsets(seen, found, focal=focal, size=size), view


def fit_errors(sitting: Sitting, embedding: LandmarkEmbedding, faces: NDArray[np.integer]) -> ErrorModel:
    """Learn bias and covariance from pictures whose truth is known.

    Args:
        sitting: the pictures, of several people.
        embedding: where the landmarks lie; its `head_hash` goes into the model.
        faces: (F, 3) the head's triangles.

    Raises:
        InputError: there are too few pictures, or too few people in them.
    """
    errors, view = sitting_errors(sitting, embedding, faces)
    length = np.sqrt((errors**2).mean(axis=(1, 2)))
    kept = length < _OUTLIER * np.median(length)
    flat, features, person = errors[kept].reshape(kept.sum(), -1), _features(view[kept]), sitting.person[kept]
    n = len(flat)
    if n < _MIN_PICTURES or len(np.unique(person)) < _FOLDS:
        raise InputError(
            f"expected at least {_MIN_PICTURES} pictures of at least {_FOLDS} people to learn errors from; got {n} of "
            f"{len(np.unique(person))}"
        )
    amount = _best_amount(flat, features, person)
    bias, scatter, variance = _moments(flat, features)
    _, size, direction = np.linalg.svd(scatter, full_matrices=False)
    q = n - _N_FEATURES
    shape = embedding.barycentric.shape
    return ErrorModel(
        bias=bias.reshape(_N_FEATURES, *shape),
        components=(np.sqrt(1 - amount) * size[:q, None] * direction[:q]).reshape(q, *shape),
        noise=np.sqrt(amount * variance).reshape(shape),
        pictures=n,
        head_hash=embedding.head_hash or "",
    )


def _moments(flat: Float64, features: Float64) -> tuple[Float64, Float64, Float64]:
    """Bias (3, 3K), scatter A (N, 3K) whose AᵀA is the covariance of the rest, and the variances (3K,)."""
    bias = np.asarray(np.linalg.lstsq(features, flat, rcond=None)[0], dtype=np.float64)
    scatter: Float64 = (flat - features @ bias) / np.sqrt(len(flat) - _N_FEATURES)
    return bias, scatter, np.maximum((scatter**2).sum(axis=0), _LEAST_DEVIATION**2)


def _best_amount(flat: Float64, features: Float64, person: NDArray[np.int64]) -> float:
    """How far to shrink the covariance towards its diagonal, 0..1, by the likelihood of people left out."""
    fold = np.unique(person, return_inverse=True)[1] % _FOLDS
    surprise = np.zeros(len(_AMOUNTS))
    for number in range(_FOLDS):
        out = fold == number
        bias, scatter, variance = _moments(flat[~out], features[~out])
        surprise += _surprise(flat[out] - features[out] @ bias, scatter, variance)
    amount: float = _AMOUNTS[int(surprise.argmin())]
    return amount


def _surprise(left_out: Float64, scatter: Float64, variance: Float64) -> Float64:
    """(amounts,) twice the negative log-likelihood, constants left out, of errors (M, 3K) under each shrinkage.

    With a the amount and Z the scatter in units of the deviations, the covariance is a I + (1 - a) ZᵀZ, whose
    determinant and inverse need the small matrix ZZᵀ only (Woodbury's identity).
    """
    deviation = np.sqrt(variance)
    standard, z = left_out / deviation, scatter / deviation
    eigenvalue, turn = np.linalg.eigh(z @ z.T)
    eigenvalue = np.maximum(eigenvalue, 0)
    along = ((turn.T @ (z @ standard.T)) ** 2).sum(axis=1)
    total, m, p = float((standard**2).sum()), len(left_out), len(deviation)
    surprises = []
    for a in _AMOUNTS:
        stretched = a + (1 - a) * eigenvalue
        determinant = (p - len(z)) * np.log(a) + np.log(stretched).sum()
        surprises.append(m * determinant + (total - ((1 - a) * along / stretched).sum()) / a)
    return np.array(surprises)
