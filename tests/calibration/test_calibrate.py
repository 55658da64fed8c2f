"""Calibration end to end, very small: the built-in head is rendered, and mappings are fitted, evaluated and written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mediapipe")
pytest.importorskip("pyvista")
pytest.importorskip("pyarrow")

import mp2flame
from mp2flame.calibration.calibrate import Calibration, Input, calibrate, frame_table
from mp2flame.calibration.config import DEFAULT, QUICK, CalibrationConfig
from mp2flame.errors import InputError, MissingFileError, SinkError
from mp2flame.regression.mlp import NetworkConfig
from mp2flame.synthesis.subjects import SubjectSamples

_TINY = CalibrationConfig(subjects=4, held_out=2, images=6, network=NetworkConfig(steps=40, hidden=(16,)))


@dataclass
class _Run:
    """One calibration and what it reported."""

    folder: Path
    outputs: dict[Input, Path]
    result: Calibration
    subjects: int = 0
    log: list[str] = field(default_factory=list)

    def files(self) -> dict[str, bytes]:
        """The mappings as they were written."""
        return {name: path.read_bytes() for name, path in self.outputs.items()}


def _outputs(folder: Path) -> dict[Input, Path]:
    return {"scores": folder / "scores.safetensors", "landmarks": folder / "landmarks.safetensors"}


def _run(folder: Path, landmarker: Path, on_subject: Callable[[], None] = lambda: None, **options: Any) -> _Run:
    log: list[str] = []
    count = [0]

    def subject() -> None:
        count[0] += 1
        on_subject()

    outputs: dict[Input, Path] = options.pop("outputs", _outputs(folder))
    result = calibrate(
        "builtin",
        landmarker,
        outputs,
        folder / "work",
        config=options.pop("config", _TINY),
        on_subject=subject,
        log=log.append,
        **options,
    )
    return _Run(folder, outputs, result, count[0], log)


@pytest.fixture(scope="module")
def whole(landmarker: Path, tmp_path_factory: pytest.TempPathFactory) -> _Run:
    return _run(tmp_path_factory.mktemp("calibrated"), landmarker, workers=1)


def test_both_mappings_are_for_the_head_and_state_their_provenance(whole: _Run) -> None:
    head = mp2flame.load_head("builtin")
    assert whole.subjects == _TINY.subjects + _TINY.held_out
    for name, path in whole.outputs.items():
        mapping = mp2flame.load_mapping(path)
        metadata = mapping.info.metadata
        assert metadata["head_hash"] == head.hash, name
        assert metadata["licence"] == "CC0-1.0"
        assert "renders of the built-in head alone" in metadata["provenance"]
        assert head.hash in metadata["provenance"]
        assert "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff" in metadata["provenance"]
        assert int(metadata["training_subjects"]) == _TINY.subjects
        # MediaPipe reports some ten degrees of nodding for a head that faces the camera.
        assert mapping.info.frontal_rotation is not None
        assert 0 < np.abs(mapping.info.frontal_rotation).max() < np.radians(20)


def test_the_figures_are_of_held_out_subjects_and_of_no_video(whole: _Run) -> None:
    assert len(whole.result.evaluation.subjects) == _TINY.held_out
    for name, mapping in whole.result.mappings.items():
        metrics = json.loads(mapping.metadata["metrics"])
        figures = whole.result.evaluation.measures[name].figures()
        assert metrics["subjects"] == _TINY.held_out
        assert metrics["figures"]["face"] == pytest.approx(figures["face"], abs=1e-3)
        # Random images do not follow each other: there is no jitter between them.
        assert "jitter mm" not in figures
        assert "jitter mm" not in metrics["figures"]


def test_nothing_but_the_mappings_is_left(whole: _Run) -> None:
    assert sorted(whole.folder.iterdir()) == sorted(whole.outputs.values())


class KilledError(Exception):
    """As if the process were killed."""


def test_an_interrupted_calibration_continues_in_two_processes_and_gives_the_same_bytes(
    whole: _Run, landmarker: Path, tmp_path: Path
) -> None:
    rendered = []

    def kill() -> None:
        rendered.append(1)
        if len(rendered) == 3:
            raise KilledError

    with pytest.raises(KilledError):
        _run(tmp_path, landmarker, kill, workers=1)
    assert not any(path.exists() for path in _outputs(tmp_path).values())
    kept = sorted((tmp_path / "work").rglob("subject-*.safetensors"))
    assert len(kept) == 3
    # A damaged file is rendered again; the others stay as they are.
    kept[2].write_bytes(kept[2].read_bytes()[:100])
    before = [path.stat().st_mtime_ns for path in kept[:2]]
    seen: list[list[int]] = []
    again = _run(
        tmp_path, landmarker, lambda: seen.append([p.stat().st_mtime_ns for p in kept[:2]]), workers=2, keep_work=True
    )
    assert seen[-1] == before
    assert again.subjects == whole.subjects
    assert again.files() == whole.files()
    assert all(path.is_file() for path in kept)


def test_work_is_kept_until_the_mapping_is_written(
    landmarker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up at the end costs no rendered subject."""
    from mp2flame.mapping import LinearMapping

    def full(*_: object) -> None:
        raise SinkError("no space left on device")

    config = CalibrationConfig(subjects=2, held_out=1, images=3)
    outputs = {"scores": tmp_path / "out.safetensors"}
    with monkeypatch.context() as patch:
        patch.setattr(LinearMapping, "save", full)
        with pytest.raises(SinkError, match="no space left"):
            _run(tmp_path, landmarker, workers=1, config=config, outputs=outputs)
    assert len(list((tmp_path / "work").rglob("subject-*.safetensors"))) == 3
    _run(tmp_path, landmarker, workers=1, config=config, outputs=outputs)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "out.safetensors"]


def test_outputs_that_cannot_be_written_are_refused_before_the_work(landmarker: Path, tmp_path: Path) -> None:
    def refused(outputs: dict[Input, Path], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            _run(tmp_path, landmarker, _never, outputs=outputs)

    refused({"scores": tmp_path / "no" / "a.safetensors"}, MissingFileError, "does not exist")
    refused({"scores": tmp_path}, InputError, "it is a folder")
    refused({"scores": landmarker}, InputError, "is the input")
    same = tmp_path / "a.safetensors"
    refused({"scores": same, "landmarks": tmp_path / "." / "a.safetensors"}, InputError, "different outputs")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SinkError, match="nothing was calibrated"):
        calibrate("builtin", landmarker, {"scores": same}, tmp_path / "file" / "work", on_subject=_never)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


def _never() -> None:
    raise AssertionError("a subject was rendered")


def test_a_head_without_a_face_is_refused_with_an_image(landmarker: Path, tmp_path: Path) -> None:
    """The back of a head, where the face should be."""
    head = mp2flame.load_head("builtin")
    turn = np.array([-1, 1, -1], dtype=np.float32)
    arrays = replace(
        head.arrays, v_template=head.arrays.v_template * turn, shapedirs=head.arrays.shapedirs * turn[:, None]
    )
    replace(head, arrays=arrays).save(tmp_path / "away.safetensors")
    with pytest.raises(InputError, match=r"found one in 0 of 1 images .*: see .*missed-"):
        calibrate(tmp_path / "away.safetensors", landmarker, _outputs(tmp_path), tmp_path / "work", on_subject=_never)
    (image,) = (tmp_path / "work").glob("missed-*.png")
    assert image.read_bytes().startswith(b"\x89PNG")


def test_two_calibrations_in_one_folder_do_not_meet(landmarker: Path, tmp_path: Path) -> None:
    config = CalibrationConfig(subjects=2, held_out=1, images=3)
    outputs = {"scores": tmp_path / "out.safetensors"}
    refusals: list[str] = []

    def second() -> None:
        with pytest.raises(SinkError) as caught:
            _run(tmp_path, landmarker, _never, workers=1, config=config, outputs=outputs)
        refusals.append(str(caught.value))

    _run(tmp_path, landmarker, second, workers=1, config=config, outputs=outputs)
    assert len(refusals) == 3
    assert "another calibration is running in" in refusals[0]
    assert sorted(tmp_path.iterdir()) == [tmp_path / "out.safetensors"]


def test_images_of_a_subject_are_no_video() -> None:
    detected = {"scores": np.zeros((3, 52)), "landmarks": np.zeros((3, 1434)), "head_transform": np.zeros((3, 16))}
    table = frame_table(SubjectSamples(4, 2, np.ones((2, 19), dtype=np.float32), detected))  # type: ignore[arg-type]
    assert not table.video
    assert table.frame.tolist() == [0, 1, 2]
    assert table.neutral.tolist() == [True, False, False]
    assert not table.parameters[0].any()
    assert table.subject == "00004"


def test_the_default_renders_more_than_quick() -> None:
    assert DEFAULT.subjects * DEFAULT.images > 4 * QUICK.subjects * QUICK.images
    with pytest.raises(InputError, match="expected held_out of at least 1; got 0"):
        CalibrationConfig(held_out=0)
