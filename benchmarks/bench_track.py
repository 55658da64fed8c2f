"""Rate of `track`, and its errors on a video whose true parameters are known.

    python -m benchmarks.bench_track VIDEO --head HEAD

The true parameters are read from `--truth`, by default from the `.npz` beside the video: `expression`, `jaw_pose`,
`eye_pose` (left, right) and `global_orient` of every frame, and the identity's `shape`. The time contains MediaPipe,
but not what is learned once of a head.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame import FlameHead, FlameParams, load_head
from mp2flame.downloads import landmarker_path
from mp2flame.evaluation.metrics import compare
from mp2flame.geometry.face_regions import REGIONS, head_regions
from mp2flame.tracking.config import TrackOptions
from mp2flame.tracking.model import fit_tracker_model
from mp2flame.tracking.track import TrackResult, track_videos


def read_truth(path: Path, times: NDArray[np.float64]) -> FlameParams:
    """The true parameters of frames at these times, seconds."""
    with np.load(path) as file:
        return FlameParams(
            time=times,
            found=np.ones(len(times), dtype=np.bool_),
            expression=file["expression"],
            jaw_pose=file["jaw_pose"],
            leye_pose=file["eye_pose"][:, :3],
            reye_pose=file["eye_pose"][:, 3:],
            global_orient=file["global_orient"],
            shape=file["shape"],
        )


def identity_errors(head: FlameHead, params: FlameParams, truth: FlameParams) -> tuple[float, float, float]:
    """Mean distance of the neutral face, mm: of the identity, of the same without its size, of the mean identity."""
    assert params.shape is not None
    assert truth.shape is not None
    face = head_regions(head)["face"]

    def centered(person: FlameHead) -> NDArray[np.float64]:
        vertices = person.neutral_vertices[face].astype(np.float64)
        return np.asarray(vertices - vertices.mean(axis=0))

    found, true = (centered(head.with_shape(shape)) for shape in (params.shape, truth.shape))
    scaled = found * ((found * true).sum() / (found**2).sum())
    own, proportions, mean = (
        float(np.linalg.norm(mesh - true, axis=1).mean() * 1000) for mesh in (found, scaled, centered(head))
    )
    return own, proportions, mean


def report(head: FlameHead, result: TrackResult, truth: FlameParams) -> None:
    """Print the errors."""
    figures = compare(head, result.params, truth)
    print("relative to no expression:", ", ".join(f"{name} {figures[name]:.3f}" for name in REGIONS))
    print(
        f"jaw {figures['jaw degrees']:.2f}, gaze {figures['gaze degrees']:.2f}, "
        f"head {figures['head degrees']:.2f} degrees; {figures['frames']:.0f} frames"
    )
    own, proportions, mean = identity_errors(head, result.params, truth)
    print(f"identity {own:.2f} mm, {proportions:.2f} with the size taken out; the mean identity {mean:.2f}")
    print(f"focal length {result.camera.focal:.0f} pixels")


def main() -> None:
    """Track, and print rate and errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--head", default="builtin", help="a FLAME file; by default the built-in head")
    parser.add_argument("--landmarker", type=Path, help="face_landmarker.task; by default the one that mp2flame finds")
    parser.add_argument("--truth", type=Path, help=".npz; by default the one beside the video, if there is one")
    parser.add_argument("--focal", type=float, help="focal length in pixels; estimated by default")
    parser.add_argument("--ipd", type=float, help="millimeters between the pupils")
    arguments = parser.parse_args()
    head, landmarker = load_head(arguments.head), landmarker_path(arguments.landmarker)
    started = time.perf_counter()
    model = fit_tracker_model(head, landmarker)
    print(f"the head was learned in {time.perf_counter() - started:.1f} s (next to nothing where it is in the cache)")
    started = time.perf_counter()
    options = TrackOptions(focal=arguments.focal, ipd=None if arguments.ipd is None else arguments.ipd / 1000)
    (result,) = track_videos([arguments.video], model, options, landmarker=landmarker)
    seconds, frames = time.perf_counter() - started, len(result.params)
    print(f"{frames} frames in {seconds:.1f} s: {frames / seconds:.1f} fps, MediaPipe included (at least 15)")
    truth = arguments.truth or arguments.video.with_suffix(".npz")
    if truth.is_file():
        report(head, result, read_truth(truth, result.params.time))


if __name__ == "__main__":
    main()
