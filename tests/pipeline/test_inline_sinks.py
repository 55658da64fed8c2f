"""Sinks that never wait are written on the way, before the head is posed, and end as cleanly as those with a thread."""

from __future__ import annotations

import gc
import sys
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Frame
from mp2flame.head import load_head
from mp2flame.pipeline import Pipeline, Report
from mp2flame.pipeline.timing import low_latency_interpreter
from tests.helpers.fakes import FirstScores, LatestSink, ListSink, ListSource, LiveSource, MeshSink, observation, run


class _Instant(LatestSink):
    instant: bool = True


class _InstantMesh(_Instant):
    needs_vertices: bool = True


class _Head:
    """A head that says when it is asked."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        head = load_head("builtin")
        self.hash, self.version, self.n_expression = head.hash, head.version, head.n_expression

    def __call__(self, params: FlameParams) -> NDArray[np.float32]:
        self.log.append("posed")
        return np.zeros((len(params), 4, 3), dtype=np.float32)


class _Logging(_Instant):
    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    def write(self, frame: Frame) -> None:
        self.log.append("sent")
        super().write(frame)


def test_it_is_written_before_the_head_is_posed_and_in_the_callers_thread() -> None:
    log: list[str] = []
    sink = _Logging(log)
    source = LiveSource([observation(i) for i in range(6)], interval=0.01)
    run(source, FirstScores(), _Head(log), [MeshSink(), sink], allow_head_mismatch=True)  # type: ignore[arg-type]
    assert log == ["sent", "posed"] * 6
    assert sink.threads == {threading.get_ident()}
    assert all(vertices is None for _, _, vertices in sink.frames)
    assert (sink.closed, sink.aborted) == (1, 0)


@pytest.mark.parametrize("kind", [_Instant, _InstantMesh])
def test_every_frame_of_a_file_comes_once_and_in_order(kind: type[ListSink]) -> None:
    sink, file = kind(), MeshSink()
    source = ListSource([observation(i) for i in range(21)])
    report = run(source, FirstScores(), _Head([]), [sink, file], allow_head_mismatch=True)  # type: ignore[arg-type]
    assert [round(float(seen.scores[0, 0]) * 1000) for seen, _, _ in sink.frames] == list(range(21))
    assert all((vertices is not None) == kind.needs_vertices for _, _, vertices in sink.frames)
    assert report.frames == len(file.frames) == 21
    assert report.dropped == {kind.__name__: 0, "MeshSink": 0}
    assert report.timings[f"arrival to {kind.__name__}"].frames == 21


def test_one_that_fails_is_dropped_and_the_others_go_on() -> None:
    broken, whole, file = _Instant(fail_at=3), _Instant(), ListSink()
    report = run(ListSource([observation(i) for i in range(20)]), FirstScores(), None, [broken, whole, file])
    assert len(broken.frames) == 3
    assert len(whole.frames) == len(file.frames) == 20
    assert (broken.closed, broken.aborted, whole.closed) == (0, 1, 1)
    assert any("_Instant stopped: the disk is full" in warning for warning in report.warnings)


def test_one_can_be_removed_while_it_is_written() -> None:
    source = LiveSource([observation(0)], interval=0.0005, endless=True)
    pipeline = Pipeline(source, FirstScores(), None, [ListSink()])
    reports: list[Report] = []
    running = threading.Thread(target=lambda: reports.append(pipeline.run()))
    running.start()
    for _ in range(50):
        sink = _Instant()
        pipeline.add_sink(sink)
        pipeline.remove_sink(sink)
        count = len(sink.frames)
        assert sink.closed == 1
        assert len(sink.frames) == count
    pipeline.stop()
    running.join(timeout=60)
    assert len(reports) == 1


def test_low_latency_ends_with_the_last_user() -> None:
    before, frozen = sys.getswitchinterval(), gc.get_freeze_count()
    with low_latency_interpreter():
        with low_latency_interpreter():
            assert sys.getswitchinterval() < before
        assert sys.getswitchinterval() < before
        assert gc.get_freeze_count() > frozen
    assert (sys.getswitchinterval(), gc.get_freeze_count()) == (before, frozen)
