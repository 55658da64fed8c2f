"""Landmarks on a head's surface as a value and as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mp2flame.errors import FormatError, HeadMismatchError, InputError, MissingFileError
from mp2flame.head.landmarks import LandmarkEmbedding, load_embedding
from tests.helpers.heads import load_arrays, random_arrays

_FACES = np.array([[0, 1, 2], [2, 1, 3], [3, 4, 0]], dtype=np.uint32)


def _fields(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "landmark_index": np.array([4, 468, 0]),
        "face_index": np.array([2, 0, 1]),
        "barycentric": np.array([[0.2, 0.3, 0.5], [1.0, 0, 0], [0.25, 0.25, 0.5]]),
    }
    return fields | changes


def _official(path: Path, **changes: Any) -> Path:
    arrays: dict[str, Any] = {
        "lmk_face_idx": np.array([2, 0, 1], dtype=np.uint32),
        "lmk_b_coords": _fields()["barycentric"],
        "landmark_indices": np.array([276, 282, 283]),
    }
    arrays |= changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_positions_are_the_weighted_corners() -> None:
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(2, 4, 5, 3))
    embedding = LandmarkEmbedding(**_fields())
    positions = embedding.positions(vertices, _FACES)
    assert positions.shape == (2, 4, 3, 3)
    for k, (face, weights) in enumerate(zip(embedding.face_index, embedding.barycentric, strict=True)):
        by_hand = sum(weights[c] * vertices[..., _FACES[face, c], :] for c in range(3))
        np.testing.assert_allclose(positions[..., k, :], by_hand, atol=1e-12)


def test_file_round_trip(tmp_path: Path) -> None:
    embedding = LandmarkEmbedding(**_fields(spread=np.array([1e-3, 2e-3, 3e-4]), head_hash="ab12", head_version="x"))
    embedding.save(tmp_path / "a.npz")
    back = load_embedding(tmp_path / "a.npz")
    for name in ("landmark_index", "face_index", "barycentric", "spread"):
        np.testing.assert_array_equal(getattr(back, name), getattr(embedding, name))
    assert (back.head_hash, back.head_version) == ("ab12", "x")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.npz"]


def test_official_file_loads_even_with_float_indices(tmp_path: Path) -> None:
    plain = load_embedding(_official(tmp_path / "a.npz"))
    floats = load_embedding(
        _official(
            tmp_path / "b.npz",
            lmk_face_idx=np.array([2.0, 0, 1]),
            landmark_indices=np.array([276, 282, 283], dtype=np.float32),
            lmk_b_coords=_fields()["barycentric"].astype(np.float32),
        )
    )
    assert len(plain) == 3
    assert plain.spread is None
    assert plain.head_hash is None
    np.testing.assert_array_equal(plain.landmark_index, floats.landmark_index)
    np.testing.assert_array_equal(plain.face_index, floats.face_index)
    np.testing.assert_allclose(floats.barycentric.sum(axis=1), 1, atol=1e-15)


def test_our_file_has_the_official_fields(tmp_path: Path) -> None:
    LandmarkEmbedding(**_fields()).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        assert {"lmk_face_idx", "lmk_b_coords", "landmark_indices"} <= set(file.files)
        np.testing.assert_array_equal(file["lmk_b_coords"], _fields()["barycentric"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"landmark_index": np.array([4, 4, 0])}, "distinct"),
        ({"landmark_index": np.array([4, 478, 0])}, r"0\.\.477"),
        ({"landmark_index": np.array([4, 0.5, 0])}, "landmark_index must be an array of int64"),
        ({"landmark_index": np.array([])}, "distinct"),
        ({"face_index": np.array([-1, 0, 1])}, "must not be negative"),
        ({"face_index": np.array([0, 1])}, r"\(3,\)"),
        ({"barycentric": np.ones((3, 3))}, "sum to one"),
        ({"barycentric": np.full((3, 3), np.nan)}, "finite"),
        ({"spread": np.ones(2)}, r"spread must have shape \(3,\)"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LandmarkEmbedding(**_fields(**changes))


def test_meshes_too_small_are_refused() -> None:
    embedding = LandmarkEmbedding(**_fields())
    with pytest.raises(InputError, match="at least 3 triangles"):
        embedding.positions(np.zeros((5, 3)), _FACES[:2])
    with pytest.raises(InputError, match=r"V > 4; got \(4, 3\)"):
        embedding.positions(np.zeros((4, 3)), _FACES)


def test_another_head_is_refused(tmp_path: Path) -> None:
    head = load_arrays(tmp_path, random_arrays(0))
    LandmarkEmbedding(**_fields(head_hash=head.hash)).check_head(head)
    LandmarkEmbedding(**_fields()).check_head(head)
    with pytest.raises(HeadMismatchError, match="find them again for this head"):
        LandmarkEmbedding(**_fields(head_hash="0" * 64)).check_head(head)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"landmark_indices": None}, "landmark_indices missing"),
        ({"lmk_b_coords": np.ones((3, 3))}, "sum to one"),
        ({"lmk_face_idx": np.array([{}, 1, 2], dtype=object)}, "not an embedding"),
        ({"format": "mp2flame-landmark-errors"}, "another kind of file"),
        ({"format": "mp2flame-embedding", "format_version": "2"}, "newer than 1"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        load_embedding(_official(tmp_path / "a.npz", **changes))


def test_broken_files_are_refused(tmp_path: Path) -> None:
    whole = _official(tmp_path / "a.npz").read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"landmarks"}.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        with pytest.raises(FormatError, match="truncated"):
            load_embedding(path)
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(FormatError, match="no landmark embedding"):
        load_embedding(tmp_path / "single.npy")
    with pytest.raises(MissingFileError, match="no such file"):
        load_embedding(tmp_path / "none.npz")


def test_files_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    embedding = LandmarkEmbedding(**_fields())
    with pytest.raises(InputError, match=r"\.npz"):
        embedding.save(tmp_path / "a.npy")
    with pytest.raises(MissingFileError, match=r"folder .* does not exist"):
        embedding.save(tmp_path / "none" / "a.npz")
