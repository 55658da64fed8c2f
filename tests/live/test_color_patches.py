"""A painted surface covers what it is made of, each part once, and keeps its outside out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from mp2flame.head import load_head
from mp2flame.live.color_patches import ColorPatches, cut_surface, edges_of, srgb_to_lab


def _areas(points: NDArray[np.float32], faces: NDArray[np.integer]) -> NDArray[np.float64]:
    """(F, 3) area vectors: half the cross product, which points outwards."""
    a, b, c = (points[faces[:, k]].astype(np.float64) for k in range(3))
    area: NDArray[np.float64] = np.cross(b - a, c - a) / 2
    return area


def _random_surface(seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint32], NDArray[np.intp]]:
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(30, 3)).astype(np.float32)
    faces = np.array([rng.choice(30, 3, replace=False) for _ in range(60)], dtype=np.uint32)
    return vertices, faces, rng.integers(0, 4, 30)


def _costs(labels: NDArray[np.intp]) -> NDArray[np.float64]:
    return 1.0 - np.eye(4)[labels]


@pytest.mark.parametrize("seed", range(5))
def test_cutting_keeps_the_area_of_every_face_and_gives_each_corner_its_share(seed: int) -> None:
    vertices, faces, labels = _random_surface(seed)
    for face in faces:
        cut = cut_surface(face[None], _costs(labels), *edges_of(face[None]))
        pieces = _areas(cut.points(vertices), cut.faces)
        whole = _areas(vertices, face[None])[0]
        np.testing.assert_allclose(pieces.sum(axis=0), whole, atol=1e-6)
        assert (pieces @ whole >= -1e-9).all(), "a piece is turned inside out"
        share = {int(label): np.linalg.norm(pieces[cut.labels == label], axis=1).sum() for label in set(cut.labels)}
        kinds = labels[face]
        size = np.linalg.norm(whole)
        for label, area in share.items():
            corners = int((kinds == label).sum())
            expected = size * {1: 0.25 if len(set(kinds)) == 2 else 1 / 3, 2: 0.75, 3: 1.0}[corners]
            assert area == pytest.approx(expected, rel=1e-5)


def test_neighbouring_faces_meet_in_the_same_points() -> None:
    faces = np.array([[0, 1, 2], [1, 3, 2]], dtype=np.uint32)
    cut = cut_surface(faces, _costs(np.array([0, 0, 1, 1])), *edges_of(faces))
    assert len(cut.edges) == 3
    assert len({tuple(edge) for edge in cut.edges.tolist()}) == 3
    assert len(cut.centers) == 0


def test_a_border_runs_where_the_colours_change_not_where_the_vertices_are() -> None:
    rng = np.random.default_rng(0)
    flat = rng.uniform(size=(200, 2))
    faces = Delaunay(flat).simplices.astype(np.uint32)
    # Two palette colors, and colors that go from one to the other along x.
    costs = np.stack([flat[:, 0] ** 2, (flat[:, 0] - 1) ** 2], axis=1)
    cut = cut_surface(faces, costs, *edges_of(faces))
    points = cut.points(np.pad(flat, ((0, 0), (0, 1))).astype(np.float32))
    border = points[200:]
    assert len(border) > 20
    away = np.abs(border[:, 0] - 0.5)
    assert np.median(away) < 1e-6
    # Only next to a vertex is the border kept off it.
    lengths = np.abs(flat[cut.edges[:, 0], 0] - flat[cut.edges[:, 1], 0])
    assert (away <= 0.05 * lengths + 1e-6).all()


def test_one_colour_is_one_patch_with_the_faces_as_they_are() -> None:
    vertices, faces, _ = _random_surface(0)
    for colors in (None, np.full((30, 3), 77, dtype=np.uint8)):
        surface = ColorPatches(faces, colors, (1, 2, 3))
        (patch,) = surface.patches
        (points,) = surface.points(vertices)
        np.testing.assert_allclose(_areas(points, patch.faces), _areas(vertices, faces), atol=1e-6)
        assert patch.color == ((1, 2, 3) if colors is None else (77, 77, 77))


def test_the_built_in_head_is_covered_once_in_colours_near_its_own() -> None:
    head = load_head("builtin")
    vertices, colors = head.neutral_vertices, head.vertex_colors
    assert colors is not None
    surface = ColorPatches(head.faces, colors, (0, 0, 0))
    areas = [
        np.linalg.norm(_areas(points, patch.faces), axis=1).sum()
        for patch, points in zip(surface.patches, surface.points(vertices), strict=True)
    ]
    whole = np.linalg.norm(_areas(vertices, head.faces), axis=1)
    assert sum(areas) == pytest.approx(whole.sum(), rel=1e-4)
    # Averaged over the surface, paint and colors agree.
    mean = np.average([patch.color for patch in surface.patches], axis=0, weights=areas)
    true = np.average(colors[head.faces].mean(axis=1), axis=0, weights=whole)
    np.testing.assert_allclose(mean, true, atol=6)
    assert 4 <= len(surface.patches) <= 8


def _sheet(n: int = 40) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    flat = np.stack(np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n)), axis=-1).reshape(-1, 2)
    return flat, Delaunay(flat).simplices.astype(np.uint32)


def test_hair_that_fades_into_skin_has_no_fringe_of_a_third_colour() -> None:
    flat, faces = _sheet()
    hair, skin = np.array([72.0, 52, 43]), np.array([210.0, 160, 134])
    share = np.clip((flat[:, :1] - 0.48) / 0.04, 0, 1)
    colors = (hair + share * (skin - hair)).round().astype(np.uint8)
    surface = ColorPatches(faces, colors, (0, 0, 0))
    assert sorted(patch.color for patch in surface.patches) == [(72, 52, 43), (210, 160, 134)]
    points = surface.points(np.pad(flat, ((0, 0), (0, 1))).astype(np.float32))
    # Where they meet runs where the colors are half-way.
    edge = min(points, key=lambda patch: float(patch[:, 0].mean()))[:, 0].max()
    assert abs(edge - 0.5) < 0.02


def test_speckled_skin_has_one_paint_and_a_mole_its_own() -> None:
    flat, faces = _sheet()
    rng = np.random.default_rng(0)
    colors = np.array([205.0, 160, 135]) + rng.normal(scale=9, size=(len(flat), 1))
    mole = np.linalg.norm(flat - 0.5, axis=1) < 0.08
    colors[mole] = (80, 55, 41)
    surface = ColorPatches(faces, colors.clip(0, 255).astype(np.uint8), (0, 0, 0))
    assert len(surface.patches) == 2
    small = min(surface.patches, key=lambda patch: len(patch.used))
    np.testing.assert_allclose(small.color, (80, 55, 41), atol=12)


def test_distances_between_paints_are_those_of_another_implementation_of_cielab() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (500, 3), dtype=np.uint8)
    pictures = pytest.importorskip("cv2")
    expected = pictures.cvtColor(colors[None].astype(np.float32) / 255, pictures.COLOR_RGB2LAB)[0]
    np.testing.assert_allclose(srgb_to_lab(colors), expected, atol=0.3)
