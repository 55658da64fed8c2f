"""How fast and how close `track` is on a film whose truth is known.

    python -m benchmarks.bench_track FILM --head HEAD --truth TRUTH.npz --landmarker face_landmarker.task

The truth holds `expression`, `jaw_pose`, `eye_pose`, `global_orient` of every frame and the identity's `shape`. What is
learned of the head once is not in the time; MediaPipe is.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame import FlameHead, FlameParams, load_head
from mp2flame.evaluation.metrics import compare
from mp2flame.geometry.face_regions import REGIONS, head_regions
from mp2flame.tracking.config import TrackOptions
from mp2flame.tracking.model import fit_tracker_model
from mp2flame.tracking.track import TrackResult, track_videos


def read_truth(path: Path) -> FlameParams:
    """The true parameters."""
    with np.load(path) as file:
        n = len(file["expression"])
        return FlameParams(
            time=np.arange(n) / 30,
            found=np.ones(n, dtype=np.bool_),
            expression=file["expression"],
            jaw_pose=file["jaw_pose"],
            leye_pose=file["eye_pose"][:, :3],
            reye_pose=file["eye_pose"][:, 3:],
            global_orient=file["global_orient"],
            shape=file["shape"],
        )


def identity_errors(head: FlameHead, got: FlameParams, truth: FlameParams) -> tuple[float, float, float]:
    """Mean distance over the face at rest, mm: as it is, with the size taken out, and of the mean identity."""
    assert got.shape is not None
    assert truth.shape is not None
    face = head_regions(head)["face"]
    meshes = [_centred(head.with_shape(shape).neutral_vertices[face]) for shape in (got.shape, truth.shape)]
    usual = _centred(head.neutral_vertices[face])
    scaled = meshes[0] * ((meshes[0] * meshes[1]).sum() / (meshes[0] ** 2).sum())
    pairs = ((meshes[0], meshes[1]), (scaled, meshes[1]), (usual, meshes[1]))
    first, second, third = (float(np.linalg.norm(a - b, axis=1).mean() * 1000) for a, b in pairs)
    return first, second, third


def _centred(vertices: NDArray[np.float32]) -> NDArray[np.float64]:
    centred: NDArray[np.float64] = vertices.astype(np.float64) - vertices.mean(axis=0)
    return centred


def report(head: FlameHead, tracked: TrackResult, truth: FlameParams) -> None:
    """Print how close it is."""
    figures = compare(head, tracked.params, truth)
    regions = ", ".join(f"{name} {figures[name]:.3f}" for name in REGIONS)
    print(f"relative to no expression: {regions}")
    print(
        f"jaw {figures['jaw degrees']:.2f}, gaze {figures['gaze degrees']:.2f}, "
        f"head {figures['head degrees']:.2f} degrees; {figures['frames']:.0f} frames"
    )
    own, scaled, usual = identity_errors(head, tracked.params, truth)
    print(f"identity {own:.2f} mm, {scaled:.2f} with the size taken out; the mean identity {usual:.2f}")
    print(f"focal length {tracked.camera.focal:.0f} pixels")


def main() -> None:
    """Track, and print rate and errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", type=Path)
    parser.add_argument("--head", required=True)
    parser.add_argument("--landmarker", type=Path, required=True)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--focal", type=float)
    parser.add_argument("--ipd", type=float, help="millimetres between the pupils")
    options = parser.parse_args()
    head = load_head(options.head)
    started = time.perf_counter()
    model = fit_tracker_model(head, options.landmarker)
    print(f"the head was learned in {time.perf_counter() - started:.1f} s (next to nothing where it is in the cache)")
    started = time.perf_counter()
    ipd = None if options.ipd is None else options.ipd / 1000
    settings = TrackOptions(focal=options.focal, ipd=ipd)
    (tracked,) = track_videos([options.film], model, settings, landmarker=options.landmarker)
    seconds = time.perf_counter() - started
    frames = len(tracked.params)
    print(f"{frames} frames in {seconds:.1f} s: {frames / seconds:.1f} fps, MediaPipe included (at least 15)")
    if options.truth is not None:
        report(head, tracked, read_truth(options.truth))


if __name__ == "__main__":
    main()
