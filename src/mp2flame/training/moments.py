"""Sums over frames that are all a linear fit needs: taken in one pass, added up in any order, on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.errors import InputError
from mp2flame.mapping.linear import expand_features
from mp2flame.signals import N_SCORES
from mp2flame.training.threads import in_threads

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Moments", "total_moments"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# Frames of one product: sums are in float64 between products, and what a product reads stays in the processor's cache.
_BLOCK = 1024
# Equal parts for threads, always as many, so that the sums are the same on any number of processors.
_PARTS = 4


@dataclass(eq=False)
class Moments:
    """X'X, X'Y and Y'Y of features X and parameters Y, and what is needed to tell which score fires."""

    features: tuple[str, ...]
    """Element-wise features of the scores, see `mp2flame.mapping.FEATURES`."""
    count: int
    """Frames."""
    xx: Float64
    """(F, F)"""
    xy: Float64
    """(F, E + 9)"""
    yy: Float64
    """(E + 9, E + 9)"""
    peak: Float64
    """(52,) the largest score seen, before anything was subtracted."""

    @classmethod
    def empty(cls, features: tuple[str, ...], n_outputs: int) -> Self:
        """The moments of no frame."""
        f = N_SCORES * len(features)
        y = n_outputs
        return cls(features, 0, np.zeros((f, f)), np.zeros((f, y)), np.zeros((y, y)), np.zeros(N_SCORES))

    def add(
        self,
        scores: Float32,
        truth: Sequence[Float32],
        base: Float32 | None = None,
        *,
        exact: bool = False,
        lean: bool = False,
    ) -> None:
        """Count in frames, on up to four processors; the sums are the same on any number of them.

        Args:
            scores: (N, 52)
            truth: (N, ...) arrays of parameters that are (N, E + 9) side by side.
            base: (52,) rest scores to subtract.
            exact: multiply in float64, at half the speed.
            lean: leave out `yy` and `peak`, which a pseudo-inverse does not need.
        """
        edges = (
            np.linspace(0, len(scores), _PARTS + 1).astype(int) if len(scores) > _PARTS * _BLOCK else [0, len(scores)]
        )
        work = partial(self._part, scores, truth, base, exact=exact, lean=lean)
        parts = [slice(*pair) for pair in pairwise(edges)]
        for part in in_threads(work, parts):
            self.count += part.count
            self.xx += part.xx
            self.xy += part.xy
            self.yy += part.yy
            np.maximum(self.peak, part.peak, out=self.peak)

    def _part(
        self, scores: Float32, truth: Sequence[Float32], base: Float32 | None, rows: slice, *, exact: bool, lean: bool
    ) -> Moments:
        part = Moments.empty(self.features, self.xy.shape[1])
        scores, truth = scores[rows], [column[rows] for column in truth]
        # Memory is asked for once: asking for it at every block costs as much as a product.
        buffers = [np.zeros((_BLOCK, width), np.float64 if exact else np.float32) for width in self.xy.shape]
        for start in range(0, len(scores), _BLOCK):
            block = scores[start : start + _BLOCK]
            x, y = (buffer[: len(block)] for buffer in buffers)
            x[:] = expand_features(block if base is None else block - base, self.features)
            np.concatenate([column[start : start + _BLOCK] for column in truth], axis=1, out=y)
            part.xx += x.T @ x
            # The longer side first: BLAS is an eighth faster at it.
            part.xy += (y.T @ x).T
            if not lean:
                part.yy += y.T @ y
        peak = part.peak if lean else scores.max(axis=0).astype(np.float64)
        return replace(part, count=len(scores), peak=peak)

    def __add__(self, other: Moments) -> Moments:
        """The moments of both.

        Raises:
            InputError: they are of different features or widths.
        """
        if self.features != other.features or self.xy.shape != other.xy.shape:
            raise InputError("expected moments of the same features and parameters")
        sums = {name: getattr(self, name) + getattr(other, name) for name in ("count", "xx", "xy", "yy")}
        return Moments(self.features, **sums, peak=np.maximum(self.peak, other.peak))

    def __sub__(self, other: Moments) -> Moments:
        """The moments of the frames that `other` did not count; `other` must be a part of these."""
        sums = {name: getattr(self, name) - getattr(other, name) for name in ("count", "xx", "xy", "yy")}
        return Moments(self.features, **sums, peak=self.peak)

    def with_mirror(self, parameters: Float64) -> Moments:
        """These frames and their mirror images, without another pass: features mirror by changing places.

        Args:
            parameters: (E + 9, E + 9) such that `truth @ parameters` is the mirrored truth.
        """
        places = mirror_permutation(MEDIAPIPE)
        order = np.concatenate([places + N_SCORES * block for block in range(len(self.features))])
        mirrored = Moments(
            self.features,
            self.count,
            self.xx[np.ix_(order, order)],
            self.xy[order] @ parameters,
            parameters.T @ self.yy @ parameters,
            self.peak[places],
        )
        return self + mirrored


def total_moments(folds: Sequence[Moments]) -> Moments:
    """The moments of all folds together; there is at least one."""
    total = folds[0]
    for fold in folds[1:]:
        total = total + fold
    return total
