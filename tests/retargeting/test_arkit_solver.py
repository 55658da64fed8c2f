"""From FLAME parameters back to the weights of ARKit's shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mp2flame import FlameParams, load_head, load_mapping, open_source
from mp2flame.blendshapes import ARKIT, MEDIAPIPE, reorder
from mp2flame.cli import main
from mp2flame.demo_animation import animate
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.head import FlameHead
from mp2flame.mapping import LinearMapping
from mp2flame.retargeting import ArkitSolver, arkit_shapes
from mp2flame.sources.tables import BlendshapeCsvSource
from tests.helpers.heads import load_arrays, random_arrays


@pytest.fixture(scope="module")
def head() -> FlameHead:
    return load_head("builtin")


@pytest.fixture(scope="module")
def solver(head: FlameHead) -> ArkitSolver:
    return ArkitSolver(head, arkit_shapes(head))


def _weights(scores: np.ndarray) -> np.ndarray:
    return np.asarray(reorder(scores, MEDIAPIPE, ARKIT), dtype=np.float64)


def _some(n: int) -> np.ndarray:
    """(N, 52) weights of one to six shapes in each row."""
    rng = np.random.default_rng(3)
    weights = np.zeros((n, len(ARKIT)))
    for row in weights:
        row[rng.choice(len(ARKIT) - 1, rng.integers(1, 7), replace=False)] = rng.random()
    weights[:, ARKIT.index("tongueOut")] = 0
    return weights


def test_weights_that_made_a_face_are_found_again(head: FlameHead, solver: ArkitSolver) -> None:
    weights = _some(40)
    found = _weights(solver(FlameParams.from_rows(weights @ head.blendshapes().to_rows())).scores)
    assert np.abs(found - weights).mean() < 0.01
    assert set(solver.names) == set(ARKIT) - {"tongueOut"}
    assert 0 < solver.unexplained < 0.1


def test_another_identity_says_the_same(head: FlameHead) -> None:
    other = head.with_shape(np.full(4, 1.5))
    weights = _some(10)
    found = _weights(
        ArkitSolver(other, arkit_shapes(other))(FlameParams.from_rows(weights @ head.blendshapes().to_rows())).scores
    )
    assert np.abs(found - weights).mean() < 0.01


def test_a_performance_comes_back(head: FlameHead, solver: ArkitSolver) -> None:
    params, weights = animate(head.blendshapes())
    rows = slice(None, None, 8)
    said = solver(params[rows])
    assert np.abs(_weights(said.scores) - weights[rows]).mean() < 0.01
    np.testing.assert_array_equal(said.time, params.time[rows])


def test_no_other_weights_are_better(head: FlameHead) -> None:
    """The conditions of Karush, Kuhn and Tucker, from vertices in float64."""
    shapes = arkit_shapes(head)
    rng = np.random.default_rng(0)
    face = FlameParams.from_rows(
        rng.normal(0, 0.6, (5, head.n_expression + 9)).astype(np.float32) * np.r_[np.ones(50), [0.1] * 9]
    )
    rest = head(FlameParams.neutral(n_expression=head.n_expression))[0].astype(np.float64)
    used = [i for i, name in enumerate(ARKIT) if name != "tongueOut"]
    moves = (head(shapes).astype(np.float64) - rest).reshape(len(ARKIT), -1)[used]
    target = (head(face).astype(np.float64) - rest).reshape(5, -1)
    weights = _weights(ArkitSolver(head, shapes)(face).scores)[:, used]
    size = (moves**2).sum(axis=1)
    slope = (weights @ moves - target) @ moves.T + 1e-3 * size * weights + 0.01 * size
    slope /= size
    free = (weights > 1e-6) & (weights < 1 - 1e-6)
    assert free.any()
    assert (weights <= 1e-6).any()
    assert np.abs(slope[free]).max() < 1e-4
    assert slope[weights <= 1e-6].min() > -1e-4
    assert slope[weights >= 1 - 1e-6].max(initial=0) < 1e-4


def test_only_the_face_counts(head: FlameHead, solver: ArkitSolver) -> None:
    face = FlameParams.from_rows(_some(2) @ head.blendshapes().to_rows())
    turned = replace(
        face,
        global_orient=np.array([[0.0, 0.4, 0.0], [0.0, 0.0, 0.0]]),
        neck_pose=np.array([[0.0, 0.1, 0.0], [0.2, 0.0, 0.0]]),
        translation=np.ones((2, 3), np.float32),
        shape=np.ones(3, np.float32),
    )
    said = solver(turned)
    np.testing.assert_array_equal(said.scores, solver(face).scores)
    assert said.head_transform is not None
    angle = np.arccos((np.trace(said.head_transform[:, :3, :3], axis1=1, axis2=2) - 1) / 2)
    np.testing.assert_allclose(angle, [0.5, 0.2], atol=1e-3)


def test_frames_without_a_face_have_no_weights(head: FlameHead, solver: ArkitSolver) -> None:
    face = FlameParams.from_rows(_some(3) @ head.blendshapes().to_rows())
    expression = face.expression.copy()
    expression[1] = np.nan
    said = solver(replace(face, found=np.array([True, False, True]), expression=expression))
    assert said.found.tolist() == [True, False, True]
    assert np.isnan(said.scores[1]).all()
    assert np.isfinite(said.scores[[0, 2]]).all()


def test_a_mapping_for_arkit_tells_the_shapes(head: FlameHead) -> None:
    matrix = np.zeros((len(MEDIAPIPE), head.n_expression + 9), dtype=np.float32)
    for name, row in zip(ARKIT, head.blendshapes().to_rows(), strict=True):
        if name in MEDIAPIPE:
            matrix[MEDIAPIPE.index(name)] = row
    own = LinearMapping(matrix=matrix, metadata={"head_version": head.version, "head_hash": head.hash})
    np.testing.assert_allclose(arkit_shapes(head, own).to_rows()[:-1], head.blendshapes().to_rows()[:-1], atol=1e-6)
    other = LinearMapping(matrix=matrix, metadata={"head_version": "another", "head_hash": "0" * 64})
    with pytest.raises(HeadMismatchError):
        arkit_shapes(head, other)
    assert len(arkit_shapes(head, other, allow_head_mismatch=True)) == len(ARKIT)
    with pytest.raises(InputError, match="landmarks"):
        arkit_shapes(head, load_mapping("builtin-landmarks"))


def test_shapes_that_move_nothing_are_refused(head: FlameHead) -> None:
    with pytest.raises(InputError, match="none does"):
        ArkitSolver(head, FlameParams.neutral(len(ARKIT), n_expression=head.n_expression))
    with pytest.raises(InputError, match="52 shapes of ARKit; got 3"):
        ArkitSolver(head, FlameParams.neutral(3, n_expression=head.n_expression))


def test_the_command_writes_what_phones_would_have_said(
    head: FlameHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params, weights = animate(head.blendshapes())
    params, weights = params[40:60], weights[40:60]
    params.save(tmp_path / "track.npz")
    words = [
        "to-arkit",
        str(tmp_path / "track.npz"),
        "-o",
        str(tmp_path / "take.jsonl"),
        "-o",
        str(tmp_path / "take.csv"),
    ]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "take.csv: 20 frames" in told.replace("\n", "")
    assert "51 shapes; " in told
    with open_source(tmp_path / "take.jsonl") as source:
        scores = np.concatenate([seen.scores for seen in source])
    assert np.abs(_weights(scores) - weights).mean() < 0.01
    with BlendshapeCsvSource(tmp_path / "take.csv") as table:
        np.testing.assert_allclose(np.concatenate([seen.scores for seen in table]), scores, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-o", "out.npz"], "ends in .jsonl or .csv"),
        (["-o", "out.csv", "-o", "out.csv"], "more than once"),
        (["-o", "nowhere/out.csv"], "does not exist"),
        (["-o", "track.csv"], "other than what is read"),
        (["-o", "out.csv", "--head", "bare.npz"], "mp2flame transfer --head"),
    ],
)
def test_bad_words_leave_nothing_behind(
    words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    load_arrays(tmp_path, random_arrays(), "bare.npz")
    FlameParams.neutral(3, n_expression=4, time=[0.0, 0.1, 0.2]).save(tmp_path / "track.csv")
    before = sorted(tmp_path.iterdir())
    assert main(["to-arkit", "track.csv", *words]) == 1
    assert text in " ".join(capsys.readouterr().err.split())
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_without_a_face_is_refused(head: FlameHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = np.full((3, head.n_expression), np.nan, dtype=np.float32)
    FlameParams(time=np.arange(3) / 30, found=np.zeros(3, dtype=np.bool_), expression=lost).save(tmp_path / "lost.npz")
    assert main(["to-arkit", str(tmp_path / "lost.npz"), "-o", str(tmp_path / "out.csv")]) == 1
    assert "none of its 3 has one" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out.csv").exists()
