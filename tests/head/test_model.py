"""What a loaded head is: identity, sizes, hash, its refusals."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams, HeadLike
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.head import FlameHead, LandmarkEmbedding, load_head
from tests.helpers.heads import load_arrays, random_arrays, random_params


@pytest.fixture
def head(tmp_path: Path) -> FlameHead:
    return load_arrays(tmp_path, random_arrays(width=400))


def test_sizes_and_names(head: FlameHead) -> None:
    assert (head.n_vertices, head.n_shape, head.n_expression) == (60, 300, 100)
    assert head.faces.shape == (120, 3)
    assert head.faces.dtype == np.uint32
    assert head.joint_names == ("root", "neck", "jaw", "left_eye", "right_eye")
    assert head.vertex_colors is head.region is head.mirror is None


def test_a_head_cannot_be_changed(head: FlameHead) -> None:
    with pytest.raises(FrozenInstanceError):
        head.version = "another"  # type: ignore[misc]
    for array in (head.faces, head.template, head.neutral_vertices, head.with_shape([1.0]).shape):
        assert array is not None
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_head_travels_to_another_process(head: FlameHead) -> None:
    params = random_params(2, 100)
    baked = head.with_shape([1.0, 2.0])
    again = pickle.loads(pickle.dumps(baked))  # noqa: TID251 - our own bytes
    np.testing.assert_array_equal(again(params), baked(params))


def test_baked_identity_is_identity_in_the_basis(head: FlameHead) -> None:
    shape = np.random.default_rng(0).normal(size=300).astype(np.float32)
    baked = head.with_shape(shape)
    expected = head.template + head.arrays.shapedirs[:, :, :300] @ shape
    np.testing.assert_allclose(baked.neutral_vertices, expected, atol=1e-6)
    np.testing.assert_allclose(baked(FlameParams.neutral(1, n_expression=100))[0], expected, atol=1e-6)
    np.testing.assert_allclose(baked.joints(), head.arrays.regressor @ expected, atol=1e-6)
    params = random_params(5, 100)
    np.testing.assert_array_equal(baked(params), head(replace(params, shape=shape)))


def test_short_identity_is_padded_and_replaces_the_one_before(head: FlameHead) -> None:
    params = random_params(2, 100)
    padded = np.zeros(300)
    padded[:3] = 1, 2, 3
    expected = head.with_shape(padded)(params)
    np.testing.assert_array_equal(head.with_shape([1, 2, 3])(params), expected)
    np.testing.assert_array_equal(head.with_shape(np.ones(300)).with_shape([1, 2, 3])(params), expected)


def test_identity_of_the_params_takes_the_place_of_the_baked_one(head: FlameHead) -> None:
    params = random_params(2, 100)
    one, two = np.ones(5, dtype=np.float32), np.full(5, 2, dtype=np.float32)
    baked = head.with_shape(one)
    for shape in (two, one, two):
        np.testing.assert_array_equal(baked(replace(params, shape=shape)), head.with_shape(shape)(params))
    np.testing.assert_array_equal(baked(params), head.with_shape(one)(params))
    np.testing.assert_array_equal(baked(replace(params, shape=np.zeros(0, "f"))), head(params))


def test_identity_does_not_change_the_hash(head: FlameHead) -> None:
    assert head.with_shape([1.0]).hash == head.hash


def test_fewer_expression_coefficients_are_padded_with_zeros(head: FlameHead) -> None:
    short = random_params(3, 50)
    padded = replace(short, expression=np.pad(short.expression, ((0, 0), (0, 50))))
    np.testing.assert_allclose(head(short), head(padded), atol=2e-7)


def test_more_expression_coefficients_are_refused(tmp_path: Path) -> None:
    small = load_arrays(tmp_path, random_arrays(width=20))
    with pytest.raises(InputError, match=r"at most 10 expression coefficients.*got 50: these parameters belong"):
        small(FlameParams.neutral(1, n_expression=50))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (np.zeros(301), r"at most 300 identity coefficients.*got 301"),
        (np.zeros((1, 10)), r"got \(1, 10\)"),
        ([np.nan], "identity coefficients must be finite"),
        ("tall", "identity coefficients must be an array of float32; got str"),
    ],
)
def test_foreign_identities_are_refused(head: FlameHead, shape: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        head.with_shape(shape)  # type: ignore[arg-type]


def test_only_heads_with_arkit_shapes_have_them(head: FlameHead) -> None:
    with pytest.raises(InputError, match=r'load_head\("builtin"\)'):
        head.blendshapes()


def test_arkit_shapes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {"expression": (52, 10), "jaw_pose": (52, 3), "leye_pose": (52, 3), "reye_pose": (52, 3)}
    given = {f"blendshape_{name}": rng.normal(size=size).astype(np.float32) for name, size in shapes.items()}
    got = load_arrays(tmp_path, random_arrays() | given).blendshapes()
    assert len(got) == len(ARKIT)
    for name in shapes:
        np.testing.assert_array_equal(getattr(got, name), given[f"blendshape_{name}"])


def test_the_built_in_head_opens_its_mouth() -> None:
    head = load_head("builtin")
    assert head.version == "built-in"
    shapes = head.blendshapes()
    rest = head(FlameParams.neutral(1, n_expression=head.n_expression))[0]
    opened = head(shapes[ARKIT.index("jawOpen")])[0]
    assert shapes.jaw_pose[ARKIT.index("jawOpen"), 0] > 0
    assert np.linalg.norm(opened - rest, axis=1).max() > 0.01


def test_joints_of_a_neutral_face_are_those_of_the_identity(head: FlameHead) -> None:
    baked = head.with_shape([1.0, -2.0])
    neutral = FlameParams.neutral(2, n_expression=100)
    np.testing.assert_allclose(baked.joints(neutral), np.stack([baked.joints()] * 2), atol=1e-7)
    moved = replace(neutral, translation=np.full((2, 3), 0.5, dtype=np.float32))
    np.testing.assert_allclose(baked.joints(moved), np.stack([baked.joints() + 0.5] * 2), atol=1e-6)
    with pytest.raises(InputError, match="at most 100 expression coefficients"):
        head.joints(FlameParams.neutral(1, n_expression=101))


def test_landmarks_are_points_of_the_posed_triangles(head: FlameHead) -> None:
    embedding = LandmarkEmbedding(
        landmark_index=np.array([4, 468]),
        face_index=np.array([3, 7]),
        barycentric=np.array([[1.0, 0, 0], [0.25, 0.25, 0.5]]),
    )
    params = random_params(3, 100)
    vertices, faces = head(params), head.faces
    landmarks = head.landmarks(params, embedding)
    assert landmarks.shape == (3, 2, 3)
    np.testing.assert_allclose(landmarks[:, 0], vertices[:, faces[3, 0]], atol=1e-6)
    corners = vertices[:, faces[7]]
    np.testing.assert_allclose(landmarks[:, 1], np.average(corners, axis=1, weights=[1, 1, 2]), atol=1e-6)
    with pytest.raises(HeadMismatchError, match="expected the head that these landmarks were found on"):
        head.landmarks(params, replace(embedding, head_hash="0" * 64))


def test_smplx_users_find_the_template_by_its_name(head: FlameHead) -> None:
    np.testing.assert_array_equal(head.v_template, head.template)
    np.testing.assert_array_equal(head.v_template, head.neutral_vertices)


def test_the_text_of_a_head_is_one_short_line(head: FlameHead) -> None:
    assert repr(head) == (
        f"FlameHead('other (60 vertices)', 60 vertices, 300 identity and 100 expression coefficients, "
        f"hash {head.hash[:12]})"
    )


def test_a_head_is_what_sinks_need_of_it(head: FlameHead) -> None:
    like: HeadLike = head
    assert (like.version, like.n_expression) == ("other (60 vertices)", 100)
