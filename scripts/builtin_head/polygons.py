"""Polygon meshes whose vertices are weighted means of the base mesh's: cut, refined, split, always left-right exact.

Because every vertex is a fixed weighted mean, the same operator carries the template and every displacement.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

Row = dict[int, float]


@dataclass(frozen=True)
class Polygons:
    """A mesh of polygons over the base mesh."""

    rows: list[Row]
    """For each vertex its weights over the base mesh's vertices, summing to 1."""
    faces: list[tuple[int, ...]]
    mirror: list[int]
    """For each vertex the number of its mirror image."""

    def operator(self, n_base: int) -> sparse.csr_matrix:
        """The rows as a sparse matrix (V, n_base)."""
        place = [(index, base, weight) for index, row in enumerate(self.rows) for base, weight in sorted(row.items())]
        row, column, weight = zip(*place, strict=True)
        return sparse.csr_matrix((weight, (row, column)), shape=(len(self.rows), n_base))

    @classmethod
    def from_base(cls, faces: Iterable[tuple[int, ...]], mirror: NDArray[np.intp]) -> Polygons:
        """Some faces of the base mesh, with the vertices they use; the set of faces must be its own mirror."""
        chosen = list(faces)
        used = sorted({corner for face in chosen for corner in face})
        place = {base: index for index, base in enumerate(used)}
        return cls(
            rows=[{base: 1.0} for base in used],
            faces=[tuple(place[corner] for corner in face) for face in chosen],
            mirror=[place[int(mirror[base])] for base in used],
        )


def mean_row(rows: Iterable[tuple[float, Row]]) -> Row:
    """The weighted sum of some rows."""
    result: Row = defaultdict(float)
    for weight, row in rows:
        for base, value in row.items():
            result[base] += weight * value
    return dict(result)


def edges_of(face: tuple[int, ...]) -> list[tuple[int, int]]:
    """The face's edges, lower number first, in the order of its corners."""
    return [(min(pair), max(pair)) for pair in zip(face, (*face[1:], face[0]), strict=True)]


class _Growing:
    """Adds vertices by a key that is a set of old vertices, so that the mirror image of a new vertex is known."""

    def __init__(self, mesh: Polygons) -> None:
        self.mesh = mesh
        self.rows = list(mesh.rows)
        self.place: dict[frozenset[int], int] = {}

    def add(self, key: frozenset[int], row: Row) -> int:
        if key not in self.place:
            self.place[key] = len(self.rows)
            self.rows.append(row)
        return self.place[key]

    def mirror(self) -> list[int]:
        old = self.mesh.mirror
        return old + [self.place[frozenset(old[corner] for corner in key)] for key in self.place]


def refine(mesh: Polygons, selected: Callable[[tuple[int, ...]], bool]) -> Polygons:
    """One step of Catmull-Clark over some faces; their neighbors take the new edge points as further corners.

    Source: Catmull and Clark, "Recursively generated B-spline surfaces on arbitrary topological meshes", 1978, with
    the usual rule (1/8, 3/4, 1/8) on open edges. Vertices that touch no selected face stay where they are.
    """
    chosen = [selected(face) for face in mesh.faces]
    around: dict[tuple[int, int], list[int]] = defaultdict(list)
    touching: dict[int, list[int]] = defaultdict(list)
    for index, face in enumerate(mesh.faces):
        for edge in edges_of(face):
            around[edge].append(index)
        for corner in face:
            touching[corner].append(index)
    center = [mean_row((1 / len(face), mesh.rows[corner]) for corner in face) for face in mesh.faces]
    grown = _Growing(mesh)
    middle: dict[tuple[int, int], int] = {}
    for edge, sides in around.items():
        if any(chosen[index] for index in sides):
            ends = [(0.5, mesh.rows[corner]) for corner in edge]
            inner = [(0.25, mesh.rows[corner]) for corner in edge] + [(0.25, center[index]) for index in sides]
            middle[edge] = grown.add(frozenset(edge), mean_row(inner if len(sides) == 2 else ends))
    faces: list[tuple[int, ...]] = []
    for index, face in enumerate(mesh.faces):
        faces += _refined_face(face, middle, grown, center[index], split=chosen[index])
    moved = {corner for edge in middle for corner in edge}
    for corner in moved:
        grown.rows[corner] = _smoothed(mesh, corner, touching[corner], center, around)
    return Polygons(grown.rows, faces, grown.mirror())


def _refined_face(
    face: tuple[int, ...], middle: dict[tuple[int, int], int], grown: _Growing, center: Row, *, split: bool
) -> list[tuple[int, ...]]:
    edges = edges_of(face)
    if split:
        hub = grown.add(frozenset(face), center)
        return [
            (face[k], middle[edges[k]], hub, middle[edges[k - 1]])  # k - 1 wraps to the last edge
            for k in range(len(face))
        ]
    ring = [corner for k, edge in enumerate(edges) for corner in (face[k], middle.get(edge, -1)) if corner >= 0]
    return [tuple(ring)]


def _smoothed(
    mesh: Polygons, corner: int, faces: list[int], center: list[Row], around: dict[tuple[int, int], list[int]]
) -> Row:
    edges = sorted({edge for index in faces for edge in edges_of(mesh.faces[index]) if corner in edge})
    ends = [edge[0] + edge[1] - corner for edge in edges]
    open_ends = [end for edge, end in zip(edges, ends, strict=True) if len(around[edge]) == 1]
    own = mesh.rows[corner]
    if open_ends:
        return mean_row([(0.75, own), *((0.25 / len(open_ends), mesh.rows[end]) for end in open_ends)])
    n = len(edges)
    halves = [(1 / n**2, mesh.rows[end]) for end in ends]
    return mean_row([((n - 2) / n, own), *halves, *((1 / n**2, center[index]) for index in faces)])


def clip(mesh: Polygons, height: NDArray[np.float64]) -> Polygons:
    """Keep the part of the mesh where a vertex value (V,) is positive; cut edges get a vertex where it is zero."""
    grown = _Growing(mesh)
    faces: list[tuple[int, ...]] = []
    for face in mesh.faces:
        ring: list[int] = []
        for one, other in zip(face, (*face[1:], face[0]), strict=True):
            if height[one] > 0:
                ring.append(one)
            if (height[one] > 0) != (height[other] > 0):
                low, high = sorted((one, other), key=lambda corner: height[corner])
                share = float(height[high] / (height[high] - height[low]))
                row = mean_row([(share, mesh.rows[low]), (1 - share, mesh.rows[high])])
                ring.append(grown.add(frozenset((one, other)), row))
        if len(ring) > 2:
            faces.append(tuple(ring))
    return _used_only(Polygons(grown.rows, faces, grown.mirror()))


def _used_only(mesh: Polygons) -> Polygons:
    used = sorted({corner for face in mesh.faces for corner in face})
    place = {old: new for new, old in enumerate(used)}
    return Polygons(
        rows=[mesh.rows[old] for old in used],
        faces=[tuple(place[corner] for corner in face) for face in mesh.faces],
        mirror=[place[mesh.mirror[old]] for old in used],
    )


def boundary_loops(mesh: Polygons) -> list[list[int]]:
    """The open edges as loops of vertices, each running against the faces beside it."""
    sides: dict[tuple[int, int], int] = defaultdict(int)
    for face in mesh.faces:
        for edge in edges_of(face):
            sides[edge] += 1
    after = {
        other: one
        for face in mesh.faces
        for one, other in zip(face, (*face[1:], face[0]), strict=True)
        if sides[min(one, other), max(one, other)] == 1
    }
    loops: list[list[int]] = []
    while after:
        loop = [min(after)]
        while loop[-1] in after:
            loop.append(after.pop(loop[-1]))
        loops.append(loop[:-1])
    return loops


def close(mesh: Polygons, loop: list[int]) -> Polygons:
    """Fill a loop of open edges with a fan around its middle; the loop must be its own mirror.

    The fan has its own vertices, at the loop's places, so that the edge stays sharp when normals are averaged.
    """
    start, hub = len(mesh.rows), len(mesh.rows) + len(loop)
    place = {corner: start + index for index, corner in enumerate(loop)}
    row = mean_row((1 / len(loop), mesh.rows[corner]) for corner in loop)
    around = list(place.values())
    fan: list[tuple[int, ...]] = [
        (one, other, hub) for one, other in zip(around, (*around[1:], around[0]), strict=True)
    ]
    return replace(
        mesh,
        rows=[*mesh.rows, *(mesh.rows[corner] for corner in loop), row],
        faces=mesh.faces + fan,
        mirror=[*mesh.mirror, *(place[mesh.mirror[corner]] for corner in loop), hub],
    )


def join(meshes: Iterable[Polygons]) -> Polygons:
    """Several meshes side by side."""
    rows: list[Row] = []
    faces: list[tuple[int, ...]] = []
    mirror: list[int] = []
    for mesh in meshes:
        start = len(rows)
        rows += mesh.rows
        faces += [tuple(start + corner for corner in face) for face in mesh.faces]
        mirror += [start + corner for corner in mesh.mirror]
    return Polygons(rows, faces, mirror)


def triangles(mesh: Polygons, points: NDArray[np.float64]) -> tuple[Polygons, NDArray[np.uint32]]:
    """The mesh's faces as triangles (F, 3), the right half the mirror image of the left.

    Quads are cut along the shorter diagonal; larger polygons get a vertex in their middle.

    Args:
        mesh: the mesh; no face may lie on both sides of the middle.
        points: its vertices (V, 3).
    """
    grown = _Growing(mesh)
    left: list[tuple[int, ...]] = []
    for face in sorted(mesh.faces, key=min):
        across = points[list(face), 0]
        assert not (across.min() < -1e-6 and across.max() > 1e-6), "a face crosses the middle"
        if len(face) > 4:
            grown.add(frozenset(face), mean_row((1 / len(face), mesh.rows[corner]) for corner in face))
        if across.max() > 1e-6:
            left += _split(face, points, grown)
    mirror = grown.mirror()
    right = [(mirror[a], mirror[c], mirror[b]) for a, b, c in left]
    return Polygons(grown.rows, [], mirror), np.array(left + right, dtype=np.uint32)


def _split(face: tuple[int, ...], points: NDArray[np.float64], grown: _Growing) -> list[tuple[int, int, int]]:
    if len(face) == 3:
        return [(face[0], face[1], face[2])]
    if len(face) == 4:
        a, b, c, d = face
        if np.linalg.norm(points[a] - points[c]) <= np.linalg.norm(points[b] - points[d]):
            return [(a, b, c), (a, c, d)]
        return [(b, c, d), (b, d, a)]
    hub = grown.place[frozenset(face)]
    return [(one, other, hub) for one, other in zip(face, (*face[1:], face[0]), strict=True)]
