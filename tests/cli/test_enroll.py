"""The command enroll: a person file from a video, used by drive and live."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mp2flame.cli.live import Live
from mp2flame.errors import FormatError
from mp2flame.formats import load_params
from mp2flame.mapping import load_mapping, load_person
from tests.cli.conftest import Run
from tests.helpers.live import blendshape_mapping, performance_recording, running, settings
from tests.helpers.video import performance_frames, write_film


@pytest.fixture
def take(tmp_path: Path) -> Path:
    return performance_recording(tmp_path / "performance.jsonl")


def test_the_person_file_is_the_neutral_of_drive(take: Path, tmp_path: Path, run: Run) -> None:
    person, mapping = tmp_path / "me.person.safetensors", blendshape_mapping(tmp_path / "own.safetensors")
    code, text = run("enroll", take, "-o", person)
    assert code == 0, text
    assert "the face is neutral from 0.0 s on" in text
    assert f"wrote {person}" in text
    target = tmp_path / "out.npz"
    code, text = run("drive", take, "--mapping", mapping, "--no-smooth", "-o", target, "--neutral", person)
    assert code == 0, text
    neutral = load_person(person).neutral
    expected = load_mapping(mapping).for_person(neutral)
    first = load_params(target)[0]
    np.testing.assert_allclose(first.expression, expected(replace(neutral[0], time=first.time)).expression, atol=0.02)


def test_a_video_is_read(shared_data: Path, landmarker: Path, tmp_path: Path, run: Run) -> None:
    person = tmp_path / "me.person.safetensors"
    video = shared_data / "video" / "performance_a.mp4"
    assert run("enroll", video, "-o", person, "--landmarker", landmarker)[0] == 0
    neutral = load_person(person).neutral
    assert neutral.landmarks is not None
    assert neutral.time[-1] < 1.3
    film = write_film(tmp_path / "short.mp4", performance_frames(shared_data, 1))
    code, text = run("enroll", film, "-o", tmp_path / "no.safetensors", "--landmarker", landmarker)
    assert code == 1
    assert "no neutral face was found: the face is never still for a second" in text
    assert not (tmp_path / "no.safetensors").exists()


def test_a_wrong_output_or_source_is_refused(take: Path, tmp_path: Path, run: Run) -> None:
    for output, source, message in (
        (tmp_path / "me.jsonl", take, "ends in .safetensors"),
        (tmp_path / "nowhere" / "me.safetensors", take, "does not exist"),
        (tmp_path / "me.safetensors", tmp_path / "absent.jsonl", "there is no such file"),
    ):
        code, text = run("enroll", source, "-o", output)
        assert code == 1
        assert message in text


def test_a_mapping_is_no_person_file(take: Path, tmp_path: Path, run: Run) -> None:
    mapping = blendshape_mapping(tmp_path / "own.safetensors")
    code, text = run("drive", take, "--neutral", mapping, "-o", tmp_path / "out.npz")
    assert code == 1
    assert "expected format 'mp2flame-person'" in text
    with pytest.raises(FormatError, match="expected format 'mp2flame-person'"):
        Live(source=str(take), neutral=str(mapping)).run()


def test_a_live_session_starts_with_the_person(take: Path, tmp_path: Path, run: Run) -> None:
    pytest.importorskip("viser", reason="the viewer's extra is not installed")
    person = tmp_path / "me.person.safetensors"
    assert run("enroll", take, "-o", person)[0] == 0
    start = settings(tmp_path, source=str(take), neutral=load_person(person))
    neutral = load_person(person).neutral
    expected = load_mapping(start.mappings[0]).for_person(neutral)
    with running(start) as session:
        np.testing.assert_allclose(
            session.pipeline.mapping(neutral).expression, expected(neutral).expression, atol=1e-5
        )
