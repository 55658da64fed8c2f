"""What the skin's own marks say: where points of a chart were found, as equations for frames and for the person.

Letters: N frames, P points, D unknowns of a frame, S' identity coefficients, G = S' + 7.

Landmarks miss a face by millimetres, and answer to faces that do not occur; a mark on the skin is found to a fraction
of a pixel, but says only where it went from the chart's picture on. Misses are in pixels, about independent of each
other, and large ones count little (Cauchy's weights).

For the person, every frame is another view of points that stay on the same lines of sight in the chart's picture. So
when identity, focal length or the head's stand in that picture change, points slide along the skin (`Chart.slides`),
and frames follow: their unknowns are eliminated (Schur's complement, as in bundle adjustment; Triggs et al. 2000,
"Bundle adjustment: a modern synthesis").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.geometry.skinned_points import SkinnedPoints
from mp2flame.parallel import in_threads
from mp2flame.tracking.chart import Chart, Marks
from mp2flame.tracking.state import chunks

__all__ = ["Skin", "skin_equations", "skin_evidence"]

Float64 = NDArray[np.float64]

_CHUNK: Final = 8
"""Frames whose derivatives are in memory at once."""
_SOFT: Final = 2.0
"""Deviations at which a miss counts half."""
_INDEPENDENT: Final = 0.05
"""Share of the points that are worth something on their own when a person is told from them: light that moves over a
turning head moves many marks together."""


@dataclass(frozen=True, eq=False)
class Skin:
    """A chart and where its points were found."""

    chart: Chart
    marks: Marks

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> Skin:
        return Skin(self.chart, self.marks[rows])


def _derivatives(chart: Chart, points: SkinnedPoints, coefficients: Float64, rows: Float64) -> tuple[Float64, Float64]:
    """Places (N, P, 2) of points in frames, and how they change (N, C + 12 + 3, 2, P): coefficients, then poses."""
    layout = chart.layout
    posed = points.differentiate(coefficients, layout.poses(rows), layout.translation(rows), layout.moving)
    nearer = chart.lens.focal / -posed.positions[..., 2]
    places = chart.lens.pixels(posed.positions)
    away = ((places - chart.lens.middle) / chart.lens.focal).swapaxes(1, 2)
    change = away[:, None] * posed.jacobian[:, :, 2:]
    change[:, :, 0] += posed.jacobian[:, :, 0]
    change[:, :, 1] -= posed.jacobian[:, :, 1]
    change *= nearer[:, None, None]
    return places, change


def _weighed(change: Float64, weights: Float64) -> Float64:
    """(..., C, 2P) changes (..., C, 2, P) times weights (..., P, 2, 2), which are symmetric."""
    planes = np.moveaxis(weights, -3, -1)[..., None, :, :, :]
    result: Float64 = change[..., :1, :] * planes[..., 0, :, :] + change[..., 1:, :] * planes[..., 1, :, :]
    return result.reshape(*change.shape[:-2], -1)


def _weights(misses: Float64, chart: Chart, trust: NDArray[np.floating]) -> Float64:
    """(N, P, 2, 2) inverse covariances of misses (N, P, 2), pixels of the frame, large misses doubted."""
    off = np.einsum("npi,pij,npj->np", misses, chart.information, misses, optimize=True) / _SOFT**2
    result: Float64 = (trust / (1 + off))[..., None, None] * chart.information
    return result


def skin_equations(skin: Skin, rows: Float64) -> tuple[Float64, Float64]:
    """Normal equations of each frame on its own at rows (N, D).

    Returns:
        Matrices (N, D, D) and right-hand sides (N, D) of `matrix · step = -right`.
    """
    n, d = rows.shape
    matrix, right = np.zeros((n, d, d)), np.zeros((n, d))

    def add(part: slice) -> None:
        face = rows[part, : skin.chart.layout.n_expression]
        places, change = _derivatives(skin.chart, skin.chart.points, face, rows[part])
        misses = skin.marks.places[part] - places
        weighed = _weighed(change, _weights(misses, skin.chart, skin.marks.trust[part]))
        matrix[part] = weighed @ change.reshape(len(places), d, -1).swapaxes(1, 2)
        right[part] = -(weighed @ misses.swapaxes(1, 2).reshape(len(places), -1, 1))[..., 0]

    for _ in in_threads(add, chunks(n, _CHUNK)):
        pass
    return matrix, right


def skin_evidence(skin: Skin, rows: Float64, matrix: Float64, right: Float64) -> tuple[Float64, Float64]:
    """What frames say of the person, their own unknowns eliminated.

    Args:
        skin: of N frames.
        rows: (N, D) how they were solved.
        matrix: (N, D, D) all else that is known of each frame's unknowns, priors included.
        right: (N, D) likewise; `matrix · step = -right`.

    Returns:
        A matrix (G, G) and a right-hand side (G,) of `matrix · step = -right`, for steps of identity, of the head's
        rotation and translation in the chart's picture, and of the logarithm of the focal length.
    """
    chart, s = skin.chart, len(skin.chart.identity)
    still = chart.reference.row[None]
    both = np.concatenate([chart.identity[None], still[:, : chart.layout.n_expression]], axis=1)
    places, change = _derivatives(chart, chart.with_identity, both, still)
    # How each point's line of sight moves away from it, by identity, stand and focal length.
    aside = np.concatenate([change[0, :s], change[0, -6:], (places - chart.lens.middle).swapaxes(1, 2)])

    def one(i: int) -> tuple[Float64, Float64]:
        row = rows[i : i + 1]
        both = np.concatenate([chart.identity[None], row[:, : chart.layout.n_expression]], axis=1)
        places, change = (x[0] for x in _derivatives(chart, chart.with_identity, both, row))
        misses = skin.marks.places[i] - places
        weights = _INDEPENDENT * _weights(misses[None], chart, skin.marks.trust[i : i + 1])[0]
        shared = -np.einsum("gip,poi->gop", aside, chart.slides(row[0]))
        shared[:s] += change[:s]
        shared[-1] += (places - chart.lens.middle).T
        both = np.concatenate([change[s:], shared])
        weighed = _weighed(both, weights)
        square, push = weighed @ both.reshape(len(both), -1).T, -weighed @ misses.T.ravel()
        d = len(row[0])
        across = square[d:, :d]
        outer = np.linalg.solve(matrix[i] + square[:d, :d], np.column_stack([across.T, right[i] + push[:d]]))
        return square[d:, d:] - across @ outer[:, :-1], push[d:] - across @ outer[:, -1]

    parts = list(in_threads(one, range(len(rows))))
    return np.sum([part[0] for part in parts], axis=0), np.sum([part[1] for part in parts], axis=0)
