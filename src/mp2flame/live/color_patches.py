"""A head with vertex colors as a few meshes of one color each, which is what viser can deform in place.

viser streams new vertices into a mesh, but gives such a mesh one color. The vertex colors are therefore quantized, and
every triangle whose corners have different palette colors is cut across its edges, at the point where the color between
the two vertices is as near to one palette color as to the other, so that borders are as smooth as the colors are.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_RIM = 0.05
"""Part of an edge that is left at each end, so that no triangle is without area."""
_CLOSE = 10.0
"""Distance in CIELAB below which two colors share a palette color."""
_PALETTE_SIZE = 8
"""At most; each color is a message of its own in every frame."""
_ROUNDS = 12
_EXCLUDED = 1e6
"""A cost far above that of white for black."""
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
"""From linear sRGB (IEC 61966-2-1)."""

Indices = NDArray[np.intp]
Float64 = NDArray[np.float64]


class CutSurface(NamedTuple):
    """A surface cut between labels. Its points are the V vertices, then M points on edges, then T centers."""

    edges: Indices  # (M, 2) vertices between which an edge is cut
    shares: NDArray[np.float32]  # (M, 1) how far on the way from the first to the second
    centers: Indices  # (T, 3) vertices of the triangles that have three labels
    faces: Indices  # (F', 3) indices of points, oriented as the faces that they are cut from
    labels: Indices  # (F',) each face's label

    def points(self, vertices: NDArray[np.float32]) -> NDArray[np.float32]:
        """The points (V + M + T, 3) for vertices (V, 3)."""
        # `take` from packed rows is three times as fast as an index, and this is part of every frame's latency.
        rows = np.ascontiguousarray(vertices)
        begin = rows.take(self.edges[:, 0], axis=0)
        between = begin + (rows.take(self.edges[:, 1], axis=0) - begin) * self.shares
        first, second, third = (rows.take(corner, axis=0) for corner in self.centers.T)
        return np.concatenate([rows, between, (first + second + third) * np.float32(1 / 3)])


class Patch(NamedTuple):
    """The part of a surface that has one color."""

    color: tuple[int, ...]  # RGB, 0..255
    used: Indices  # (P,) the surface's points that it consists of
    faces: NDArray[np.uint32]  # (F, 3) indices into `used`


class ColorPatches:
    """A surface of faces (F, 3) with vertex colors (V, 3), 0..255, as patches of one color each; without, one patch."""

    def __init__(
        self, faces: NDArray[np.uint32], colors: NDArray[np.uint8] | None, plain: tuple[int, int, int]
    ) -> None:
        self._cut: CutSurface | None = None
        pieces: list[tuple[tuple[int, ...], NDArray[Any]]] = [(plain, faces)]
        if colors is not None:
            edges, edge_of = edges_of(faces)
            palette, costs = quantize_colors(colors, edges)
            self._cut = cut = cut_surface(faces, costs, edges, edge_of)
            pieces = [
                (tuple(map(round, color)), cut.faces[cut.labels == n]) for n, color in enumerate(palette.tolist())
            ]
        self.patches = []
        for color, part in pieces:
            if len(part):
                used, compact = np.unique(part, return_inverse=True)
                self.patches.append(Patch(color, used.astype(np.intp), compact.reshape(-1, 3).astype(np.uint32)))
        self._used = np.concatenate([patch.used for patch in self.patches])
        self._ends = np.cumsum([len(patch.used) for patch in self.patches]).tolist()

    def points(self, vertices: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Each patch's points (P, 3) for the head's vertices (V, 3)."""
        points = vertices if self._cut is None else self._cut.points(vertices)
        chosen = points.take(self._used, axis=0)
        return [chosen[begin:end] for begin, end in pairwise([0, *self._ends])]


def edges_of(faces: NDArray[np.uint32]) -> tuple[Indices, Indices]:
    """Edges (M, 2), and which of them are the faces' sides (3 F,): first to second, second to third, third to first."""
    corners = faces.astype(np.intp)
    sides = np.sort(np.stack([corners, np.roll(corners, -1, axis=1)], axis=2), axis=2)
    edges, edge_of = np.unique(sides.reshape(-1, 2), axis=0, return_inverse=True)
    return edges, edge_of.reshape(-1)


def quantize_colors(colors: NDArray[np.uint8], edges: Indices) -> tuple[Float64, Float64]:
    """A palette, by weighted k-means in CIELAB that splits the cluster with the largest error.

    Vertices weigh by how even the color around them is, and a vertex may only take the color of an area nearby: where
    hair fades into skin, neither the palette nor any vertex gets the color in between. Neighbors have a say in a
    vertex's color, so that speckled skin is one area.

    Returns:
        The palette (K, 3), and the cost of each of its colors for each vertex (V, K): the vertex has the cheapest.
    """
    lab = srgb_to_lab(colors)
    count = len(lab)
    ends = np.concatenate([edges, edges[:, ::-1]]).T

    def sums(values: NDArray[Any]) -> Float64:
        """Values (V, K) added up over each vertex and its neighbors."""
        return values + np.stack([np.bincount(ends[0], column[ends[1]], count) for column in values.T], axis=1)

    similar = 1 / (1 + ((lab[ends[0]] - lab[ends[1]]) ** 2).sum(axis=1) / _CLOSE**2)
    degree = np.bincount(ends[0], minlength=count)
    weight = (np.bincount(ends[0], similar, count) / np.maximum(degree, 1)) ** 2 + 1e-6
    centers = np.median(lab, axis=0)[None]
    while True:
        for _ in range(_ROUNDS):
            own = _one_hot(_squared_distances(lab, centers)) * weight[:, None]
            total = own.sum(axis=0)[:, None]
            centers = np.where(total > 0, own.T @ lab / np.maximum(total, 1e-12), centers)
        distances = _squared_distances(lab, centers)
        error = weight * distances.min(axis=1)
        if len(centers) == _PALETTE_SIZE or error.max() < _CLOSE**2:
            break
        worst = (error @ _one_hot(distances)).argmax()
        centers = np.vstack([centers, lab[(error * (distances.argmin(axis=1) == worst)).argmax()]])
    costs = _squared_distances(lab, centers)
    for _ in range(2):
        costs = sums(costs * weight[:, None]) / sums(weight[:, None])
    own = _one_hot(costs)
    # Vertices inside an area: all their neighbors have the same color.
    nearby = sums(sums(sums(own * (sums(own) == degree[:, None] + 1)))) > 0
    costs[~nearby & nearby.any(axis=1, keepdims=True)] = _EXCLUDED
    own = weight[:, None] * _one_hot(costs)
    palette: Float64 = own.T @ colors / np.maximum(own.sum(axis=0), 1e-12)[:, None]
    return palette, costs


def _squared_distances(points: Float64, centers: Float64) -> Float64:
    result: Float64 = ((points[:, None] - centers[None]) ** 2).sum(axis=2)
    return result


def _one_hot(costs: Float64) -> Float64:
    """(V, K) 1 where a vertex's cost is the least, 0 elsewhere."""
    result: Float64 = np.eye(costs.shape[1])[costs.argmin(axis=1)]
    return result


def srgb_to_lab(colors: NDArray[np.uint8]) -> Float64:
    """CIELAB (CIE 15, white D65) of sRGB colors (V, 3) in 0..255: distances in it are as large as they look."""
    part = colors / 255.0
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _XYZ.T / _XYZ.sum(axis=1)
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def cut_surface(faces: NDArray[np.uint32], costs: Float64, edges: Indices, edge_of: Indices) -> CutSurface:
    """Cut triangles whose corners have different labels where two labels cost the same, if costs change evenly.

    The label of a vertex is the cheapest of its costs (V, K). Edges and sides are those of `edges_of(faces)`.
    """
    labels: Indices = costs.argmin(axis=1)
    corners = faces.astype(np.intp)
    crossed = labels[edges[:, 0]] != labels[edges[:, 1]]
    cut_edges = edges[crossed]
    own = costs[cut_edges, labels[cut_edges]]
    begin, end = (costs[cut_edges, labels[cut_edges[:, ::-1]]] - own).T  # what the label of the other end costs more
    middle_of = len(labels) + np.cumsum(crossed) - 1
    middles = middle_of[edge_of.reshape(-1, 3)]

    kinds = labels[corners]
    three = (kinds != np.roll(kinds, -1, axis=1)).all(axis=1)
    center = len(labels) + int(crossed.sum()) + np.cumsum(three) - 1
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
        # Three labels: each corner takes the quadrilateral up to the center.
        pieces += [(np.stack(t, axis=1)[three], lx[three]) for t in ((x, xy, center), (x, center, zx))]
    return CutSurface(
        edges=cut_edges,
        shares=np.clip(begin / np.maximum(begin + end, 1e-12), _RIM, 1 - _RIM)[:, None].astype(np.float32),
        centers=corners[three],
        faces=np.concatenate([faces for faces, _ in pieces]),
        labels=np.concatenate([label for _, label in pieces]),
    )
