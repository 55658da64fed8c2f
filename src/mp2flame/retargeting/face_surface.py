"""The part of a head that is registered: the skin of its face, with the lips told apart.

Letters: V vertices of the head, S of the skin, F triangles of the skin, K landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.geometry.face_regions import eye_centers, head_regions
from mp2flame.geometry.mesh import connected_components
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.mapping.linear import N_ROTATIONS

__all__ = ["Skin", "face_skin", "vertex_normals"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_N_SKIN_LANDMARKS: Final = 468  # the irises come after them
_UPPER, _LOWER = 1, 2
_JAW: Final = 0.15
_UNSURE: Final = (0.35, 0.65)
"""Between these shares of the jaw's whole movement, a vertex near the lips may belong to either."""


@dataclass(frozen=True, eq=False)
class Skin:
    """The face's skin at rest, as a mesh of its own; metres."""

    vertices: Float64
    """(S, 3)."""
    triangles: Int64
    """(F, 3) into `vertices`."""
    rows: Int64
    """(S,) which vertices of the head these are."""
    lip: NDArray[np.int8]
    """(S,) 1 on the upper lip, 2 on the lower, 0 elsewhere."""
    landmark: Int64
    """(K,) the MediaPipe landmarks that lie on the skin."""
    corners: Int64
    """(K, 3) into `vertices`: what each landmark lies between."""
    barycentric: Float64
    """(K, 3)."""
    spread: Float64
    """(K,) metres by which MediaPipe misses each."""
    eye_distance: float
    """Metres between the eyes' centres."""

    @property
    def normals(self) -> Float64:
        """(S, 3) unit normals."""
        return vertex_normals(self.vertices, self.triangles)

    @property
    def triangle_lip(self) -> NDArray[np.int8]:
        """(F,) `lip` of the triangles: that of any corner that has one."""
        result: NDArray[np.int8] = self.lip[self.triangles].max(axis=1)
        return result

    @property
    def rim(self) -> NDArray[np.bool_]:
        """(S,) on the edge of the mesh."""
        return rim_vertices(self.triangles, len(self.vertices))

    def landmarks(self, vertices: Float64) -> Float64:
        """(K, 3) where the landmarks are when the skin's vertices are at `vertices` (S, 3)."""
        result: Float64 = np.einsum("kc,kcd->kd", self.barycentric, vertices[self.corners])
        return result


def face_skin(head: FlameHead, embedding: LandmarkEmbedding) -> Skin:
    """The skin of a head's face, at the identity that is baked in.

    Raises:
        HeadMismatchError, InputError: the landmarks are another head's, or the head has no face.
    """
    embedding.check_head(head)
    neutral = head.neutral_vertices.astype(np.float64)
    mask = head_regions(head)["face"]
    faces = head.faces.astype(np.int64)
    kept = _largest(faces[mask[faces].all(axis=1)], len(neutral))
    rows = np.unique(kept)
    place = np.full(len(neutral), -1)
    place[rows] = np.arange(len(rows))
    corners = place[embedding.corners(faces)]
    on_skin = (corners >= 0).all(axis=1) & (embedding.landmark_index < _N_SKIN_LANDMARKS)
    spread = np.full(len(embedding), 1e-3) if embedding.spread is None else embedding.spread
    eyes = eye_centers(head)
    return Skin(
        vertices=neutral[rows],
        triangles=place[kept],
        rows=rows,
        lip=_lips(head)[rows],
        landmark=embedding.landmark_index[on_skin],
        corners=corners[on_skin],
        barycentric=embedding.barycentric[on_skin],
        spread=spread[on_skin],
        eye_distance=float(np.linalg.norm(eyes[0] - eyes[1])),
    )


def _largest(triangles: Int64, n_vertices: int) -> Int64:
    """The triangles of the largest connected piece: the skin without tear ducts and the like."""
    piece = connected_components(triangles, n_vertices)[triangles[:, 0]]
    result: Int64 = triangles[piece == np.bincount(piece).argmax()]
    return result


def _lips(head: FlameHead) -> NDArray[np.int8]:
    """(V,) upper or lower, in the region of the lips, by whether the jaw carries a vertex along."""
    labels = np.zeros(head.n_vertices, dtype=np.int8)
    lips = head_regions(head)["lips"]
    values = np.zeros((1, head.n_expression + N_ROTATIONS))
    values[0, head.n_expression] = _JAW
    moved = np.linalg.norm(head(FlameParams.from_rows(values))[0] - head.neutral_vertices, axis=1)
    share = moved / max(float(moved[lips].max()), 1e-9)
    if moved[lips].max() > 1e-4 * _JAW:
        labels[lips & (share < _UNSURE[0])] = _UPPER
        labels[lips & (share > _UNSURE[1])] = _LOWER
    return labels


def vertex_normals(vertices: Float64, triangles: Int64) -> Float64:
    """(S, 3) unit normals, triangles weighted by their area."""
    corners = vertices[triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(total, triangles[:, corner], across)
    result: Float64 = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return result


def rim_vertices(triangles: Int64, n_vertices: int) -> NDArray[np.bool_]:
    """(S,) vertices on an edge that only one triangle has."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    mask = np.zeros(n_vertices, dtype=np.bool_)
    mask[unique[count == 1].ravel()] = True
    return mask
