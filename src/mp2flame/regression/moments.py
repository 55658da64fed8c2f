"""Sums over frames that are all a linear fit needs: taken in one pass, added up in any order, on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.data import N_SCORES
from mp2flame.errors import InputError
from mp2flame.parallel import in_threads

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Moments", "total_moments"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# Frames of one product: sums are in float64 between products, and what a product reads stays in the processor's cache.
_BLOCK = 1024
# Equal parts for threads, always as many, so that the sums are the same on any number of processors.
_PARTS = 4
# Frames of one product of 52 scores and their parameters, so few that OpenBLAS reads them where they lie instead of
# copying them first, and how many such products are one call.
_STRIP = 112
_STRIPS = 4


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

    @classmethod
    def of(
        cls,
        features: tuple[str, ...],
        scores: Float32,
        truth: Sequence[Float32],
        base: Float32 | None = None,
        *,
        exact: bool = False,
        lean: bool = False,
    ) -> Self:
        """The moments of some frames, summed up in this thread; for the arguments see `add`."""
        part = cls.empty(features, sum(column.shape[1] for column in truth))
        width, outputs = part.xy.shape
        dtype = np.float64 if exact else np.float32
        # Memory is asked for once: asking for it at every block costs as much as a product.
        block = np.zeros((_STRIPS * _STRIP if lean else _BLOCK, width + outputs), dtype)
        x_block, y_block = block[:, :width], block[:, width:]
        sums = np.zeros((width if lean else width + outputs, width + outputs))
        for start in range(0, len(scores), len(block)):
            rows = slice(start, start + len(block))
            n = len(scores[rows])
            _write_features(x_block[:n], scores[rows], base, features)
            _write_side_by_side(y_block[:n], [column[rows] for column in truth])
            strip = _STRIP if lean else n
            end = -(-n // strip) * strip
            # What is left there of the rows before would count twice.
            block[n:end] = 0
            strips = block[:end].reshape(-1, strip, width + outputs)
            # The whole by itself, when it is one product: BLAS computes one half of it only.
            sums += (strips[..., : len(sums)].transpose(0, 2, 1) @ strips).sum(axis=0)
        part.xx, part.xy = sums[:width, :width], sums[:width, width:]
        if not lean:
            part.yy = sums[width:, width:]
            part.peak = scores.max(axis=0, initial=0.0).astype(np.float64)
        part.count = len(scores)
        return part

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
        edges = np.linspace(0, len(scores), (_PARTS if len(scores) > _PARTS * _BLOCK else 1) + 1).astype(int)

        def work(rows: slice) -> Moments:
            part = [column[rows] for column in truth]
            return Moments.of(self.features, scores[rows], part, base, exact=exact, lean=lean)

        for part in in_threads(work, [slice(*pair) for pair in pairwise(edges)]):
            self.include(part)

    def include(self, other: Moments) -> None:
        """Add the moments of other frames to these."""
        self.count += other.count
        self.xx += other.xx
        self.xy += other.xy
        self.yy += other.yy
        np.maximum(self.peak, other.peak, out=self.peak)

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


def _write_features(out: NDArray[Any], scores: Float32, base: Float32 | None, features: tuple[str, ...]) -> None:
    """What `mp2flame.mapping.linear.expand_features` gives, written where it is needed."""
    relative = scores if base is None else scores - base
    magnitude = np.abs(relative) if len(features) > 1 else relative
    for place, name in enumerate(features):
        target = out[:, place * N_SCORES : (place + 1) * N_SCORES]
        if name == "square":
            np.multiply(relative, magnitude, out=target)
        elif name == "signed_root":
            np.copysign(np.sqrt(magnitude), relative, out=target)
        else:
            target[:] = relative


def _write_side_by_side(out: NDArray[Any], columns: Sequence[Float32]) -> None:
    start = 0
    for column in columns:
        out[:, start : start + column.shape[1]] = column
        start += column.shape[1]


def total_moments(folds: Sequence[Moments]) -> Moments:
    """The moments of all folds together; there is at least one."""
    total = folds[0]
    for fold in folds[1:]:
        total = total + fold
    return total
