"""Fits: equal to closed forms, mirrored, zero at rest, deterministic, and as good as they should be on real renders."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="data sets need the extra train")

from mp2flame import rotations
from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.dataset.readers.arrays import read_named_npz
from mp2flame.dataset.store import Dataset
from mp2flame.dataset.table import FrameTable
from mp2flame.dataset.writer import DatasetWriter
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.evaluation.metrics import compare
from mp2flame.geometry.face_regions import REGIONS
from mp2flame.geometry.symmetry import head_symmetry
from mp2flame.head import FlameHead, load_head
from mp2flame.mapping import LinearMapping
from mp2flame.mapping.landmark_mlp import LandmarkMapping
from mp2flame.mapping.linear import expand_features
from mp2flame.regression.context import pass_over
from mp2flame.regression.fit import fit
from mp2flame.regression.mesh_loss import head_loss
from mp2flame.regression.mlp import NetworkConfig
from mp2flame.regression.ridge import pinv_matrix
from mp2flame.regression.sufficient_statistics import total_statistics
from tests.helpers.faces import SILENT, person, write_people

_SMALL = NetworkConfig(members=1, hidden=(64, 64), steps=600)
_MIRROR = mirror_permutation(MEDIAPIPE)


@pytest.fixture(scope="module")
def head() -> FlameHead:
    return load_head("builtin")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, head: FlameHead) -> Dataset:
    folder = tmp_path_factory.mktemp("people") / "data"
    return Dataset(write_people(folder, [person(head, name, 150, seed=1) for name in "abcdefg"], head))


@pytest.fixture(scope="module")
def ridge(people: Dataset, head: FlameHead) -> LinearMapping:
    mapping = fit(people, kind="ridge", head=head)
    assert isinstance(mapping, LinearMapping)
    return mapping


def _everything(data: Dataset, neutral: bool | None) -> tuple[np.ndarray, np.ndarray]:
    batches = list(data.batches(["scores", "expression", "jaw", "eyes"], neutral=neutral))
    scores = np.concatenate([batch.columns["scores"] for batch in batches])
    return scores.astype(np.float64), np.concatenate([batch.parameters for batch in batches]).astype(np.float64)


def test_pinv_is_numpys(people: Dataset) -> None:
    mapping = fit(people, kind="pinv")
    assert isinstance(mapping, LinearMapping)
    scores, truth = _everything(people, None)
    expected = np.linalg.pinv(scores) @ truth
    total = total_statistics(pass_over(people, ("scores",), "pinv").folds)
    np.testing.assert_allclose(pinv_matrix(total), expected, rtol=1e-6, atol=1e-6)
    # The mapping holds the same in float32, where weights of silent channels are in the hundreds.
    np.testing.assert_allclose(mapping.matrix, expected.astype(np.float32), rtol=1e-6, atol=1e-6)
    assert mapping.intercept is None
    assert mapping.neutral is None


def test_mirrored_parameters_make_the_mirrored_mesh(head: FlameHead) -> None:
    symmetry = head_symmetry(head)
    assert symmetry is not None
    assert symmetry.error_mm < 0.1
    assert head.mirror is not None
    params = person(head, "b", 10, seed=3, landmarks=False)
    mirrored = (params.parameters @ symmetry.matrix).astype(np.float32)
    e = head.n_expression
    other = replace(
        params, columns={"expression": mirrored[:, :e], "jaw": mirrored[:, e : e + 3], "eyes": mirrored[:, e + 3 :]}
    )
    expected = head(params.params())[:, head.mirror] * [-1, 1, 1]
    np.testing.assert_allclose(head(other.params()), expected, atol=2e-4)


def test_ridge_is_zero_for_the_neutral_face_and_for_silent_scores(ridge: LinearMapping, people: Dataset) -> None:
    neutral = people.neutral("a", ["scores"])
    assert neutral is not None
    own = neutral[np.array([0, 0])].observation()
    params = ridge.for_person(own)(own)
    assert not params.expression.any()
    assert not params.jaw_pose.any()
    blocks = ridge.matrix.reshape(len(ridge.features), 52, -1)
    for name in SILENT:
        assert not blocks[:, MEDIAPIPE.index(name)].any(), name
    assert np.abs(blocks[:, MEDIAPIPE.index("jawOpen")]).max() > 0.01


def test_jaw_channels_do_not_turn_eyes_nor_eye_channels_the_jaw(ridge: LinearMapping) -> None:
    blocks = ridge.matrix.reshape(len(ridge.features), 52, -1)
    e = ridge.n_expression
    for row, name in enumerate(MEDIAPIPE):
        if name.startswith("jaw"):
            assert not blocks[:, row, e + 3 :].any(), name
        if name.startswith("eye"):
            assert not blocks[:, row, e : e + 3].any(), name
    assert blocks[:, [MEDIAPIPE.index("eyeLookUpLeft")], e + 3 :].any()


def test_ridge_maps_mirrored_scores_to_the_mirrored_face(ridge: LinearMapping, head: FlameHead) -> None:
    symmetry = head_symmetry(head)
    assert symmetry is not None
    relative = np.random.default_rng(5).normal(0, 0.3, size=(20, 52)).astype(np.float32)
    straight = expand_features(relative, ridge.features) @ ridge.matrix
    mirrored = expand_features(relative[:, _MIRROR], ridge.features) @ ridge.matrix
    moved = (straight @ symmetry.matrix - mirrored) * np.abs(straight).std()
    np.testing.assert_allclose(moved, 0, atol=2e-3)


def test_the_same_seed_gives_the_same_bytes(people: Dataset, head: FlameHead, ridge: LinearMapping) -> None:
    again = fit(people.path, kind="ridge", head=head)
    assert again.encoded() == ridge.encoded()
    quick = NetworkConfig(members=1, hidden=(16,), steps=20)
    first, second = (fit(people, kind="landmarks", head=head, network=quick, seed=3).encoded() for _ in range(2))
    assert first == second
    assert first != fit(people, kind="landmarks", head=head, network=quick, seed=4).encoded()


def test_every_kind_beats_no_expression_on_other_subjects(
    people: Dataset, head: FlameHead, ridge: LinearMapping
) -> None:
    other = person(head, "z", 100, seed=9)
    seen, truth = other.observation(), other.params()
    neutral = other[other.neutral].observation()
    landmarks = fit(people, kind="landmarks", head=head, network=_SMALL)
    assert isinstance(landmarks, LandmarkMapping)
    pinv = fit(people, kind="pinv")
    relative = {
        "pinv": compare(head, pinv(seen), truth)["face"],
        "ridge": compare(head, ridge.for_person(neutral)(seen), truth)["face"],
        "landmarks": compare(head, landmarks.for_person(neutral)(seen), truth)["face"],
    }
    assert relative["ridge"] < 0.6 * relative["pinv"]
    assert relative["landmarks"] < 0.5
    # A single neutral frame comes out neutral up to the noise of its landmarks, which the fit does not know.
    assert landmarks.for_person(neutral)(neutral).expression.std() < 0.1 * truth.expression.std()


def test_the_frontal_rotation_is_estimated_from_turned_heads(tmp_path: Path, head: FlameHead) -> None:
    tilt = rotations.matrix(np.array([0.1, 0.0, 0.02]))
    rows = [person(head, name, 40, seed=1) for name in "ab"]

    def seen(one: FrameTable, axes: np.ndarray) -> FrameTable:
        turns = one.columns["head_transform"].reshape(-1, 4, 4)[:, :3, :3].astype(np.float64)
        reported = np.tile(np.eye(4), (len(one), 1, 1))
        reported[:, :3, :3] = axes @ turns @ tilt
        columns = {"head_transform": reported.reshape(-1, 16), "global": rotations.from_matrix(turns)}
        return replace(one, columns={**one.columns, **{k: v.astype(np.float32) for k, v in columns.items()}})

    stated = fit(write_people(tmp_path / "stated", [seen(one, np.eye(3)) for one in rows], head), kind="pinv")
    assert stated.info.frontal_rotation == pytest.approx([0.1, 0.0, 0.02], abs=1e-3)
    # Without true rotations, or in other axes than MediaPipe's camera, nothing is claimed.
    without = [fit(write_people(tmp_path / "still", rows, head), kind="pinv")]
    other = [seen(one, np.diag([1.0, -1.0, -1.0]) @ rotations.matrix(np.array([0.0, 0.9, 0.0]))) for one in rows]
    other[1] = seen(rows[1], np.eye(3))
    without.append(fit(write_people(tmp_path / "other", other, head), kind="pinv"))
    assert [mapping.info.frontal_rotation for mapping in without] == [None, None]


def test_without_a_head_it_reports_what_is_left_out(people: Dataset) -> None:
    messages: list[str] = []
    mapping = fit(people, kind="ridge", log=messages.append)
    assert any("--head" in sentence and "mirrored" in sentence for sentence in messages)
    assert mapping.metadata["training_subjects"] == "7"


def test_one_subject_is_reported_and_not_split(tmp_path: Path, head: FlameHead) -> None:
    messages: list[str] = []
    data = write_people(tmp_path / "one", [person(head, "only", 80, seed=1)])
    mapping = fit(data, kind="ridge", head=head, log=messages.append)
    assert any("one subject only" in sentence for sentence in messages)
    assert "not cross-validated" in mapping.metadata["provenance"]


def test_subjects_without_neutral_are_left_out_and_counted(tmp_path: Path, head: FlameHead) -> None:
    people = [
        person(head, "a", 60, seed=1),
        person(head, "b", 60, seed=1),
        person(head, "c", 60, seed=1, neutral=False),
    ]
    messages: list[str] = []
    fit(write_people(tmp_path / "some", people), kind="ridge", head=head, log=messages.append)
    assert "left out: 1 subjects without a neutral frame" in messages
    nobody = write_people(tmp_path / "none", [person(head, "c", 60, seed=1, neutral=False)])
    with pytest.raises(InputError, match="estimate-neutral"):
        fit(nobody, kind="ridge", head=head)


def test_nan_rows_are_left_out_and_counted(tmp_path: Path, head: FlameHead) -> None:
    good = person(head, "a", 60, seed=1)
    columns = {name: column.copy() for name, column in good.columns.items()}
    columns["expression"][10:14] = np.nan
    columns["scores"][20] = np.nan
    messages: list[str] = []
    rows = [replace(good, columns=columns), person(head, "b", 60, seed=1)]
    mapping = fit(write_people(tmp_path / "nan", rows), kind="pinv", log=messages.append)
    assert "left out: 5 frames without a face or with NaN" in messages
    assert mapping.metadata["training_frames"] == str(2 * 65 - 5)


def test_another_heads_parameters_are_refused(people: Dataset, head: FlameHead, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind among"):
        fit(people, kind="magic")  # type: ignore[arg-type]
    rows = person(head, "a", 30, seed=1)
    with DatasetWriter(tmp_path / "other", head_version="FLAME 2023", head_hash="0" * 64) as writer:
        writer.add(rows)
        writer.finish({})
    with pytest.raises(HeadMismatchError, match="FLAME 2023"):
        fit(tmp_path / "other", kind="ridge", head=head)


def test_the_loss_gradient_is_the_losss(head: FlameHead) -> None:
    loss = head_loss(head)
    rng = np.random.default_rng(0)
    difference = rng.normal(0, 0.2, size=(3, head.n_expression + 9)).astype(np.float32)
    gradient = loss.gradient(difference)
    direction = rng.normal(size=difference.shape).astype(np.float32)
    steps = [loss.distance(difference + step * direction) for step in (-1e-2, 1e-2)]
    slope = (steps[1] - steps[0]) / 2e-2
    assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-2)


@pytest.fixture(scope="module")
def renders(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    folder = tmp_path_factory.mktemp("renders")
    for name, held_out in (("train", False), ("test", True)):
        with DatasetWriter(folder / name) as writer:
            for sequence in read_named_npz(shared_data / "synthetic" / "train.npz"):
                if (int(sequence.subject) % 5 == 0) == held_out:
                    writer.add(sequence.table())
            writer.finish({})
    return Dataset(folder / "train"), Dataset(folder / "test")


def test_real_renders_of_held_out_subjects(shared_data: Path, renders: tuple[Dataset, Dataset]) -> None:
    head = load_head(shared_data / "head" / "ict_head.npz")
    train, test = renders
    settings = NetworkConfig(members=1, steps=1500)
    mappings = {
        "pinv": fit(train, kind="pinv"),
        "ridge": fit(train, kind="ridge", head=head),
        "landmarks": fit(train, kind="landmarks", head=head, network=settings),
    }
    columns = ["scores", "landmarks", "head_transform", "expression", "jaw", "eyes"]
    figures: dict[str, dict[str, float]] = {}
    for kind, mapping in mappings.items():
        sums: dict[str, list[float]] = {}
        for subject in test.subjects:
            neutral = test.neutral(subject, columns)
            assert neutral is not None
            own = mapping if kind == "pinv" else mapping.for_person(neutral.observation())
            for rows in test.batches(columns, subjects=[subject]):
                errors = compare(head, own(rows.observation()), rows.params())
                for name in REGIONS:
                    sums.setdefault(name, []).append(errors[name])
                sums.setdefault("jaw", []).append(errors["jaw degrees"])
                sums.setdefault("gaze", []).append(errors["gaze degrees"])
        figures[kind] = {name: float(np.mean(values)) for name, values in sums.items()}
    assert figures["pinv"]["face"] == pytest.approx(0.605, abs=0.015)
    assert figures["ridge"]["face"] < 0.565
    assert figures["ridge"]["lips"] < 0.52
    assert figures["ridge"]["brows"] < 1.10
    assert figures["landmarks"]["face"] < 0.45
    assert figures["landmarks"]["lips"] < 0.43
    assert figures["landmarks"]["brows"] < 0.93
    assert figures["landmarks"]["jaw"] < 1.15
    assert figures["landmarks"]["gaze"] < 3.3
    order = [figures[kind]["face"] for kind in ("pinv", "ridge", "landmarks")]
    assert all(worse > better for worse, better in pairwise(order))
