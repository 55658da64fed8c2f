"""Linear fits from sums: equal to NumPy's and to the textbook's, and mirrored without another pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="data sets need the extra train")

import pyarrow.parquet as pq

from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.dataset.store import Dataset
from mp2flame.geometry.symmetry import head_symmetry
from mp2flame.head import load_head
from mp2flame.mapping.linear import FEATURES, expand_features
from mp2flame.regression.gather import gather
from mp2flame.regression.linear_fit import allowed_weights, pinv_matrix, ridge_matrix
from mp2flame.regression.moments import Moments
from tests.helpers.faces import person, write_people

_MIRROR = mirror_permutation(MEDIAPIPE)


def test_pinv_of_dead_and_doubled_channels_is_numpys() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((400, 52)).astype(np.float32)
    scores[:, 7] = 0
    scores[:, 9] = scores[:, 10]
    truth = rng.normal(size=(400, 20)).astype(np.float32)
    moments = Moments.empty(("scores",), 20)
    moments.add(scores, [truth], exact=True)
    expected = np.linalg.pinv(scores.astype(np.float64)) @ truth.astype(np.float64)
    np.testing.assert_allclose(pinv_matrix(moments), expected, atol=1e-6)


def test_ridge_matrix_is_the_closed_form() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, 52)).astype(np.float32), rng.normal(size=(300, 12)).astype(np.float32)
    moments = Moments.empty(("scores",), 12)
    moments.add(x, [y], exact=True)
    allowed = allowed_weights(moments)
    matrix = ridge_matrix(moments, 0.1, allowed)
    x64, y64 = x.astype(np.float64), y.astype(np.float64)
    penalty = 0.1 * np.diag(x64.T @ x64).mean()
    for column in range(12):
        rows = allowed[:, column]
        # The penalty as more data: rows of sqrt(penalty) with truth zero.
        stacked = np.vstack([x64[:, rows], np.sqrt(penalty) * np.eye(rows.sum())])
        expected = np.linalg.lstsq(stacked, np.concatenate([y64[:, column], np.zeros(rows.sum())]), rcond=None)[0]
        np.testing.assert_allclose(matrix[rows, column], expected, atol=1e-9)
        assert not matrix[~rows, column].any()


@pytest.mark.parametrize("lean", [False, True])
def test_sums_are_those_of_the_features_that_mappings_expand(lean: bool) -> None:
    rng = np.random.default_rng(3)
    scores, base = rng.random((9000, 52)).astype(np.float32), rng.random(52).astype(np.float32)
    truth = rng.normal(size=(9000, 12)).astype(np.float32)
    scores[:10] = base
    moments = Moments.empty(FEATURES, 12)
    moments.add(scores, [truth[:, :5], truth[:, 5:]], base, exact=True, lean=lean)
    x, y = expand_features(scores - base, FEATURES).astype(np.float64), truth.astype(np.float64)
    np.testing.assert_allclose(moments.xx, x.T @ x, rtol=1e-10, atol=1e-8)
    np.testing.assert_allclose(moments.xy, x.T @ y, rtol=1e-10, atol=1e-8)
    if not lean:
        np.testing.assert_allclose(moments.yy, y.T @ y, rtol=1e-10, atol=1e-8)
        np.testing.assert_array_equal(moments.peak, scores.max(axis=0))


def test_moments_with_mirror_are_those_of_mirrored_frames() -> None:
    head = load_head("builtin")
    symmetry = head_symmetry(head)
    assert symmetry is not None
    rows = person(head, "a", 50, seed=2)
    relative = rows.columns["scores"] - rows.columns["scores"][0]
    features = ("scores", "square")
    once = Moments.empty(features, rows.parameters.shape[1])
    once.add(relative, [rows.parameters], exact=True)
    both = Moments.empty(features, rows.parameters.shape[1])
    both.add(relative, [rows.parameters], exact=True)
    both.add(relative[:, _MIRROR], [(rows.parameters @ symmetry.matrix).astype(np.float32)], exact=True)
    mirrored = once.with_mirror(symmetry.matrix)
    np.testing.assert_allclose(mirrored.xx, both.xx, atol=1e-9)
    np.testing.assert_allclose(mirrored.xy, both.xy, atol=1e-4)
    np.testing.assert_allclose(mirrored.yy, both.yy, atol=1e-3)


def test_a_pass_over_many_small_row_groups_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = load_head("builtin")
    rows = [person(head, name, 60, seed=1, landmarks=False) for name in "abc"]
    people = Dataset(write_people(tmp_path / "people", rows, head))
    monkeypatch.setattr("mp2flame.dataset.writer._ROWS", 7)
    cut = Dataset(write_people(tmp_path / "cut", rows, head))
    groups = [pq.read_metadata(file).num_row_groups for s in cut.subjects for file in cut.files(s, neutral=False)]
    assert min(groups) > 5
    whole = gather(people, people.subjects, ("scores", "square"), kind="ridge")
    pieces = gather(cut, cut.subjects, ("scores", "square"), kind="ridge")
    for ours, theirs in zip(pieces.folds, whole.folds, strict=True):
        assert ours.count == theirs.count
        np.testing.assert_allclose(ours.xx, theirs.xx, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ours.xy, theirs.xy, rtol=1e-5, atol=1e-3)
    for mine, other in zip(pieces.sample.parts(), whole.sample.parts(), strict=True):
        assert mine.parameters.tobytes() == other.parameters.tobytes()
