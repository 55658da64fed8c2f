"""MediaPipe finds the face of the built-in head, and its scores follow what the face does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mp2flame
from mp2flame.blendshapes import MEDIAPIPE

pytest.importorskip("mediapipe")
pytest.importorskip("pyvista")

from mp2flame.render import MeshRenderer
from mp2flame.sources.detector import FaceDetector
from scripts.measure_response import CLEAR, Response, ResponseMeter, partner, table


@pytest.fixture(scope="module")
def meter(landmarker: Path) -> Iterator[ResponseMeter]:
    with ResponseMeter(mp2flame.load_head("builtin"), landmarker) as meter:
        yield meter


@pytest.mark.parametrize("yaw", [0.0, 25.0, -25.0])
def test_face_is_found_from_the_front_and_turned(landmarker: Path, yaw: float) -> None:
    head = mp2flame.load_head("builtin")
    detector = FaceDetector(landmarker, mode="image")
    with MeshRenderer(head.faces, vertex_colors=head.vertex_colors) as renderer:
        renderer.set_camera((0.0, 0.0, 0.0), distance=0.6, yaw=yaw)
        seen = detector.detect(renderer.render(head.neutral_vertices), 0.0)
    detector.close()
    assert seen.found[0]
    assert seen.head_transform is not None
    facing = seen.head_transform[0, :3, 2]
    # seen from the subject's left, the face looks to the left of the picture
    assert np.degrees(np.arctan2(-facing[0], facing[2])) == pytest.approx(yaw, abs=8)


@pytest.mark.parametrize(
    "names",
    [
        ("jawOpen",),
        ("mouthPucker",),
        ("mouthFunnel",),
        ("mouthLeft",),
        ("mouthRight",),
        ("mouthShrugLower",),
        ("browInnerUp",),
        ("mouthSmileLeft", "mouthSmileRight"),
        ("mouthPressLeft", "mouthPressRight"),
        ("eyeBlinkLeft", "eyeBlinkRight"),
        ("browDownLeft", "browDownRight"),
        ("browOuterUpLeft", "browOuterUpRight"),
        ("eyeLookUpLeft", "eyeLookUpRight"),
        ("eyeLookDownLeft", "eyeLookDownRight"),
        ("eyeLookInLeft", "eyeLookOutRight"),
        ("eyeLookOutLeft", "eyeLookInRight"),
    ],
    ids=" ".join,
)
def test_score_rises_when_the_shape_is_driven(meter: ResponseMeter, names: tuple[str, ...]) -> None:
    columns = [MEDIAPIPE.index(name) for name in names]
    rise = meter.scores(names)[columns] - meter.scores(())[columns]
    assert rise.min() > CLEAR


def test_partner_is_the_shape_of_the_other_side() -> None:
    assert partner("eyeBlinkLeft") == "eyeBlinkRight"
    assert partner("eyeLookInLeft") == "eyeLookOutRight"
    assert partner("mouthLeft") is None
    assert partner("jawOpen") is None


def test_table_names_what_fails() -> None:
    page = table(
        [
            Response("jawOpen", 0.0, 0.8, None),
            Response("mouthRollLower", 0.0, 0.1, None),
            Response("cheekPuff", 0, 0, None),
        ]
    )
    assert "1 of the 2 shapes" in page
    assert "Failing: `mouthRollLower`" in page
    assert "| `jawOpen` | 0.00 | 0.80 |  | +0.80 | passes |" in page
    assert "| `cheekPuff` | 0.00 | 0.00 |  | +0.00 | MediaPipe hardly scores it |" in page
