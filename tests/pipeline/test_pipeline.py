"""The pipeline: no frame lost that may not be lost, everything closed that was opened."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.errors import HeadMismatchError, SinkError, SourceError
from mp2flame.head import load_head
from mp2flame.pipeline import Pipeline
from tests.helpers.fakes import (
    BROKEN_OFF,
    FirstScores,
    HangingSource,
    LatestSink,
    ListSink,
    ListSource,
    LiveSource,
    MeshSink,
    observation,
    run,
)
from tests.helpers.live import wait_for


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in threading.enumerate() if thread not in before]
    assert left == []


def _indices(sink: ListSink) -> list[int]:
    return [round(float(seen.scores[0, 0]) * 1000) for seen, _, _ in sink.frames]


def test_a_file_loses_no_frame_even_into_a_slow_sink() -> None:
    slow, quick = ListSink(seconds=0.002), ListSink()
    report = run(ListSource([observation(i) for i in range(100)]), FirstScores(), None, [slow, quick])
    assert _indices(slow) == _indices(quick) == list(range(100))
    assert report.frames == 100
    assert set(report.dropped.values()) == {0}
    assert slow.closed == quick.closed == 1
    assert slow.aborted == 0


def test_each_sink_lives_in_one_thread_that_is_not_the_callers() -> None:
    sinks = [ListSink(), ListSink()]
    run(ListSource([observation(i) for i in range(5)]), FirstScores(), None, sinks)
    threads = [sink.threads for sink in sinks]
    assert all(len(ids) == 1 for ids in threads)
    assert threads[0] != threads[1]
    assert threading.get_ident() not in threads[0] | threads[1]


def test_a_slow_viewer_sees_the_newest_and_does_not_delay_the_others() -> None:
    viewer, file = LatestSink(seconds=0.05), ListSink()
    report = run(ListSource([observation(i) for i in range(200)]), FirstScores(), None, [viewer, file])
    assert _indices(file) == list(range(200))
    seen = _indices(viewer)
    assert seen == sorted(seen)
    assert seen[-1] == 199
    assert report.dropped["LatestSink"] == 200 - len(seen) > 0


def test_a_live_source_is_not_held_up_and_its_drops_are_counted() -> None:
    sink = ListSink(seconds=0.01)
    source = LiveSource([observation(i) for i in range(400)], interval=0.001)
    report = run(source, FirstScores(), None, [sink])
    assert source.yielded == 400
    assert report.dropped["source"] + report.dropped["ListSink"] + len(sink.frames) == 400
    assert report.dropped["ListSink"] > 0


def test_frames_without_a_face_are_counted_and_passed_on() -> None:
    sink = ListSink()
    report = run(ListSource([observation(i, found=i % 3 > 0) for i in range(9)]), FirstScores(), None, [sink])
    assert report.frames_without_face == 3
    assert [bool(params.found[0]) for _, params, _ in sink.frames] == [i % 3 > 0 for i in range(9)]


def test_what_was_read_before_a_source_broke_off_is_kept() -> None:
    sink = ListSink()
    with pytest.raises(SourceError, match="unplugged"):
        run(ListSource([observation(i) for i in range(20)], error=BROKEN_OFF), FirstScores(), None, [sink])
    assert _indices(sink) == list(range(20))
    assert (sink.closed, sink.aborted) == (1, 0)


def test_a_failing_file_sink_ends_the_run_and_the_others_are_closed() -> None:
    bad, good = ListSink(fail_at=10), ListSink()
    source = ListSource([observation(i) for i in range(5000)])
    with pytest.raises(SinkError, match="disk is full"):
        run(source, FirstScores(), None, [bad, good])
    assert (bad.closed, bad.aborted) == (0, 1)
    assert (good.closed, good.aborted) == (1, 0)
    assert _indices(good) == list(range(len(good.frames)))
    assert source.yielded < 5000


def test_an_unexpected_error_of_a_sink_becomes_a_sink_error_with_its_cause() -> None:
    bad = ListSink(fail_at=3, error=RuntimeError("codec gone"))
    with pytest.raises(SinkError, match=r"ListSink failed after 3 frames: codec gone") as caught:
        run(ListSource([observation(i) for i in range(9)]), FirstScores(), None, [bad])
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_viewer_that_fails_gives_a_warning_and_the_run_goes_on() -> None:
    viewer, file = LatestSink(fail_at=0), ListSink(seconds=0.001)
    report = run(ListSource([observation(i) for i in range(60)]), FirstScores(), None, [viewer, file])
    assert _indices(file) == list(range(60))
    assert any("the output LatestSink stopped: the disk is full" in warning for warning in report.warnings)


def test_a_mapping_that_fails_closes_the_sinks_and_raises() -> None:
    class Bad(FirstScores):
        def __call__(self, observation):  # type: ignore[no-untyped-def]
            if observation.time.max() > 0.1:
                raise ValueError("boom")
            return super().__call__(observation)

    sink = ListSink()
    with pytest.raises(ValueError, match="boom"):
        run(ListSource([observation(i) for i in range(50)]), Bad(), None, [sink])
    assert sink.closed == 1
    assert len(sink.frames) == 4


def test_stop_ends_a_live_run_and_keeps_what_was_taken() -> None:
    sink = ListSink()
    source = LiveSource([observation(0)], interval=0.002, endless=True)

    def stop_soon(_: object) -> None:
        if len(sink.frames) > 5:
            pipeline.stop()

    pipeline = Pipeline(source, FirstScores(), None, [sink], on_frame=stop_soon)
    report = pipeline.run()
    assert report.frames >= len(sink.frames) > 5
    assert sink.closed == 1


def test_stop_wakes_a_camera_that_no_longer_answers() -> None:
    sink = ListSink()
    source = HangingSource([observation(i) for i in range(3)])
    pipeline = Pipeline(source, FirstScores(), None, [sink])

    def stop_once_taken() -> None:
        wait_for(lambda: len(sink.frames) == 3)
        pipeline.stop()

    stopper = threading.Thread(target=stop_once_taken, daemon=True)
    stopper.start()
    pipeline.run()
    stopper.join()
    assert source.closed
    assert _indices(sink) == [0, 1, 2]


@pytest.mark.usefixtures("listens_to_ctrl_c")
def test_ctrl_c_closes_everything_and_says_so() -> None:
    sink = ListSink()
    source = LiveSource([observation(0)], interval=0.002, endless=True)

    def interrupt(_: object) -> None:
        if len(sink.frames) > 3:
            signal.raise_signal(signal.SIGINT)

    report = run(source, FirstScores(), None, [sink], on_frame=interrupt)
    assert report.interrupted
    assert (sink.closed, sink.aborted) == (1, 0)


def test_sinks_come_and_go_while_it_runs() -> None:
    first, late = ListSink(), ListSink()
    source = LiveSource([observation(i) for i in range(300)], interval=0.001)
    count = 0

    def change(_: object) -> None:
        nonlocal count
        count += 1
        if count == 50:
            pipeline.add_sink(late)
        if count == 100:
            pipeline.remove_sink(late)

    pipeline = Pipeline(source, FirstScores(), None, [first], on_frame=change)
    pipeline.run()
    assert len(late.frames) == 50
    assert late.closed == first.closed == 1


def test_images_and_vertices_are_asked_for_only_if_a_sink_needs_them() -> None:
    asked: list[bool] = []

    class Watched(ListSource):
        def __iter__(self):  # type: ignore[no-untyped-def]
            asked.append(self.keep_image)
            return super().__iter__()

    run(Watched([observation(0)]), FirstScores(), None, [ListSink()])
    run(Watched([observation(0)]), FirstScores(), None, [MeshSink()])
    assert asked == [False, True]


def test_a_refused_head_leaves_nothing_behind_in_the_sinks() -> None:
    sink = ListSink()
    with pytest.raises(HeadMismatchError, match="does not say which head"):
        run(ListSource([observation(0)]), FirstScores(), load_head("builtin"), [sink])
    assert (sink.closed, sink.aborted) == (0, 1)


def test_stages_are_timed() -> None:
    report = run(ListSource([observation(i) for i in range(30)]), FirstScores(), None, [ListSink()])
    assert {"source", "mapping", "filters", "head", "ListSink", "arrival to ListSink"} <= set(report.timings)
    assert all(0 <= stage.p50 <= stage.p95 for stage in report.timings.values())
    assert report.timings["mapping"].frames == 30


def _calm(i: int) -> NDArray[np.float32]:
    return np.full(52, 0.2 + 0.005 * (i % 3), dtype=np.float32)


def _wild(i: int) -> NDArray[np.float32]:
    scores = _calm(i)
    scores[MEDIAPIPE.index("mouthSmileLeft")] = 0.9 if i % 20 < 10 else 0.0
    return scores


def test_a_neutral_first_second_becomes_the_persons_neutral() -> None:
    sink = ListSink()
    frames = [observation(i, scores=_calm(i)) for i in range(60)]
    report = run(ListSource(frames), FirstScores(), None, [sink], neutral="auto")
    assert report.neutral_taken
    assert len(sink.frames) == 60
    assert abs(float(np.median([p.expression[0, 2] for _, p, _ in sink.frames]))) < 0.006


def test_a_moving_first_second_is_not_taken_as_neutral_and_gives_a_warning() -> None:
    sink = ListSink()
    frames = [observation(i, scores=_wild(i)) for i in range(60)]
    report = run(ListSource(frames), FirstScores(), None, [sink], neutral="auto")
    assert not report.neutral_taken
    assert any("--neutral" in warning for warning in report.warnings)
    assert len(sink.frames) == 60


def test_a_given_neutral_is_used_from_the_first_frame() -> None:
    sink = ListSink()
    neutral = observation(0, scores=_calm(0))
    run(ListSource([observation(0, scores=_calm(0))]), FirstScores(), None, [sink], neutral=neutral)
    np.testing.assert_allclose(sink.frames[0][1].expression[0, 1:], 0, atol=1e-6)


def test_sources_are_closed_by_their_with_block() -> None:
    with ListSource([]) as source:
        assert not source.closed
    assert source.closed
