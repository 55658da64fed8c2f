"""Generated people for tests of fits: the built-in head acts, and simple rules stand in for MediaPipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mp2flame import rotations
from mp2flame.blendshapes import ARKIT, MEDIAPIPE, reorder
from mp2flame.data import FlameParams
from mp2flame.dataset.table import FrameTable
from mp2flame.dataset.writer import DatasetWriter
from mp2flame.geometry.landmark_mirror import LANDMARK_MIRROR
from mp2flame.head import FlameHead

SILENT = ("cheekPuff", "noseSneerLeft", "noseSneerRight", "_neutral")


def landmark_vertices(head: FlameHead) -> np.ndarray:
    """A vertex of the face for each of MediaPipe's 478 landmarks; mirrored landmarks have mirrored vertices."""
    assert head.region is not None
    assert head.mirror is not None
    rng = np.random.default_rng(0)
    face, x = head.region == 0, head.neutral_vertices[:, 0]
    vertices = np.zeros(len(LANDMARK_MIRROR), dtype=int)
    midline = np.arange(len(LANDMARK_MIRROR)) == LANDMARK_MIRROR
    vertices[midline] = rng.choice(np.flatnonzero(face & (np.abs(x) < 1e-4)), midline.sum())
    left = np.arange(len(LANDMARK_MIRROR)) < LANDMARK_MIRROR
    vertices[left] = rng.choice(np.flatnonzero(face & (x > 1e-4)), left.sum(), replace=False)
    vertices[LANDMARK_MIRROR[left]] = head.mirror[vertices[left]]
    return vertices


def acted(head: FlameHead, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random blendshape weights (n, 52) in ARKit's order, and the parameters (n, E + 9) that they make."""
    weights = rng.random((n, 52)) * (rng.random((n, 52)) < 0.2)
    weights[:, ARKIT.index("tongueOut")] = 0
    return weights, weights @ head.blendshapes().to_rows()


def person(
    head: FlameHead, name: str, n: int, *, seed: int, neutral: bool = True, landmarks: bool = True
) -> FrameTable:
    """Frames of one person: `n` frames, and five at rest."""
    rng = np.random.default_rng([seed, sum(name.encode())])
    still = 5 if neutral else 0
    weights, truth = acted(head, n, rng)
    weights, truth = np.vstack([np.zeros((still, 52)), weights]), np.vstack([np.zeros((still, truth.shape[1])), truth])
    scores = reorder(weights, ARKIT, MEDIAPIPE) * rng.uniform(0.6, 0.9, 52)
    scores += rng.random(52) * 0.2 + rng.normal(size=scores.shape) * 0.01
    scores[:, [MEDIAPIPE.index(silent) for silent in SILENT]] = rng.random((len(scores), 4)) * 1e-4
    e = head.n_expression
    columns = {
        "scores": np.clip(scores, 0, 1),
        "expression": truth[:, :e],
        "jaw": truth[:, e : e + 3],
        "eyes": truth[:, e + 3 :],
        "neck": np.zeros((len(truth), 3)),
        "global": np.zeros((len(truth), 3)),
    }
    if landmarks:
        columns |= seen_landmarks(head, truth, rng)
    count = len(truth)
    return FrameTable(
        subject=name,
        sequence=np.full(count, "acted", dtype=np.object_),
        frame=np.arange(count),
        time=np.arange(count) / 30,
        found=np.ones(count, dtype=bool),
        neutral=np.arange(count) < still,
        columns={key: np.asarray(value, dtype=np.float32) for key, value in columns.items()},
    )


def seen_landmarks(head: FlameHead, truth: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Landmarks of turned heads in a square picture, and the transforms that turned them."""
    e = head.n_expression
    params = FlameParams(
        time=np.zeros(len(truth)),
        found=np.ones(len(truth), dtype=bool),
        expression=truth[:, :e].astype(np.float32),
        jaw_pose=truth[:, e : e + 3].astype(np.float32),
        leye_pose=truth[:, e + 3 : e + 6].astype(np.float32),
        reye_pose=truth[:, e + 6 :].astype(np.float32),
    )
    points = head(params)[:, landmark_vertices(head)] * rng.uniform(0.95, 1.05, 3) * [1, 1, 1]
    turn = rotations.matrix(rng.normal(size=(len(truth), 3)) * 0.15)
    turned = points @ turn.transpose(0, 2, 1) * 2.5 + rng.normal(size=points.shape) * 1e-3
    transform = np.tile(np.eye(4), (len(truth), 1, 1))
    transform[:, :3, :3] = turn
    landmarks = turned * [1, -1, -1] + [0.5, 0.5, 0.0]
    return {"landmarks": landmarks.reshape(len(truth), -1), "head_transform": transform.reshape(len(truth), -1)}


def write_people(path: Path, rows: Iterator[FrameTable] | list[FrameTable], head: FlameHead | None = None) -> Path:
    """A data set of these rows."""
    with DatasetWriter(path, head_version=head.version if head else "", head_hash=head.hash if head else "") as writer:
        for one in rows:
            writer.add(one)
        writer.finish({})
    return path
