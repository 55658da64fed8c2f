"""A person file on its way: made by `refine`, taken by drive and live; and that it helps people of known truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mp2flame.blendshapes import ARKIT, MEDIAPIPE
from mp2flame.cli import main
from mp2flame.cli.live import Live
from mp2flame.cli.personal import refine
from mp2flame.data import FlameParams, Observation
from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.formats import load_params
from mp2flame.formats.recording import read_recording
from mp2flame.formats.recording_writer import RecordingWriter
from mp2flame.head import load_head
from mp2flame.mapping import LinearMapping, Mapping, load_mapping, load_person
from tests.helpers.live import blendshape_mapping, performance_recording, running, settings, wait_for
from tests.helpers.video import performance_frames, write_film

_LEFT, _RIGHT = MEDIAPIPE.index("eyeBlinkLeft"), MEDIAPIPE.index("eyeBlinkRight")


def _weakened(path: Path, source: Path) -> Path:
    """Eight times the first ten seconds, without the wink, of somebody whose left blink reads half as strong."""
    writer = RecordingWriter(path)
    for start in range(0, 80, 10):
        for seen, _ in read_recording(source):
            if seen.time[0] < 10.0 - 1e-6:
                scores = seen.scores.copy()
                scores[:, _LEFT] *= 0.5
                writer.write(replace(seen, scores=scores, time=seen.time + start), None)
    writer.close()
    return path


@pytest.fixture
def take(tmp_path: Path) -> Path:
    return _weakened(tmp_path / "weak.jsonl", performance_recording(tmp_path / "performance.jsonl"))


def test_the_road_from_a_video_to_both_lids_closed(
    take: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    person, mapping = tmp_path / "me.person.safetensors", blendshape_mapping(tmp_path / "own.safetensors")
    known = load_mapping(mapping)
    assert isinstance(known, LinearMapping)
    replace(known, metadata={**known.metadata, "reach": str([0.9] * 52)}).save(mapping)
    assert refine(take, person, mapping=str(mapping)) == 0
    said = capsys.readouterr().out
    assert "80 seconds of a face; at rest from 0.0 s on" in said
    assert "eyeBlinkLeft" in said
    assert f"wrote {person}; use it with: mp2flame drive VIDEO --rest {person}" in said
    lids = {}
    for name, words in (
        ("rest only", ["--rest", str(take)]),
        ("rest", ["--rest", str(person)]),
        ("person", ["--person", str(person)]),
    ):
        target = tmp_path / "out.npz"
        arguments = ["drive", str(take), "--mapping", str(mapping), "--no-smooth", "-o", str(target), *words]
        assert main(arguments) == 0, capsys.readouterr().err
        lids[name] = _lids(load_params(target))
    assert lids["rest only"][0] / lids["rest only"][1] == pytest.approx(0.5, abs=0.02)
    assert lids["rest"][0] / lids["rest"][1] == pytest.approx(1.0, abs=0.1)
    assert lids["rest"].mean() == pytest.approx(lids["rest only"][1], rel=0.15)
    np.testing.assert_array_equal(lids["rest"], lids["person"])


def _lids(params: FlameParams) -> np.ndarray:
    """How far the left and the right lid go down in a blink of the built-in head, by their own blendshapes."""
    shapes = load_head("builtin").blendshapes()
    rows = [shapes.expression[ARKIT.index(MEDIAPIPE[i])] for i in (_LEFT, _RIGHT)]
    weights = np.linalg.lstsq(np.array(rows).T, params.expression.T, rcond=None)[0]
    blink = int(np.argmin(np.abs(params.time - 2.4)))
    result: np.ndarray = weights[:, blink]
    return result


def test_a_video_is_watched(
    shared_data: Path, landmarker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    person = tmp_path / "me.person.safetensors"
    assert refine(shared_data / "video" / "performance_a.mp4", person, landmarker=landmarker) == 0
    got = load_person(person)
    assert got.rest.landmarks is not None
    assert got.rest.time[-1] < 1.3
    assert got.seconds == pytest.approx(10, abs=0.1)
    assert "10 seconds are little to go by; a minute tells more" in " ".join(capsys.readouterr().err.split())
    film = write_film(tmp_path / "short.mp4", performance_frames(shared_data, 1))
    with pytest.raises(InputError, match=r"about a minute of a face, at least 5 seconds; got 0.0 s.* in 1 frames"):
        refine(film, tmp_path / "no.safetensors", landmarker=landmarker)
    assert not (tmp_path / "no.safetensors").exists()


def test_what_is_wrong_is_said_before_watching(take: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in .safetensors, such as me.person.safetensors; got .*me.jsonl"):
        refine(take, tmp_path / "me.jsonl")
    with pytest.raises(MissingFileError, match=r"the folder .* does not exist"):
        refine(take, tmp_path / "nowhere" / "me.safetensors")
    with pytest.raises(MissingFileError, match="expected a mapping"):
        refine(take, tmp_path / "me.safetensors", mapping="absent")
    with pytest.raises(MissingFileError, match="no file"):
        refine(tmp_path / "absent.jsonl", tmp_path / "me.safetensors")


def test_a_mapping_is_no_person(take: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mapping = blendshape_mapping(tmp_path / "own.safetensors")
    assert main(["drive", str(take), "--rest", str(mapping), "-o", str(tmp_path / "out.npz")]) == 1
    assert "expected a person file" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(FormatError, match="expected a person file"):
        Live(source=str(take), rest=mapping).run()
    with pytest.raises(InputError, match="expected a file with --rest; got auto: leave it out, and press Neutral"):
        Live(source=str(take), rest=Path("auto")).run()


def test_a_live_session_takes_the_person_and_a_neutral_keeps_it(take: Path, tmp_path: Path) -> None:
    pytest.importorskip("viser", reason="the viewer's extra is not installed")
    person = tmp_path / "me.person.safetensors"
    refine(take, person)
    given = settings(tmp_path, source=str(take), person=load_person(person))
    still = Observation(time=np.zeros(1), found=np.ones(1, dtype=bool), scores=np.full((1, 52), 0.1, np.float32))
    shut = np.zeros((1, 52), dtype=np.float32)
    shut[0, [_LEFT, _RIGHT]] = 0.4, 0.8
    seen = replace(still, scores=shut)
    with running(given) as session:
        wait_for(lambda: "--rest" in session.page.controls._neutral_text.content)
        plain = load_mapping(given.mappings[0])
        expected = load_person(person).refine(plain)
        np.testing.assert_allclose(_made(session._desk.mapping(), seen), _made(expected, seen), atol=1e-5)
        session._desk.set_rest(still)
        np.testing.assert_allclose(
            _made(session._desk.mapping(), seen), _made(expected.for_person(still), seen), atol=1e-5
        )
        # Sliders are nobody's face.
        session._desk.set_by_hand(on=True)
        raised = np.zeros(52, dtype=np.float32)
        raised[0] = 1.0
        lid = session._desk.pose_by_weights(raised)
        np.testing.assert_allclose(lid.expression[0], load_head("builtin").blendshapes().expression[0], atol=1e-4)


def _made(mapping: Mapping, seen: Observation) -> np.ndarray:
    made: np.ndarray = mapping(seen).expression
    return made


def test_it_helps_people_whose_truth_is_known(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="data sets need the extra train")
    from mp2flame.calibration.person import make_person
    from mp2flame.dataset.readers.arrays import read_named_npz
    from mp2flame.dataset.store import Dataset
    from mp2flame.dataset.writer import DatasetWriter
    from mp2flame.evaluation.metrics import compare
    from mp2flame.regression.fit import fit

    head = load_head(shared_data / "head" / "ict_head.npz")
    for name, held_out in (("train", False), ("test", True)):
        with DatasetWriter(tmp_path / name) as writer:
            for sequence in read_named_npz(shared_data / "synthetic" / "train.npz"):
                if (int(sequence.subject) % 5 == 0) == held_out:
                    writer.add(sequence.rows())
            writer.finish({})
    train, test = Dataset(tmp_path / "train"), Dataset(tmp_path / "test")
    mapping = fit(train, kind="ridge", head=head)
    assert mapping.reach is not None
    columns = ["scores", "expression", "jaw", "eyes"]
    errors: dict[str, list[list[float]]] = {}
    rng = np.random.default_rng(0)
    for subject in test.subjects:
        rows = next(iter(test.batches(columns, subjects=[subject])))
        rest_rows = test.neutral(subject, columns)
        assert rest_rows is not None
        rest = rest_rows.observation()
        # Half of the frames, without their truth, are the person's minute; the other half is what is measured on.
        order = rng.permutation(len(rows))
        first, second = order[: len(rows) // 2], order[len(rows) // 2 :]
        odd = np.exp(rng.normal(0, 0.3, 52))
        for kind, gains in (("as rendered", np.ones(52)), ("scaled", odd)):
            seen = rows.observation()
            scores = np.clip(rest.scores + (seen.scores - rest.scores) * gains, 0, 1)
            seen = replace(seen, scores=scores.astype(np.float32))
            minute = replace(seen[first], time=np.arange(len(first), dtype=np.float64) * 0.5)
            person = make_person(minute, rest=rest)
            for name, own in (("rest", mapping.for_person(rest)), ("person", person.refine(mapping))):
                got = compare(head, own(seen[second]), rows[second].params())
                figures = [got.regions["face"].relative, got.regions["lids"].relative]
                errors.setdefault(f"{kind}, {name}", []).append(figures)
    mean = {name: np.mean(values, axis=0) for name, values in errors.items()}
    # MediaPipe reads these people much alike, so that there is little to correct: then nothing may get worse by it.
    assert (mean["as rendered, person"] < 1.002 * mean["as rendered, rest"]).all(), mean
    assert (mean["scaled, person"] < 0.985 * mean["scaled, rest"]).all(), mean
