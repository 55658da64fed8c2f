"""The sums over frames that are all a linear fit needs: taken in one pass, added up in any order.

Letters: N frames, B = 52 scores, F = B times the number of features, E expression coefficients, P = E + 9 parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.data import N_SCORES
from mp2flame.mapping.linear import expand_features

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

SCORE_MIRROR: Final = mirror_permutation(MEDIAPIPE)
"""(B,) the score that each score is in a mirrored image."""

_BLOCK = 1024
"""Frames of one product: few enough to stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class SufficientStatistics:
    """Sums over frames that are all a linear fit needs; those of several sets of frames add up."""

    features: tuple[str, ...]
    """Element-wise features of the scores, see `mp2flame.mapping.linear.FEATURES`."""
    count: int
    """Frames."""
    products: Float64
    """(F + P, F + P) Z'Z, with Z (N, F + P) the features X beside the parameters Y."""
    peak: Float64
    """(B,) the largest value of each score, before anything was subtracted."""

    @classmethod
    def zeros(cls, features: tuple[str, ...], n_parameters: int) -> SufficientStatistics:
        """The statistics of no frame."""
        width = N_SCORES * len(features) + n_parameters
        return cls(features, 0, np.zeros((width, width)), np.zeros(N_SCORES))

    def with_frames(
        self,
        scores: Float32,
        parameters: Sequence[Float32],
        neutral: Float32 | None = None,
        *,
        with_yy: bool = True,
        dtype: type[np.floating] = np.float64,
    ) -> SufficientStatistics:
        """These statistics and those of more frames.

        Args:
            scores: (N, B)
            parameters: arrays that are (N, P) side by side.
            neutral: (B,) scores of the neutral face to subtract.
            with_yy: False leaves Y'Y out, which a pseudo-inverse does not need, in half the time.
            dtype: of the products of 1024 frames each, whose sums are float64; float32 takes half the time.
        """
        products = self.products.copy()
        for start in range(0, len(scores), _BLOCK):
            rows = slice(start, start + _BLOCK)
            relative = scores[rows] if neutral is None else scores[rows] - neutral
            columns = [expand_features(relative, self.features), *(column[rows] for column in parameters)]
            both = np.concatenate(columns, axis=1, dtype=dtype)
            left = both if with_yy else both[:, : -self._n_parameters]
            products[: left.shape[1]] += left.T @ both
        peak = np.maximum(self.peak, scores.max(axis=0, initial=0.0))
        return replace(self, count=self.count + len(scores), products=products, peak=peak)

    @property
    def xx(self) -> Float64:
        """(F, F) X'X."""
        return self.products[: -self._n_parameters, : -self._n_parameters]

    @property
    def xy(self) -> Float64:
        """(F, P) X'Y."""
        return self.products[: -self._n_parameters, -self._n_parameters :]

    @property
    def yy(self) -> Float64:
        """(P, P) Y'Y."""
        return self.products[-self._n_parameters :, -self._n_parameters :]

    @property
    def _n_parameters(self) -> int:
        return len(self.products) - N_SCORES * len(self.features)

    def __add__(self, other: SufficientStatistics) -> SufficientStatistics:
        """The statistics of both sets of frames."""
        assert self.features == other.features
        peak = np.maximum(self.peak, other.peak)
        return SufficientStatistics(self.features, self.count + other.count, self.products + other.products, peak)

    def __sub__(self, other: SufficientStatistics) -> SufficientStatistics:
        """The statistics without the frames of `other`, which must be among these; `peak` stays."""
        return replace(self, count=self.count - other.count, products=self.products - other.products)

    def with_mirror(self, mirror: Float64) -> SufficientStatistics:
        """These frames and their mirror images, without another pass: features mirror by changing places.

        Args:
            mirror: (P, P) such that `parameters @ mirror` are the mirrored parameters.
        """
        order = feature_mirror(len(self.features))
        n = len(order)
        places = np.concatenate([order, np.arange(n, len(self.products))])
        mirrored = self.products[np.ix_(places, places)]
        mirrored[n:] = mirror.T @ mirrored[n:]
        mirrored[:, n:] = mirrored[:, n:] @ mirror
        return self + replace(self, products=mirrored, peak=self.peak[SCORE_MIRROR])


def feature_mirror(n_features: int) -> NDArray[np.intp]:
    """(F,) the place of each feature in a mirrored face."""
    return np.concatenate([SCORE_MIRROR + N_SCORES * block for block in range(n_features)])


def total_statistics(parts: Iterable[SufficientStatistics]) -> SufficientStatistics:
    """The statistics of all parts together; there is at least one part."""
    first, *others = parts
    for part in others:
        first = first + part
    return first
