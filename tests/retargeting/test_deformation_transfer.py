"""Deformation transfer against closed forms, and the surface of a face that is registered."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.retargeting.deformation_transfer import transfer_deformations
from mp2flame.retargeting.registration import FaceSurface, face_surface, source_head, source_landmarks
from tests.helpers.meshes import wavy_sheet

Float64 = NDArray[np.float64]


@pytest.fixture(scope="module")
def skin() -> FaceSurface:
    return face_surface(source_head(), source_landmarks())


def _bulge(vertices: Float64) -> Float64:
    """A smooth movement of the middle; the rim stays."""
    inside = np.clip(1 - (vertices[:, :2] ** 2).sum(axis=1) / 0.5, 0, None)[:, None] ** 2
    return np.asarray(vertices + inside * [0.1, -0.05, 0.3])


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_a_surface_that_is_the_source_in_another_size_moves_alike_in_that_size(scale: float) -> None:
    vertices, triangles = wavy_sheet(24)
    moved = np.stack([_bulge(vertices), vertices])
    way = transfer_deformations(vertices, moved, triangles, scale * vertices + [3.0, 0.0, 0.0])
    np.testing.assert_allclose(way, scale * (moved - vertices), atol=1e-4)


def test_a_wider_surface_stretches_by_the_same_factor() -> None:
    vertices, triangles = wavy_sheet(24)
    flat = vertices * [1, 1, 0]
    # The right half is made half as long again, the left edge stays: the gradient is the same on any flat sheet.
    stretched = flat * [1.0, 1.0, 0.0]
    stretched[:, 0] += np.clip(flat[:, 0], 0, None) * 0.5
    wide = flat * [2.0, 1.0, 1.0]
    way = transfer_deformations(flat, stretched[None], triangles, wide)[0]
    np.testing.assert_allclose(way[:, 0], np.clip(wide[:, 0], 0, None) * 0.5, atol=0.02)
    np.testing.assert_allclose(way[:, 1:], 0.0, atol=0.02)


def test_the_skin_has_two_lips_and_no_eyes(skin: FaceSurface) -> None:
    head = source_head()
    carried = head.arrays.weights[:, 3:].max(axis=1) > 0.5
    assert not carried[skin.rows].any()
    upper, lower = (skin.vertices[skin.lip == label] for label in (1, 2))
    assert min(len(upper), len(lower)) > 100
    assert upper[:, 1].mean() > lower[:, 1].mean() + 0.005
    # Landmarks above the mouth's line lie on the upper lip, those below on the lower one.
    for landmark, label in ((0, 1), (13, 1), (14, 2), (17, 2)):
        assert (skin.lip[skin.corners[skin.landmark == landmark]] == label).any()
    np.testing.assert_allclose(
        skin.landmarks(skin.vertices), source_landmarks().positions(head.template, head.faces)[skin.landmark], atol=1e-6
    )
