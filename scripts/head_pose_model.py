"""Measure where MediaPipe's steadiest landmarks are on the built-in head, for the drop-in module's head pose.

    python -m scripts.head_pose_model --landmarker face_landmarker.task

The built-in head at rest is drawn from several sides, MediaPipe looks, and every landmark is cast back onto the mesh;
the median over the views is kept. Writes src/mp2flame/mapping/assets/head_pose_model.csv. To be run again when the
built-in head changes its proportions.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.downloads import landmarker_path
from mp2flame.head import FlameHead, load_head
from mp2flame.render import MeshRenderer
from mp2flame.sources.detector import FaceDetector

ASSET: Final = Path(__file__).resolve().parents[1] / "src/mp2flame/mapping/assets/head_pose_model.csv"

RIGHT: Final = (33, 133, 98, 108, 50)
LEFT: Final = (263, 362, 327, 337, 280)
MIDDLE: Final = (168, 6, 197, 195, 4, 2, 9, 151)
LANDMARKS: Final = RIGHT + LEFT + MIDDLE
"""Corners of the eyes, bridge, tip and wings of the nose, forehead, cheekbones: expressions move them least."""

_VIEWS: Final = [(yaw, pitch) for yaw in (-20, -10, 0, 10, 20) for pitch in (-10, 0, 10)]
_SIZE: Final = 512
_VIEW_ANGLE: Final = 30.0
_DISTANCE: Final = 0.7

Float64 = NDArray[np.float64]


def _first_hits(origin: Float64, rays: Float64, triangles: Float64) -> Float64:
    """Where rays (K, 3) from one origin first meet triangles (F, 3, 3); NaN where they meet none.

    T. Möller, B. Trumbore: Fast, minimum storage ray/triangle intersection. Journal of Graphics Tools 2 (1997).
    """
    corner, first, second = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    hits = np.full((len(rays), 3), np.nan)
    for k, ray in enumerate(rays):
        across = np.cross(ray, second)
        determinant = (first * across).sum(axis=1)
        steep = np.abs(determinant) > 1e-14
        scale = 1 / np.where(steep, determinant, 1)
        away = origin - corner
        u = (away * across).sum(axis=1) * scale
        beside = np.cross(away, first)
        v = (beside @ ray) * scale
        reach = (beside * second).sum(axis=1) * scale
        inside = steep & (u >= 0) & (v >= 0) & (u + v <= 1) & (reach > 0)
        if inside.any():
            hits[k] = origin + reach[inside].min() * ray
    return hits


def _measured(head: FlameHead, landmarker: Path) -> tuple[Float64, Float64]:
    """Positions (K, 3) in the head's axes from the middle between its eyes, and their spread (K,), metres."""
    vertices = head(FlameParams.neutral(n_expression=head.n_expression))[0]
    middle = head.joints()[3:5].mean(axis=0).astype(np.float64)
    detector = FaceDetector(landmarker, mode="image")
    found = []
    renderer = MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=(_SIZE, _SIZE), view_angle=_VIEW_ANGLE)
    with renderer:
        for yaw, pitch in _VIEWS:
            renderer.set_camera(middle, distance=_DISTANCE, yaw=yaw, pitch=pitch)
            seen = detector.detect(renderer.render(vertices), 0.0)
            if not seen.found[0]:
                continue
            assert seen.landmarks is not None
            turn, rise = np.radians([yaw, pitch])
            back = np.array([np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)])
            right = np.array([np.cos(turn), 0.0, -np.sin(turn)])
            plane = (2 * seen.landmarks[0, list(LANDMARKS), :2].astype(np.float64) - 1) * (1, -1)
            plane *= np.tan(np.radians(_VIEW_ANGLE / 2))
            rays = plane[:, :1] * right + plane[:, 1:] * np.cross(back, right) - back
            found.append(_first_hits(middle + _DISTANCE * back, rays, vertices[head.faces].astype(np.float64)) - middle)
    print(f"MediaPipe found the head in {len(found)} of {len(_VIEWS)} views")
    stack = np.stack(found)
    centre = np.nanmedian(stack, axis=0)
    spread = np.nanmedian(np.linalg.norm(stack - centre, axis=2), axis=0)
    partner = [LANDMARKS.index(number) for number in LEFT + RIGHT + MIDDLE]
    return (centre + centre[partner] * (-1, 1, 1)) / 2, spread  # the head is symmetric


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=ASSET)
    parser.add_argument("--landmarker", type=Path, default=None)
    options = parser.parse_args()
    head = load_head("builtin")
    points, spread = _measured(head, landmarker_path(options.landmarker))
    for number, distance in zip(LANDMARKS, spread, strict=True):
        print(f"landmark {number}: spread {1000 * distance:.1f} mm")
    lines = [
        "# MediaPipe landmarks on the built-in head at rest; made by scripts/head_pose_model.py; CC0-1.0",
        f"# head {head.hash}; metres from the middle between the eyes; x to the subject's left; y down; z backwards",
        "landmark,x,y,z",
    ]
    for number, (x, y, z) in zip(LANDMARKS, points, strict=True):
        lines.append(f"{number},{x:.5f},{-y:.5f},{-z:.5f}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
