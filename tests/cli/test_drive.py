"""The command drive."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mp2flame import FlameParams, Frame, load_head, load_params, open_sink
from tests.cli.conftest import Run


def test_each_output_has_the_format_of_its_suffix(recording: Path, tmp_path: Path, run: Run) -> None:
    targets = [tmp_path / name for name in ("a.npz", "a.csv", "again.jsonl")]
    code, text = run("drive", recording, *(word for path in targets for word in ("-o", path)))
    assert code == 0, text
    assert "60 frames" in text
    assert "the person's neutral face was found" in text
    for path in targets:
        params = load_params(path)
        assert len(params) == 60
        assert np.abs(params.jaw_pose[:30, 0]).max() < 0.03
        assert params.jaw_pose[-1, 0] > 0.08


def test_the_neutral_may_be_a_file_or_none(recording: Path, tmp_path: Path, run: Run) -> None:
    for neutral in (recording, "none"):
        code, text = run("drive", recording, "--neutral", neutral, "-o", tmp_path / "out.npz")
        assert code == 0, text
        assert "the person's neutral face was found" not in text


def test_head_pose_goes_to_the_joint_that_is_named(recording: Path, tmp_path: Path, run: Run) -> None:
    from mp2flame.formats.recording import read_recording

    turned = tmp_path / "turned.jsonl"
    with open_sink(turned, head=load_head("builtin")) as sink:
        for observation, params in read_recording(recording):
            assert params is not None
            transform = np.eye(4, dtype=np.float32)
            transform[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
            sink.write(Frame(replace(observation, head_transform=transform[None]), params))
    found = {}
    for joint in ("global_orient", "neck_pose", "none"):
        code, text = run("drive", turned, "--head-pose", joint, "--no-smooth", "-o", tmp_path / "out.npz")
        assert code == 0, text
        params = load_params(tmp_path / "out.npz")
        found[joint] = (float(params.global_orient[5, 1]), float(params.neck_pose[5, 1]))
    np.testing.assert_allclose(found["global_orient"], (np.pi / 2, 0), atol=5e-3)
    np.testing.assert_allclose(found["neck_pose"], (0, np.pi / 2), atol=5e-3)
    assert found["none"] == (0, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{take}"], "at least one output"),
        (["{take}", "-o", "{dir}/a.npz", "-o", "{dir}/a.npz"], "more than once"),
        (["{take}", "-o", "{take}"], "is the input .*input.jsonl"),
        (["{take}", "-o", "{dir}/a.docx"], r"expected an output .npz.*got a.docx"),
        (["{take}", "-o", "{dir}/nowhere/a.npz"], "nowhere"),
        (["{dir}/absent.mp4", "-o", "{dir}/a.npz"], "absent.mp4"),
        (
            ["{take}", "--neutral", "{dir}/absent.jpg", "-o", "{dir}/a.npz"],
            "no neutral file .*expected auto, none, or an image, video, recording",
        ),
        (["{take}", "--head", "{dir}/absent.pkl", "-o", "{dir}/a.npz"], "absent.pkl"),
        (["{take}", "--mapping", "{dir}/absent", "-o", "{dir}/a.npz"], "expected a mapping"),
        (["{take}", "--identity", "{dir}/absent.npz", "-o", "{dir}/a.npz"], "absent.npz"),
    ],
)
def test_wrong_options_are_explained_and_nothing_is_written(
    words: list[str], message: str, recording: Path, tmp_path: Path, run: Run
) -> None:
    before = recording.read_bytes()
    code, text = run("drive", *(word.format(take=recording, dir=tmp_path) for word in words))
    assert code == 1
    assert re.search(message, text), text
    assert text.startswith("error:")
    assert list(tmp_path.iterdir()) == [recording]
    assert recording.read_bytes() == before


def test_a_foreign_head_is_refused_for_the_builtin_mapping(
    recording: Path, shared_data: Path, tmp_path: Path, run: Run
) -> None:
    head = shared_data / "head" / "ict_head.npz"
    code, text = run("drive", recording, "--head", head, "-o", tmp_path / "a.npz")
    assert code == 1
    assert "--allow-head-mismatch" in text
    code, text = run("drive", recording, "--head", head, "--allow-head-mismatch", "-o", tmp_path / "a.npz")
    assert code == 0, text


def test_identity_comes_from_a_parameter_file(recording: Path, tmp_path: Path, run: Run) -> None:
    one = FlameParams.neutral(n_expression=50)
    replace(one, shape=np.full(10, 1.5, dtype=np.float32)).save(tmp_path / "who.npz")
    code, text = run("drive", recording, "--identity", tmp_path / "who.npz", "-o", tmp_path / "a.npz")
    assert code == 0, text
    one.save(tmp_path / "nobody.csv")
    code, text = run("drive", recording, "--identity", tmp_path / "nobody.csv", "-o", tmp_path / "a.npz")
    assert code == 1
    assert "no identity coefficients" in text


_NAMES = ["x" * 300, "~nobody/x", "", ".", "/dev/null", "a\nb", "a\0b", "[/x]"]


@pytest.mark.parametrize("option", ["--head", "--mapping", "--neutral", "--identity"])
@pytest.mark.parametrize("name", _NAMES)
def test_a_name_that_leads_to_no_file_is_refused_in_a_sentence(
    option: str, name: str, recording: Path, tmp_path: Path, run: Run
) -> None:
    code, text = run("drive", recording, option, name, "-o", tmp_path / "out.npz")
    assert code == 1
    assert text.startswith("error: ")
    assert list(tmp_path.iterdir()) == [recording]
