"""Whether a posed face cuts into itself: upper lip into lower lip, lids into eyeballs.

Letters: N frames, V vertices.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mp2flame.data import FlameParams
from mp2flame.geometry.face_regions import EYE_DISTANCE, head_regions
from mp2flame.head import FlameHead

__all__ = ["Contact"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Indices = NDArray[np.intp]

# Metres, of a head whose eyes are as far apart as usual.
_SEAM: Final = 0.012
"""Vertices of one lip this near to the other at rest may meet it."""
_REACH: Final = 0.006
"""What lies deeper than this behind the nearest surface is behind it, not in it."""
_LIP_TOLERANCE: Final = 0.0025
"""Lips are soft: where they press, meshes made of shapes overlap by this much without looking wrong."""
_LID_TOLERANCE: Final = 0.0012
_LID_MOST: Final = 0.004
_EYE_JOINTS: Final = (3, 4)
_LID_VERTICES: Final = 160
"""Of each eye at most so many are held against the ball."""
_NEXT_TO: Final = 0.25
"""A lid vertex is held against the part of the eyeball that is no farther off in direction, as a chord of a sphere."""


class Contact:
    """Knows where a head can cut into itself.

    Args:
        head: the head, at any identity; what is found holds for all of its identities.
        shapes: expressions that are right as they are, such as ARKit's shapes one by one: lids that these lay deeper
            than they are at rest, as where the fold of a closing lid goes in, may be as deep in any face.
    """

    def __init__(self, head: FlameHead, shapes: FlameParams) -> None:
        mean = head.with_shape(np.zeros(0))
        neutral = mean.neutral_vertices.astype(np.float64)
        joints = mean.joints()[list(_EYE_JOINTS)].astype(np.float64)
        self._scale = float(np.linalg.norm(joints[0] - joints[1])) / EYE_DISTANCE
        regions = head_regions(mean)
        self._upper, self._lower = _lips(mean, neutral, regions["lips"], _SEAM * self._scale)
        self._ring = head.faces[np.isin(head.faces, self._lower).any(axis=1)].astype(np.int64)
        lids = np.flatnonzero(regions["lids"])
        nearest = np.linalg.norm(neutral[lids, None] - joints, axis=2).argmin(axis=1)
        self._lids = [_thinned(lids[nearest == side]) for side in range(2)]
        carried = mean.arrays.weights[:, _EYE_JOINTS] > 0.5
        self._balls = [np.flatnonzero(carried[:, side]) for side in range(2)]
        shaped = np.stack([self._lid_depths(frame, joints) for frame in mean(shapes)])
        self._allowed = np.clip(shaped, 0, _LID_MOST * self._scale).max(axis=0, initial=0)

    def cuts(self, person: FlameHead, vertices: Float32) -> NDArray[np.bool_]:
        """(N,) whether each frame's face cuts into itself by more than soft skin may, beyond what it does at rest.

        Args:
            person: the head at the identity that is posed, not turned.
            vertices: (N, V, 3) its posed vertices.
        """
        centres = person.joints()[list(_EYE_JOINTS)].astype(np.float64)
        rest = person.neutral_vertices
        lips = np.array([self._lip_depth(frame) for frame in vertices]) - self._lip_depth(rest)
        at_rest = np.maximum(self._lid_depths(rest, centres), self._allowed)
        lids = np.array([(self._lid_depths(frame, centres) - at_rest).max(initial=0) for frame in vertices])
        result: NDArray[np.bool_] = (lips > _LIP_TOLERANCE * self._scale) | (lids > _LID_TOLERANCE * self._scale)
        return result

    def _lip_depth(self, vertices: Float32) -> float:
        """How deep the upper lip is in the lower one, metres; 0 where they are apart."""
        if not len(self._upper) or not len(self._lower):
            return 0.0
        normals = self._lower_normals(vertices)
        upper, lower = vertices[self._upper], vertices[self._lower]
        distance, nearest = cKDTree(lower).query(upper, distance_upper_bound=_REACH * self._scale)
        near = np.isfinite(distance)
        if not near.any():
            return 0.0
        behind = ((lower[nearest[near]] - upper[near]) * normals[nearest[near]]).sum(axis=1)
        return max(0.0, float(behind.max()))

    def _lower_normals(self, vertices: Float32) -> Float64:
        corners = vertices[self._ring].astype(np.float64)
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        total = np.zeros((len(vertices), 3))
        for corner in range(3):
            np.add.at(total, self._ring[:, corner], across)
        normals = total[self._lower]
        result: Float64 = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return result

    def _lid_depths(self, vertices: Float32, centres: Float64) -> Float64:
        """How deep each lid vertex is in its eyeball, metres; below 0 where it is outside."""
        depths = [np.zeros(0)]
        for centre, lids, balls in zip(centres, self._lids, self._balls, strict=True):
            if not len(balls) or not len(lids):
                continue
            lid, ball = vertices[lids] - centre, vertices[balls] - centre
            lid_radius, ball_radius = np.linalg.norm(lid, axis=1), np.linalg.norm(ball, axis=1)
            tree = cKDTree(ball / np.maximum(ball_radius, 1e-9)[:, None])
            aside, nearest = tree.query(lid / np.maximum(lid_radius, 1e-9)[:, None])
            depths.append(np.where(aside < _NEXT_TO, ball_radius[nearest] - lid_radius, -1.0))
        return np.concatenate(depths)


def _thinned(vertices: Indices) -> Indices:
    return vertices[:: max(1, -(-len(vertices) // _LID_VERTICES))]


def _lips(mean: FlameHead, neutral: Float64, lips: NDArray[np.bool_], seam: float) -> tuple[Indices, Indices]:
    """The vertices of upper and lower lip that may meet: the jaw carries the lower ones along."""
    opened = np.zeros((1, mean.n_expression + 9))
    opened[0, mean.n_expression] = 0.2
    lowered = (neutral - mean(FlameParams.from_rows(opened))[0])[:, 1]
    most = float(lowered[lips].max())
    if most < 1e-4:
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    upper, lower = np.flatnonzero(lips & (lowered < 0.2 * most)), np.flatnonzero(lips & (lowered > 0.6 * most))
    if not len(upper) or not len(lower):
        return upper, lower
    from_upper = cKDTree(neutral[lower]).query(neutral[upper])[0]
    from_lower = cKDTree(neutral[upper]).query(neutral[lower])[0]
    return upper[from_upper < seam], lower[from_lower < seam]
