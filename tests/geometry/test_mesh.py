"""Meshes: normals, boundary, components, closest points and rays, against plain loops and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("trimesh", reason="needs the extra render")
pytest.importorskip("pyvista", reason="needs the extra render")

import pyvista

from mp2flame.geometry.mesh import (
    boundary_vertices,
    cast_rays,
    closest_points,
    connected_components,
    triangle_areas_and_normals,
    unique_edges,
    vertex_normals,
)
from tests.helpers.meshes import wavy_sheet

Float64 = NDArray[np.float64]


def _first_hit(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], origin: NDArray[np.float64], ray: NDArray[np.float64]
) -> tuple[int, NDArray[np.float64]]:
    """Triangle by triangle: solve origin + t ray = the weighted corners."""
    best, found, weights = np.inf, -1, np.full(3, np.nan)
    for face, corners in enumerate(vertices[faces]):
        system = np.stack([corners[1] - corners[0], corners[2] - corners[0], -ray], axis=1)
        u, v, t = np.linalg.solve(system, origin - corners[0])
        if min(u, v, 1 - u - v) >= 0 and 0 < t < best:
            best, found, weights = t, face, np.array([1 - u - v, u, v])
    return found, weights


def test_rays_meet_what_a_plain_loop_says() -> None:
    rng = np.random.default_rng(3)
    vertices = rng.normal(size=(40, 3))
    faces = np.stack([rng.permutation(40)[:3] for _ in range(60)])
    origin = np.array([0.2, 0.1, 5.0])
    rays = rng.normal(scale=(0.15, 0.15, 0.0), size=(80, 3)) - [0, 0, 1]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    hits = cast_rays(vertices, faces, origin, rays)
    assert 10 < (hits.triangle >= 0).sum() < 80
    for k, ray in enumerate(rays):
        face, weights = _first_hit(vertices, faces, origin, ray)
        assert hits.triangle[k] == face
        np.testing.assert_allclose(hits.barycentric[k], weights, atol=1e-6)
        normal = np.cross(*(vertices[faces[face, 1:]] - vertices[faces[face, 0]]))
        facing = 0.0 if face < 0 else abs(normal @ ray) / np.linalg.norm(normal)
        assert hits.cosine[k] == pytest.approx(facing, abs=1e-9)


def test_the_closest_point_is_no_farther_than_any_sampled_one() -> None:
    vertices, triangles = wavy_sheet()
    rng = np.random.default_rng(0)
    points = rng.uniform(-1.2, 1.2, size=(60, 3)) * [1, 1, 0.5]
    closest = closest_points(points, vertices, triangles)
    feet = np.einsum("pc,pcd->pd", closest.barycentric, vertices[triangles[closest.triangle]])
    np.testing.assert_allclose(np.linalg.norm(points - feet, axis=1), closest.distance, atol=1e-12)
    np.testing.assert_allclose(closest.barycentric.sum(axis=1), 1.0, atol=1e-9)
    assert closest.barycentric.min() >= 0
    shares = np.concatenate([np.eye(3), rng.dirichlet(np.ones(3), size=300)])
    sampled = (shares @ vertices[triangles]).reshape(-1, 3)
    for point, distance in zip(points, closest.distance, strict=True):
        slow = np.linalg.norm(sampled - point, axis=1).min()
        assert distance <= slow + 1e-12
        assert slow - distance < 0.03


def test_other_sides_and_other_lips_are_no_match() -> None:
    lower, triangles = wavy_sheet()
    upper = lower + np.array([0, 0, 0.05])
    # Two sheets as close as lips; the upper one faces down.
    vertices = np.concatenate([lower, upper])
    both = np.concatenate([triangles, triangles[:, ::-1] + len(lower)])
    points = lower + np.array([0, 0, 0.04])
    facing = vertex_normals(lower, triangles)
    plain = closest_points(points, vertices, both)
    assert (plain.triangle >= len(triangles)).all()
    turned = closest_points(points, vertices, both, normals=facing)
    assert (turned.triangle < len(triangles)).all()
    lips = np.repeat(np.array([1, 2], dtype=np.int8), len(triangles))
    own = closest_points(points, vertices, both, labels=(np.full(len(points), 1, dtype=np.int8), lips))
    assert (own.triangle < len(triangles)).all()
    nowhere = closest_points(points, vertices, both, labels=(np.full(len(points), 3, dtype=np.int8), lips))
    assert np.isinf(nowhere.distance).all()


def test_a_large_triangle_is_found_though_many_small_ones_are_nearer_by_their_centroids() -> None:
    """The distance to one large triangle is small everywhere on it, that to its centroid is not."""
    small, triangles = wavy_sheet()
    small = 0.05 * small + [0.9, 0.0, 0.06]
    large = np.array([[-3.0, -3.0, 0.0], [3.0, -3.0, 0.0], [0.0, 6.0, 0.0]])
    vertices, both = np.concatenate([small, large]), np.concatenate([triangles, [[len(small) + i for i in range(3)]]])
    points = np.array([[0.9, 0.0, 0.01], [0.88, 0.02, 0.02]])
    closest = closest_points(points, vertices, both)
    assert (closest.triangle == len(triangles)).all()
    np.testing.assert_allclose(closest.distance, points[:, 2])


@pytest.mark.parametrize("constrained", [False, True])
def test_closest_points_are_those_that_vtk_finds_among_the_allowed_triangles(constrained: bool) -> None:
    rng = np.random.default_rng(4)
    # Triangles of sizes from a hundredth to one.
    size = 10 ** rng.uniform(-2, 0, size=(400, 1, 1))
    corners = rng.normal(size=(400, 1, 3)) + size * rng.normal(size=(400, 3, 3))
    vertices, triangles = corners.reshape(-1, 3), np.arange(1200).reshape(-1, 3)
    points, normals = rng.normal(size=(2, 80, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    labels = rng.integers(0, 3, 80).astype(np.int8), rng.integers(0, 3, 400).astype(np.int8)
    limits = {"normals": normals, "labels": labels} if constrained else {}
    found = closest_points(points, vertices, triangles, **limits)
    facing = triangle_areas_and_normals(corners)[1]
    for i, point in enumerate(points):
        allowed = np.ones(400, dtype=np.bool_)
        if constrained:
            own, other = labels[0][i], labels[1]
            allowed = (facing @ normals[i] >= 0.3) & ((own == 0) | (other == 0) | (own == other))
        cells = np.insert(triangles[allowed], 0, 3, axis=1).ravel()
        _, foot = pyvista.PolyData(vertices, cells).find_closest_cell(point, return_closest_point=True)
        assert found.distance[i] == pytest.approx(np.linalg.norm(foot - point))
        assert allowed[found.triangle[i]]
        np.testing.assert_allclose(found.barycentric[i] @ corners[found.triangle[i]], foot, atol=1e-6)


def test_a_limited_search_finds_what_is_within_the_limit() -> None:
    vertices, triangles = wavy_sheet()
    points = np.random.default_rng(0).uniform(-1.2, 1.2, size=(60, 3))
    every, near = (
        closest_points(points, vertices, triangles),
        closest_points(points, vertices, triangles, max_distance=0.3),
    )
    within = every.distance < 0.3
    assert 10 < within.sum() < 50
    np.testing.assert_array_equal(near.distance[within], every.distance[within])
    assert (near.distance[~within] >= 0.3).all()


def test_normals_boundary_and_edges_of_a_sheet() -> None:
    vertices, triangles = wavy_sheet(8)
    flat = vertices * [1, 1, 0]
    np.testing.assert_allclose(vertex_normals(flat, triangles), np.tile([0.0, 0.0, 1.0], (64, 1)), atol=1e-12)
    area, _ = triangle_areas_and_normals(flat[triangles])
    assert area.sum() == pytest.approx(4.0)
    outside = np.abs(flat[:, :2]).max(axis=1) == 1
    np.testing.assert_array_equal(boundary_vertices(triangles, 64), outside)
    # Euler: V - E + F = 1 for a disc.
    assert 64 - len(unique_edges(triangles)[0]) + len(triangles) == 1


def test_components_are_what_edges_join() -> None:
    faces = np.array([[0, 1, 2], [4, 5, 6], [2, 3, 0], [6, 7, 4]])
    components = connected_components(faces, 9)
    assert len(set(components[:4])) == len(set(components[4:8])) == 1
    assert len(set(components)) == 3
