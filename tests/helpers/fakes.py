"""Small sources, mappings and sinks that show what the pipeline does with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Frame, Observation
from mp2flame.errors import SinkError, SourceError
from mp2flame.head import FlameHead
from mp2flame.mapping.base import BlendshapeMapping, MappingInfo
from mp2flame.mapping.person import Person, neutral_of
from mp2flame.pipeline import Report, drive
from mp2flame.sinks.base import Sink
from mp2flame.sources.base import Source


def observation(
    index: int, *, found: bool = True, fps: float = 30.0, scores: NDArray[np.float32] | None = None
) -> Observation:
    """Frame `index`, whose scores say so: `_neutral` holds index / 1000."""
    values = np.zeros((1, 52), dtype=np.float32) if scores is None else scores.reshape(1, 52).copy()
    values[0, 0] = index / 1000
    return Observation(time=np.array([index / fps]), found=np.array([found]), scores=values)


class ListSource(Source):
    """Observations from memory; optionally breaks off with an error, or is paced as a live device."""

    def __init__(self, frames: list[Observation], *, error: Exception | None = None) -> None:
        self.frames = frames
        self.error = error
        self.closed = False
        self.yielded = 0

    @property
    def n_frames(self) -> int | None:
        return len(self.frames)

    def __iter__(self) -> Iterator[Observation]:
        for frame in self.frames:
            self.yielded += 1
            yield frame
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed = True


class LiveSource(ListSource):
    """A device that delivers a frame every `interval` seconds, whether it is taken or not; endless if asked."""

    live = True

    def __init__(self, frames: list[Observation], *, interval: float = 0.0, endless: bool = False) -> None:
        super().__init__(frames)
        self.interval = interval
        self.endless = endless
        self._gone = threading.Event()

    def __iter__(self) -> Iterator[Observation]:
        index = 0
        while not self._gone.is_set() and (self.endless or index < len(self.frames)):
            self._gone.wait(self.interval)
            self.yielded += 1
            frame = self.frames[index % len(self.frames)]
            yield replace(frame, time=np.array([index / 30.0]))
            index += 1

    def close(self) -> None:
        super().close()
        self._gone.set()


class HangingSource(ListSource):
    """A camera that delivers its frames and then never answers, until it is closed."""

    live = True

    def __init__(self, frames: list[Observation]) -> None:
        super().__init__(frames)
        self._gone = threading.Event()

    def __iter__(self) -> Iterator[Observation]:
        yield from super().__iter__()
        self._gone.wait(30.0)

    def close(self) -> None:
        super().close()
        self._gone.set()


class FirstScores(BlendshapeMapping):
    """Expression = the first five scores, minus those of the neutral face."""

    def __init__(self, neutral: NDArray[np.float32] | None = None) -> None:
        self.neutral = np.zeros(52, dtype=np.float32) if neutral is None else neutral

    @property
    def info(self) -> MappingInfo:
        return MappingInfo(n_expression=5)

    def __call__(self, observation: Observation) -> FlameParams:
        expression = (observation.scores - self.neutral)[:, :5]
        return FlameParams(time=observation.time, found=observation.found, expression=expression)

    def for_person(self, person: Person | Observation) -> FirstScores:
        neutral = neutral_of(person)
        return FirstScores(np.median(neutral.scores[neutral.found], axis=0))


class ListSink(Sink):
    """Keeps what it is given; slow, or failing at a frame, on request."""

    def __init__(self, *, seconds: float = 0.0, fail_at: int | None = None, error: Exception | None = None) -> None:
        self.seconds = seconds
        self.fail_at = fail_at
        self.error = error or SinkError("the disk is full")
        self.frames: list[tuple[Observation, FlameParams, NDArray[np.float32] | None]] = []
        self.closed = 0
        self.aborted = 0
        self.threads: set[int] = set()

    def write(self, frame: Frame) -> None:
        self.threads.add(threading.get_ident())
        if len(self.frames) == self.fail_at:
            raise self.error
        time.sleep(self.seconds)
        self.frames.append((frame.observation, frame.params, frame.vertices))

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed += 1

    def abort(self) -> None:
        self.aborted += 1


class LatestSink(ListSink):
    """The same, but only the newest frame matters."""

    policy: Literal["every", "latest"] = "latest"


class MeshSink(ListSink):
    """The same, and it wants vertices and pictures."""

    needs_vertices: bool = True
    needs_image: bool = True


BROKEN_OFF = SourceError("the camera was unplugged")


def run(
    source: Source, mapping: BlendshapeMapping, head: FlameHead | None, sinks: Sequence[Sink], **options: Any
) -> Report:
    """`drive` without filters and without a search for the neutral face, unless asked for."""
    return drive(source, mapping=mapping, head=head, sinks=sinks, **{"filters": None, "neutral": None, **options})
