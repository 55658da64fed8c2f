"""The command line: what it writes, what it says, and its exit codes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mp2flame import FlameParams, Observation, demo_animation, downloads, load_head, load_params, open_sink
from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.cli import doctor, main
from mp2flame.data import Frame
from mp2flame.demo_animation import KeyPose
from mp2flame.errors import FetchError


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seconds: rest, then a jaw that opens."""
    head = load_head("builtin")
    path = tmp_path / "take.jsonl"
    with open_sink(path, head=head) as sink:
        for index in range(60):
            scores = np.full((1, 52), 0.05, dtype=np.float32)
            scores[0, MEDIAPIPE.index("jawOpen")] = 0.02 if index < 35 else 0.8
            seen = Observation(
                time=np.array([index / 30]),
                found=np.array([True]),
                scores=scores,
                head_transform=np.eye(4, dtype=np.float32)[None],
            )
            sink.write(Frame(seen, FlameParams.neutral(n_expression=head.n_expression, time=seen.time)))
    return path


def _run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """The exit code, and what was printed on both streams as one line of words."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, " ".join((captured.out + captured.err).split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = _run(capsys, "--version")
    assert code == 0
    assert re.fullmatch(r"mp2flame \d+\.\d+\.\d+", said)


@pytest.mark.parametrize("command", ["demo", "drive", "head", "fetch", "doctor"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert "usage: mp2flame" in capsys.readouterr().out


def test_drive_writes_what_the_suffixes_say(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = [tmp_path / name for name in ("a.npz", "a.csv", "again.jsonl")]
    code, said = _run(capsys, "drive", recording, *(word for path in targets for word in ("-o", path)))
    assert code == 0, said
    assert "60 frames" in said
    assert "own rest was taken" in said
    for path in targets:
        params = load_params(path)
        assert len(params) == 60
        assert np.abs(params.jaw_pose[:30, 0]).max() < 0.03
        assert params.jaw_pose[-1, 0] > 0.08


def test_rest_may_be_a_file_or_none(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rest in (recording, "none"):
        code, said = _run(capsys, "drive", recording, "--rest", rest, "-o", tmp_path / "out.npz")
        assert code == 0, said
        assert "own rest was taken" not in said


def test_head_pose_goes_where_it_is_told(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mp2flame.formats.recording import read_recording

    turned = tmp_path / "turned.jsonl"
    with open_sink(turned, head=load_head("builtin")) as sink:
        for seen, params in read_recording(recording):
            assert params is not None
            transform = np.eye(4, dtype=np.float32)
            transform[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
            sink.write(Frame(replace(seen, head_transform=transform[None]), params))
    found = {}
    for joint in ("global_orient", "neck_pose", "none"):
        code, said = _run(capsys, "drive", turned, "--head-pose", joint, "--no-smooth", "-o", tmp_path / "out.npz")
        assert code == 0, said
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
        (["{take}", "-o", "{take}"], "is the source itself"),
        (["{take}", "-o", "{dir}/a.docx"], r"expected an output .npz.*got a.docx"),
        (["{take}", "-o", "{dir}/nowhere/a.npz"], "nowhere"),
        (["{dir}/absent.mp4", "-o", "{dir}/a.npz"], "absent.mp4"),
        (
            ["{take}", "--rest", "{dir}/absent.jpg", "-o", "{dir}/a.npz"],
            "no rest file.*expected auto, none, or a picture",
        ),
        (["{take}", "--head", "{dir}/absent.pkl", "-o", "{dir}/a.npz"], "absent.pkl"),
        (["{take}", "--mapping", "{dir}/absent", "-o", "{dir}/a.npz"], "expected a mapping"),
        (["{take}", "--shape", "{dir}/absent.npz", "-o", "{dir}/a.npz"], "absent.npz"),
    ],
)
def test_bad_words_are_explained_and_write_nothing(
    words: list[str], message: str, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = recording.read_bytes()
    code, said = _run(capsys, "drive", *(word.format(take=recording, dir=tmp_path) for word in words))
    assert code == 1
    assert re.search(message, said), said
    assert said.startswith("error:")
    assert list(tmp_path.iterdir()) == [recording]
    assert recording.read_bytes() == before


def test_a_foreign_head_is_refused_for_the_builtin_mapping(
    recording: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = shared_data / "head" / "ict_head.npz"
    code, said = _run(capsys, "drive", recording, "--head", head, "-o", tmp_path / "a.npz")
    assert code == 1
    assert "--allow-head-mismatch" in said
    code, said = _run(capsys, "drive", recording, "--head", head, "--allow-head-mismatch", "-o", tmp_path / "a.npz")
    assert code == 0, said


def test_identity_comes_from_a_parameter_file(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = FlameParams.neutral(n_expression=50)
    replace(one, shape=np.full(10, 1.5, dtype=np.float32)).save(tmp_path / "who.npz")
    code, said = _run(capsys, "drive", recording, "--shape", tmp_path / "who.npz", "-o", tmp_path / "a.npz")
    assert code == 0, said
    one.save(tmp_path / "nobody.csv")
    code, said = _run(capsys, "drive", recording, "--shape", tmp_path / "nobody.csv", "-o", tmp_path / "a.npz")
    assert code == 1
    assert "no identity coefficients" in said


def test_head_info_tells_version_sizes_and_hash(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = _run(capsys, "head", "info")
    head = load_head("builtin")
    assert code == 0
    assert head.hash in said.replace(" ", "")
    assert str(head.n_vertices) in said
    assert "built-in" in said


def test_head_convert_keeps_the_hash(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = shared_data / "flame_pickles" / "flame_like_chumpy.pkl"
    code, said = _run(capsys, "head", "convert", source, "-o", tmp_path / "head.safetensors", "--version", "FLAME test")
    assert code == 0, said
    assert load_head(tmp_path / "head.safetensors").hash == load_head(source).hash
    assert load_head(tmp_path / "head.safetensors").version == "FLAME test"
    code, said = _run(capsys, "head", "convert", source, "-o", tmp_path / "head.pkl")
    assert code == 1
    assert "ends in .safetensors" in said


def test_published_mappings_need_an_accepted_licence(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = _run(capsys, "fetch", "mapping", "peizhiyan-2025-flame2020")
    assert code == 1
    assert "research and education only" in said
    assert "--accept-licence" in said


def test_doctor_says_what_is_missing_and_how_to_get_it(
    landmarker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MP2FLAME_LANDMARKER", str(landmarker))
    rows = {row.name: row for row in doctor.checks()}
    assert rows["off-screen rendering"].ok
    assert rows["face landmarker"].ok
    assert rows["built-in head and mapping"].ok
    monkeypatch.setattr(doctor, "_EXTRAS", (("track", "not_a_package", "not-a-package", "see faces"),))
    monkeypatch.setattr(doctor, "_RENDER", "raise SystemExit(3)")
    missing = {row.name: row for row in doctor.checks()}["not_a_package"]
    assert not missing.ok
    assert missing.remedy == 'needed to see faces: pip install "mp2flame[track]"'
    code, said = _run(capsys, "doctor")
    assert code == 1
    assert "missing not_a_package" in said


def test_doctor_names_the_system_package_for_a_missing_library() -> None:
    assert doctor.APT_LINE.startswith("apt-get install -y libegl1")
    row = doctor._extra("track", "mediapipe; raise ImportError('libEGL.so.1: cannot open')", "mediapipe", "see faces")
    assert not row.ok
    assert doctor.APT_LINE in row.remedy


def _shorten(monkeypatch: pytest.MonkeyPatch, script: Sequence[KeyPose]) -> None:
    whole = demo_animation.perform
    monkeypatch.setattr(demo_animation, "perform", lambda shapes: whole(shapes, script=script))


def test_demo_shows_a_driven_head_and_prints_its_error(
    landmarker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A smile, a blink, the jaw; then, at once, the eyes.
    first = [key for key in demo_animation.SCRIPT if key.time <= 3.5]
    gaze = [replace(key, time=key.time - 2.5) for key in demo_animation.SCRIPT if 6.1 < key.time <= 7.5]
    _shorten(monkeypatch, [*first, *gaze])
    code, said = _run(capsys, "demo", "--output", tmp_path, "--landmarker", landmarker)
    assert code == 0, said
    assert {path.name for path in tmp_path.iterdir()} == {"demo.mp4", "demo.gif"}
    figures = {
        name: int(share)
        for name, share in re.findall(r"(face|lips|lids|jaw opening|gaze) │ [\d.]+ ?(?:mm|°) │ (\d+)%", said)
    }
    assert set(figures) == {"face", "lips", "lids", "jaw opening", "gaze"}
    assert all(share < 100 for share in figures.values()), said
    assert "0 without a face" in said


def test_demo_without_network_feeds_the_script_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(*_: object) -> Path:
        raise FetchError("could not download face_landmarker.task: put it into the cache")

    monkeypatch.setattr(downloads, "landmarker_path", offline)
    _shorten(monkeypatch, [key for key in demo_animation.SCRIPT if key.time <= 2.6])
    code, said = _run(capsys, "demo", "--output", tmp_path)
    assert code == 0, said
    assert "the scripted scores are fed instead" in said
    assert "face_landmarker.task" in said
    assert (tmp_path / "demo.gif").stat().st_size > 10_000


def test_demo_into_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = _run(capsys, "demo", "--output", tmp_path / "nowhere")
    assert code == 1
    assert "make it first" in said
