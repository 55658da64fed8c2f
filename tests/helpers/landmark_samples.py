"""Synthetic landmark samples: exact projections of points of a head, with errors that the test chooses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import N_LANDMARKS
from mp2flame.geometry.camera import Camera
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.landmark_model.correspondences import LandmarkSamples

Float64 = NDArray[np.float64]


def cameras(n: int, target: Float64, rng: np.random.Generator) -> tuple[Camera, ...]:
    """Cameras mostly in front of the target."""
    return tuple(
        Camera(target, float(rng.uniform(0.5, 0.8)), float(rng.normal(scale=13)), float(rng.normal(scale=8)))
        for _ in range(n)
    )


def project_landmarks(points: Float64, camera: Camera, error: Float64) -> NDArray[np.float32]:
    """(478, 3) normalized landmarks of points (478, 3) in the world, with errors (478, 3) in meters."""
    local = camera.to_camera(points)
    depth = -local[:, 2]
    moved = local + error
    width, height = camera.size
    x = 0.5 + camera.intrinsics.focal * moved[:, 0] / depth / width
    y = 0.5 - camera.intrinsics.focal * moved[:, 1] / depth / height
    z = -(moved[:, 2] - moved[:, 2].mean()) * camera.intrinsics.focal / depth.mean() / width
    return np.stack([x, y, z], axis=1).astype(np.float32)


def synthetic_samples(
    heads: Sequence[FlameHead], embedding: LandmarkEmbedding, errors: Float64, rng: np.random.Generator
) -> LandmarkSamples:
    """One image of each neutral head, with errors (N, 478, 3) in meters."""
    target = heads[0].joints()[3:5].mean(axis=0).astype(np.float64) - [0, 0.03, 0]
    views = cameras(len(heads), target, rng)
    vertices = np.stack([head.neutral_vertices for head in heads])
    points = embedding.positions(vertices, heads[0].faces)
    landmarks = [project_landmarks(p, c, e) for p, c, e in zip(points, views, errors, strict=True)]
    return LandmarkSamples(vertices, np.stack(landmarks), views)


def all_landmarks(faces: NDArray[np.int64], barycentric: Float64, head: FlameHead) -> LandmarkEmbedding:
    """An embedding of all 478 landmarks."""
    return LandmarkEmbedding(
        landmark_index=np.arange(N_LANDMARKS),
        face_index=faces,
        barycentric=barycentric,
        head_hash=head.hash,
        head_version=head.version,
    )
