"""A few paints for a head with vertex colours, and which vertex gets which.

Paints are those of areas. Where one area fades into the next, no vertex gets the colour in between, and where skin is
speckled, neighbours have a say in a vertex's paint.
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

__all__ = ["edges_of", "sort_colors"]

_CLOSE = 10.0
"""Distance in CIELAB below which two colours share a paint."""
_MOST_PAINTS = 8
"""Each is a message of its own in every frame's way to the browser."""
_ROUNDS = 12
_NEIGHBOUR_ROUNDS = 2
_FRINGE_ROUNDS = 2
_NEVER = 1e6
"""A cost far above that of white for black."""

_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
"""From linear sRGB (IEC 61966-2-1)."""

Indices = NDArray[np.intp]


def sort_colors(colors: NDArray[np.uint8], edges: Indices) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Choose a few paints: k-means in CIELAB that splits the worst paint.

    Args:
        colors: (V, 3) RGB.
        edges: (M, 2) pairs of neighbours.

    Returns:
        The paints (K, 3), and what each costs each vertex (V, K): the vertex's is the one that costs least.
    """
    seen = _lab(colors.astype(np.float64))
    weight = _evenness(seen, edges)
    middles, labels = _settle(seen, weight, np.median(seen, axis=0)[None])
    while len(middles) < _MOST_PAINTS:
        off = np.linalg.norm(seen - middles[labels], axis=1) * np.sqrt(weight)
        if off.max() < _CLOSE:
            break
        worst = np.bincount(labels, off**2).argmax()
        farthest = seen[np.where(labels == worst, off, -1.0).argmax()]
        middles, labels = _settle(seen, weight, np.vstack([middles, farthest]))
    costs = _apart(seen, middles)
    for _ in range(_NEIGHBOUR_ROUNDS):
        costs = _with_neighbours(costs, weight, edges)
    for _ in range(_FRINGE_ROUNDS):
        costs = _without_fringes(costs, middles, edges)
    labels = costs.argmin(axis=1)
    paints = np.zeros((len(middles), 3))
    for label in np.unique(labels):
        paints[label] = np.average(colors[labels == label], axis=0, weights=weight[labels == label])
    return paints, costs


def _settle(
    seen: NDArray[np.float64], weight: NDArray[np.float64], middles: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Indices]:
    """Lloyd's rounds of weighted k-means: middles (K, 3), and which of them each colour (V, 3) is nearest to."""
    for _ in range(_ROUNDS):
        labels: Indices = _apart(seen, middles).argmin(axis=1)
        own = [labels == k for k in range(len(middles))]
        middles = np.array(
            [
                np.average(seen[rows], axis=0, weights=weight[rows]) if rows.any() else middle
                for rows, middle in zip(own, middles, strict=True)
            ]
        )
    return middles, labels


def _evenness(seen: NDArray[np.float64], edges: Indices) -> NDArray[np.float64]:
    """(V,) from 1, where all neighbours have a vertex's own colour, to nearly 0, where one area fades into another."""
    apart = ((seen[edges[:, 0]] - seen[edges[:, 1]]) ** 2).sum(axis=1)
    alike = np.repeat(1 / (1 + apart / _CLOSE**2), 2)
    count = np.bincount(edges.ravel(), minlength=len(seen))
    share: NDArray[np.float64] = np.bincount(edges.ravel(), alike, len(seen)) / np.maximum(count, 1)
    return share**2 + 1e-6


def _with_neighbours(values: NDArray[np.float64], weight: NDArray[np.float64], edges: Indices) -> NDArray[np.float64]:
    """Weighted means (V, K) of each vertex and its neighbours."""
    total = np.column_stack([values, np.ones(len(values))]) * weight[:, None]
    gathered = total.copy()
    for here, there in (edges.T, edges.T[::-1]):
        gathered += np.stack([np.bincount(here, column[there], len(values)) for column in total.T], axis=1)
    result: NDArray[np.float64] = gathered[:, :-1] / gathered[:, -1:]
    return result


def _without_fringes(costs: NDArray[np.float64], middles: NDArray[np.float64], edges: Indices) -> NDArray[np.float64]:
    """Costs (V, K) that leave no thin strip of a paint between two areas of others, if it is between them in colour."""
    labels, (a, b) = costs.argmin(axis=1), edges.T
    same = labels[a] == labels[b]
    inside = np.bincount(edges[~same].ravel(), minlength=len(labels)) == 0
    area = _widened(inside[:, None], edges[same])[:, 0]
    near = _widened(_widened(area[:, None] & (labels[:, None] == np.arange(len(middles))), edges), edges)
    costs = costs.copy()
    for k, (i, j) in product(range(len(middles)), combinations(range(len(middles)), 2)):
        if k not in (i, j) and _is_between(middles[k], middles[i], middles[j]):
            strip = (labels == k) & ~area & near[:, i] & near[:, j]
            costs[np.ix_(strip, np.setdiff1d(range(len(middles)), (i, j)))] = _NEVER
    return costs


def _widened(flags: NDArray[np.bool_], edges: Indices) -> NDArray[np.bool_]:
    """Flags (V, K) that neighbours have too."""
    wide: NDArray[np.bool_] = flags.copy()
    for here, there in (edges.T, edges.T[::-1]):
        np.logical_or.at(wide, here, flags[there])
    return wide


def _is_between(middle: NDArray[np.float64], begin: NDArray[np.float64], end: NDArray[np.float64]) -> bool:
    way = end - begin
    share = (middle - begin) @ way / (way @ way)
    return bool(0 < share < 1 and np.linalg.norm(begin + share * way - middle) < _CLOSE)


def _apart(seen: NDArray[np.float64], middles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(V, K) squared distances."""
    apart: NDArray[np.float64] = ((seen[:, None] - middles[None]) ** 2).sum(axis=2)
    return apart


def _lab(colors: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB (CIE 15, white D65) of sRGB colours (V, 3) in 0..255: distances in it are as large as they look."""
    part = colors / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _XYZ.T / _XYZ.sum(axis=1)
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def edges_of(faces: NDArray[np.uint32]) -> tuple[Indices, Indices]:
    """Edges (M, 2), and which of them are the faces' sides (3 F,): first to second, second to third, third to first."""
    corners = faces.astype(np.intp)
    sides = np.sort(np.stack([corners, np.roll(corners, -1, axis=1)], axis=2), axis=2)
    edges, edge_of = np.unique(sides.reshape(-1, 2), axis=0, return_inverse=True)
    return edges, edge_of.reshape(-1)
