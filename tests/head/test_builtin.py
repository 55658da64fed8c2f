"""The built-in head: what its file promises, and what its shapes do."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open

import mp2flame
from mp2flame.blendshapes import ARKIT, mirror_permutation
from scripts.builtin_head.shapes import sample_weights
from scripts.builtin_head.wheel import WHEEL_SHA256

Array = NDArray[Any]

PATH = Path(mp2flame.__file__).parent / "head" / "assets" / "builtin_head.safetensors"
FLIP = np.array([-1.0, 1.0, 1.0])
N_SEGMENTS = 20


@cache
def _file() -> tuple[dict[str, Array], dict[str, str]]:
    with safe_open(PATH, "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


@pytest.fixture
def arrays() -> dict[str, Array]:
    return _file()[0]


@pytest.fixture
def regions() -> dict[str, int]:
    return dict(json.loads(_file()[1]["regions"]))


@cache
def _head() -> mp2flame.FlameHead:
    return mp2flame.load_head("builtin")


def _posed(*names: str, shape: Array | None = None) -> Array:
    """The head (V, 3) with some shapes at 1."""
    shapes = _head().blendshapes()
    rows = [ARKIT.index(name) for name in names]
    mixed: dict[str, Any] = {
        field: getattr(shapes, field)[rows].sum(axis=0, keepdims=True)
        for field in ("expression", "jaw_pose", "leye_pose", "reye_pose")
    }
    params = replace(mp2flame.FlameParams.neutral(n_expression=50), **mixed)
    head = _head() if shape is None else _head().with_shape(shape)
    return np.asarray(head(params)[0], dtype=np.float64)


def _person(seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(_head().n_shape)


# The file.


def test_note_names_licence_and_hashes() -> None:
    note = PATH.with_suffix(".md").read_text(encoding="utf-8")
    assert hashlib.sha256(PATH.read_bytes()).hexdigest() in note
    assert WHEEL_SHA256 in note
    assert "CC0 1.0" in note


def test_file_is_small_and_says_what_it_is(arrays: dict[str, Array]) -> None:
    assert PATH.stat().st_size <= 8_000_000
    metadata = _file()[1]
    assert (metadata["format"], metadata["format_version"], metadata["version"]) == ("mp2flame-head", "1", "built-in")
    assert metadata["licence"] == "CC0-1.0"
    assert WHEEL_SHA256 in metadata["provenance"]
    assert tuple(json.loads(metadata["blendshape_names"])) == ARKIT
    n_vertices = len(arrays["v_template"])
    n_shape, n_expression = int(metadata["n_shape"]), int(metadata["n_expression"])
    assert n_shape >= 60
    assert n_expression == 50
    assert arrays["shapedirs"].shape == (n_vertices, 3, n_shape + n_expression)
    assert arrays["posedirs"].shape == (n_vertices, 3, 36)
    assert arrays["blendshape_expression"].shape == (52, 50)
    assert arrays["kintree_table"][0].tolist() == [-1, 0, 1, 1, 1]
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_weights_and_regressor_sum_to_one(arrays: dict[str, Array]) -> None:
    np.testing.assert_allclose(arrays["weights"].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(arrays["J_regressor"].sum(axis=1), 1, atol=1e-6)
    assert arrays["weights"].min() >= 0


def test_every_region_is_there_and_every_vertex_is_used(arrays: dict[str, Array], regions: dict[str, int]) -> None:
    assert set(np.unique(arrays["region"])) == set(regions.values())
    assert len(np.unique(arrays["f"])) == len(arrays["v_template"])


# Left and right.


def test_mirror_is_an_involution_and_exact(arrays: dict[str, Array], regions: dict[str, int]) -> None:
    mirror = arrays["mirror"]
    assert (mirror[mirror] == np.arange(len(mirror))).all()
    assert (arrays["v_template"] == arrays["v_template"][mirror] * FLIP.astype(np.float32)).all()
    assert (arrays["vertex_colors"] == arrays["vertex_colors"][mirror]).all()
    np.testing.assert_array_equal(arrays["weights"], arrays["weights"][mirror][:, [0, 1, 2, 4, 3]])
    np.testing.assert_array_equal(arrays["J_regressor"], arrays["J_regressor"][[0, 1, 2, 4, 3]][:, mirror])
    exchanged = arrays["region"][mirror]
    left, right = regions["left eye"], regions["right eye"]
    assert (np.where(exchanged == left, right, np.where(exchanged == right, left, exchanged)) == arrays["region"]).all()


def test_faces_are_mirrored_with_their_winding_turned(arrays: dict[str, Array]) -> None:
    def canonical(face: Array) -> tuple[int, ...]:
        start = int(np.argmin(face))
        return tuple(int(face[(start + k) % 3]) for k in range(3))

    faces = {canonical(face) for face in arrays["f"]}
    assert len(faces) == len(arrays["f"])
    assert faces == {canonical(arrays["mirror"][face[::-1]]) for face in arrays["f"]}


def test_each_component_is_symmetric_or_antisymmetric(arrays: dict[str, Array]) -> None:
    directions = arrays["shapedirs"].astype(np.float32)
    image = directions[arrays["mirror"]] * FLIP[:, None].astype(np.float32)
    same = (image == directions).all(axis=(0, 1))
    turned = (image == -directions).all(axis=(0, 1))
    assert (same ^ turned).all()
    assert turned[-50:].any()


def test_correctives_are_mirrored(arrays: dict[str, Array]) -> None:
    # mirroring a pose turns R into M R M with M = diag(-1, 1, 1), and exchanges the eyes
    sign = np.outer(FLIP, FLIP).ravel()
    blocks = arrays["posedirs"].astype(np.float32).reshape(-1, 3, 4, 9)
    image = blocks[arrays["mirror"]][:, :, [0, 1, 3, 2]] * FLIP[:, None, None] * sign
    np.testing.assert_array_equal(image, blocks)


def test_mirrored_shapes_give_the_mirrored_head(arrays: dict[str, Array]) -> None:
    vertices = _head()(_head().blendshapes())
    image = vertices[mirror_permutation(ARKIT)][:, arrays["mirror"]] * FLIP
    np.testing.assert_allclose(image, vertices, atol=1e-5)


# The mesh.


def test_skin_is_closed(arrays: dict[str, Array], regions: dict[str, int]) -> None:
    kinds = [regions[name] for name in ("face", "back of the head and neck", "mouth cavity")]
    _, welded = np.unique(arrays["v_template"], axis=0, return_inverse=True)
    faces = welded.ravel()[arrays["f"][np.isin(arrays["region"], kinds)[arrays["f"]].all(axis=1)].astype(int)]
    edges = Counter((int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True))
    assert all(count == 1 for count in edges.values())
    assert all((b, a) in edges for a, b in edges)


def test_faces_look_outwards(arrays: dict[str, Array], regions: dict[str, int]) -> None:
    points = arrays["v_template"].astype(np.float64)
    for kinds in (["face", "back of the head and neck", "mouth cavity"], ["left eye"], ["right eye"], ["tongue"]):
        inside = np.isin(arrays["region"], [regions[kind] for kind in kinds])
        a, b, c = (points[corner] for corner in arrays["f"][inside[arrays["f"]].all(axis=1)].T)
        assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() > 0, kinds


def test_head_has_the_size_of_a_head(arrays: dict[str, Array]) -> None:
    width, height, depth = np.ptp(arrays["v_template"], axis=0)
    assert 0.13 < width < 0.19
    assert 0.24 < height < 0.32
    assert 0.17 < depth < 0.23
    joints = _head().joints()
    assert 0.052 < joints[3, 0] - joints[4, 0] < 0.070
    assert joints[0, 1] < joints[1, 1] < joints[2, 1] < joints[3, 1]


# The components.


def test_expression_has_unit_variance_largest_first(arrays: dict[str, Array]) -> None:
    coefficients = sample_weights(4000) @ arrays["blendshape_expression"].astype(np.float64)
    np.testing.assert_allclose(coefficients.var(axis=0), 1, rtol=1e-3)
    correlation = np.corrcoef(coefficients, rowvar=False)
    np.testing.assert_allclose(correlation, np.eye(50), atol=1e-3)
    sizes = np.linalg.norm(arrays["shapedirs"][:, :, -50:].astype(np.float64), axis=(0, 1))
    assert (np.diff(sizes) < 1e-3 * sizes[:-1]).all()


def test_identity_comes_largest_first_and_moves_millimetres(arrays: dict[str, Array]) -> None:
    people = arrays["shapedirs"][:, :, :-50].astype(np.float64)
    sizes = np.sqrt((people**2).sum(axis=1).mean(axis=0))
    assert (np.diff(sizes) < 1e-3 * sizes[:-1]).all()
    assert 0.001 < sizes[0] < 0.010


def test_identity_keeps_eyeballs_round_around_their_joints(arrays: dict[str, Array], regions: dict[str, int]) -> None:
    for seed in range(3):
        head = _head().with_shape(_person(seed))
        vertices = head.neutral_vertices.astype(np.float64)
        for joint, name in ((3, "left eye"), (4, "right eye")):
            ball = vertices[arrays["region"] == regions[name]]
            radius = np.linalg.norm(ball - head.joints()[joint], axis=1)
            assert np.ptp(radius) < 2e-4
            assert 0.010 < radius.mean() < 0.020


# The shapes.


def _lip_gap(arrays: dict[str, Array], vertices: Array) -> float:
    """Millimeters between the lips in the middle of the face."""
    rest = arrays["v_template"]
    middle = (np.abs(rest[:, 0]) < 1e-6) & (rest[:, 2] > 0.100) & (rest[:, 1] > -0.045) & (rest[:, 1] < -0.020)
    middle &= arrays["region"] == 0
    jaw = arrays["weights"][:, 2]
    upper, lower = vertices[middle & (jaw < 0.3), 1], vertices[middle & (jaw > 0.7), 1]
    return float(upper.min() - lower.max()) * 1000


def test_jaw_open_opens_the_lips(arrays: dict[str, Array]) -> None:
    pose = arrays["blendshape_jaw_pose"][ARKIT.index("jawOpen")]
    assert 0.2 < pose[0] < 0.6
    assert (pose[1:] == 0).all()
    assert abs(_lip_gap(arrays, _posed())) < 2
    assert 25 < _lip_gap(arrays, _posed("jawOpen")) < 55
    assert abs(_lip_gap(arrays, _posed("jawOpen", "mouthClose"))) < 4


def test_jaw_moves_to_the_named_side(arrays: dict[str, Array], regions: dict[str, int]) -> None:
    lower = (arrays["region"] == regions["teeth"]) & (arrays["weights"][:, 2] > 0.9)
    rest = _posed()
    for name, side in (("jawLeft", 1), ("jawRight", -1)):
        assert side * arrays["blendshape_jaw_pose"][ARKIT.index(name), 1] > 0
        assert 0.004 < side * (_posed(name) - rest)[lower, 0].mean() < 0.012


# Where the left and the right pupil go, as (axis, left eye's sign, right eye's sign).
GAZES = {"Up": (1, 1, 1), "Down": (1, -1, -1), "In": (0, -1, 1), "Out": (0, 1, -1)}


@pytest.mark.parametrize("part", GAZES)
def test_gaze_turns_the_eyeballs(arrays: dict[str, Array], regions: dict[str, int], part: str) -> None:
    axis, *signs = GAZES[part]
    for side, other, name, sign in zip(
        ("Left", "Right"), ("Right", "Left"), ("left eye", "right eye"), signs, strict=True
    ):
        pupil = int(np.flatnonzero(arrays["region"] == regions[name])[0])
        moved = (_posed(f"eyeLook{part}{side}") - _posed())[pupil]
        assert 0.002 < sign * moved[axis] < 0.010
        assert np.abs((_posed(f"eyeLook{part}{other}") - _posed())[pupil]).max() < 1e-6


def _uncovered(arrays: dict[str, Array], regions: dict[str, int], vertices: Array) -> float:
    """The share of the left iris that a viewer straight ahead sees past the lids."""
    ball = np.flatnonzero(arrays["region"] == regions["left eye"])[: 1 + 6 * N_SEGMENTS]
    corners = vertices[arrays["f"][(arrays["region"] == regions["face"])[arrays["f"]].all(axis=1)]]
    near = (np.abs(corners[:, :, :2] - vertices[ball[0], :2]) < 0.03).all(axis=(1, 2))
    a, b, c = corners[near].transpose(1, 0, 2)
    point = vertices[ball][:, None]

    def side(one: Array, other: Array) -> Array:
        return np.asarray((other - one)[:, 0] * (point - one)[..., 1] - (other - one)[:, 1] * (point - one)[..., 0])

    u, v, w = side(b, c), side(c, a), side(a, b)
    total = u + v + w
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = (u * a[:, 2] + v * b[:, 2] + w * c[:, 2]) / total
    hit = ((u >= 0) & (v >= 0) & (w >= 0) | (u <= 0) & (v <= 0) & (w <= 0)) & (np.abs(total) > 1e-14)
    return float(1 - (hit & (depth > point[..., 2])).any(axis=1).mean())


def test_blink_covers_the_iris(arrays: dict[str, Array], regions: dict[str, int]) -> None:
    assert _uncovered(arrays, regions, _posed()) > 0.6
    assert _uncovered(arrays, regions, _posed("eyeBlinkLeft")) == 0


@pytest.mark.parametrize("seed", range(6))
def test_blink_covers_the_iris_of_other_people(arrays: dict[str, Array], regions: dict[str, int], seed: int) -> None:
    assert _uncovered(arrays, regions, _posed(shape=_person(seed))) > 0.4
    assert _uncovered(arrays, regions, _posed("eyeBlinkLeft", shape=_person(seed))) < 0.05
