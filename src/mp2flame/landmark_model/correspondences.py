"""Where each landmark lies on a head, voted for by many pictures of it.

Letters: N pictures, K = 478 landmarks, F triangles, C candidate points.

Every picture's landmarks are cast onto its mesh. The hits, carried to the mean identity at rest, vote for a place (a
geometric median, weighted by how squarely the surface was met). Casting alone is off where the surface breaks away, at
the nose's edge, between the lips, and round the face's outline; so of all points on the surface near that place the
one is taken whose projections lie nearest to what MediaPipe said, on the mean over all pictures of the (unsquared)
distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import N_LANDMARKS
from mp2flame.errors import InputError
from mp2flame.geometry.face_regions import EYE_DISTANCE, visible_vertices
from mp2flame.geometry.mesh import RayHits, cast_rays, connected_components
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.synthesis.landmark_samples import Sitting

__all__ = ["IRISES", "vote"]

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

IRISES: Final = slice(468, 478)
"""MediaPipe's landmarks of both irises; all others lie on skin."""

_MIN_PICTURES: Final = 8
_REACH: Final = 0.009
"""Metres round the voted place in which the landmark is looked for, of a head of the usual size."""
_GRAZING: Final = 0.05
"""Least weight of a picture: MediaPipe guesses what it does not see, and guesses well."""
_EYE_JOINTS: Final = slice(3, 5)
_WEISZFELD_STEPS: Final = 30
_COARSE, _FINE = 4, 12
"""Points along the edge of a candidate triangle, first and last round."""
_RAYLEIGH_MEDIAN: Final = float(np.sqrt(2 * np.log(2)))
"""Median length of a two-dimensional normal vector of unit variance."""


@dataclass(frozen=True, eq=False)
class _Votes:
    """What all pictures say."""

    face: NDArray[np.int64]
    """(N, K) triangle that was hit, or -1."""
    weight: Float64
    """(N, K) how squarely."""
    place: Float64
    """(N, K, 3) the hit carried to the mean identity at rest, metres; NaN where nothing was hit."""


def vote(head: FlameHead, sitting: Sitting) -> LandmarkEmbedding:
    """Where MediaPipe's 478 landmarks lie on a head.

    Raises:
        InputError: there are too few pictures, or the landmarks do not fall on the head.
    """
    if len(sitting.cameras) < _MIN_PICTURES:
        raise InputError(f"expected at least {_MIN_PICTURES} pictures with a face; got {len(sitting.cameras)}")
    votes = _collect(head, sitting)
    if (votes.face >= 0).mean() < 0.5:
        raise InputError(
            f"expected landmarks on the head ({head.version}); more than half of MediaPipe's fall beside it"
        )
    sheets = _sheets(head, votes)
    search = _Search(head, sitting, votes.weight)
    chosen = [search.best(k, _on_sheet(votes, k, sheets[k]), sheets[k]) for k in range(N_LANDMARKS)]
    return LandmarkEmbedding(
        landmark_index=np.arange(N_LANDMARKS),
        face_index=np.array([face for face, _, _ in chosen]),
        barycentric=np.stack([weights for _, weights, _ in chosen]),
        spread=np.array([spread for _, _, spread in chosen]),
        head_hash=head.hash,
        head_version=head.version,
    )


def _collect(head: FlameHead, sitting: Sitting) -> _Votes:
    pixels, faces = sitting.pixels(), head.faces.astype(np.int64)
    hits: list[RayHits] = []
    for vertices, camera, seen in zip(sitting.vertices, sitting.cameras, pixels, strict=True):
        hits.append(cast_rays(vertices, faces, camera.position, camera.rays(seen)))
    face = np.stack([hit.triangle for hit in hits])
    weights = np.stack([hit.barycentric for hit in hits])
    place = np.einsum("nkc,nkcd->nkd", weights, head.template[faces[face]].astype(np.float64))
    return _Votes(face, np.maximum(np.stack([hit.cosine for hit in hits]), _GRAZING), place)


def _sheets(head: FlameHead, votes: _Votes) -> list[Bools]:
    """For each landmark the triangles (F,) it may lie on: eyeballs for the irises, skin that can be seen for the rest.

    The skin is the connected piece of the mesh that most landmarks fall on, which leaves out lashes, teeth and the eye
    sockets behind the balls.
    """
    faces = head.faces.astype(np.int64)
    piece = connected_components(faces, head.n_vertices)[faces[:, 0]]
    carried = (head.arrays.weights[:, _EYE_JOINTS].max(axis=1) > 0.5)[faces].all(axis=1)
    seen = visible_vertices(head.template.astype(np.float64), faces, _scale(head))[faces].all(axis=1)
    on_face = votes.face[:, : IRISES.start]
    on_face = on_face[on_face >= 0]
    counts = np.bincount(piece[on_face[~carried[on_face]]], minlength=int(piece.max()) + 1)
    skin = seen & (piece == counts.argmax()) & ~carried
    on_irises = votes.face[:, IRISES]
    eyes = carried if carried[on_irises[on_irises >= 0]].any() else skin
    return [eyes if IRISES.start <= k < IRISES.stop else skin for k in range(N_LANDMARKS)]


def _on_sheet(votes: _Votes, landmark: int, sheet: Bools) -> Float64:
    """(N, 3) a landmark's hits, NaN for those off its sheet, as through an open mouth onto the back of the head.

    A landmark that never falls on its sheet keeps them all.
    """
    face, place = votes.face[:, landmark], votes.place[:, landmark]
    good = (face >= 0) & sheet[face]
    return np.where(good[:, None], place, np.nan) if good.any() else place


def _scale(head: FlameHead) -> float:
    eyes = head.joints()[_EYE_JOINTS]
    return float(np.linalg.norm(eyes[0] - eyes[1])) / EYE_DISTANCE


def _median(points: Float64, weights: Float64) -> Float64:
    """The geometric median (3,) of points (N, 3), by Weiszfeld's iteration; rows with NaN do not count."""
    good = np.isfinite(points).all(axis=1)
    points, weights = points[good], weights[good]
    middle: Float64 = np.median(points, axis=0)
    for _ in range(_WEISZFELD_STEPS):
        pull = weights / np.maximum(np.linalg.norm(points - middle, axis=1), 1e-6)
        middle = pull @ points / pull.sum()
    return middle


def _weighted_median(values: Float64, weights: Float64) -> float:
    """The weighted median of (N,) values."""
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(share, share[-1] / 2)]])


def _lattice(n: int) -> Float64:
    """(C, 3) barycentric coordinates spread evenly over a triangle, its edges included."""
    rows = [(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]
    return np.array(rows, dtype=np.float64) / n


class _Search:
    """The point of the surface that explains a landmark best."""

    def __init__(self, head: FlameHead, sitting: Sitting, weight: Float64) -> None:
        self._faces = head.faces.astype(np.int64)
        self._centroids = head.template[self._faces].mean(axis=1).astype(np.float64)
        self._reach = _REACH * _scale(head)
        self._weight = weight
        cameras = sitting.cameras
        seen = np.stack([c.to_camera(v) for c, v in zip(cameras, sitting.vertices, strict=True)])
        # A micrometre is exact enough, and half the memory is twice the speed.
        self._seen = seen.astype(np.float32)
        focal = np.array([camera.focal for camera in cameras])
        half = np.array([camera.size for camera in cameras])[:, None] / 2
        # Tangents of the angles that MediaPipe's landmarks are seen under: pixels without the camera.
        self._tangents = ((sitting.pixels() - half) * (1, -1) / focal[:, None, None]).astype(np.float32)

    def best(self, landmark: int, place: Float64, allowed: Bools) -> tuple[int, Float64, float]:
        """Triangle, barycentric coordinates (3,) and spread in metres."""
        weight = self._weight[:, landmark]
        rows = np.flatnonzero(allowed)
        away = np.linalg.norm(self._centroids[rows] - _median(place, weight), axis=1)
        near = rows[away < max(self._reach, 1.5 * float(away.min()))]
        face, _ = self._least(landmark, near, _lattice(_COARSE))[:2]
        ring = np.isin(self._faces[near], self._faces[face]).any(axis=1)
        face, weights, miss = self._least(landmark, near[ring], _lattice(_FINE))
        return face, weights, miss / _RAYLEIGH_MEDIAN

    def _least(self, landmark: int, candidates: NDArray[np.intp], lattice: Float64) -> tuple[int, Float64, float]:
        """Of a lattice on each candidate triangle: the point with the least mean miss, and its median miss, metres."""
        corners = self._seen[:, self._faces[candidates]]
        points = (lattice.astype(np.float32) @ corners).reshape(len(corners), -1, 3)
        across, up = (points[..., i] + self._tangents[:, None, landmark, i] * points[..., 2] for i in range(2))
        misses = np.sqrt(across * across + up * up)
        weight = self._weight[:, landmark]
        best = int(np.argmin(weight @ misses))
        face, point = divmod(best, len(lattice))
        return int(candidates[face]), lattice[point], _weighted_median(misses[:, best], weight)
