"""A head with vertex colours as a few meshes of one colour each, which is what viser can deform in place.

viser streams new vertices into a mesh, but gives such a mesh one colour. Vertices are therefore sorted into a few
paints, and every triangle whose corners have different paints is cut across its edges, where the colour between the two
vertices is as near to one paint as to the other: so the border is as smooth as the colours are.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mp2flame.live.color_quantization import edges_of, sort_colors

__all__ = ["Cut", "Painting", "Patch", "cut_by_cost"]

_RIM = 0.05
"""Part of an edge that is left at each end, so that no triangle is without area."""

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
        edges, edge_of = edges_of(faces)
        paints, costs = sort_colors(colors, edges)
        cut = cut_by_cost(faces, costs, edges, edge_of)
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


def cut_by_cost(faces: NDArray[np.uint32], costs: NDArray[np.float64], edges: Indices, edge_of: Indices) -> Cut:
    """Triangles whose corners have different labels, cut where two labels cost the same, if costs change evenly.

    Args:
        faces: (F, 3) vertex indices.
        costs: (V, K) of each label for each vertex, whose label is the one that costs least.
        edges: (M, 2) and
        edge_of: (3 F,) as of `edges_of`.
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
