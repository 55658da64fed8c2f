"""Every network sink keeps the same promises."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mp2flame.data import Frame, concatenate
from mp2flame.errors import InputError, SinkError
from mp2flame.sinks import Sink, open_sink
from tests.helpers.streams import face, free_port, nobody, nothing_left_behind, pose, surface

pytest.importorskip("pythonosc", reason="needs the stream extra")
pytest.importorskip("websockets", reason="needs the stream extra")

TARGETS = [
    "udp://127.0.0.1:{port}",
    "vmc://127.0.0.1:{port}",
    "vmc://127.0.0.1:{port}?case=pascal&bones=head,jaw,eyes",
    "livelink://127.0.0.1:{port}",
    "ws://127.0.0.1:0",
    "ws://127.0.0.1:0?format=json",
    "ws://127.0.0.1:0?vertices=1",
]


def _frame(index: int, *, vertices: bool = False) -> Frame:
    observation = face(index, index / 30)
    return Frame(observation, pose(index, observation), surface().neutral_vertices if vertices else None)


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param).format(port=free_port())


@pytest.fixture
def sink(target: str) -> Iterator[Sink]:
    with nothing_left_behind(), open_sink(target, head=surface()) as opened:
        yield opened


def test_it_shows_the_latest_frame_and_says_its_target(sink: Sink, target: str) -> None:
    assert (sink.policy, sink.instant, sink.needs_image) == ("latest", True, False)
    assert sink.needs_vertices == ("vertices=1" in target)
    assert sink.name.startswith(target.partition(":0")[0].partition("?")[0])


def test_frames_with_and_without_a_face_are_taken_without_a_receiver(sink: Sink) -> None:
    started = time.perf_counter()
    for index in range(30):
        sink.write(_frame(index, vertices=sink.needs_vertices))
        sink.write(Frame(*nobody(index / 30 + 0.01), surface().neutral_vertices if sink.needs_vertices else None))
    assert time.perf_counter() - started < 5.0, "writing never waits"


def test_several_frames_at_once_are_refused(sink: Sink) -> None:
    frames = [face(index, index / 30) for index in range(2)]
    several = Frame(concatenate(frames), concatenate(pose(index, frame) for index, frame in enumerate(frames)))
    with pytest.raises(InputError, match="a single frame"):
        sink.write(several)


def test_another_number_of_coefficients_is_taken(sink: Sink) -> None:
    observation = face(0)
    vertices = surface().neutral_vertices if sink.needs_vertices else None
    for n_expression in (50, 100, 10):
        sink.write(Frame(observation, pose(0, observation, n_expression), vertices))


def test_closing_twice_and_writing_afterwards(sink: Sink) -> None:
    sink.write(_frame(0, vertices=sink.needs_vertices))
    sink.close()
    sink.close()
    sink.abort()
    with pytest.raises(SinkError, match="closed"):
        sink.write(_frame(1, vertices=sink.needs_vertices))


@pytest.mark.parametrize("scheme", ["udp", "vmc", "livelink", "ws"])
@pytest.mark.parametrize("host", ["nobody.invalid", "x" * 70, "a..b"])
def test_a_host_that_does_not_exist_is_an_error_of_the_sink(scheme: str, host: str) -> None:
    with nothing_left_behind(), pytest.raises(SinkError, match=host[:20]):
        open_sink(f"{scheme}://{host}:9000", head=surface())


def test_a_source_without_head_pose_and_tongue_is_taken(sink: Sink) -> None:
    observation = face(0, head=False, tongue=None)
    sink.write(Frame(observation, pose(0, observation), surface().neutral_vertices if sink.needs_vertices else None))
