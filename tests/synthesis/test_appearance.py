"""Vertex colors: parts of a face are painted where they are, and subjects differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mp2flame
from mp2flame.errors import InputError
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.synthesis.appearance import Palette, ProceduralAlbedo, SubjectColors, random_palette


@pytest.fixture(scope="module")
def head() -> mp2flame.FlameHead:
    return mp2flame.load_head("builtin")


def test_eyes_and_mouth_are_painted_where_they_are(head: mp2flame.FlameHead) -> None:
    colors = ProceduralAlbedo(head).paint(Palette()).astype(float)
    assert head.region is not None
    eyeballs, mouth = np.isin(head.region, (5, 6)), np.isin(head.region, (3, 4))
    joints = head.joints()[3:5]
    radius = np.min(np.linalg.norm(head.template[:, None, :2] - joints[:, :2], axis=2), axis=1)
    front = eyeballs & (head.template[:, 2] > joints[0, 2])
    assert (colors[eyeballs & (radius > 0.007)] == np.round(Palette.white)).all()
    assert colors[front & (radius < 0.002)].max() < 10
    assert (colors[mouth] == Palette.cavity).all(axis=1).mean() > 0.8
    cheek = (np.abs(head.template[:, 0]) > 0.03) & (head.template[:, 1] < 0.01) & (head.template[:, 2] > 0.08)
    assert (colors[cheek & (head.region == 0)] == Palette.skin).all()


def test_an_embedding_without_lips_is_refused(head: mp2flame.FlameHead) -> None:
    embedding = LandmarkEmbedding(
        landmark_index=np.array([0, 1]), face_index=np.array([0, 1]), barycentric=np.full((2, 3), 1 / 3)
    )
    with pytest.raises(InputError, match="around lips, brows and lids"):
        ProceduralAlbedo(head, embedding)


def test_palettes_differ_and_stay_plausible() -> None:
    palettes = [random_palette(np.random.default_rng(seed)) for seed in range(60)]
    skins = np.array([palette.skin for palette in palettes])
    assert np.ptp(skins, axis=0).min() > 60
    for palette in palettes:
        red, green, blue = palette.skin
        assert red > green > blue
        assert sum(palette.lips) < sum(palette.skin)
        assert sum(palette.lashes) <= sum(palette.brows) < sum(palette.skin)


def test_subjects_have_the_heads_colors_times_a_gain_or_painted_ones(head: mp2flame.FlameHead) -> None:
    assert head.vertex_colors is not None
    own = SubjectColors(head)
    np.testing.assert_array_equal(own(), head.vertex_colors)
    subject = own(np.random.default_rng(0)).astype(float)
    gain = subject[head.vertex_colors[:, 0] > 100] / head.vertex_colors[head.vertex_colors[:, 0] > 100]
    assert gain.std(axis=0).max() < 0.02
    bare = replace(head, arrays=replace(head.arrays, vertex_colors=None))
    painted = SubjectColors(bare)
    np.testing.assert_array_equal(painted(), ProceduralAlbedo(bare).paint(Palette()))
    first, again, other = (painted(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).max() > 20
