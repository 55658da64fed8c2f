"""Measure where MediaPipe's steadiest landmarks are on the built-in head, for the drop-in module's head pose.

    python -m scripts.head_pose_model --landmarker face_landmarker.task

The neutral built-in head is rendered from several sides, MediaPipe detects it, and every landmark is cast back onto the
mesh; the median over the views is kept. Writes src/mp2flame/mapping/assets/head_pose_model.csv. To be run again when
the built-in head changes its proportions.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.downloads import landmarker_path
from mp2flame.geometry.mesh import cast_rays
from mp2flame.head import FlameHead, load_head
from mp2flame.synthesis.appearance import SubjectColors
from mp2flame.synthesis.render import RenderedDetector, Scene
from mp2flame.synthesis.views import CENTER_BELOW_EYES, View

ASSET: Final = Path(__file__).resolve().parents[1] / "src/mp2flame/mapping/assets/head_pose_model.csv"

RIGHT: Final = (33, 133, 98, 108, 50)
LEFT: Final = (263, 362, 327, 337, 280)
MIDDLE: Final = (168, 6, 197, 195, 4, 2, 9, 151)
LANDMARKS: Final = RIGHT + LEFT + MIDDLE
"""Corners of the eyes, bridge, tip and wings of the nose, forehead, cheekbones: expressions move them least."""

_VIEWS: Final = [(yaw, pitch) for yaw in (-20, -10, 0, 10, 20) for pitch in (-10, 0, 10)]
_DISTANCE: Final = 0.7

Float64 = NDArray[np.float64]


def _measured(head: FlameHead, landmarker: Path) -> tuple[Float64, Float64]:
    """Positions (K, 3) in the head's axes from the middle between its eyes, and their spread (K,), meters."""
    vertices = head.neutral_vertices.astype(np.float64)
    middle = head.joints()[3:5].mean(axis=0).astype(np.float64)
    neutral, colors, found = FlameParams.neutral(n_expression=head.n_expression), SubjectColors(head)(), []
    with RenderedDetector(head.faces, landmarker) as detector:
        for yaw, pitch in _VIEWS:
            view = View(yaw=yaw, pitch=pitch, distance=_DISTANCE, offset=(0.0, CENTER_BELOW_EYES))
            scene = Scene(head, neutral, view, colors)
            detected, _ = detector.detect(scene)
            if not detected.found[0]:
                continue
            assert detected.landmarks is not None
            pixels = detected.landmarks[0, list(LANDMARKS), :2] * scene.camera.size
            hits = cast_rays(vertices, head.faces, scene.camera.position, scene.camera.rays(pixels))
            corners = vertices[head.faces[hits.triangle].astype(np.int64)]
            found.append(np.einsum("kc,kcd->kd", hits.barycentric, corners) - middle)
    print(f"MediaPipe found the head in {len(found)} of {len(_VIEWS)} views")
    stack = np.stack(found)
    center = np.nanmedian(stack, axis=0)
    spread = np.nanmedian(np.linalg.norm(stack - center, axis=2), axis=0)
    partner = [LANDMARKS.index(number) for number in LEFT + RIGHT + MIDDLE]
    return (center + center[partner] * (-1, 1, 1)) / 2, spread  # the head is symmetric


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
        f"# head {head.hash}; meters from the middle between the eyes; x to the subject's left; y down; z backwards",
        "landmark,x,y,z",
    ]
    for number, (x, y, z) in zip(LANDMARKS, points, strict=True):
        lines.append(f"{number},{x:.5f},{-y:.5f},{-z:.5f}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
