"""Voting finds points that were put on a head, whatever their landmarks are missed by; painting knows what is what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("vtk", reason="needs the extra render")

import mp2flame
from mp2flame.data import N_LANDMARKS
from mp2flame.errors import InputError
from mp2flame.geometry.mesh import connected_components
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.landmark_model.correspondences import IRISES, vote
from mp2flame.synthesis.appearance import Painter, Palette, random_palette
from mp2flame.synthesis.landmark_samples import Plan, Sitting
from tests.helpers.landmark_samples import all_landmarks, made_up_sitting

_N = 24


@pytest.fixture(scope="module")
def head() -> mp2flame.FlameHead:
    return mp2flame.load_head("builtin")


def _people(head: mp2flame.FlameHead, n: int, rng: np.random.Generator) -> list[mp2flame.FlameHead]:
    return [head.with_shape(rng.normal(scale=0.8, size=head.n_shape)) for _ in range(n)]


def _points(head: mp2flame.FlameHead, rng: np.random.Generator) -> NDArray[np.int64]:
    """Triangles (478,) of the face's front skin, and of the eyeballs' front for the irises."""
    faces = head.faces.astype(np.int64)
    corners = head.template[faces].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    frontal = normal[:, 2] > 0.8 * np.linalg.norm(normal, axis=1)
    middle = corners.mean(axis=1)
    assert head.region is not None
    # Region 0 is the face; cheeks and forehead are smooth, so that no picture hides one point behind another.
    skin = (head.region[faces] == 0).all(axis=1) & frontal & (middle[:, 2] > 0.085) & (np.abs(middle[:, 0]) > 0.025)
    skin &= (middle[:, 1] < 0.0) | (middle[:, 1] > 0.05)
    chosen = rng.choice(np.flatnonzero(skin), N_LANDMARKS)
    for side, label in enumerate((6, 5)):
        ball = (head.region[faces] == label).all(axis=1) & frontal
        off = np.linalg.norm(middle[:, :2] - head.joints()[4 - side, :2], axis=1)
        iris = np.flatnonzero(ball & (off < 0.004))
        first = IRISES.start + 5 * side
        chosen[first : first + 5] = rng.choice(iris, 5)
    return chosen


@pytest.mark.parametrize(("noise", "limit"), [(0.0, 0.0008), (0.001, 0.0016)])
def test_points_put_on_a_head_are_found(head: mp2flame.FlameHead, noise: float, limit: float) -> None:
    rng = np.random.default_rng(1)
    truth = all_landmarks(_points(head, rng), rng.dirichlet(np.full(3, 3.0), N_LANDMARKS), head)
    errors = rng.normal(scale=noise, size=(_N, N_LANDMARKS, 3))
    found = vote(head, made_up_sitting(_people(head, _N, rng), truth, errors, rng))
    away = np.linalg.norm(
        found.positions(head.template, head.faces) - truth.positions(head.template, head.faces), axis=1
    )
    assert np.quantile(away, 0.95) < limit
    assert found.spread is not None
    assert np.median(found.spread) == pytest.approx(noise, abs=0.0003)
    assert found.head_hash == head.hash


def test_a_few_wild_pictures_change_little(head: mp2flame.FlameHead) -> None:
    rng = np.random.default_rng(2)
    truth = all_landmarks(_points(head, rng), rng.dirichlet(np.full(3, 3.0), N_LANDMARKS), head)
    errors = np.zeros((_N, N_LANDMARKS, 3))
    errors[:3] = [0.02, 0.01, 0.0]
    found = vote(head, made_up_sitting(_people(head, _N, rng), truth, errors, rng))
    away = np.linalg.norm(
        found.positions(head.template, head.faces) - truth.positions(head.template, head.faces), axis=1
    )
    assert np.median(away) < 0.0008


def _blank(head: mp2flame.FlameHead, n: int) -> Sitting:
    rng = np.random.default_rng(3)
    truth = all_landmarks(_points(head, rng), np.full((N_LANDMARKS, 3), 1 / 3), head)
    return made_up_sitting([head] * n, truth, np.zeros((n, N_LANDMARKS, 3)), rng)


def test_too_few_pictures_and_landmarks_beside_the_head_are_refused(head: mp2flame.FlameHead) -> None:
    with pytest.raises(InputError, match="at least 8 pictures with a face; got 5"):
        vote(head, _blank(head, 5))
    sitting = _blank(head, 8)
    beside = replace(sitting, landmarks=sitting.landmarks * np.array([0.02, 0.02, 1], dtype=np.float32))
    with pytest.raises(InputError, match="fall beside it"):
        vote(head, beside)


def test_plans_without_pictures_are_refused() -> None:
    with pytest.raises(InputError, match="at least one person and one picture; got 0 and 4"):
        Plan(people=0)


def test_pieces_are_what_edges_join() -> None:
    faces = np.array([[0, 1, 2], [4, 5, 6], [2, 3, 0], [6, 7, 4]])
    pieces = connected_components(faces, 9)
    assert len(set(pieces[:4])) == len(set(pieces[4:8])) == 1
    assert len(set(pieces)) == 3


def test_eyes_and_mouth_are_painted_where_they_are(head: mp2flame.FlameHead) -> None:
    colors = Painter(head).paint(Palette()).astype(float)
    assert head.region is not None
    balls, mouth = np.isin(head.region, (5, 6)), np.isin(head.region, (3, 4))
    joints = head.joints()[3:5]
    off = np.min(np.linalg.norm(head.template[:, None, :2] - joints[:, :2], axis=2), axis=1)
    front = balls & (head.template[:, 2] > joints[0, 2])
    np.testing.assert_array_equal(
        colors[balls & (off > 0.007)],
        np.tile(np.round(Palette.white), (1, 1)).repeat(int((balls & (off > 0.007)).sum()), axis=0),
    )
    assert colors[front & (off < 0.002)].max() < 10
    assert (colors[mouth] == Palette.cavity).all(axis=1).mean() > 0.8
    cheek = (np.abs(head.template[:, 0]) > 0.03) & (head.template[:, 1] < 0.01) & (head.template[:, 2] > 0.08)
    assert (colors[cheek & (head.region == 0)] == Palette.skin).all()


def test_an_embedding_without_lips_cannot_be_painted_by(head: mp2flame.FlameHead) -> None:
    embedding = LandmarkEmbedding(
        landmark_index=np.array([0, 1]), face_index=np.array([0, 1]), barycentric=np.full((2, 3), 1 / 3)
    )
    with pytest.raises(InputError, match="round lips, brows and lids"):
        Painter(head, embedding)


def test_people_differ_and_stay_people() -> None:
    palettes = [random_palette(np.random.default_rng(seed)) for seed in range(60)]
    skins = np.array([palette.skin for palette in palettes])
    assert np.ptp(skins, axis=0).min() > 60
    for palette in palettes:
        red, green, blue = palette.skin
        assert red > green > blue
        assert sum(palette.lips) < sum(palette.skin)
        assert sum(palette.lashes) <= sum(palette.brows) < sum(palette.skin)
