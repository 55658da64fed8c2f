"""`drive` from names: what the command does, to the byte, and what is said and kept when something goes wrong."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mp2flame
from mp2flame.blendshapes import ARKIT, MEDIAPIPE, reorder
from mp2flame.cli import main
from mp2flame.data import Frame, Observation
from mp2flame.demo_animation import SCRIPT, sample_weights
from mp2flame.errors import FormatError, HeadMismatchError, InputError, SinkError, SourceError
from mp2flame.filters import default_filters
from mp2flame.formats import load_params
from mp2flame.formats.recording import RecordingSink
from mp2flame.pipeline import Pipeline
from tests.helpers.fakes import (
    BROKEN_OFF,
    FirstScores,
    HangingSource,
    LatestSink,
    ListSink,
    ListSource,
    LiveSource,
    observation,
    run,
)
from tests.helpers.live import wait_for


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the demo animation, neutral first, as a recording."""
    path = tmp_path_factory.mktemp("drive") / "take.jsonl"
    times = np.arange(60) / 30
    assert times[-1] < SCRIPT[-1].time
    scores = reorder(sample_weights(times)[0], ARKIT, MEDIAPIPE)
    sink = RecordingSink(path)
    for time, row in zip(times, scores, strict=True):
        seen = Observation(
            time=[time], found=[True], scores=row[None], head_transform=np.eye(4, dtype=np.float32)[None]
        )
        sink.append(seen)
    sink.close()
    return path


# --- the same as the command -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"neutral": "none"}, {"filters": None, "head_pose": "none"}])
def test_names_give_what_the_command_gives_to_the_byte(
    recording: Path, tmp_path: Path, options: dict[str, str]
) -> None:
    names = ("a.npz", "b.csv", "c.jsonl")
    command, call = tmp_path / "command", tmp_path / "call"
    command.mkdir()
    call.mkdir()
    words = {"neutral": ["--neutral", "none"], "filters": ["--no-smooth"], "head_pose": ["--head-pose", "none"]}
    outputs = [word for name in names for word in ("-o", str(command / name))]
    assert main(["drive", str(recording), *outputs, *(word for name in options for word in words[name])]) == 0
    report = mp2flame.drive(recording, [call / name for name in names], **options)  # type: ignore[arg-type]
    assert report.frames == 60
    for name in names:
        assert (call / name).read_bytes() == (command / name).read_bytes(), name


def test_objects_give_what_names_give(recording: Path, tmp_path: Path) -> None:
    named, made = tmp_path / "named.npz", tmp_path / "made.npz"
    mp2flame.drive(str(recording), str(named))
    head = mp2flame.load_head("builtin")
    with mp2flame.open_source(recording) as source:
        report = mp2flame.drive(
            source,
            mapping=mp2flame.load_mapping("builtin"),
            head=head,
            sinks=[mp2flame.open_sink(made, head=head)],
            filters=default_filters(),
        )
        assert next(iter(source)).time[0] == 0, "the caller's source is not closed"
    assert report.neutral_taken
    assert made.read_bytes() == named.read_bytes()


def test_an_identity_and_a_neutral_come_from_files(recording: Path, tmp_path: Path) -> None:
    mp2flame.drive(recording, tmp_path / "plain.npz", neutral="none")
    report = mp2flame.drive(recording, tmp_path / "own.npz", neutral=recording, identity=np.zeros(0))
    assert not report.neutral_taken
    plain, own = load_params(tmp_path / "plain.npz"), load_params(tmp_path / "own.npz")
    assert np.abs(plain.expression - own.expression).max() > 0.01
    with pytest.raises(InputError, match="holds no identity coefficients"):
        mp2flame.drive(recording, tmp_path / "x.npz", identity=tmp_path / "plain.npz")


def test_a_call_in_the_old_order_says_what_to_do(recording: Path) -> None:
    with mp2flame.open_source(recording) as source, pytest.raises(InputError, match="mapping, head, sinks by name"):
        mp2flame.drive(source, mp2flame.load_mapping("builtin"), None, [])  # type: ignore[arg-type]


def test_outputs_are_not_inputs(recording: Path) -> None:
    before = recording.read_bytes()
    with pytest.raises(InputError, match="is the input"):
        mp2flame.drive(recording, recording.parent / "." / recording.name)
    assert recording.read_bytes() == before


# --- two sinks of one kind -------------------------------------------------------------------------------------------


def test_two_sinks_of_one_class_have_their_own_figures() -> None:
    slow, quick = ListSink(seconds=0.01), ListSink()
    source = LiveSource([observation(i) for i in range(300)], interval=0.001)
    report = run(source, FirstScores(), None, [slow, quick])
    assert report.dropped["ListSink (2)"] == 0
    assert report.dropped["ListSink"] == 300 - report.dropped["source"] - len(slow.frames) > 0
    assert report.timings["ListSink"].p50 > report.timings["ListSink (2)"].p50


def test_drops_and_timings_are_named_by_targets(recording: Path, tmp_path: Path) -> None:
    targets = [str(tmp_path / name) for name in ("a.npz", "b.npz")]
    report = mp2flame.drive(recording, [*targets, "udp://127.0.0.1:9"])
    assert set(report.dropped) == {*targets, "udp://127.0.0.1:9"}
    assert {*targets, "mapping", "filters", "source"} <= set(report.timings)


def test_two_videos_in_one_run(recording: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="needs the extra track")
    pytest.importorskip("pyvista", reason="needs the extra render")
    outputs = [tmp_path / "a.mp4", tmp_path / "b.gif", tmp_path / "c.mp4"]
    short = tmp_path / "short.jsonl"
    short.write_bytes(b"".join(recording.read_bytes().splitlines(keepends=True)[:9]))
    mp2flame.drive(short, outputs)
    for path, count in zip(outputs, (8, 4, 8), strict=True):
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == count
    assert outputs[0].read_bytes() == outputs[2].read_bytes()


# --- when something fails --------------------------------------------------------------------------------------------

_KINDS = ("a.npz", "b.csv", "c.jsonl", "flame_param")


def _outputs(folder: Path) -> list[Path]:
    return [folder / name for name in _KINDS]


def test_the_error_of_the_source_comes_first_and_no_output_without_frames_is_mentioned(tmp_path: Path) -> None:
    keep = tmp_path / "c.jsonl"
    keep.write_text("an older recording")
    with pytest.raises(SourceError, match=r"^the camera was unplugged$"):
        mp2flame.drive(ListSource([], error=BROKEN_OFF), _outputs(tmp_path))
    assert list(tmp_path.iterdir()) == [keep]
    assert keep.read_text() == "an older recording"


def test_a_damaged_first_line_is_named(recording: Path, tmp_path: Path) -> None:
    header, first, *rest = recording.read_bytes().splitlines(keepends=True)
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b"".join([header, first[:-20] + b"\n", *rest]))
    with pytest.raises(FormatError, match=r"bad\.jsonl, line 2 is damaged"):
        mp2flame.drive(bad, tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == [bad]


def test_a_source_without_frames_is_an_error_of_the_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="ended before its first frame"):
        mp2flame.drive(ListSource([]), _outputs(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_breaks_off_names_the_outputs_that_hold_the_first_frames(tmp_path: Path) -> None:
    frames = [observation(i) for i in range(5)]
    with pytest.raises(SourceError, match=r"unplugged; incomplete, with the first frames only: .*a\.npz, .*b\.csv"):
        mp2flame.drive(ListSource(frames, error=BROKEN_OFF), _outputs(tmp_path), neutral=None)
    assert len(load_params(tmp_path / "a.npz")) == 5


def test_an_output_that_fails_names_those_that_hold_the_first_frames(tmp_path: Path) -> None:
    frames = [observation(i) for i in range(500)]
    with pytest.raises(SinkError, match=r"disk is full; incomplete, with the first frames only: .*a\.npz"):
        mp2flame.drive(ListSource(frames), tmp_path / "a.npz", sinks=[ListSink(fail_at=3)], neutral=None)
    assert 3 <= len(load_params(tmp_path / "a.npz")) < 500


@pytest.mark.usefixtures("listens_to_ctrl_c")
def test_ctrl_c_while_outputs_are_completed_spoils_none(tmp_path: Path) -> None:
    class Closing(ListSink):
        def close(self) -> None:
            signal.raise_signal(signal.SIGINT)
            ended.wait(0.5)
            super().close()

    ended = threading.Event()
    frames = [observation(i) for i in range(5)]
    sink = Closing()
    report = mp2flame.drive(ListSource(frames), tmp_path / "a.npz", sinks=[sink], neutral=None)
    assert (report.interrupted, report.frames, sink.closed) == (True, 5, 1)
    assert len(load_params(tmp_path / "a.npz")) == 5


@pytest.mark.usefixtures("listens_to_ctrl_c")
def test_ctrl_c_before_the_first_frame_leaves_nothing_and_is_no_error(tmp_path: Path) -> None:
    class Interrupted(HangingSource):
        def __iter__(self) -> Iterator[Observation]:
            signal.raise_signal(signal.SIGINT)
            yield from super().__iter__()

    keep = tmp_path / "c.jsonl"
    keep.write_text("an older recording")
    report = mp2flame.drive(Interrupted([]), _outputs(tmp_path), neutral=None)
    assert (report.interrupted, report.frames) == (True, 0)
    assert list(tmp_path.iterdir()) == [keep]


def test_stop_before_the_first_frame_leaves_nothing_and_is_no_error(tmp_path: Path) -> None:
    source = LiveSource([observation(0)], interval=5.0, endless=True)
    sink = mp2flame.open_sink(tmp_path / "a.npz", head=mp2flame.load_head("builtin"))
    pipeline = Pipeline(source, FirstScores(), None, [sink])
    stopper = threading.Timer(0.1, pipeline.stop)
    stopper.start()
    assert pipeline.run().frames == 0
    assert list(tmp_path.iterdir()) == []


def test_an_older_recording_survives_a_typing_error_in_the_next_output(recording: Path, tmp_path: Path) -> None:
    keep = tmp_path / "keep.jsonl"
    keep.write_bytes(recording.read_bytes())
    with pytest.raises(FileNotFoundError, match="nowhere"):
        mp2flame.drive(recording, [keep, tmp_path / "nowhere" / "x.npz"])
    assert keep.read_bytes() == recording.read_bytes()
    assert list(tmp_path.iterdir()) == [keep]


def test_a_head_that_is_refused_leaves_nothing_behind(recording: Path, tmp_path: Path) -> None:
    given = ListSink()
    with pytest.raises(HeadMismatchError, match="does not say which head"):
        mp2flame.drive(recording, _outputs(tmp_path), FirstScores(), sinks=[given])
    assert list(tmp_path.iterdir()) == []
    assert (given.closed, given.aborted) == (0, 1)


def test_a_failed_sink_that_another_thread_has_just_removed_does_not_end_the_run() -> None:
    class Failing(LatestSink):
        needs_image = True

    class Removing(LatestSink):
        """Is written in the pipeline's thread just before the failed sink is dropped there."""

        instant = True
        needs_vertices = True

        def write(self, frame: Frame) -> None:
            super().write(frame)
            if len(self.frames) == 2:
                wait_for(lambda: failing.aborted)
                with pytest.raises(SinkError, match="disk is full"):
                    pipeline.remove_sink(failing)

    failing, removing, file = Failing(fail_at=0), Removing(), ListSink()
    source = ListSource([observation(i) for i in range(40)])
    pipeline = Pipeline(source, FirstScores(), None, [file])

    def add(_: object) -> None:
        if len(pipeline.dropped) == 1:
            pipeline.add_sink(removing)
            pipeline.add_sink(failing)

    pipeline.on_frame = add
    assert pipeline.run().frames == 40
    assert len(file.frames) == 40
    assert removing.closed == 1
    assert not source.keep_image, "no sink needs images any more"


def test_a_failed_network_sink_no_longer_asks_for_images() -> None:
    class Failing(LatestSink):
        needs_image = True

    source = LiveSource([observation(i) for i in range(50)], interval=0.002)
    report = run(source, FirstScores(), None, [Failing(fail_at=0), ListSink()])
    assert report.warnings == ("the output Failing stopped: the disk is full",)
    assert not source.keep_image
