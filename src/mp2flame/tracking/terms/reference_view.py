"""The reference view: one frame of a person, the surface point that each of its pixels shows, and where that went.

Letters: P points, G nodes of a grid, H nodes that show the head, N frames, D entries of a state, S' identity and E
expression coefficients.

Every node of a grid over the reference crop is cast onto the head (backprojection). Another frame is warped into the
reference view: the head as it is estimated in that frame says where each node is now, and the frame is read there. If
head and estimate are right, the result is the reference crop again; the residual optical flow is the alignment error
of each point (direct alignment).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.geometry.face_regions import eyeballs, head_regions
from mp2flame.geometry.mesh import cast_rays, triangle_areas_and_normals
from mp2flame.geometry.skinned_points import SkinnedPoints, estimated_columns
from mp2flame.parallel import in_threads
from mp2flame.tracking.state import chunks
from mp2flame.tracking.terms.landmarks import PersonModel
from mp2flame.tracking.terms.patch_flow import PatchFlow, bilinear_sample
from mp2flame.tracking.video import FaceCrop

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

_N_FACE_LANDMARKS: Final = 468
"""MediaPipe's landmarks before the irises: their hull is the face."""


@dataclass(frozen=True, eq=False)
class ReferenceFrame:
    """A frame of the person whose state is known."""

    crop: FaceCrop
    landmarks: NDArray[np.floating]
    """(K, 3) normalized, in the frame."""
    state: Float64
    """(D,)."""


@dataclass(frozen=True, eq=False)
class PointTracks:
    """Where the points of a reference view were found in N frames."""

    positions: Float32
    """(N, P, 2) pixels of the frame, right and down from its corner."""
    weights: Float32
    """(N, P) 0..1 reliability."""

    def __getitem__(self, frames: slice | NDArray[np.integer]) -> PointTracks:
        return PointTracks(self.positions[frames], self.weights[frames])


class ReferenceView:
    """The points of one frame.

    Args:
        head: the head, at its mean identity.
        identity: (S',) the person's.
        person: the same person, and the camera.
        reference: the frame.
    """

    def __init__(self, head: FlameHead, identity: Float64, person: PersonModel, reference: ReferenceFrame) -> None:
        self.identity, self.layout, self.camera, self.reference = identity, person.layout, person.camera, reference
        self.config = person.config
        config, crop, gray = person.config.points, reference.crop, reference.crop.gray
        face = reference.landmarks[:_N_FACE_LANDMARKS, :2].astype(np.float64) * self.camera.size
        self._columns, self._rows = (self._axis(crop.from_frame(face)[:, i], gray.shape[1 - i]) for i in (0, 1))
        grid = np.stack(np.meshgrid(self._columns, self._rows), axis=-1)
        nodes = grid.reshape(-1, 2)
        self._nodes = crop.in_frame(nodes)
        # Backprojection: the surface point that each node shows.
        shaped = head.with_shape(identity.astype(np.float32))
        rays = np.concatenate([self.camera.slopes(self._nodes), -np.ones((len(nodes), 1))], axis=1)
        vertices = shaped(self.layout.params(reference.state[None], head.n_expression))[0]
        hits = cast_rays(vertices, head.faces, np.zeros(3), rays / np.linalg.norm(rays, axis=1, keepdims=True))
        self._hit = hits.triangle >= 0
        corners = head.faces[hits.triangle[self._hit]].astype(np.int64)
        on_head = SkinnedPoints.at(head, corners, hits.barycentric[self._hit], estimated_columns(head))
        self._nodes_on_head = on_head.with_fixed(identity)
        masks = head_regions(head)["face"], head_regions(head)["lips"], eyeballs(head)
        skin, lips, eyes = (np.asarray(mask[corners].all(axis=1)) for mask in masks)
        row, column = np.indices(grid.shape[:2]).reshape(2, -1)[:, self._hit]
        kept = eyes | (skin & ((column + config.thinning * row // 2) % config.thinning == 0))
        kept &= _in_hull(face, self._nodes[self._hit]) & _surrounded(self._hit.reshape(grid.shape[:2]))[self._hit]
        self._kept = np.flatnonzero(self._hit)[kept]
        self.points_of_identity = on_head.select_points(np.flatnonzero(kept))
        """The P points; identity coefficients (S'), then expression move them."""
        self.points = self.points_of_identity.with_fixed(identity)
        """The P points of the person; expression moves them."""
        self._normals = triangle_areas_and_normals(shaped.neutral_vertices.astype(np.float64)[corners[kept]])[1]
        window = tuple(slice(int(axis[0]), int(axis[-1]) + 1) for axis in (self._rows, self._columns))
        self._flow = PatchFlow(np.ascontiguousarray(gray[window]), person.config.flow)
        corner = np.array([window[1].start, window[0].start])
        self._positions = (nodes - corner).astype(np.float32)[self._kept]
        blur = (config.lips_blur_px * (lips & ~eyes) + config.eyes_blur_px * eyes)[kept]
        # At the head's rim the next pixel shows something else.
        weight = self.facing(reference.state[None])[0][:, None, None] * np.outer(crop.scale, crop.scale)
        self.information = self._flow.information(self._positions, blur) * weight
        """(P, 2, 2) inverse covariance of the points' positions, inverse square pixels of the frame."""
        # Where the pixels of the window are on the grid, in steps across and down.
        height, width = self._flow.texture.shape
        across = (np.arange(width) + corner[0] - self._columns[0]) / config.spacing_px
        down = (np.arange(height) + corner[1] - self._rows[0]) / config.spacing_px
        self._steps_x, self._steps_y = np.meshgrid(across.astype(np.float32), down.astype(np.float32))

    def __len__(self) -> int:
        return len(self._kept)

    def _axis(self, places: Float32, length: int) -> Float64:
        """The nodes along one axis of the crop: about the face, inside the crop."""
        margin = self.config.points.margin * float(np.ptp(places))
        low, high = max(0.0, float(places.min()) - margin), min(length - 1.0, float(places.max()) + margin)
        return np.arange(np.ceil(low), high + 1e-9, self.config.points.spacing_px)

    def facing(self, states: Float64) -> Float64:
        """(N, P) 0..1 how far each point is turned to the camera, in states (N, D)."""
        positions = self.points.pose(*self.layout.arguments(states))
        sight = -positions / np.linalg.norm(positions, axis=2, keepdims=True)
        turned = self._normals @ rotations.matrix(self.layout.rotation(states)).swapaxes(1, 2)
        low, high = self.config.points.facing_range
        return np.asarray(np.clip(((turned * sight).sum(axis=2) - low) / (high - low), 0.0, 1.0), dtype=np.float64)

    def track(self, states: Float64, crop: Callable[[int], FaceCrop | None], *, fine: bool = False) -> PointTracks:
        """Find the points in frames.

        Args:
            states: (N, D) their estimated states.
            crop: gives the face crop of a frame by its number; where it is None, the points have weight 0.
            fine: search more closely; see `PatchFlow.compare`.
        """

        def find(part: slice) -> tuple[Float32, Float32]:
            expected, facing = self._project(states[part]), self.facing(states[part])
            found = [self._find(expected[i], crop(part.start + i), fine) for i in range(len(expected))]
            positions, weights = (np.stack([one[i] for one in found]) for i in (0, 1))
            return positions, (weights * facing).astype(np.float32)

        parts = list(in_threads(find, chunks(len(states), self.config.chunk_frames)))
        return PointTracks(*(np.concatenate([part[i] for part in parts]) for i in (0, 1)))

    def warp_jacobian(self, state: Float64) -> Float64:
        """(P, 2, 2) derivatives of the points' positions in a frame by their positions in the reference frame.

        Args:
            state: (D,) of the frame.
        """
        down, across = np.gradient(self._grid(self._project(state[None])[0]), axis=(0, 1))
        spacing = self.config.points.spacing_px / self.reference.crop.scale
        jacobian = np.stack([across / spacing[0], down / spacing[1]], axis=-1).reshape(-1, 2, 2)
        return np.asarray(jacobian[self._kept], dtype=np.float64)

    def _project(self, states: Float64) -> Float64:
        """(N, H, 2) pixels of the frames: where the nodes that show the head are expected."""
        return self.camera.project(self._nodes_on_head.pose(*self.layout.arguments(states)))

    def _find(self, expected: Float64, crop: FaceCrop | None, fine: bool) -> tuple[Float32, Float32]:
        """Positions (P, 2) and reliability (P,) in one frame."""
        import cv2

        grid = self._grid(expected).astype(np.float32)
        if crop is None:
            return grid.reshape(-1, 2)[self._kept], np.zeros(len(self), dtype=np.float32)
        map_ = np.asarray(
            cv2.remap(grid, self._steps_x, self._steps_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )
        flow, reliability = self._flow.compare(crop, map_, fine=fine)
        here = self._positions
        found = bilinear_sample(map_, here + bilinear_sample(flow, here))
        return found, bilinear_sample(reliability, here)[:, 0]

    def _grid(self, expected: Float64) -> Float64:
        """(rows, columns, 2) positions of all nodes in a frame; those beside the head follow its affine motion."""
        plain = np.c_[self._nodes, np.ones(len(self._nodes))]
        moved = plain @ np.linalg.lstsq(plain[self._hit], expected, rcond=None)[0]
        moved[self._hit] = expected
        return np.asarray(moved.reshape(len(self._rows), len(self._columns), 2), dtype=np.float64)


def _in_hull(face: Float64, positions: Float64) -> NDArray[np.bool_]:
    """(H,) which positions (H, 2) are in the convex hull of landmarks (K, 2)."""
    import cv2

    hull = cv2.convexHull(face.astype(np.float32))
    return np.array([cv2.pointPolygonTest(hull, one, False) >= 0 for one in positions.tolist()], dtype=np.bool_)


def _surrounded(hit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(G,) which nodes of a grid (rows, columns) show the head, along with all their neighbors."""
    import cv2

    return np.asarray(cv2.erode(hit.astype(np.uint8), np.ones((3, 3), np.uint8)).ravel(), dtype=np.bool_)
