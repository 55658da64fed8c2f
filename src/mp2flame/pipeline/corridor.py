"""The one corridor: it wires rooms together, owns the threads, and counts what is lost on the way.

The source is read (and faces are detected) in a thread of its own; mapping, filters and head run in the caller's
thread, where all state lives; a sink is written in a thread of its own, or, if it never waits, as soon as it can be.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from itertools import chain, count
from typing import Literal

from threadpoolctl import threadpool_limits

from mp2flame.data import Frame, Observation, concatenate
from mp2flame.errors import Mp2FlameError, SinkError
from mp2flame.filters.base import Filter
from mp2flame.head import FlameHead
from mp2flame.mapping import check_compatible
from mp2flame.mapping.base import BlendshapeMapping
from mp2flame.pipeline.batches import Arrived, in_batches
from mp2flame.pipeline.handover import quick_turns
from mp2flame.pipeline.lanes import Inbox, Lane, ShortLane, lane_for
from mp2flame.pipeline.report import Report
from mp2flame.pipeline.rest import split_rest
from mp2flame.pipeline.timing import Stopwatch
from mp2flame.sinks.base import Sink
from mp2flame.sources.base import Source

__all__ = ["Pipeline"]

_INBOX_FILE, _INBOX_LIVE, _BATCH = 8, 4, 8


class Pipeline:
    """A source, a mapping, filters, a head and sinks, ready to run.

    `mapping`, `filters` and `head` may be replaced while it runs, from any thread: the next frame uses the new ones.

    Args:
        source: where observations come from; closed by the caller.
        mapping: observations to parameters.
        head: what is posed for sinks that need vertices; None if none does.
        sinks: where frames go; closed by the run.
        filters: parameters along time, or None.
        rest: `"auto"` looks for a calm first second; an `Observation` is the person at rest; None leaves the mapping.
        allow_head_mismatch: do not check that the mapping was made for this head.
        on_frame: called in the caller's thread after each frame, for progress.

    Raises:
        HeadMismatchError: the mapping was made for another head.
    """

    def __init__(
        self,
        source: Source,
        mapping: BlendshapeMapping,
        head: FlameHead | None,
        sinks: Sequence[Sink] = (),
        *,
        filters: Filter | None = None,
        rest: Observation | Literal["auto"] | None = None,
        allow_head_mismatch: bool = False,
        on_frame: Callable[[Frame], None] | None = None,
    ) -> None:
        if head is not None:
            check_compatible(mapping, head, allow_mismatch=allow_head_mismatch)
        self.source = source
        self.mapping = mapping if not isinstance(rest, Observation) else mapping.for_person(rest)
        self.filters = filters
        self.head = head
        self.stopwatch = Stopwatch()
        self._look_for_rest = rest == "auto"
        self._on_frame = on_frame
        self._stopping = threading.Event()
        self._lanes: list[Lane | ShortLane] = []
        self._lanes_lock = threading.Lock()
        self._sinks = list(sinks)
        self._inbox: Inbox[Arrived] = Inbox(_INBOX_LIVE if source.live else _INBOX_FILE, wait=not source.live)
        self._read_error: Exception | None = None
        self._warnings: list[str] = []
        self._frames = self._without_face = 0

    @property
    def dropped(self) -> dict[str, int]:
        """Frames lost so far by place: `source` (live only), and each open sink by its name."""
        return self._dropped(self._open_lanes())

    def _open_lanes(self) -> list[Lane | ShortLane]:
        with self._lanes_lock:
            return list(self._lanes)

    def _dropped(self, lanes: Sequence[Lane | ShortLane]) -> dict[str, int]:
        dropped = {"source": self._inbox.dropped} if self.source.live else {}
        return dropped | {lane.name: lane.dropped for lane in lanes}

    def stop(self) -> None:
        """End the run after the frame in hand; may be called from any thread."""
        self._stopping.set()
        self._inbox.end()

    def add_sink(self, sink: Sink) -> None:
        """Begin to feed a sink while running."""
        with self._lanes_lock:
            name = _unused(sink.name or type(sink).__name__, {lane.name for lane in self._lanes})
            self._lanes.append(lane_for(sink, name, live=self.source.live, stopwatch=self.stopwatch))
        self._ask_for_pictures()

    def remove_sink(self, sink: Sink) -> None:
        """Stop feeding a sink, write what waits and close it.

        Raises:
            SinkError: what it holds could not be completed.
        """
        with self._lanes_lock:
            lanes = [lane for lane in self._lanes if lane.sink is sink]
            self._lanes = [lane for lane in self._lanes if lane.sink is not sink]
        self._ask_for_pictures()
        for lane in lanes:
            lane.finish()
            if lane.error is not None:
                raise lane.error

    def run(self) -> Report:
        """Take every frame down the corridor; returns when the source ends, `stop` is called or Ctrl-C is pressed.

        Raises:
            SourceError: the source broke off; what was read before is in the sinks, which are closed.
            SinkError: a file sink failed; the others are closed with everything read so far.
        """
        started = time.perf_counter()
        for sink in self._sinks:
            self.add_sink(sink)
        self._ask_for_pictures()
        reader = threading.Thread(target=self._read, name="mp2flame-source", daemon=True)
        reader.start()
        rest_taken = interrupted = False
        try:
            items: Iterable[Arrived] = self._inbox
            # Beside a detector that uses every core, threads of matrix products wait for each other.
            with threadpool_limits(limits=1, user_api="blas"), quick_turns() if self.source.live else nullcontext():
                if self._look_for_rest:
                    rest_taken, items = self._take_rest()
                self._walk(items)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._stopping.set()
            self._inbox.end(discard=True)
            lanes = self._finish(reader)
        self._raise_first_error(lanes)
        return Report(
            frames=self._frames,
            frames_without_face=self._without_face,
            seconds=time.perf_counter() - started,
            dropped=self._dropped(lanes),
            rooms=self.stopwatch.summary(),
            rest_taken=rest_taken,
            interrupted=interrupted,
            warnings=(*self.source.warnings, *self._warnings),
        )

    def _read(self) -> None:
        observations: Iterator[Observation] = iter(())
        try:
            observations = iter(self.source)
            while not self._stopping.is_set():
                started = time.perf_counter()
                try:
                    observation = next(observations)
                except StopIteration:
                    break
                arrival = time.perf_counter()
                self.stopwatch.add("source", arrival - started)
                if not self._inbox.put((arrival, observation)):
                    break
        except Exception as error:  # noqa: BLE001 - kept and raised in the caller's thread
            self._read_error = error
        finally:
            self._inbox.end()
            # Left to whoever closes the source it might still run then, and would never end.
            if isinstance(observations, Generator):
                observations.close()

    def _take_rest(self) -> tuple[bool, Iterable[Arrived]]:
        rest, items = split_rest(self._inbox)
        if rest is None:
            self._warnings.append(
                "the first second is not a calm face, so an average person's rest was used; "
                "give the person's own with --rest FILE (a picture, video or recording of the face at rest)"
            )
            return False, items
        self.mapping = self.mapping.for_person(rest)
        return True, items

    def _walk(self, items: Iterable[Arrived]) -> None:
        # A live frame goes at once; a file's frames may wait for each other.
        for batch in in_batches(items, 1 if self.source.live else _BATCH):
            for frame in self._step(batch):
                self._hand_over(frame)
                if self._stopping.is_set():
                    return

    def _hand_over(self, frame: Frame) -> None:
        self._frames += 1
        self._without_face += not frame.observation.found[0]
        for lane in self._open_lanes():
            if lane.error is not None:
                self._drop_failed(lane)
            elif not _goes_early(lane.sink):
                lane.put(frame)
        if self._on_frame is not None:
            self._on_frame(frame)

    def _step(self, batch: list[Arrived]) -> Iterator[Frame]:
        """The frames of a batch through mapping, filters and head; together, or one by one if that fails for one."""
        t0 = time.perf_counter()
        try:
            params = self.mapping(batch[0][1] if len(batch) == 1 else concatenate(seen for _, seen in batch))
        except Exception:
            if len(batch) == 1:
                raise
            for alone in batch:
                yield from self._step([alone])
            return
        t1 = time.perf_counter()
        filters = self.filters
        if filters is not None:
            params = filters(params)
        t2 = time.perf_counter()
        rows = [params] if len(batch) == 1 else [params[row] for row in range(len(batch))]
        lanes = self._open_lanes()
        early = [lane for lane in lanes if _goes_early(lane.sink)]
        for (arrival, seen), one in zip(batch, rows, strict=True):
            for lane in early:
                lane.put(Frame(seen, one, None, arrival))
        t3 = time.perf_counter()
        vertices = None
        if self.head is not None and any(lane.sink.needs_vertices for lane in lanes):
            vertices = self.head(params)
        t4 = time.perf_counter()
        for row, ((arrival, seen), one) in enumerate(zip(batch, rows, strict=True)):
            for room, seconds in (("mapping", t1 - t0), ("filters", t2 - t1), ("head", t4 - t3)):
                self.stopwatch.add(room, seconds / len(batch))
            yield Frame(seen, one, None if vertices is None else vertices[row], arrival)

    def _drop_failed(self, lane: Lane | ShortLane) -> None:
        """A network sink that fell out is remarked on; a file sink that failed ends the run."""
        if lane.sink.policy == "every":
            self._stopping.set()
            return
        self._warnings.append(f"{lane.name} fell out: {lane.error}")
        with self._lanes_lock:
            self._lanes.remove(lane)

    def _ask_for_pictures(self) -> None:
        with self._lanes_lock:
            self.source.keep_image = any(lane.sink.needs_image for lane in self._lanes)

    def _finish(self, reader: threading.Thread) -> list[Lane | ShortLane]:
        with self._lanes_lock:
            lanes, self._lanes = self._lanes, []
        for lane in lanes:
            lane.finish()
        reader.join(timeout=1.0)
        if reader.is_alive():
            # Still waiting for a frame: letting go of the device wakes it.
            with suppress(Mp2FlameError):
                self.source.close()
            reader.join(timeout=5.0)
        return lanes

    def _raise_first_error(self, lanes: Sequence[Lane | ShortLane]) -> None:
        for lane in lanes:
            if lane.error is None:
                continue
            if lane.sink.policy == "latest":
                self._warnings.append(f"{lane.name} fell out: {lane.error}")
            elif isinstance(lane.error, Mp2FlameError):
                raise lane.error
            else:
                raise SinkError(f"{lane.name} failed after {lane.written} frames: {lane.error}") from (lane.error)
        if self._read_error is not None:
            raise self._read_error


def _unused(name: str, used: set[str]) -> str:
    """The name itself, or with a number behind it where two sinks have the same target."""
    candidates = chain([name], (f"{name} ({number})" for number in count(2)))
    return next(candidate for candidate in candidates if candidate not in used)


def _goes_early(sink: Sink) -> bool:
    """Whether a sink is written before the head is posed, which it does not wait for."""
    return sink.instant and not sink.needs_vertices
