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
from mp2flame.regression.context import pass_over, subject_folds
from mp2flame.regression.ridge import allowed_weights, pinv_matrix, ridge_matrix
from mp2flame.regression.sufficient_statistics import SufficientStatistics
from tests.helpers.faces import person, write_people

_MIRROR = mirror_permutation(MEDIAPIPE)


def _statistics(features: tuple[str, ...], scores: np.ndarray, truth: np.ndarray) -> SufficientStatistics:
    return SufficientStatistics.zeros(features, truth.shape[1]).with_frames(scores, [truth])


def test_pinv_of_dead_and_doubled_channels_is_numpys() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((400, 52)).astype(np.float32)
    scores[:, 7] = 0
    scores[:, 9] = scores[:, 10]
    truth = rng.normal(size=(400, 20)).astype(np.float32)
    expected = np.linalg.pinv(scores.astype(np.float64)) @ truth.astype(np.float64)
    np.testing.assert_allclose(pinv_matrix(_statistics(("scores",), scores, truth)), expected, atol=1e-6)


def test_ridge_matrix_is_the_closed_form() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, 52)).astype(np.float32), rng.normal(size=(300, 12)).astype(np.float32)
    statistics = _statistics(("scores",), x, y)
    allowed = allowed_weights(statistics)
    matrix = ridge_matrix(statistics, 0.1, allowed)
    x64, y64 = x.astype(np.float64), y.astype(np.float64)
    penalty = 0.1 * np.diag(x64.T @ x64).mean()
    for column in range(12):
        rows = allowed[:, column]
        # The penalty as more data: rows of sqrt(penalty) with truth zero.
        stacked = np.vstack([x64[:, rows], np.sqrt(penalty) * np.eye(rows.sum())])
        expected = np.linalg.lstsq(stacked, np.concatenate([y64[:, column], np.zeros(rows.sum())]), rcond=None)[0]
        np.testing.assert_allclose(matrix[rows, column], expected, atol=1e-9)
        assert not matrix[~rows, column].any()


def test_sums_are_those_of_the_features_that_mappings_expand() -> None:
    rng = np.random.default_rng(3)
    scores, neutral = rng.random((9000, 52)).astype(np.float32), rng.random(52).astype(np.float32)
    truth = rng.normal(size=(9000, 12)).astype(np.float32)
    scores[:10] = neutral
    statistics = SufficientStatistics.zeros(FEATURES, 12).with_frames(scores, [truth[:, :5], truth[:, 5:]], neutral)
    x, y = expand_features(scores - neutral, FEATURES).astype(np.float64), truth.astype(np.float64)
    np.testing.assert_allclose(statistics.xx, x.T @ x, rtol=1e-10, atol=1e-8)
    np.testing.assert_allclose(statistics.xy, x.T @ y, rtol=1e-10, atol=1e-8)
    np.testing.assert_allclose(statistics.yy, y.T @ y, rtol=1e-10, atol=1e-8)
    np.testing.assert_array_equal(statistics.peak, scores.max(axis=0))
    assert statistics.count == 9000


def test_statistics_add_up_and_come_off_again() -> None:
    rng = np.random.default_rng(4)
    first, second = (rng.random((n, 52)).astype(np.float32) for n in (30, 50))
    truth = rng.normal(size=(80, 12)).astype(np.float32)
    one, other = _statistics(("scores",), first, truth[:30]), _statistics(("scores",), second, truth[30:])
    both = _statistics(("scores",), np.concatenate([first, second]), truth)
    np.testing.assert_allclose((one + other).products, both.products, rtol=1e-12)
    np.testing.assert_allclose((both - other).products, one.products, atol=1e-10)
    assert ((one + other).count, (both - other).count) == (80, 30)


def test_statistics_with_mirror_are_those_of_mirrored_frames() -> None:
    head = load_head("builtin")
    symmetry = head_symmetry(head)
    assert symmetry is not None
    rows = person(head, "a", 50, seed=2)
    relative = rows.columns["scores"] - rows.columns["scores"][0]
    once = _statistics(("scores", "square"), relative, rows.parameters)
    both = once.with_frames(relative[:, _MIRROR], [(rows.parameters @ symmetry.matrix).astype(np.float32)])
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
    whole = pass_over(people, ("scores", "square"), "ridge")
    pieces = pass_over(cut, ("scores", "square"), "ridge")
    for ours, theirs in zip(pieces.folds, whole.folds, strict=True):
        assert ours.count == theirs.count
        np.testing.assert_allclose(ours.products, theirs.products, rtol=1e-5, atol=1e-3)
    for mine, other in zip(pieces.samples, whole.samples, strict=True):
        assert mine.parameters.tobytes() == other.parameters.tobytes()


def test_a_pass_keeps_a_fair_sample_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = load_head("builtin")
    rows = [person(head, name, 400, seed=1, landmarks=False) for name in "abcd"]
    people = Dataset(write_people(tmp_path / "people", rows, head))
    monkeypatch.setattr("mp2flame.regression.context._SAMPLE", {"ridge": 400})
    sampled = pass_over(people, ("scores",), "ridge").samples
    counts = [len(table) for table in sampled]
    assert sum(counts) == pytest.approx(400, abs=4 * np.sqrt(400))
    assert min(counts) > 50
    again = Dataset(write_people(tmp_path / "again", rows[::-1], head))
    for mine, other in zip(pass_over(again, ("scores",), "ridge").samples, sampled, strict=True):
        assert mine.frame.tolist() == other.frame.tolist()


def test_no_subject_is_in_two_folds_and_few_subjects_make_few_folds() -> None:
    folds = subject_folds([f"{number:02d}" for number in range(12)])
    assert sorted(set(folds.values())) == [0, 1, 2, 3, 4]
    assert max(np.bincount(list(folds.values()))) - min(np.bincount(list(folds.values()))) <= 1
    assert subject_folds(["a", "b"]) == {"a": 0, "b": 1}
