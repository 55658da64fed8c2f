"""People to track with synthetic landmarks: those of the head, with errors that the test chooses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.data import N_SCORES, FlameParams, Observation
from mp2flame.demo_animation import KeyPose, animate, both_sides
from mp2flame.geometry.skinned_points import n_active_expression, n_estimated_identity
from mp2flame.head import FlameHead, load_head
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.landmark_model.error_model import LandmarkErrorModel, LowRankCovariance
from mp2flame.tracking.model import TrackerModel
from mp2flame.tracking.video import VideoDetections

Float64 = NDArray[np.float64]

SIZE = (640, 480)
FOCAL = 800.0
PLACE = np.array([0.02, -0.03, -0.7])
SCRIPT = (
    KeyPose(0.0, {}),
    KeyPose(1.1, {}),
    KeyPose(1.4, both_sides(mouthSmile=0.8), (0.0, 8.0, 0.0)),
    KeyPose(1.7, both_sides(jawOpen=0.6), (4.0, -6.0, 3.0)),
    KeyPose(2.0, {"eyeLookOutLeft": 0.7, "eyeLookInRight": 0.7}),
)


def synthetic_model() -> TrackerModel:
    """The built-in head, and a MediaPipe whose landmarks have independent errors of half a millimeter."""
    head = load_head("builtin")
    embedding = _spread_over(head)
    n = 3 * len(embedding)
    face = n_active_expression(head) + 9
    common = LowRankCovariance(np.zeros((1, n)), np.full(n, 5e-4))
    return TrackerModel(
        head, embedding, LandmarkErrorModel(np.zeros((3 + face + n_estimated_identity(head), n)), common, common, face)
    )


def _spread_over(head: FlameHead) -> LandmarkEmbedding:
    """468 landmarks anywhere on the face, and five on the front of either eyeball."""
    assert head.region is not None
    rng = np.random.default_rng(2)
    label = head.region[head.faces].astype(int)
    middles, eyes = head.neutral_vertices[head.faces].mean(axis=1), head.joints()[3:5]
    skin = np.flatnonzero((label == 0).all(axis=1) & (middles[:, 2] > eyes[:, 2].mean() - 0.04))
    chosen = [rng.choice(skin, 468, replace=False)]
    for side in (1, 0):
        carried = (head.arrays.weights[:, 3 + side] > 0.5)[head.faces].all(axis=1)
        ball = carried & (np.linalg.norm(middles[:, :2] - eyes[side, :2], axis=1) < 0.007)
        front = np.flatnonzero(ball & (middles[:, 2] > eyes[side, 2]))
        chosen.append(rng.choice(front, 5, replace=False))
    return LandmarkEmbedding(
        landmark_index=np.arange(478),
        face_index=np.concatenate(chosen),
        barycentric=rng.dirichlet(np.ones(3), 478),
        head_hash=head.hash,
        head_version=head.version,
    )


def random_embedding(head: FlameHead, k: int) -> LandmarkEmbedding:
    """K landmarks anywhere on a head."""
    rng = np.random.default_rng(1)
    return LandmarkEmbedding(
        landmark_index=np.arange(k),
        face_index=rng.integers(0, len(head.faces), k),
        barycentric=rng.dirichlet(np.ones(3), k),
    )


def performance(head: FlameHead, *, fps: float = 15.0, seed: int = 5) -> FlameParams:
    """Somebody who is neutral for a second, smiles, opens the mouth and looks aside, in front of a camera."""
    params, _ = animate(head.blendshapes(), fps=fps, script=SCRIPT)
    shape = np.zeros(head.n_shape, dtype=np.float32)
    shape[:10] = np.random.default_rng(seed).normal(scale=0.8, size=10)
    place = np.tile(PLACE, (len(params), 1)) - head.joints()[3:5].mean(axis=0)
    return replace(params, shape=shape, translation=place.astype(np.float32))


def camera_points(model: TrackerModel, params: FlameParams) -> Float64:
    """(N, K, 3) meters in the camera's frame."""
    return model.embedding.positions(model.head(params), model.head.faces)


def landmarks_of(points: Float64, size: tuple[int, int] = SIZE, focal: float = FOCAL) -> NDArray[np.float32]:
    """Normalised landmarks of points in the camera's frame."""
    depth = -points[..., 2]
    z = -(points[..., 2] - points[..., 2].mean(axis=-1, keepdims=True)) / depth.mean(axis=-1, keepdims=True)
    x = 0.5 + points[..., 0] / depth * focal / size[0]
    y = 0.5 - points[..., 1] / depth * focal / size[1]
    return np.stack([x, y, z * focal / size[0]], axis=-1).astype(np.float32)


def detections(
    model: TrackerModel,
    params: FlameParams,
    *,
    noise: float = 5e-4,
    seed: int = 0,
    landmarks: NDArray[np.float32] | None = None,
) -> VideoDetections:
    """What an unbiased MediaPipe detects of a performance; scores are zero while it is neutral and noise after it."""
    rng = np.random.default_rng(seed)
    points = camera_points(model, params)
    n = len(params)
    moving = np.abs(params.expression).max(axis=1) > 1e-6
    scores = np.where(moving[:, None], rng.uniform(0, 0.9, size=(n, N_SCORES)), 0.01)
    # What a real MediaPipe hardly ever reports.
    scores[:, [0, -2, -1]] = 1e-5
    transform = np.tile(np.eye(4), (n, 1, 1))
    transform[:, :3, :3] = rotations.matrix(params.global_orient)
    if landmarks is None:
        landmarks = landmarks_of(points + rng.normal(scale=noise, size=points.shape))
    observation = Observation(
        time=params.time,
        found=params.found,
        scores=scores.astype(np.float32),
        landmarks=landmarks,
        head_transform=transform.astype(np.float32),
        image_size=np.array(SIZE),
    )
    return VideoDetections(observation, np.zeros(n, dtype=np.int64), ())
