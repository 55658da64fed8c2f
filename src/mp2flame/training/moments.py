"""Sums over frames that are all a linear fit needs: taken in one pass, added up in any order, on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.errors import InputError
from mp2flame.mapping.linear import expand_features
from mp2flame.signals import N_SCORES

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Moments", "total_moments"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# Sums in float32 inside a block this long, in float64 between blocks.
_BLOCK = 8192


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
        self, scores: Float32, truth: Float32, base: Float32 | None = None, *, exact: bool = False, lean: bool = False
    ) -> None:
        """Count in frames.

        Args:
            scores: (N, 52)
            truth: (N, E + 9) parameters.
            base: (52,) rest scores to subtract.
            exact: multiply in float64, at half the speed.
            lean: leave out `yy` and `peak`, which a pseudo-inverse does not need.
        """
        for start in range(0, len(scores), _BLOCK):
            block, y = scores[start : start + _BLOCK], truth[start : start + _BLOCK]
            x = expand_features(block if base is None else block - base, self.features)
            if exact:
                x, y = x.astype(np.float64), y.astype(np.float64)
            self.count += len(x)
            self.xx += x.T @ x
            self.xy += x.T @ y
            if not lean:
                self.yy += y.T @ y
                np.maximum(self.peak, block.max(axis=0), out=self.peak)

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
