"""Where MediaPipe's landmarks lie on a head, from many images of it.

Letters: N images, V vertices, K = 478 landmarks, F triangles, C candidate points.

The landmarks of each image are cast onto the mesh in it. The hits, carried to the neutral mean identity, give a first
place: their geometric median, weighted by how squarely the ray meets the surface. Ray casting alone is wrong where the
surface has an edge: at the nose, between the lips, and at the outline of the face. So of all points on the surface near
that place the one is chosen whose projections have the least mean (not squared) distance from MediaPipe's landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import N_LANDMARKS, FlameParams
from mp2flame.errors import InputError
from mp2flame.geometry.camera import Camera
from mp2flame.geometry.face_regions import eyeballs, head_scale, visible_vertices
from mp2flame.geometry.mesh import cast_rays, connected_components
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.synthesis.appearance import SubjectColors
from mp2flame.synthesis.expressions import CoefficientDistribution
from mp2flame.synthesis.render import RenderSettings, Scene, detect_scenes
from mp2flame.synthesis.views import FRONTAL, IDENTITY_STD, random_view

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

DEFAULT_IMAGES: Final = RenderSettings(subjects=40, images=4)
"""Many subjects with few images each tell more than the reverse."""
IRISES: Final = slice(468, 478)
"""MediaPipe's landmarks of both irises; all others lie on skin."""

_N_EXPRESSION: Final = 12
"""Only the leading coefficients are drawn: they hold most of what faces do, and sums of all of them are grimaces."""
_MIN_IMAGES: Final = 8
_SEARCH_RADIUS: Final = 0.009
"""Meters around the first place, of a head of the usual size."""
_MIN_WEIGHT: Final = 0.05
"""Least weight of an image: MediaPipe guesses hidden landmarks, and guesses well."""
_WEISZFELD_STEPS: Final = 30
_COARSE, _FINE = 4, 12
"""Points along the edge of a candidate triangle, in the first and in the last round."""
_RAYLEIGH_MEDIAN: Final = float(np.sqrt(2 * np.log(2)))
"""Median length of a two-dimensional normal vector of unit variance."""


@dataclass(frozen=True, eq=False)
class LandmarkSamples:
    """Images of known geometry and the landmarks that MediaPipe detects in them."""

    vertices: NDArray[np.float32]
    """(N, V, 3) meters."""
    landmarks: NDArray[np.float32]
    """(N, 478, 3) normalized, MediaPipe's."""
    cameras: tuple[Camera, ...]
    """N."""

    def pixels(self) -> Float64:
        """(N, 478, 2) the landmarks in pixels."""
        sizes = np.array([camera.size for camera in self.cameras], dtype=np.float64)
        pixels: Float64 = self.landmarks[..., :2] * sizes[:, None]
        return pixels


def find_landmarks(
    head: FlameHead,
    landmarker: Path,
    *,
    settings: RenderSettings = DEFAULT_IMAGES,
    missed_image: Path | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> LandmarkEmbedding:
    """Find MediaPipe's landmarks on a head, from renders alone.

    A head without vertex colors is rendered twice: first with eyes and mouth cavity painted, then also with lips, brows
    and lashes where the first images show them to be.

    Args:
        head: the head, at any identity; the result holds for all of its identities.
        landmarker: MediaPipe's face landmarker file.
        settings: the number of images.
        missed_image: where to save an image if MediaPipe finds no face (PNG).
        on_image: called after each image.

    Raises:
        InputError: MediaPipe finds no face in images of this head.
        MissingExtraError: PyVista or MediaPipe is not installed.
    """

    def render(colors: SubjectColors, settings: RenderSettings) -> LandmarkEmbedding:
        vertices, landmarks, cameras = [], [], []
        scenes = _scenes(head, colors, settings)
        for scene, detected in detect_scenes(head, landmarker, scenes, missed_image=missed_image, on_image=on_image):
            assert detected.landmarks is not None
            vertices.append(scene.subject(scene.params)[0])
            landmarks.append(detected.landmarks[0])
            cameras.append(scene.camera)
        return fit_embedding(head, LandmarkSamples(np.stack(vertices), np.stack(landmarks), tuple(cameras)))

    colors = SubjectColors(head)
    if head.vertex_colors is None:
        few = replace(settings, subjects=max(settings.subjects // 4, 4), images=4)
        colors = SubjectColors(head, render(colors, few))
    return render(colors, settings)


def _scenes(head: FlameHead, colors: SubjectColors, settings: RenderSettings) -> Iterator[Scene]:
    """The mean identity first; every subject with a neutral face from the front first."""
    e = head.n_expression
    faces = CoefficientDistribution(e, min(e, _N_EXPRESSION), std=(0.6, 0.6), jaw=0.30, gaze=(0.10, 0.16))
    for number in range(settings.subjects):
        rng = np.random.default_rng([settings.seed, number])
        subject = head.with_shape(rng.normal(scale=IDENTITY_STD, size=head.n_shape) * (number > 0))
        painted = colors(rng if number else None)
        yield Scene(subject, FlameParams.neutral(n_expression=e), FRONTAL, painted)
        for _ in range(settings.images - 1):
            params = faces.sample(1, rng)
            yield Scene(subject, params, random_view(rng), painted)


@dataclass(frozen=True, eq=False)
class _Hits:
    """Where the landmarks of all images meet the mesh."""

    triangle: NDArray[np.int64]
    """(N, K) -1 where a landmark lies beside the head."""
    weight: Float64
    """(N, K) cosine between ray and surface normal, at least `_MIN_WEIGHT`."""
    place: Float64
    """(N, K, 3) meters, carried to the neutral mean identity; NaN where nothing was hit."""


def fit_embedding(head: FlameHead, samples: LandmarkSamples) -> LandmarkEmbedding:
    """Where MediaPipe's 478 landmarks lie on a head.

    Raises:
        InputError: there are too few images, or the landmarks do not fall on the head.
    """
    if len(samples.cameras) < _MIN_IMAGES:
        raise InputError(f"expected at least {_MIN_IMAGES} images with a face; got {len(samples.cameras)}")
    head = head.with_shape(np.zeros(0))
    hits = _cast_landmarks(head, samples)
    if (hits.triangle >= 0).mean() < 0.5:
        raise InputError(
            f"expected landmarks on the head ({head.version}); more than half of MediaPipe's fall beside it"
        )
    skin, eyes = _candidate_surfaces(head, hits)
    search = _Search(head, samples, hits.weight)
    best = []
    for k in range(N_LANDMARKS):
        surface = eyes if IRISES.start <= k < IRISES.stop else skin
        best.append(search.best(k, _hits_on(hits, k, surface), surface))
    return LandmarkEmbedding(
        landmark_index=np.arange(N_LANDMARKS),
        face_index=np.array([triangle for triangle, _, _ in best]),
        barycentric=np.stack([weights for _, weights, _ in best]),
        spread=np.array([spread for _, _, spread in best]),
        head_hash=head.hash,
        head_version=head.version,
    )


def _cast_landmarks(head: FlameHead, samples: LandmarkSamples) -> _Hits:
    faces = head.faces.astype(np.int64)
    rays = [camera.rays(pixels) for camera, pixels in zip(samples.cameras, samples.pixels(), strict=True)]
    views = zip(samples.vertices, samples.cameras, rays, strict=True)
    hits = [cast_rays(vertices, faces, camera.position, directions) for vertices, camera, directions in views]
    triangle, weights = np.stack([hit.triangle for hit in hits]), np.stack([hit.barycentric for hit in hits])
    place = np.einsum("nkc,nkcd->nkd", weights, head.template[faces[triangle]].astype(np.float64))
    return _Hits(triangle, np.maximum(np.stack([hit.cosine for hit in hits]), _MIN_WEIGHT), place)


def _candidate_surfaces(head: FlameHead, hits: _Hits) -> tuple[Bools, Bools]:
    """The triangles (F,) on which landmarks of the skin may lie, and those of the irises.

    The skin is the connected component of the mesh that most landmarks fall on, as far as it is visible, which leaves
    out lashes, teeth and the eye sockets behind the eyeballs.
    """
    faces = head.faces.astype(np.int64)
    component = connected_components(faces, head.n_vertices)[faces[:, 0]]
    eyes, visible = (np.asarray(mask[faces].all(axis=1)) for mask in (eyeballs(head), visible_vertices(head)))
    on_face = hits.triangle[:, : IRISES.start]
    on_face = on_face[on_face >= 0]
    counts = np.bincount(component[on_face[~eyes[on_face]]], minlength=int(component.max()) + 1)
    skin = visible & (component == counts.argmax()) & ~eyes
    on_irises = hits.triangle[:, IRISES]
    return skin, eyes if eyes[on_irises[on_irises >= 0]].any() else skin


def _hits_on(hits: _Hits, landmark: int, surface: Bools) -> Float64:
    """(N, 3) the hits of a landmark, NaN for those off its surface, as through an open mouth onto the back of the head.

    If no hit is on the surface, all are returned.
    """
    triangle, place = hits.triangle[:, landmark], hits.place[:, landmark]
    good = (triangle >= 0) & surface[triangle]
    return np.where(good[:, None], place, np.nan) if good.any() else place


def _geometric_median(points: Float64, weights: Float64) -> Float64:
    """The geometric median (3,) of points (N, 3), by Weiszfeld's iteration; rows with NaN do not count."""
    good = np.isfinite(points).all(axis=1)
    points, weights = points[good], weights[good]
    middle: Float64 = np.median(points, axis=0)
    for _ in range(_WEISZFELD_STEPS):
        shares = weights / np.maximum(np.linalg.norm(points - middle, axis=1), 1e-6)
        middle = shares @ points / shares.sum()
    return middle


def _weighted_median(values: Float64, weights: Float64) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])


def _lattice(n: int) -> Float64:
    """(C, 3) barycentric coordinates spread evenly over a triangle, its edges included."""
    rows = [(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]
    return np.array(rows, dtype=np.float64) / n


class _Search:
    """Finds the point of the surface with the least mean distance from a landmark."""

    def __init__(self, head: FlameHead, samples: LandmarkSamples, weight: Float64) -> None:
        self._faces = head.faces.astype(np.int64)
        self._centroids = head.template[self._faces].mean(axis=1).astype(np.float64)
        self._radius = _SEARCH_RADIUS * head_scale(head)
        self._weight = weight
        cameras = samples.cameras
        local = np.stack([c.to_camera(v) for c, v in zip(cameras, samples.vertices, strict=True)])
        # A micrometre is exact enough, and half the memory is twice the speed.
        self._local = local.astype(np.float32)
        slopes = [camera.intrinsics.slopes(pixels) for camera, pixels in zip(cameras, samples.pixels(), strict=True)]
        self._slopes = np.stack(slopes).astype(np.float32)

    def best(self, landmark: int, place: Float64, surface: Bools) -> tuple[int, Float64, float]:
        """Triangle, barycentric coordinates (3,) and spread in meters."""
        rows = np.flatnonzero(surface)
        median = _geometric_median(place, self._weight[:, landmark])
        away = np.linalg.norm(self._centroids[rows] - median, axis=1)
        near = rows[away < max(self._radius, 1.5 * float(away.min()))]
        triangle, _, _ = self._least(landmark, near, _lattice(_COARSE))
        ring = np.isin(self._faces[near], self._faces[triangle]).any(axis=1)
        triangle, weights, distance = self._least(landmark, near[ring], _lattice(_FINE))
        return triangle, weights, distance / _RAYLEIGH_MEDIAN

    def _least(self, landmark: int, candidates: NDArray[np.intp], lattice: Float64) -> tuple[int, Float64, float]:
        """Of a lattice on each candidate: the point with the least mean distance, and its median distance, meters."""
        corners = self._local[:, self._faces[candidates]]
        points = (lattice.astype(np.float32) @ corners).reshape(len(corners), -1, 3)
        right, up = (points[..., i] + self._slopes[:, None, landmark, i] * points[..., 2] for i in range(2))
        distances = np.sqrt(right * right + up * up)
        weight = self._weight[:, landmark]
        best = int(np.argmin(weight @ distances))
        triangle, point = divmod(best, len(lattice))
        return int(candidates[triangle]), lattice[point], _weighted_median(distances[:, best], weight)
