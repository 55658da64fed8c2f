"""What of a head each place of a picture shows.

Letters: G places, H of them on the head, V vertices, C coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame.geometry.face_regions import head_regions
from mp2flame.geometry.mesh import cast_rays
from mp2flame.geometry.skinned_points import SkinnedPoints, estimated_columns
from mp2flame.tracking.equations import Lens
from mp2flame.tracking.state import EYES, Layout, params_of

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["Ground", "ground_under"]

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ground:
    """The points of the head that G places of a picture show."""

    met: NDArray[np.bool_]
    """(G,) the places that show the head at all; the arrays below are of these."""
    corners: NDArray[np.int64]
    """(H, 3) vertices of the triangle that each shows."""
    barycentric: Float64
    """(H, 3) their weights."""
    normals: Float64
    """(H, 3) unit vectors out of the skin, the head at rest, in its own axes."""
    skin: NDArray[np.bool_]
    """(H,) the face's own skin: neither mouth cavity, ears nor neck."""
    lips: NDArray[np.bool_]
    """(H,) of the skin, the lips and what is about them."""
    eyes: NDArray[np.bool_]
    """(H,) the eyeballs."""

    def points(self, head: FlameHead) -> SkinnedPoints:
        """These points; identity coefficients (S'), then expression move them."""
        return SkinnedPoints.at(head, self.corners, self.barycentric, estimated_columns(head))


def ground_under(
    places: Float64, head: FlameHead, identity: Float64, *, layout: Layout, lens: Lens, row: Float64
) -> Ground:
    """Cast places of a picture onto the head that it shows.

    Args:
        places: (G, 2) pixels right and down from the picture's corner.
        head: at any identity.
        identity: (S',) the person's.
        layout: of the row.
        lens: of the camera.
        row: (D,) how the head stands in the picture.
    """
    person = head.with_shape(identity.astype(np.float32))
    vertices = person(params_of(layout, row[None], head.n_expression))[0]
    rays = np.concatenate([lens.tangents(places), -np.ones((len(places), 1))], axis=1)
    hits = cast_rays(vertices, head.faces, np.zeros(3), rays / np.linalg.norm(rays, axis=1, keepdims=True))
    met = hits.triangle >= 0
    corners = head.faces[hits.triangle[met]].astype(np.int64)
    neutral = person.neutral_vertices.astype(np.float64)[corners]
    normals = np.cross(neutral[:, 1] - neutral[:, 0], neutral[:, 2] - neutral[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    turning = head.arrays.weights[:, list(EYES)].sum(axis=1) > 0.5
    regions = head_regions(head)
    masks = (regions["face"], regions["lips"], turning)
    skin, lips, eyes = (np.asarray(mask[corners].all(axis=1)) for mask in masks)
    return Ground(met, corners, hits.barycentric[met], normals, skin & ~eyes, lips & ~eyes, eyes)
