"""MediaPipe itself watches films of the built-in head: learned, tracked, covered with a box, cut to somebody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("mediapipe")
pytest.importorskip("pyvista")

import mp2flame
from mp2flame.data import FlameParams
from mp2flame.demo_animation import KeyPose, perform, sides
from mp2flame.errors import InputError
from mp2flame.evaluation.metrics import compare
from mp2flame.landmark_model.error_samples import Script
from mp2flame.render import MeshRenderer
from mp2flame.synthesis.landmark_samples import Plan
from mp2flame.tracking.model import Study, study_head
from mp2flame.tracking.people import Tracked
from mp2flame.tracking.results import good_frames
from mp2flame.tracking.track import track
from tests.helpers.heads import load_arrays, random_arrays
from tests.helpers.video import write_film

_SCRIPT = (
    KeyPose(0.0, {}),
    KeyPose(1.0, {}),
    KeyPose(1.2, sides(jawOpen=0.7), (0.0, 10.0, 0.0)),
    KeyPose(1.4, sides(jawOpen=0.7), (0.0, 10.0, 0.0)),
)
_PLAN, _FEW = Plan(people=8, pictures=3), Script(people=14, pictures=3)
_COVERED = slice(12, 15)


@pytest.fixture(scope="module")
def study(landmarker: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("heads")
    head = mp2flame.load_head("builtin")
    seen: list[int] = []
    learned = study_head(head, landmarker, plan=_PLAN, script=_FEW, folder=folder, on_picture=lambda: seen.append(1))
    assert len(seen) == 8 * 3 + 14 * 3
    # What was learned is not learned again.
    again = study_head(head, landmarker, plan=_PLAN, script=_FEW, folder=folder, on_picture=lambda: seen.append(1))
    assert len(seen) == 8 * 3 + 14 * 3
    np.testing.assert_allclose(again.response.bias, learned.response.bias, atol=1e-6)
    return learned


def _acted(head: mp2flame.FlameHead, seed: int) -> tuple[FlameParams, list[NDArray[np.uint8]]]:
    """The truth and the pictures of a performance at 12 frames per second."""
    params, _ = perform(head.blendshapes(), fps=12, script=_SCRIPT)
    person = head.with_shape(np.random.default_rng(seed).normal(scale=0.6, size=20))
    with MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=(480, 360), view_angle=30.0) as renderer:
        renderer.set_camera(person.joints()[3:5].mean(axis=0) - [0, 0.03, 0], distance=0.6)
        pictures = [renderer.render(person(params[i])[0]) for i in range(len(params))]
    return params, pictures


@pytest.fixture(scope="module")
def acted(study: Study) -> tuple[FlameParams, list[NDArray[np.uint8]]]:
    return _acted(study.head, 3)


@pytest.fixture(scope="module")
def tracked(study: Study, acted: tuple[FlameParams, list[NDArray[np.uint8]]], landmarker: Path, tmp_path_factory):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("film")
    covered = [picture.copy() for picture in acted[1]]
    for picture in covered[_COVERED]:
        # A box before the mouth.
        picture[220:300, 170:310] = 120
    _, other = _acted(study.head, 11)
    still = [np.roll(picture, 70, axis=1) for picture in other[:8]]
    films = [("whole", acted[1]), ("covered", covered), ("cut", acted[1] + still)]
    paths = [write_film(folder / f"{name}.mp4", pictures, ticks=_ticks(pictures)) for name, pictures in films]
    return {path.stem: track(path, study, landmarker=landmarker)[0] for path in paths}


def _ticks(pictures: list[NDArray[np.uint8]]) -> list[int]:
    return [round(30 * number / 12) for number in range(len(pictures))]


def test_a_film_of_the_head_is_tracked(
    study: Study, acted: tuple[FlameParams, list[NDArray[np.uint8]]], tracked: dict[str, Tracked]
) -> None:
    result = tracked["whole"]
    assert result.params.found.all()
    assert result.rest.sum() >= 10
    figures = compare(study.head, result.params, acted[0])
    # Learned from forty pictures; hundreds make it closer.
    assert figures.regions["face"].relative < 0.8
    assert figures.jaw_relative < 0.6
    assert figures.head_degrees < 5


def test_a_box_before_the_mouth_does_not_turn_the_head(
    acted: tuple[FlameParams, list[NDArray[np.uint8]]], tracked: dict[str, Tracked]
) -> None:
    result, whole = tracked["covered"], tracked["whole"]
    assert len(result.params) == len(acted[0])
    found = result.params.found
    assert found[:12].all()
    turns = np.degrees(result.params.global_orient - whole.params.global_orient)
    assert np.abs(turns[found]).max() < 8
    assert not (good_frames(result) & ~found).any()


def test_a_cut_to_somebody_else_is_marked(
    acted: tuple[FlameParams, list[NDArray[np.uint8]]], tracked: dict[str, Tracked]
) -> None:
    n = len(acted[0])
    result, whole = tracked["cut"], tracked["whole"]
    assert result.params.found[:n].all()
    np.testing.assert_allclose(result.params.jaw_pose[: n - 1], whole.params.jaw_pose[: n - 1], atol=0.02)
    # Frames of the other person are either left out with a word, or were tracked as a shot of their own.
    assert any("another person" in warning for warning in result.warnings) == (not result.params.found[n:].all())


def test_a_head_that_mediapipe_cannot_find_is_told_with_a_picture(landmarker: Path, tmp_path: Path) -> None:
    head = mp2flame.load_head("builtin")
    # It shows the back of its head.
    behind = head.template * np.array([-1, 1, -1], dtype=np.float32)
    turned = replace(head, arrays=replace(head.arrays, v_template=behind))
    with pytest.raises(InputError, match=r"expected a head that MediaPipe can see.*see .*\.unseen\.png"):
        study_head(turned, landmarker, plan=_PLAN, script=_FEW, folder=tmp_path)
    assert len(list(tmp_path.glob("*.unseen.png"))) == 1


def test_a_head_without_expression_is_refused(tmp_path: Path) -> None:
    arrays = random_arrays()
    arrays["shapedirs"][:, :, 10:] = 0
    with pytest.raises(InputError, match="expected a head with expression components"):
        study_head(load_arrays(tmp_path, arrays), tmp_path / "none.task", folder=tmp_path)


def test_a_film_without_a_face_is_refused(study: Study, landmarker: Path, tmp_path: Path) -> None:
    film = write_film(tmp_path / "wall.mp4", [np.full((120, 160, 3), 128, np.uint8)] * 3)
    with pytest.raises(InputError, match=r"wall\.mp4: expected a face; MediaPipe finds none in any of the 3 frames"):
        track(film, study, landmarker=landmarker)
