"""ARKit's shapes carried over to heads whose own shapes are known: the built-in head, its identities and its cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import mp2flame
from mp2flame.blendshapes import ARKIT, mirror_permutation
from mp2flame.data import FlameParams
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.geometry.face_regions import head_regions
from mp2flame.geometry.symmetry import head_symmetry
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.landmark_model.correspondences import find_landmarks
from mp2flame.retargeting import Transfer, correspond, transfer_shapes
from mp2flame.retargeting.registration import source_head, source_landmarks
from mp2flame.synthesis.render import RenderSettings
from scripts.measure_transfer import compare, true_parameters
from tests.helpers.meshes import cut_head

_MADE = ARKIT[:-1]  # all but the tongue, which is not skin


def _identity() -> mp2flame.FlameHead:
    head = source_head()
    return head.with_shape(np.random.default_rng(3).normal(size=head.n_shape))


def _errors(head: mp2flame.FlameHead, got: FlameParams, truth: FlameParams) -> NDArray[np.float64]:
    """(52,) root mean square error of the face's vertices, relative to each shape's movement."""
    face, rest = head_regions(head)["face"], head.neutral_vertices.astype(np.float64)
    wanted, done = (head(params)[:, face] - rest[face] for params in (truth, got))
    size = np.linalg.norm(wanted, axis=(1, 2))
    result: NDArray[np.float64] = np.linalg.norm(done - wanted, axis=(1, 2)) / np.maximum(size, 1e-9)
    return result


@pytest.fixture(scope="module")
def onto_itself() -> Transfer:
    return transfer_shapes(source_head(), source_landmarks())


def test_the_landmarks_that_ship_are_those_of_the_builtin_head() -> None:
    source_landmarks().check_head(mp2flame.load_head("builtin"))
    assert len(source_landmarks()) == 478


def test_the_builtin_head_gets_its_own_shapes(onto_itself: Transfer) -> None:
    head = source_head()
    errors = _errors(head, onto_itself.shapes, head.blendshapes())
    assert errors[:-1].max() < 0.05
    assert onto_itself.made == _MADE
    assert onto_itself.omitted == ("tongueOut",)
    np.testing.assert_allclose(onto_itself.shapes.jaw_pose, head.blendshapes().jaw_pose, atol=0.02)
    np.testing.assert_array_equal(onto_itself.shapes.eye_pose, head.blendshapes().eye_pose)


def test_another_identity_gets_the_same_shapes() -> None:
    head = _identity()
    got = transfer_shapes(head, source_landmarks())
    errors = _errors(head, got.shapes, head.blendshapes())
    assert np.median(errors[:-1]) < 0.12
    assert errors[:-1].max() < 0.3
    assert got.made == _MADE


def test_points_go_where_they_belong() -> None:
    head = _identity()
    match = correspond(head, source_landmarks())
    # Both heads have the same vertices, so each one's true counterpart is itself.
    skin = match.source.vertices
    found = np.einsum("sc,scd->sd", match.closest.barycentric, skin[match.source.triangles[match.closest.triangle]])
    away = np.where(match.attached, np.linalg.norm(found - skin, axis=1), 0.0)
    assert match.attached.mean() > 0.95
    assert np.median(away) < 0.0015
    # Foreheads and cheeks have nothing to hold on to; lips, lids and brows do.
    assert np.quantile(away, 0.99) < 0.01
    for name in ("lips", "lids", "brows"):
        assert away[head_regions(source_head())[name][match.source.rows]].max() < 0.005, name
    # Lips touch, and no vertex of one is taken for the other.
    lip, other = match.target.lip, match.source.lip[match.source.triangles[match.closest.triangle]].max(axis=1)
    both = match.attached & (lip != 0) & (other != 0)
    assert both.sum() > 300
    np.testing.assert_array_equal(lip[both], other[both])


def test_shapes_mirror_where_the_head_does(onto_itself: Transfer) -> None:
    symmetry = head_symmetry(source_head())
    assert symmetry is not None
    values = onto_itself.shapes.to_rows().astype(np.float64)
    mirrored = (values @ symmetry.matrix)[mirror_permutation(ARKIT)]
    away = source_head()(FlameParams.from_rows(values)) - source_head()(FlameParams.from_rows(mirrored))
    assert np.abs(away).max() < 1e-5


def test_a_head_of_flame_size_without_labels() -> None:
    head, embedding = cut_head(source_head(), source_landmarks(), 5023)
    assert head.n_vertices == 5023
    assert head.region is None
    assert head.arrays.blendshapes is None
    got = transfer_shapes(head, embedding)
    errors = _errors(head, got.shapes, source_head().blendshapes())
    assert got.made == _MADE
    assert np.median(errors[:-1]) < 0.15
    assert errors[ARKIT.index("jawOpen")] < 0.1
    assert errors[ARKIT.index("eyeBlinkLeft")] < 0.25


def _with_components(head: mp2flame.FlameHead, n: int) -> mp2flame.FlameHead:
    arrays = replace(head.arrays, shapedirs=head.arrays.shapedirs[:, :, : head.n_shape + n], blendshapes=None)
    return replace(head, arrays=arrays)


def _same_landmarks(head: mp2flame.FlameHead) -> LandmarkEmbedding:
    """The built-in head's, for a head with the same surface."""
    return replace(source_landmarks(), head_hash=head.hash)


def test_a_poor_basis_makes_less_and_says_what_not() -> None:
    head = _with_components(source_head(), 3)
    got = transfer_shapes(head, _same_landmarks(head))
    assert "jawOpen" in got.made
    assert {"noseSneerLeft", "browInnerUp", "tongueOut"} <= set(got.omitted)
    assert set(got.made) | set(got.omitted) == set(ARKIT)
    assert not got.shapes.to_rows()[[ARKIT.index(name) for name in got.omitted]].any()
    # No component is driven to absurd lengths to imitate what the basis has not.
    moved = np.linalg.norm(head(got.shapes) - head.neutral_vertices, axis=2).max(axis=1)
    own = np.linalg.norm(source_head()(source_head().blendshapes()) - source_head().neutral_vertices, axis=2)
    assert (moved < 2 * own.max(axis=1) + 1e-4).all()


def test_no_basis_at_all_is_said() -> None:
    head = _with_components(source_head(), 0)
    with pytest.raises(InputError, match=r"expected a head with expression components; .* has none"):
        transfer_shapes(head, _same_landmarks(head))


def test_landmarks_of_another_head_are_refused() -> None:
    head = _with_components(source_head(), 3)
    with pytest.raises(HeadMismatchError, match="find them again for this head"):
        transfer_shapes(head, source_landmarks())


def test_too_few_landmarks_are_said() -> None:
    whole = source_landmarks()
    few = replace(
        whole,
        landmark_index=whole.landmark_index[:9],
        face_index=whole.face_index[:9],
        barycentric=whole.barycentric[:9],
        spread=None,
    )
    with pytest.raises(InputError, match=r"expected at least 20 landmarks on both faces; got \d"):
        transfer_shapes(source_head(), few)


def test_regions_hold_the_landmarks_of_their_name(onto_itself: Transfer) -> None:
    head, landmarks = source_head(), source_landmarks()
    corners = landmarks.corners(head.faces)
    for name, points in {"lips": (0, 17, 61, 291, 13, 14), "brows": (105, 334), "lids": (159, 145, 386, 374)}.items():
        for point in points:
            assert onto_itself.regions[name][corners[point]].any(), (name, point)
    for name, own in head_regions(head).items():
        carried = onto_itself.regions[name]
        assert (carried & own).sum() / (carried | own).sum() > 0.85, name


def test_shapes_of_a_real_head_are_near_the_true_ones(shared_data: Path, landmarker: Path) -> None:
    head = mp2flame.load_head(shared_data / "head" / "ict_head.npz")
    found = find_landmarks(head, landmarker, settings=RenderSettings(subjects=10, images=3))
    got = transfer_shapes(head, found)
    assert got.made == _MADE
    table = compare(head, got, true_parameters(shared_data / "head" / "ict_head_shapes.npz", head.n_expression))
    assert len(table) == 51
    rows = list(table.values())
    # Two artists' ideas of the same 51 names: most of the difference is theirs.
    assert np.median([row.error for row in rows]) < 0.75
    assert np.median([row.cosine for row in rows]) > 0.82
    assert min(row.cosine for row in rows) > 0.3
    assert table["jawOpen"].error < 0.2
    lids = got.regions["lids"] & head_regions(head)["lids"]
    assert lids.sum() > 0.5 * head_regions(head)["lids"].sum()
