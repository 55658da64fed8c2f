"""The lashes: the base mesh's strips, cut to a natural length."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from scripts.builtin_head.polygons import Polygons, edges_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scripts.builtin_head.wheel import Wheel

_GROUPS = ("helper-l-eyelashes-2", "helper-l-eyelashes-1")  # upper, lower
_ROWS = 5
LID_ROW = 1
"""The row of a strip that lies on the edge of the lid; the one before it is hidden in the lid."""
# How much of the source's length beyond the lid's edge remains, upper and lower: those are long enough for a doll.
_LENGTHS = (0.42, 0.2)


def grids(wheel: Wheel, points: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """The left eye's strips as grids (columns, 5) of base vertices, rows from the root to the tip."""
    eye = points[wheel.group("helper-l-eye")].mean(axis=0)
    result = []
    for group in _GROUPS:
        grid = _grid(wheel.polygons(group))
        away = np.linalg.norm(points[grid] - eye, axis=2).mean(axis=0)
        result.append(grid if away[0] < away[-1] else grid[:, ::-1])
    return result


def _grid(quads: list[tuple[int, ...]]) -> NDArray[np.intp]:
    uses = Counter(edge for quad in quads for edge in edges_of(quad))
    rim: dict[int, list[int]] = {}
    for (one, other), count in sorted(uses.items()):
        if count == 1:
            rim.setdefault(one, []).append(other)
            rim.setdefault(other, []).append(one)
    corners = Counter(corner for quad in quads for corner in quad)
    start = min(corner for corner, count in corners.items() if count == 1)
    sides = [_walk(rim, start, after) for after in rim[start]]
    column = next(side for side in sides if corners[side[-1]] == 1)
    columns, left = [column], list(quads)
    while left:
        following: dict[int, int] = {}
        for one, other in itertools.pairwise(column):
            quad = next(quad for quad in left if one in quad and other in quad)
            left.remove(quad)
            following |= dict(_rungs(quad, one, other))
        column = [following[corner] for corner in column]
        columns.append(column)
    return np.array(columns, dtype=np.intp)


def _walk(rim: dict[int, list[int]], start: int, after: int) -> list[int]:
    path = [start, after]
    while len(path) < _ROWS:
        path.append(next(corner for corner in rim[path[-1]] if corner != path[-2]))
    return path


def _rungs(quad: tuple[int, ...], one: int, other: int) -> list[tuple[int, int]]:
    """The two edges of a quad that leave its edge (one, other), as (near, far)."""
    pairs = [(a, b) if a in (one, other) else (b, a) for a, b in edges_of(quad)]
    return [(near, far) for near, far in pairs if far not in (one, other)]


def strips(wheel: Wheel, points: NDArray[np.float64]) -> Polygons:
    """The strips of both eyes, tips drawn in towards the lids."""
    rows: list[dict[int, float]] = []
    faces: list[tuple[int, ...]] = []
    for side in ("left", "right"):
        for grid, length in zip(grids(wheel, points), _LENGTHS, strict=True):
            start = len(rows)
            own = grid if side == "left" else wheel.mirror[grid]
            for column in own:
                lid = int(column[LID_ROW])
                rows += [
                    {int(corner): 1.0} if k <= LID_ROW else {lid: 1 - length, int(corner): length}
                    for k, corner in enumerate(column)
                ]
            faces += _quads(start, len(own), turned=side == "right")
    half = len(rows) // 2
    return Polygons(rows, faces, [*range(half, 2 * half), *range(half)])


def _quads(start: int, columns: int, *, turned: bool) -> list[tuple[int, ...]]:
    result: list[tuple[int, ...]] = []
    for i in range(columns - 1):
        for j in range(_ROWS - 1):
            a, b = start + i * _ROWS + j, start + (i + 1) * _ROWS + j
            quad = (a, b, b + 1, a + 1)
            result.append(quad[::-1] if turned else quad)
    return result
