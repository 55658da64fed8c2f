"""Building data sets: every tool's layout is recognized, what is left out is counted, nothing half-written remains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="data sets need the extra train")
pytest.importorskip("cv2", reason="pictures need the extra track")


from mp2flame.blendshapes import ARKIT, MEDIAPIPE, reorder
from mp2flame.dataset.build import build, check_heads
from mp2flame.dataset.plots import PLOTS, plot
from mp2flame.dataset.readers.detect_format import read_input
from mp2flame.dataset.store import Dataset
from mp2flame.dataset.summary import summarize
from mp2flame.dataset.table import FrameTable
from mp2flame.errors import FormatError, HeadMismatchError, InputError, MissingFileError
from mp2flame.head import FlameHead, load_head
from mp2flame.regression.fit import fit
from tests.helpers.faces import person, write_people
from tests.helpers.tracker_files import four_arrays_folder, head_tracker_folder, tool_scores


@pytest.fixture(scope="module")
def head() -> FlameHead:
    return load_head("builtin")


def test_four_arrays_and_their_order(tmp_path: Path) -> None:
    scores = tool_scores(80)
    plain, _ = build([four_arrays_folder(tmp_path / "plain", scores)], tmp_path / "a")
    (rows,) = plain.batches(["scores"])
    np.testing.assert_array_equal(rows.columns["scores"], scores)
    arkit = reorder(scores, MEDIAPIPE, ARKIT)
    swapped = four_arrays_folder(tmp_path / "arkit", arkit)
    with pytest.raises(InputError, match=r"_neutral.*--order"):
        build([swapped], tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "arkit", "plain"]
    data, _ = build([swapped], tmp_path / "b", order="arkit")
    (rows,) = data.batches(["scores"])
    np.testing.assert_array_equal(rows.columns["scores"][:, 1:], scores[:, 1:])
    (tmp_path / "plain" / "data_exp.npy").unlink()
    with pytest.raises(MissingFileError, match=r"data_exp.npy"):
        list(read_input(tmp_path / "plain"))


def test_a_last_column_that_fires_is_refused(tmp_path: Path) -> None:
    # As where `_neutral` is dropped and tongueOut appended: the first column may be a brow that never moves.
    scores = tool_scores(80)
    scores[:, 51] = np.random.default_rng(2).uniform(0.2, 0.9, 80)
    with pytest.raises(InputError, match=r"score 51 is 0\.\d\d on average.*noseSneerRight.*--order"):
        build([four_arrays_folder(tmp_path / "shifted", scores)], tmp_path / "data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shifted"]


def _named(path: Path, rows: FrameTable, **extra: Any) -> Path:
    moving = ~rows.neutral
    np.savez(
        path,
        scores=rows.columns["scores"][moving],
        expression=rows.columns["expression"][moving],
        jaw_pose=rows.columns["jaw"][moving],
        eye_pose=rows.columns["eyes"][moving],
        landmarks=rows.columns["landmarks"][moving].reshape(-1, 478, 3),
        head_transform=rows.columns["head_transform"][moving].reshape(-1, 4, 4),
        **extra,
    )
    return path


def test_named_arrays_keep_their_neutral_frames(tmp_path: Path, head: FlameHead) -> None:
    rows = person(head, "gina", 40, seed=1)
    subject = np.repeat([3, 11], 20)
    expected = rows.columns["scores"][rows.neutral][:2]
    path = _named(tmp_path / "n.npz", rows, subject=subject, neutral_scores=expected, neutral_subject=np.array([3, 11]))
    data, report = build([path], tmp_path / "data", head=head)
    assert data.subjects == ("03", "11")
    assert report.neutral == 2
    neutral = data.neutral("11", ["scores", "expression"])
    assert neutral is not None
    np.testing.assert_array_equal(neutral.columns["scores"], expected[1:])
    assert not neutral.columns["expression"].any()


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (np.roll(np.arange(52), -1), "in 'lam' order.*--order"),
        (np.roll(np.arange(52), 1), "leave out the first column"),
        ([MEDIAPIPE.index(name) if name in MEDIAPIPE else 0 for name in ARKIT], "--order"),
    ],
)
def test_scores_that_neither_jaw_nor_eyes_follow_are_refused(
    tmp_path: Path, head: FlameHead, places: Any, message: str
) -> None:
    # A face whose first and last blendshapes stay near 0 in any of these orders: only correlations distinguish them.
    rows = person(head, "karl", 200, seed=1, neutral=False)
    columns = dict(rows.columns)
    rng = np.random.default_rng(6)
    columns["scores"] = np.zeros((200, 52), dtype=np.float32)
    columns["jaw"], columns["eyes"] = np.zeros((200, 3), np.float32), np.zeros((200, 6), np.float32)
    moved = rng.uniform(0, 1, (200, 2)).astype(np.float32)
    columns["scores"][:, MEDIAPIPE.index("jawOpen")] = moved[:, 0] + rng.normal(0, 0.1, 200)
    columns["scores"][:, MEDIAPIPE.index("eyeLookDownRight")] = 0.3 * moved[:, 1]
    columns["jaw"][:, 0], columns["eyes"][:, 3] = 0.3 * moved.T
    build([_named(tmp_path / "right.npz", replace(rows, columns=columns))], tmp_path / "right")
    columns["scores"] = columns["scores"][:, places]
    with pytest.raises(InputError, match=message):
        build([_named(tmp_path / "wrong.npz", replace(rows, columns=columns))], tmp_path / "wrong")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["right", "right.npz", "wrong.npz"]


def test_percentages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="divide percentages by 100"):
        build([four_arrays_folder(tmp_path / "percent", 100 * tool_scores(80))], tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_neutral_frames_are_estimated(tmp_path: Path, head: FlameHead) -> None:
    rows = person(head, "ida", 60, seed=1)
    columns = {name: column.copy() for name, column in rows.columns.items()}
    unmarked = replace(rows, neutral=np.zeros(65, dtype=bool), columns=columns)
    path = _named(tmp_path / "r.npz", unmarked)
    plain, report = build([path], tmp_path / "plain")
    assert report.neutral == 0
    data, report = build([path], tmp_path / "data", estimate_neutral=True)
    assert 1 <= report.neutral <= 10
    neutral = data.neutral("r", ["scores", "expression"])
    assert neutral is not None
    # The generated person's first five frames are neutral; the estimate finds them.
    assert set(neutral.frame) >= set(range(5))
    assert fit(data, kind="ridge").n_expression == head.n_expression
    assert summarize(plain).subjects_without_neutral == ("r",)


def test_mixed_widths_and_versions_are_refused(tmp_path: Path) -> None:
    fifty, hundred = four_arrays_folder(tmp_path / "fifty", tool_scores()), head_tracker_folder(tmp_path / "hundred")
    with pytest.raises(InputError, match=r"50 and.*100|100 and.*50"):
        build([fifty, hundred], tmp_path / "mixed")
    two = {("FLAME 2020", "", "here"), ("FLAME 2023", "", "elsewhere")}
    with pytest.raises(HeadMismatchError, match=r"FLAME 2020.*FLAME 2023"):
        check_heads(two, "", "")
    assert check_heads(two, "FLAME 2020", "") == "FLAME 2020"
    assert check_heads({("FLAME 2020", "a" * 64, "here"), ("", "", "there")}, "", "a" * 64) == "FLAME 2020"
    with pytest.raises(HeadMismatchError, match="another head"):
        check_heads({("", "b" * 64, "here")}, "FLAME 2020", "a" * 64)
    assert not (tmp_path / "mixed").exists()


@pytest.mark.parametrize("cut", [0, 10, 200, -30])
def test_truncated_files_are_named(tmp_path: Path, cut: int) -> None:
    folder = head_tracker_folder(tmp_path / "jan")
    path = folder / "4.npz"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FormatError, match=r"4.npz"):
        build([folder], tmp_path / "data")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["jan"]


def test_foreign_and_missing_inputs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.txt").write_text("sun")
    with pytest.raises(FormatError, match="nothing that is known; expected flame-head-tracker"):
        build([tmp_path / "holiday"], tmp_path / "data")
    with pytest.raises(MissingFileError, match="no input"):
        build([tmp_path / "nowhere"], tmp_path / "data")
    np.savez(tmp_path / "other.npz", foo=np.zeros(3))
    with pytest.raises(FormatError, match="it holds foo"):
        build([tmp_path / "other.npz"], tmp_path / "data")
    with pytest.raises(InputError, match="at least one input"):
        build([], tmp_path / "data")
    with pytest.raises(FormatError, match="no data set"):
        Dataset(tmp_path / "holiday")
    with pytest.raises(MissingFileError):
        Dataset(tmp_path / "data")


def test_a_taken_name_is_not_overwritten(tmp_path: Path) -> None:
    folder = four_arrays_folder(tmp_path / "kim", tool_scores())
    build([folder], tmp_path / "data")
    before = sorted(str(path) for path in (tmp_path / "data").rglob("*"))
    with pytest.raises(InputError, match="not empty"):
        build([folder], tmp_path / "data")
    assert sorted(str(path) for path in (tmp_path / "data").rglob("*")) == before


def test_nan_parameters_and_scores_are_counted(tmp_path: Path) -> None:
    scores = tool_scores(30)
    scores[4] = np.nan
    folder = four_arrays_folder(tmp_path / "lea", scores)
    expression = np.load(folder / "data_exp.npy")
    expression[7:9] = np.nan
    np.save(folder / "data_exp.npy", expression)
    data, report = build([folder], tmp_path / "data")
    assert report.left_out == {"NaN among the scores": 1, "no or NaN parameters": 2}
    assert data.metadata["left_out"] == report.left_out
    assert report.frames == 28
    assert summarize(data).found == 27


def test_the_summary_lists_what_never_changes(tmp_path: Path, head: FlameHead) -> None:
    data = Dataset(write_people(tmp_path / "d", [person(head, "max", 60, seed=1), person(head, "noa", 60, seed=1)]))
    summary = summarize(data)
    assert summary.frames == summary.found == 130
    assert summary.neutral == 10
    assert set(summary.silent_scores) == {"_neutral", "cheekPuff", "noseSneerLeft", "noseSneerRight"}
    assert "left eye z" in summary.still_outputs
    assert "jaw x" not in summary.still_outputs
    assert summary.has_landmarks


def test_plots_are_four_images(tmp_path: Path, head: FlameHead) -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra train")
    from PIL import Image

    data = Dataset(write_people(tmp_path / "d", [person(head, "olga", 60, seed=1)]))
    paths = plot(data, tmp_path / "plots")
    assert [path.name for path in paths] == list(PLOTS)
    for path in paths:
        with Image.open(path) as image:
            assert min(image.size) > 400
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in plot(data, tmp_path / "plots")] == first


def test_a_damaged_data_set_is_refused(tmp_path: Path) -> None:
    data, _ = build([four_arrays_folder(tmp_path / "pia", tool_scores())], tmp_path / "data")
    (file,) = (tmp_path / "data").rglob("*.parquet")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match="truncated, damaged or no Parquet"):
        list(data.batches(["scores"]))
    file.write_bytes(content)
    with pytest.raises(FormatError, match="lacks landmarks"):
        list(data.batches(["landmarks"]))
    manifest = tmp_path / "data" / "dataset.json"
    manifest.write_text(manifest.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(FormatError, match="upgrade"):
        Dataset(tmp_path / "data")
