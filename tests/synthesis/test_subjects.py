"""Subjects are rendered in processes, kept in files, and rendered again where a file is damaged."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

pytest.importorskip("mediapipe")
pytest.importorskip("pyvista")

import mp2flame
from mp2flame.errors import WorkerError
from mp2flame.synthesis.subjects import SubjectRenderer, SubjectSamples, load_samples, render_subjects


def _samples() -> SubjectSamples:
    rng = np.random.default_rng(0)
    detected = {
        name: rng.normal(size=(4, width)).astype(np.float32)
        for name, width in (("scores", 52), ("landmarks", 1434), ("head_transform", 16))
    }
    return SubjectSamples(7, 5, rng.normal(size=(3, 59)).astype(np.float32), detected)


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    samples = _samples()
    samples.save(tmp_path / "subject.safetensors")
    back = load_samples(tmp_path / "subject.safetensors")
    assert back is not None
    assert (back.number, back.rendered) == (7, 5)
    np.testing.assert_array_equal(back.parameters, samples.parameters)
    for name, values in samples.detected.items():
        np.testing.assert_array_equal(back.detected[name], values)


def test_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "subject.safetensors"
    assert load_samples(path) is None
    _samples().save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 200).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << int(rng.integers(8)))]) + whole[place + 1 :])
        back = load_samples(path)
        assert back is None or (back.number, back.rendered, set(back.detected)) == (7, 5, set(_samples().detected))
        assert back is None or back.parameters.tobytes() == _samples().parameters.tobytes()
    for length in (0, 1, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert load_samples(path) is None


def _job(landmarker: Path, folder: Path) -> SubjectRenderer:
    shapes = mp2flame.load_head("builtin").blendshapes()
    return SubjectRenderer("builtin", landmarker, shapes, None, images=2, seed=3, folder=folder)


@pytest.fixture(scope="module")
def rendered(landmarker: Path, tmp_path_factory: pytest.TempPathFactory) -> SubjectRenderer:
    job = _job(landmarker, tmp_path_factory.mktemp("subjects"))
    render_subjects(job, range(3), workers=1)
    return job


def test_the_truth_and_the_detections_belong_together(rendered: SubjectRenderer) -> None:
    samples = [load_samples(rendered.path(number)) for number in range(3)]
    for number, one in enumerate(samples):
        assert one is not None
        assert (one.number, one.rendered) == (number, 2)
        assert len(one.detected["scores"]) == len(one.parameters) + 1
        # The neutral face comes first: MediaPipe sees no open jaw in it.
        assert one.detected["scores"][0][25] < 0.1
    assert not np.array_equal(samples[0].detected["scores"], samples[1].detected["scores"])  # type: ignore[union-attr]


def test_a_damaged_subject_is_rendered_again_and_others_stay(rendered: SubjectRenderer) -> None:
    before = {number: rendered.path(number).read_bytes() for number in range(3)}
    times = {number: rendered.path(number).stat().st_mtime_ns for number in range(3)}
    rendered.path(1).write_bytes(before[1][: len(before[1]) // 2])
    reported: list[int] = []
    render_subjects(rendered, range(3), workers=1, on_subject=lambda: reported.append(1))
    assert len(reported) == 3
    assert {number: rendered.path(number).read_bytes() for number in range(3)} == before
    assert [rendered.path(number).stat().st_mtime_ns == times[number] for number in range(3)] == [True, False, True]


def test_a_killed_process_ends_with_a_sentence_and_keeps_the_other_subjects(
    rendered: SubjectRenderer, landmarker: Path, tmp_path: Path
) -> None:
    job = _job(landmarker, tmp_path)
    done = threading.Event()

    def kill() -> None:
        # The first process that has loaded MediaPipe is killed, as by a machine that is out of memory.
        while not done.wait(0.1):
            for child in psutil.Process().children(recursive=True):
                if child.memory_info().rss > 250 << 20:
                    os.kill(child.pid, signal.SIGKILL)
                    return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(WorkerError, match=r"subject \d was killed, .*; the subjects rendered so far are kept"):
            render_subjects(job, range(3), workers=2)
    finally:
        done.set()
        killer.join()
    kept = [number for number in range(3) if load_samples(job.path(number)) is not None]
    assert len(kept) == 2
    # The same bytes with one process and with two, and the lost subject is all that is rendered afterwards.
    render_subjects(job, range(3), workers=1)
    for number in range(3):
        assert job.path(number).read_bytes() == rendered.path(number).read_bytes()
