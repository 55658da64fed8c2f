"""A head with vertex colours as a few meshes of one colour each, which is what viser can deform in place.

viser streams new vertices into a mesh, but gives such a mesh one colour. Vertices are therefore sorted into a few
paints, and every triangle whose corners have different paints is cut across its edges, where the colour between the two
vertices is as near to one paint as to the other: so the border is as smooth as the colours are. Paints are those of
areas; where one area fades into the next, or skin is speckled, neighbours have a say in a vertex's paint.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cut", "Painting", "Patch", "cut_by_cost"]

_CLOSE = 10.0
"""Distance in CIELAB below which two colours share a paint."""
_MOST_PAINTS = 8
"""Each is a message of its own in every frame's way to the browser."""
_ROUNDS = 12
_NEIGHBOUR_ROUNDS = 2
_RIM = 0.05
"""Part of an edge that is left at each end, so that no triangle is without area."""

_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
"""From linear sRGB (IEC 61966-2-1)."""

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Cut:
    """A surface cut between labels. Its points are the V vertices, then M points on edges, then T centres."""

    edges: Indices
    """(M, 2) vertices between which an edge is cut."""
    shares: NDArray[np.float32]
    """(M, 1) how far on the way from the first to the second."""
    centres: Indices
    """(T, 3) vertices of the triangles that have three labels."""
    faces: Indices
    """(F', 3) indices of points, turning the same way as the faces that they are cut from."""
    labels: Indices
    """(F',) each face's label."""

    def points(self, vertices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where the points (V + M + T, 3) are for vertices (V, 3)."""
        # `take` from packed rows is three times as fast as an index, and this is in a frame's way to the browser.
        rows = np.ascontiguousarray(vertices)
        begin = rows.take(self.edges[:, 0], axis=0)
        between = begin + (rows.take(self.edges[:, 1], axis=0) - begin) * self.shares
        first, second, third = (rows.take(corner, axis=0) for corner in self.centres.T)
        return np.concatenate([rows, between, (first + second + third) * np.float32(1 / 3)])


@dataclass(frozen=True)
class Patch:
    """The part of a surface that has one colour."""

    color: tuple[int, int, int]
    """RGB, 0..255."""
    used: Indices
    """(P,) the points that it is made of."""
    faces: NDArray[np.uint32]
    """(F, 3) indices into `used`."""


class Painting:
    """A surface as patches of one colour each.

    Args:
        faces: (F, 3) vertex indices.
        colors: (V, 3) RGB, or None for one patch of `plain`.
        plain: the colour where there are none.
    """

    def __init__(
        self, faces: NDArray[np.uint32], colors: NDArray[np.uint8] | None, plain: tuple[int, int, int]
    ) -> None:
        if colors is None:
            used, compact = np.unique(faces, return_inverse=True)
            self._cut: Cut | None = None
            self._set_patches([Patch(plain, used.astype(np.intp), compact.reshape(-1, 3).astype(np.uint32))])
            return
        paints, costs = _sort_colors(colors.astype(np.float64), _edges(faces)[0])
        cut = cut_by_cost(faces, costs)
        self._cut = cut
        present = (cut.labels == np.arange(len(paints))[:, None]).any(axis=1)
        self._set_patches([_patch(cut, int(label), paints[label]) for label in np.flatnonzero(present)])

    def _set_patches(self, patches: list[Patch]) -> None:
        self.patches = patches
        self._used = np.concatenate([patch.used for patch in patches])
        self._ends = np.cumsum([len(patch.used) for patch in patches]).tolist()

    def points(self, vertices: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Where each patch's points (P, 3) are for the head's vertices (V, 3)."""
        points = vertices if self._cut is None else self._cut.points(vertices)
        chosen = points.take(self._used, axis=0)
        return [chosen[begin:end] for begin, end in pairwise([0, *self._ends])]


def _patch(cut: Cut, label: int, paint: NDArray[np.float64]) -> Patch:
    used, compact = np.unique(cut.faces[cut.labels == label], return_inverse=True)
    red, green, blue = (round(channel) for channel in paint.tolist())
    return Patch((red, green, blue), used, compact.reshape(-1, 3).astype(np.uint32))


def _sort_colors(colors: NDArray[np.float64], edges: Indices) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Paints (K, 3), and what each costs each vertex (V, K): k-means in CIELAB that splits the worst paint."""
    seen = _lab(colors)
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


def _edges(faces: NDArray[np.uint32]) -> tuple[Indices, Indices]:
    """Edges (M, 2), and which of them are the faces' sides (3 F,): first to second, second to third, third to first."""
    corners = faces.astype(np.intp)
    sides = np.sort(np.stack([corners, np.roll(corners, -1, axis=1)], axis=2), axis=2)
    edges, edge_of = np.unique(sides.reshape(-1, 2), axis=0, return_inverse=True)
    return edges, edge_of.reshape(-1)


def cut_by_cost(faces: NDArray[np.uint32], costs: NDArray[np.float64]) -> Cut:
    """Triangles whose corners have different labels, cut where two labels cost the same, if costs change evenly.

    Args:
        faces: (F, 3) vertex indices.
        costs: (V, K) of each label for each vertex, whose label is the one that costs least.
    """
    labels: Indices = costs.argmin(axis=1)
    corners = faces.astype(np.intp)
    edges, edge_of = _edges(faces)
    crossed = labels[edges[:, 0]] != labels[edges[:, 1]]
    cut_edges = edges[crossed]
    own = costs[cut_edges, labels[cut_edges]]
    begin, end = (costs[cut_edges, labels[cut_edges[:, ::-1]]] - own).T  # what the label of the other end costs more
    middle_of = len(labels) + np.cumsum(crossed) - 1
    middles = middle_of[edge_of.reshape(-1, 3)]

    kinds = labels[corners]
    three = (kinds != np.roll(kinds, -1, axis=1)).all(axis=1)
    centre = len(labels) + int(crossed.sum()) + np.cumsum(three) - 1
    whole = (kinds == kinds[:, :1]).all(axis=1)
    pieces = [(corners[whole], kinds[whole, 0])]
    for k in range(3):
        x, y, z = (corners[:, (k + n) % 3] for n in range(3))
        lx, ly, lz = (kinds[:, (k + n) % 3] for n in range(3))
        xy, zx = middles[:, k], middles[:, (k + 2) % 3]
        # One corner alone: its tip, and the quadrilateral of the other two.
        alone = (lx != ly) & (ly == lz)
        for triangle, label in (((x, xy, zx), lx), ((xy, y, z), ly), ((xy, z, zx), ly)):
            pieces.append((np.stack(triangle, axis=1)[alone], label[alone]))
        # Three labels: each corner takes the quadrilateral up to the centre.
        pieces += [(np.stack(t, axis=1)[three], lx[three]) for t in ((x, xy, centre), (x, centre, zx))]
    return Cut(
        edges=cut_edges,
        shares=np.clip(begin / np.maximum(begin + end, 1e-12), _RIM, 1 - _RIM)[:, None].astype(np.float32),
        centres=corners[three],
        faces=np.concatenate([faces for faces, _ in pieces]),
        labels=np.concatenate([label for _, label in pieces]),
    )
