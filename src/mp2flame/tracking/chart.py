"""The face in one picture as a chart: which point of the head each of its pixels shows, and where that went.

Letters: P points, G nodes of a grid, N frames, C coefficients.

A frame is laid back onto the chart: every node of a grid is cast onto the head as it stands in the chart's picture, the
head as it is believed to stand in the frame tells where that point is now, and the frame is read there. If head and
belief are right, the result is the chart's picture again. What flow is left between the two says by how much each point
is elsewhere (`mp2flame.tracking.likeness`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.geometry.skinned_points import SkinnedPoints
from mp2flame.parallel import in_threads
from mp2flame.tracking.album import Glimpse
from mp2flame.tracking.equations import Lens
from mp2flame.tracking.ground import ground_under
from mp2flame.tracking.likeness import Look, read_field
from mp2flame.tracking.state import Layout, chunks

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["Chart", "Marks", "Reference"]

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

_CHUNK: Final = 8
"""Frames that are looked at one after the other."""
_SPACING: Final = 4.5
"""Pixels of the glimpse between nodes."""
_THIN: Final = 3
"""Of so many nodes on the skin, one is a point that counts."""
_OVAL: Final = 468
"""Landmarks of MediaPipe's before the irises: their hull is the face."""
_FACING: Final = (0.35, 0.65)
"""Cosines between skin and line of sight from which on a point begins to count, and counts in full."""
_LIPS_SIGMA, _EYES_SIGMA = 0.5, 0.4
"""Pixels of the glimpse, standard deviation: flow is smooth, and what moves at the rims of lips and lids is not."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A picture of the person, and how the head stands in it."""

    glimpse: Glimpse
    landmarks: NDArray[np.floating]
    """(K, 3) normalised, in the frame."""
    row: Float64
    """(D,) the frame's unknowns."""


@dataclass(frozen=True, eq=False)
class Marks:
    """Where the chart's points were found in N frames."""

    places: Float32
    """(N, P, 2) pixels of the frame, right and down from its corner."""
    trust: Float32
    """(N, P) 0..1."""

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> Marks:
        return Marks(self.places[rows], self.trust[rows])

    def __len__(self) -> int:
        return len(self.places)


class Chart:
    """The chart of one picture.

    Args:
        head: with the person's identity.
        identity: (S',) that identity.
        layout: of rows.
        lens: of the camera.
        reference: the picture.
    """

    def __init__(self, head: FlameHead, identity: Float64, layout: Layout, lens: Lens, reference: Reference) -> None:
        self.identity, self.layout, self.lens, self.reference = identity, layout, lens, reference
        glimpse = reference.glimpse
        face = reference.landmarks[:_OVAL, :2].astype(np.float64) * lens.size
        self._columns, self._rows = (_axis(glimpse.places(face)[:, i], glimpse.grey.shape[1 - i]) for i in (0, 1))
        across, down = np.meshgrid(self._columns, self._rows)
        nodes = np.stack([across, down], axis=-1).reshape(-1, 2)
        self._nodes = glimpse.in_frame(nodes)
        ground = ground_under(self._nodes, head, identity, layout=layout, lens=lens, row=reference.row)
        self._hit = ground.met
        nodes_on_head = ground.points(head)
        self._nodes_on_head = nodes_on_head.with_fixed(identity)
        kept = _within(face, self._nodes[self._hit]) & _whole(self._hit.reshape(across.shape))[self._hit]
        # Neighbours on the skin say much the same; of an eye there are few anyway.
        row, column = np.indices(across.shape).reshape(2, -1)[:, self._hit]
        kept &= ground.eyes | (ground.skin & ((column + _THIN * row // 2) % _THIN == 0))
        self._kept = np.flatnonzero(self._hit)[kept]
        self.with_identity: SkinnedPoints = nodes_on_head.select_points(np.flatnonzero(kept))
        """The points; identity coefficients (S'), then expression move them."""
        self.points = self.with_identity.with_fixed(identity)
        self._normals = ground.normals[kept]
        window = _window(self._columns, self._rows)
        self._look = Look(np.ascontiguousarray(glimpse.grey[window]))
        corner = np.array([window[1].start, window[0].start])
        self._places = (nodes - corner).astype(np.float32)
        blur = (_LIPS_SIGMA * ground.lips + _EYES_SIGMA * ground.eyes)[kept]
        # At the head's rim the next pixel shows something else.
        whole = self.facing(reference.row[None])[0][:, None, None] * np.outer(glimpse.scale, glimpse.scale)
        self.information = self._look.information(self._places[self._kept], blur) * whole
        """(P, 2, 2) how exactly marks can be found at each point: inverse square pixels of the frame."""
        self._grid_of_pixels = self._grid_coordinates(corner)

    def __len__(self) -> int:
        return len(self._kept)

    def _grid_coordinates(self, corner: NDArray[np.intp]) -> tuple[Float32, Float32]:
        """Of every pixel of the window: where it is on the grid, in steps across and down."""
        height, width = self._look.marks.shape
        across = (np.arange(width) + corner[0] - self._columns[0]) / _SPACING
        down = (np.arange(height) + corner[1] - self._rows[0]) / _SPACING
        x, y = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
        return x, y

    def facing(self, rows: Float64) -> Float64:
        """(N, P) 0..1 how much each point is turned to the camera."""
        turns = rotations.matrix(self.layout.turn(rows))
        positions = self.points.pose(
            rows[:, : self.layout.n_expression], self.layout.poses(rows), self.layout.translation(rows)
        )
        sight = -positions / np.linalg.norm(positions, axis=2, keepdims=True)
        cosine = ((self._normals @ turns.swapaxes(1, 2)) * sight).sum(axis=2)
        result: Float64 = np.clip((cosine - _FACING[0]) / (_FACING[1] - _FACING[0]), 0.0, 1.0)
        return result

    def match(self, rows: Float64, glimpse: Callable[[int], Glimpse | None], *, fine: bool = False) -> Marks:
        """Look for the points in frames.

        Args:
            rows: (N, D) where they are believed to be.
            glimpse: gives a frame's picture by its number; None is not looked at and tells nothing.
            fine: look more closely; see `Look.compare`.
        """

        def find(part: slice) -> tuple[Float32, Float32]:
            believed, facing = self._project(rows[part]), self.facing(rows[part])
            found = [self._find(believed[i], glimpse(part.start + i), fine) for i in range(len(believed))]
            places, trust = (np.stack([one[i] for one in found]) for i in (0, 1))
            return places, (trust * facing).astype(np.float32)

        parts = list(in_threads(find, chunks(len(rows), _CHUNK)))
        places, trust = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        return Marks(places, trust)

    def slides(self, row: Float64) -> Float64:
        """(P, 2, 2) how places in a frame move with the places in the chart's picture that they stem from.

        Args:
            row: (D,) the frame's unknowns.
        """
        where = self._grid(self._project(row[None])[0])
        down, across = np.gradient(where, axis=(0, 1))
        spacing = _SPACING / self.reference.glimpse.scale
        result: Float64 = np.stack([across / spacing[0], down / spacing[1]], axis=-1).reshape(-1, 2, 2)[self._kept]
        return result

    def _project(self, rows: Float64) -> Float64:
        """(N, H, 2) where the nodes that met the head are believed to be, pixels of the frame."""
        e = self.layout.n_expression
        positions = self._nodes_on_head.pose(rows[:, :e], self.layout.poses(rows), self.layout.translation(rows))
        return self.lens.pixels(positions)

    def _find(self, believed: Float64, glimpse: Glimpse | None, fine: bool) -> tuple[Float32, Float32]:
        """Places (P, 2) and trust (P,) in one frame."""
        where = self._grid(believed).astype(np.float32)
        if glimpse is None:
            return where.reshape(-1, 2)[self._kept], np.zeros(len(self), dtype=np.float32)
        flow, alike, laid = self._look.compare(glimpse, where, self._grid_of_pixels, fine=fine)
        here = self._places[self._kept]
        return read_field(laid, here + read_field(flow, here)), read_field(alike, here)[:, 0]

    def _grid(self, believed: Float64) -> Float64:
        """(rows, columns, 2) places of all nodes; those beside the head go along with it as a whole."""
        plain = np.c_[self._nodes, np.ones(len(self._nodes))]
        moved = plain @ np.linalg.lstsq(plain[self._hit], believed, rcond=None)[0]
        moved[self._hit] = believed
        grid: Float64 = moved.reshape(len(self._rows), len(self._columns), 2)
        return grid


def _axis(places: Float32, length: int) -> Float64:
    """Places of nodes along one axis of a glimpse: about the face, inside the picture."""
    margin = 0.1 * float(np.ptp(places))
    low, high = max(0.0, float(places.min()) - margin), min(length - 1.0, float(places.max()) + margin)
    return np.arange(np.ceil(low), high + 1e-9, _SPACING)


def _window(columns: Float64, rows: Float64) -> tuple[slice, slice]:
    """The part of a glimpse that the nodes span."""
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _within(face: Float64, places: Float64) -> NDArray[np.bool_]:
    """(H,) which places (H, 2) are in the hull of a face's landmarks (K, 2)."""
    import cv2

    hull = cv2.convexHull(face.astype(np.float32))
    return np.array([cv2.pointPolygonTest(hull, place, False) >= 0 for place in places.tolist()], dtype=np.bool_)


def _whole(hit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(G,) which nodes of a grid (rows, columns) have met the head with all their neighbours."""
    import cv2

    inside: NDArray[np.bool_] = cv2.erode(hit.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_)
    return inside.ravel()
