"""How MediaPipe's landmarks answer to a head: what they miss, as a function of everything that the head does and is.

Letters: N pictures, K landmarks, E expression and S' identity coefficients, F = 1 + 2 + (E + 9) + S' features, Q
components.

An error (see `mp2flame.landmark_model.offsets.offsets` for its axes) is divided by the head's size relative to
the mean identity's, for a picture does not tell a small head from a far one. It is modelled as

    bias · features + person + frame

The bias is linear: MediaPipe answers to a smile, to closing lids, to a face longer than usual with a part of it, and
lets neighbours take part. It is fitted by ridge regression. `person` is a deviate that stays with a person, `frame` one
that each face has anew; both are normal and strongly correlated between landmarks. Two covariances are learned, each
as a few components and a diagonal: that of both together (`absolute`), and that of the difference between a frame and
the same person at rest (`relative`), in which `person` has gone.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.files import write_atomic
from mp2flame.landmark_model.error_samples import Rehearsal

__all__ = ["Information", "LandmarkErrorModel", "LowRankCovariance", "fit_error_model", "load_error_model"]

Float64 = NDArray[np.float64]

_FORMAT: Final = "mp2flame-landmark-response"
_FORMAT_VERSION: Final = "1"
_VIEW: Final = 2
_RIDGE: Final = 100.0
"""Pictures that the belief in no answer at all is worth, for each feature but the view."""
_SHRINKAGE: Final = 0.3
"""How far covariances are shrunk towards their diagonal; people left out were likeliest at 0.2 to 0.4."""
_COMPONENTS: Final = 200
_OUTLIER: Final = 4.0
"""A picture that misses by this many times the median was not understood, and does not count."""
_LEAST_DEVIATION: Final = 1e-4
"""Metres: no landmark is surer than this."""


@dataclass(frozen=True, eq=False)
class LowRankCovariance:
    """A covariance of errors flattened from (K, 3): components cᵀc and a diagonal."""

    components: Float64
    """(Q, 3K) metres."""
    noise: Float64
    """(3K,) metres, standard deviation of what the components leave."""

    @property
    def deviation(self) -> Float64:
        """(3K,) metres, standard deviation of each number."""
        result: Float64 = np.sqrt((self.components**2).sum(axis=0) + self.noise**2)
        return result


class Information:
    """The inverse of a covariance, as a weight on sums of squares (Woodbury's identity).

    Args:
        spread: the covariance.
        trust: (3K,) 0..1: how much each number counts; its noise is divided by the root of it. None is 1 everywhere.
    """

    def __init__(self, spread: LowRankCovariance, trust: Float64 | None = None) -> None:
        self._diagonal = spread.noise**-2.0 if trust is None else trust * spread.noise**-2.0
        scaled = spread.components * self._diagonal
        inner = np.eye(len(scaled)) + scaled @ spread.components.T
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
    """What was learned of one head."""

    bias: Float64
    """(F, 3K) metres for one unit of each feature: 1, view, face, identity."""
    absolute: LowRankCovariance
    """Of what the bias leaves."""
    relative: LowRankCovariance
    """Of what it leaves of the difference to the same person at rest."""
    n_face: int
    """E + 9."""

    def scaled(self, size: float) -> LandmarkErrorModel:
        """The same for a head of this size, where the usual one has 1: everything is so many times as large."""
        spreads = [
            LowRankCovariance(size * spread.components, size * spread.noise)
            for spread in (self.absolute, self.relative)
        ]
        return LandmarkErrorModel(size * self.bias, spreads[0], spreads[1], self.n_face)

    def view_bias(self, view: Float64) -> Float64:
        """(N, 3K) metres: the bias that all share, and what the view (N, 2) adds."""
        result: Float64 = self.bias[0] + view @ self.bias[1 : 1 + _VIEW]
        return result

    @property
    def face_response(self) -> Float64:
        """(E + 9, 3K) metres for one unit of each number of a face."""
        return self.bias[1 + _VIEW : 1 + _VIEW + self.n_face]

    @property
    def identity_response(self) -> Float64:
        """(S', 3K) metres for one unit of each identity coefficient."""
        return self.bias[1 + _VIEW + self.n_face :]

    def save(self, path: Path) -> None:
        """Write it as `.npz`.

        Raises:
            MissingFileError: the folder does not exist.
            SinkError: the file cannot be written.
        """
        fields: dict[str, Any] = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "n_face": self.n_face,
            "bias": self.bias.astype(np.float32),
        }
        for name, spread in (("absolute", self.absolute), ("relative", self.relative)):
            fields |= {f"{name}_components": spread.components.astype(np.float32), f"{name}_noise": spread.noise}
        content = io.BytesIO()
        np.savez(content, **fields)
        write_atomic(path, content.getvalue())


def load_error_model(path: Path) -> LandmarkErrorModel:
    """Load what `LandmarkErrorModel.save` wrote.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is truncated, or another kind of file.
    """
    if not path.is_file():
        raise MissingFileError(f"expected landmark responses at {path}; there is no such file")
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            fields = {key: file[key] for key in file.files}
        said = str(fields["format"]), str(fields["format_version"])
        if said != (_FORMAT, _FORMAT_VERSION):
            raise FormatError(f"{path}: expected {_FORMAT}, version {_FORMAT_VERSION}; got {said[0]}, {said[1]}")
        spreads = [
            LowRankCovariance(
                fields[f"{name}_components"].astype(np.float64), fields[f"{name}_noise"].astype(np.float64)
            )
            for name in ("absolute", "relative")
        ]
        return LandmarkErrorModel(fields["bias"].astype(np.float64), spreads[0], spreads[1], int(fields["n_face"]))
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path}: expected landmark responses (.npz); it is damaged or another kind") from error


def fit_error_model(rehearsal: Rehearsal) -> LandmarkErrorModel:
    """Learn bias and covariances from pictures whose truth is known.

    Raises:
        InputError: there are too few people, or too few of them at rest.
    """
    flat = rehearsal.errors.reshape(len(rehearsal.errors), -1)
    length = np.sqrt((flat**2).mean(axis=1))
    kept = length < _OUTLIER * np.median(length)
    flat, person, rest = flat[kept], rehearsal.person[kept], rehearsal.rest[kept]
    parts = (rehearsal.view, rehearsal.face, rehearsal.identity)
    features = np.concatenate([np.ones((len(kept), 1)), *parts], axis=1)[kept]
    bias = _ridge(features, flat)
    left = flat - features @ bias
    still = {int(person[row]): row for row in np.flatnonzero(rest)}
    moving = np.array([row for row in np.flatnonzero(~rest) if int(person[row]) in still], dtype=np.int64)
    if len(still) < 3 or len(moving) < 3:
        raise InputError(f"expected pictures of several people at rest and moving; got {len(still)}, {len(moving)}")
    against = np.array([still[int(person[row])] for row in moving])
    return LandmarkErrorModel(bias, _spread(left), _spread(left[moving] - left[against]), rehearsal.face.shape[1])


def _ridge(features: Float64, flat: Float64) -> Float64:
    """(F, 3K) the answers; those to features that never vary are zero, the constant is not shrunk."""
    mean, scale = features.mean(axis=0), features.std(axis=0)
    mean[0], scale[0] = 0.0, 1.0
    live = scale > 1e-6
    standard = (features - mean)[:, live] / scale[live]
    weight = np.full(int(live.sum()), _RIDGE)
    weight[: 1 + _VIEW] = 1e-6
    answers = np.zeros((len(scale), flat.shape[1]))
    solved = np.linalg.solve(standard.T @ standard + np.diag(weight), standard.T @ flat)
    answers[live] = solved / scale[live][:, None]
    # Back to features that are not centred.
    answers[0] -= mean @ answers
    return answers


def _spread(left: Float64) -> LowRankCovariance:
    scatter = left / np.sqrt(len(left))
    deviation = np.sqrt(np.maximum((scatter**2).sum(axis=0), _LEAST_DEVIATION**2))
    _, size, direction = np.linalg.svd(scatter, full_matrices=False)
    q = min(_COMPONENTS, len(size))
    components = np.sqrt(1 - _SHRINKAGE) * size[:q, None] * direction[:q]
    # What the components that are left out carried goes to the diagonal.
    rest = deviation**2 - (components**2).sum(axis=0)
    return LowRankCovariance(components, np.sqrt(np.maximum(rest, _SHRINKAGE * deviation**2)))
