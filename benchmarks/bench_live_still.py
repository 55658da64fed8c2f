"""Jitter of a motionless face, and how much of a blink the filters keep: MediaPipe on rendered images with noise.

    python -m benchmarks.bench_live_still --landmarker face_landmarker.task [--head HEAD] [--mapping MAPPING]

The head is rendered, camera noise is added to every image, and MediaPipe, the mapping and the filters of `live` follow.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.blink import NOISE, RATE, observe_blink
from mp2flame import default_filters, load_head
from mp2flame.data import FlameParams, Observation
from mp2flame.head import FlameHead
from mp2flame.mapping import BlendshapeMapping, load_mapping

STILL = 300
SETTLED = 90
"""Frames after which a filter has forgotten its start: MediaPipe's first detection of a face is its worst."""


def moved(head: FlameHead, params: FlameParams) -> NDArray[np.float64]:
    """(N - 1, V) millimeters that each vertex moves from frame to frame."""
    steps: NDArray[np.float64] = np.linalg.norm(np.diff(head(params).astype(np.float64), axis=0), axis=2) * 1e3
    return steps


def still(head: FlameHead, mapping: BlendshapeMapping, seen: Observation) -> None:
    """Print the vertex motion of a still face without filters and with them."""
    raw = mapping(seen[:STILL])
    before, after = moved(head, raw), moved(head, default_filters()(raw))
    for name, rows in (("first three seconds", slice(SETTLED)), ("then", slice(SETTLED, None))):
        ratio = after[rows].mean() / before[rows].mean()
        limit = " (at most 0.25)" if rows.start else ""
        print(
            f"still face, noise of {NOISE:g}, {name}: {before[rows].mean():.4f} mm a frame unfiltered, "
            f"{after[rows].mean():.4f} filtered, ratio {ratio:.3f}{limit}"
        )


def blink(head: FlameHead, mapping: BlendshapeMapping, seen: Observation) -> None:
    """Print how deep a blink of 100 ms is behind the filters, and how late."""
    raw = mapping(seen)
    vertices = [head(params).astype(np.float64) for params in (raw, default_filters()(raw))]
    rested = [v - v[STILL - 5 : STILL].mean(axis=0) for v in vertices]
    peak = STILL + int(np.linalg.norm(rested[0][STILL:], axis=2).mean(axis=1).argmax())
    # Along the movement that the blink makes, all vertices together.
    depth, filtered = ((v * rested[0][peak]).sum(axis=(1, 2)) for v in rested)
    print(
        f"blink of 100 ms at {RATE} fps: keeps {filtered.max() / depth.max():.3f} of its depth (at least 0.85), "
        f"{int(filtered.argmax()) - int(depth.argmax())} frames late (at most 1)"
    )


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landmarker", type=Path, required=True)
    parser.add_argument("--head", default="builtin")
    parser.add_argument("--mapping", type=Path)
    options = parser.parse_args()
    head = load_head(options.head)
    seen = observe_blink(head, options.landmarker, still=STILL)
    inner = load_mapping("builtin") if options.mapping is None else load_mapping(options.mapping)
    inner = inner.for_person(seen[:STILL])
    still(head, inner, seen)
    blink(head, inner, seen)


if __name__ == "__main__":
    main()
