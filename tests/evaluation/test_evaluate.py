"""Evaluation: zero for the truth, one for a still face, regions where they belong, and a report in one file."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="data sets need the extra train")

from mp2flame.blendshapes import ARKIT, MEDIAPIPE
from mp2flame.data import FlameParams, Observation
from mp2flame.dataset.store import Dataset
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.evaluation.evaluate import NO_EXPRESSION, evaluate, with_metrics
from mp2flame.evaluation.metrics import ErrorSums, MeshEvaluator, compare
from mp2flame.evaluation.report import report_html, write_report
from mp2flame.geometry.face_regions import eye_centers, head_apertures, head_regions
from mp2flame.head import FlameHead, load_head
from mp2flame.mapping import BlendshapeMapping, LinearMapping, MappingInfo, Person, read_mapping
from tests.helpers.faces import person, write_people


@pytest.fixture(scope="module")
def head() -> FlameHead:
    return load_head("builtin")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, head: FlameHead) -> Dataset:
    rows = [person(head, name, 40, seed=1) for name in "ab"]
    return Dataset(write_people(tmp_path_factory.mktemp("evaluation") / "data", rows, head))


class _Known(BlendshapeMapping):
    """Gives the same parameters for any observation."""

    def __init__(self, params: FlameParams, head: FlameHead) -> None:
        self._params = params
        self._head = head

    @property
    def info(self) -> MappingInfo:
        return MappingInfo(n_expression=self._params.n_expression, head_hash=self._head.hash)

    def __call__(self, observation: Observation) -> FlameParams:
        assert len(observation) == len(self._params)
        return self._params

    def for_person(self, person: Person | Observation) -> BlendshapeMapping:
        return self


def _linear(head: FlameHead, seed: int = 0) -> LinearMapping:
    matrix = np.random.default_rng(seed).normal(0, 0.05, size=(52, head.n_expression + 9)).astype(np.float32)
    return LinearMapping(matrix=matrix, metadata={"head_hash": head.hash, "head_version": head.version})


def test_the_truth_is_zero_and_a_neutral_face_one(head: FlameHead) -> None:
    rows, measures, neutral = person(head, "a", 60, seed=2), ErrorSums(), ErrorSums()
    evaluator = MeshEvaluator(head)
    evaluator.add(measures, rows, rows.params())
    evaluator.add(neutral, rows, FlameParams.neutral(len(rows), n_expression=head.n_expression))
    exact, none = measures.figures(), neutral.figures()
    for name in ("face", "lips", "lids", "brows", "jaw line", "jaw degrees", "gaze degrees", "lip gap mm"):
        assert exact[name] == pytest.approx(0, abs=1e-5), name
    for name in ("face", "lips", "lids", "brows", "jaw line"):
        assert none[name] == pytest.approx(1), name
    assert exact["blink recall"] == 1
    assert none["blink recall"] == 0
    assert exact["frames"] == 65


def test_distances_agree_with_a_plain_computation(head: FlameHead) -> None:
    rows = person(head, "b", 70, seed=3)
    noise = np.random.default_rng(0).normal(0, 0.05, size=rows.parameters.shape).astype(np.float32)
    predicted = FlameParams.from_rows(rows.parameters + noise)
    errors = ErrorSums()
    MeshEvaluator(head).add(errors, rows, predicted)
    figures = errors.figures()
    true = head(rows.params())
    distance = np.linalg.norm(head(predicted) - true, axis=2) * 1000
    neutral = np.linalg.norm(head.neutral_vertices - true, axis=2) * 1000
    for name, mask in head_regions(head).items():
        assert figures[f"{name} mm"] == pytest.approx(distance[:, mask].mean(), rel=1e-4)
        assert figures[name] == pytest.approx(distance[:, mask].mean() / neutral[:, mask].mean(), rel=1e-4)
    e = head.n_expression
    assert figures["jaw degrees"] == pytest.approx(np.degrees(np.abs(noise[:, e])).mean(), rel=1e-4)
    same = compare(head, predicted, rows.params())
    assert {name: figures[name] for name in same if name in figures} == pytest.approx(
        {name: value for name, value in same.items() if name in figures}, rel=1e-5
    )


@pytest.mark.parametrize("side", [0, 1])
def test_gaze_is_that_of_both_eyes(head: FlameHead, side: int) -> None:
    rows = person(head, "b", 20, seed=3)
    wrong = rows.parameters.copy()
    wrong[:, head.n_expression + 3 + 3 * side] += np.radians(10)
    assert compare(head, FlameParams.from_rows(wrong), rows.params())["gaze degrees"] == pytest.approx(5, rel=1e-4)


def test_the_head_angle_is_that_of_the_relative_rotation(head: FlameHead) -> None:
    turned = FlameParams(time=[0.0], found=[True], expression=np.zeros((1, 3)), global_orient=[[0.0, 0.3, 0.0]])
    still = FlameParams.neutral(n_expression=3)
    assert compare(head, turned, still)["head degrees"] == pytest.approx(np.degrees(0.3), rel=1e-5)


def test_jitter_is_the_second_difference_of_what_is_added(head: FlameHead) -> None:
    rows = replace(person(head, "c", 150, seed=4, neutral=False), video=True)
    jitter = np.zeros_like(rows.parameters)
    jitter[::2, 0] = 0.5
    measures = ErrorSums()
    MeshEvaluator(head).add(measures, rows, FlameParams.from_rows(rows.parameters + jitter))
    off = head(FlameParams.from_rows(rows.parameters + jitter)) - head(FlameParams.from_rows(rows.parameters))
    face = head_regions(head)["face"]
    expected = np.linalg.norm(off[2:] - 2 * off[1:-1] + off[:-2], axis=2)[:, face].mean() * 1000
    assert measures.mean("jitter mm") == pytest.approx(expected, rel=1e-3)
    assert measures.counts["jitter mm"] == 148
    gap = replace(rows, frame=rows.frame * 2)
    apart = ErrorSums()
    MeshEvaluator(head).add(apart, gap, FlameParams.from_rows(rows.parameters))
    assert apart.mean("jitter mm") is None
    # Unrelated images, though their numbers follow each other, say nothing of motion.
    unrelated = ErrorSums()
    result = FlameParams.from_rows(rows.parameters + jitter)
    MeshEvaluator(head).add(unrelated, replace(rows, video=False), result)
    assert "jitter mm" not in unrelated.figures()


def test_worst_frames_are_the_worst(head: FlameHead) -> None:
    rows = person(head, "d", 50, seed=5, neutral=False)
    wrong = rows.parameters.copy()
    wrong[17, 0] += 3
    wrong[31, 0] += 2
    measures = ErrorSums()
    MeshEvaluator(head).add(measures, rows, FlameParams.from_rows(wrong))
    assert [frame.number for frame in measures.worst[:2]] == [17, 31]
    assert measures.worst[0].mm > measures.worst[1].mm > 1


def test_a_moment_of_a_video_is_one_worst_frame(head: FlameHead) -> None:
    rows = replace(person(head, "d", 60, seed=5, neutral=False), video=True)
    wrong = rows.parameters.copy()
    wrong[20:30, 0] += np.linspace(3, 4, 10, dtype=np.float32)
    wrong[50, 0] += 1
    measures = ErrorSums()
    MeshEvaluator(head).add(measures, rows, FlameParams.from_rows(wrong))
    assert [frame.number for frame in measures.worst[:2]] == [29, 50]
    # Slow frames of one moment, by their times, and unrelated images, which are each their own moment.
    for other, expected in (
        (replace(rows, time=np.arange(60, dtype=np.float64) / 2), 28),
        (replace(rows, video=False), 28),
    ):
        apart = ErrorSums()
        MeshEvaluator(head).add(apart, other, FlameParams.from_rows(wrong))
        assert [frame.number for frame in apart.worst[:2]] == [29, expected]


def test_frames_without_a_face_are_not_measured(head: FlameHead) -> None:
    rows = person(head, "e", 20, seed=6, neutral=False)
    columns = {**rows.columns, "expression": rows.columns["expression"].copy()}
    columns["expression"][3] = np.nan
    found = np.ones(20, dtype=bool)
    found[5] = False
    measures = ErrorSums()
    result = replace(FlameParams.from_rows(rows.parameters), found=found)
    MeshEvaluator(head).add(measures, replace(rows, columns=columns), result)
    assert measures.frames == 18
    assert measures.mean("face mm") == pytest.approx(0, abs=1e-4)


def test_blendshapes_move_the_regions_that_they_should(head: FlameHead) -> None:
    regions, gaps = head_regions(head), head_apertures(head)
    shapes = head.blendshapes()
    meshes, neutral = head(shapes), head.neutral_vertices

    def moved(name: str, region: str) -> float:
        distance = np.linalg.norm(meshes[ARKIT.index(name)] - neutral, axis=1)
        return float(distance[regions[region]].mean())

    assert moved("browInnerUp", "brows") > 5 * moved("browInnerUp", "lips")
    assert moved("mouthPucker", "lips") > 5 * moved("mouthPucker", "brows")
    assert moved("eyeBlinkLeft", "lids") > 5 * moved("eyeBlinkLeft", "lips")
    assert moved("jawOpen", "jaw line") > 5 * moved("jawOpen", "lids")
    at_rest = gaps.lid_gaps(neutral[None])[0]
    left = gaps.lid_gaps(meshes[[ARKIT.index("eyeBlinkLeft")]])[0]
    assert left[0] < 0.3 * at_rest[0]
    assert left[1] == pytest.approx(at_rest[1], abs=1e-4)
    assert gaps.lip_gap(meshes[[ARKIT.index("jawOpen")]])[0] > gaps.lip_gap(neutral[None])[0] + 0.02


def test_regions_of_a_labelled_head_are_those_of_its_makers(shared_data: Path) -> None:
    head = load_head(shared_data / "head" / "ict_head.npz")
    regions = head_regions(head)
    v = head.neutral_vertices
    x, y, z = v.T
    assert head.region is not None
    face = head.region == 0
    stated = {
        "lips": face & (np.linalg.norm((v - [0, -0.045, 0.105]) * [1, 1.3, 0.5], axis=1) < 0.035),
        "lids": face & (np.hypot(np.abs(x) - 0.0312, 1.3 * (y - 0.036)) < 0.02) & (z > 0.06),
        "brows": face & (y > 0.047) & (y < 0.075) & (z > 0.06) & (np.abs(x) < 0.055),
    }
    assert (regions["face"] == face).all()
    for name, expected in stated.items():
        overlap = (regions[name] & expected).sum() / (regions[name] | expected).sum()
        assert overlap > 0.8, name
    joints = head.joints()
    np.testing.assert_allclose(eye_centers(head), joints[[3, 4]], atol=1e-4)


def test_a_head_without_labels_gets_a_face_from_geometry(shared_data: Path, tmp_path: Path) -> None:
    arrays = dict(np.load(shared_data / "head" / "ict_head.npz"))
    label = arrays.pop("region")
    np.savez(tmp_path / "bare.npz", **arrays)
    regions = head_regions(load_head(tmp_path / "bare.npz"))
    face = regions["face"]
    assert (face & (label == 0)).sum() / (face | (label == 0)).sum() > 0.7
    # Eyeballs and the inside of the mouth are no face.
    assert not face[label >= 4].any()
    assert face[label == 2].mean() < 0.2


def test_a_symmetric_mapping_has_no_asymmetry(people: Dataset, head: FlameHead) -> None:
    from mp2flame.geometry.symmetry import head_symmetry
    from mp2flame.regression.ridge import symmetric_matrix

    symmetry = head_symmetry(head)
    assert symmetry is not None
    lopsided = _linear(head)
    even = replace(lopsided, matrix=symmetric_matrix(lopsided.matrix.astype(np.float64), symmetry).astype(np.float32))
    evaluation = evaluate({"lopsided": lopsided, "even": even}, people, head)
    assert evaluation.measures["even"].figures()["asymmetry mm"] < 1e-3
    assert evaluation.measures["lopsided"].figures()["asymmetry mm"] > 0.1


def test_subjects_are_those_asked_for(people: Dataset, head: FlameHead) -> None:
    truth = [rows.params() for rows in people.batches(["scores", "expression", "jaw", "eyes"], subjects=["b"])]
    evaluation = evaluate({"known": _Known(truth[0], head)}, people, head, subjects=["b"])
    assert evaluation.subjects == ("b",)
    figures = evaluation.measures["known"].figures()
    assert figures["face"] == pytest.approx(0, abs=1e-5)
    assert evaluation.measures[NO_EXPRESSION].figures()["face"] == pytest.approx(1)
    with pytest.raises(InputError, match="expected a subject among a, b"):
        evaluate({"known": _Known(truth[0], head)}, people, head, subjects=["nobody"])


def test_the_report_is_one_file_and_json_has_the_figures(people: Dataset, head: FlameHead, tmp_path: Path) -> None:
    pytest.importorskip("pyvista", reason="pictures need the extra render")
    evaluation = evaluate({"a <b>": _linear(head)}, people, head)
    write_report(evaluation, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(source.startswith('"data:image/png;base64,') for source in re.findall(r"(?:src|href)=(\S+)", page))
    assert "http" not in page
    assert "a &lt;b&gt;" in page
    assert page.count("data:image/png;base64") == 6
    write_report(evaluation, tmp_path / "report.json")
    document = json.loads((tmp_path / "report.json").read_text())
    face = document["mappings"]["a <b>"]["figures"]["face"]
    assert face == pytest.approx(evaluation.measures["a <b>"].figures()["face"], abs=1e-4)
    assert f"{face:.3f}" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_the_summary_goes_into_the_mapping_file(people: Dataset, head: FlameHead, tmp_path: Path) -> None:
    mapping = _linear(head)
    evaluation = evaluate({"mine": mapping}, people, head)
    with_metrics(mapping, evaluation, "mine").save(tmp_path / "m.safetensors")
    again = read_mapping(tmp_path / "m.safetensors")
    assert isinstance(again, LinearMapping)
    summary = json.loads(again.metadata["metrics"])
    assert summary["subjects"] == 2
    assert summary["figures"]["face"] == pytest.approx(evaluation.measures["mine"].figures()["face"], abs=1e-4)
    assert again.matrix.tobytes() == mapping.matrix.tobytes()


def test_mappings_for_another_head_are_refused(people: Dataset, head: FlameHead) -> None:
    other = replace(_linear(head), metadata={"head_hash": "0" * 64, "head_version": "FLAME 2023"})
    with pytest.raises(HeadMismatchError, match="FLAME 2023"):
        evaluate({"other": other}, people, head)
    assert evaluate({"other": other}, people, head, allow_head_mismatch=True).measures["other"].frames == 80
    unknown = replace(other, metadata={})
    with pytest.raises(HeadMismatchError, match="does not say which head it was made for"):
        evaluate({"unknown": unknown}, people, head)
    assert evaluate({"unknown": unknown}, people, head, allow_head_mismatch=True).measures["unknown"].frames == 80
    with pytest.raises(InputError, match="never moves"):
        evaluate({NO_EXPRESSION: other}, people, head)


def test_missing_neutral_frames_are_reported(head: FlameHead, tmp_path: Path) -> None:
    data = write_people(tmp_path / "unmarked", [person(head, "a", 20, seed=1, neutral=False)], head)
    evaluation = evaluate({"mine": _linear(head)}, data, head)
    assert evaluation.without_neutral == 1
    assert "no neutral frame" in report_html(evaluation)


def test_silent_channels_of_the_generated_people(head: FlameHead) -> None:
    rows = person(head, "a", 30, seed=1)
    assert rows.columns["scores"][:, MEDIAPIPE.index("cheekPuff")].max() < 1e-3
    assert rows.params().to_rows() == pytest.approx(rows.parameters)
