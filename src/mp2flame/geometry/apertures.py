"""Openings of a face: which vertices stand for the lips' and the lids' edges, and how far they are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import InputError
from mp2flame.geometry.face_regions import EYE_DISTANCE, Regions, eye_centres, lip_edges

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["Gaps", "head_gaps"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Gaps:
    """Pairs of vertices, upper and lower."""

    lips: tuple[int, int]
    lids: tuple[tuple[int, int], tuple[int, int]]
    """Of the left and of the right eye."""

    def lip_gap(self, vertices: Float32) -> Float32:
        """(N,) metres from lower to upper lip of posed vertices (N, V, 3)."""
        upper, lower = self.lips
        return vertices[:, upper, 1] - vertices[:, lower, 1]

    def lid_gaps(self, vertices: Float32) -> Float32:
        """(N, 2) metres from lower to upper lid, left and right; negative where they cross."""
        gaps: Float32 = np.stack([vertices[:, upper, 1] - vertices[:, lower, 1] for upper, lower in self.lids], axis=1)
        return gaps


def head_gaps(head: FlameHead, regions: Regions) -> Gaps:
    """The middle of the lips' and the lids' edges, from the neutral mesh.

    Raises:
        InputError: the head's lids cannot be told apart.
    """
    eyes = eye_centres(head)
    neutral = head.neutral_vertices.astype(np.float64)
    return Gaps(lip_edges(head, regions), (_lids(neutral, regions, eyes[0]), _lids(neutral, regions, eyes[1])))


def _lids(neutral: NDArray[np.float64], regions: Regions, eye: NDArray[np.float64]) -> tuple[int, int]:
    """The lid vertices nearest above and below the widest opening in a strip down the middle of the eye."""
    x, y, z = (neutral - eye).T
    strip = regions["lids"] & (np.abs(x) < 0.06 * EYE_DISTANCE) & (z > 0) & (np.abs(y) < 0.2 * EYE_DISTANCE)
    rows = np.flatnonzero(strip)
    rows = rows[np.argsort(y[rows])]
    if len(rows) < 2:
        raise InputError("expected eyelids above and below the eyes of this head; found none")
    edge = int(np.argmax(np.diff(y[rows])))
    return int(rows[edge + 1]), int(rows[edge])
