"""The pipeline: it connects source, mapping, filters, head and sinks, owns the threads, and counts dropped frames.

The source is read (and faces are detected) in a thread of its own; mapping, filters and head run in the caller's
thread, where all state lives; a sink is written in a thread of its own, or, if it never blocks, in the caller's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count, groupby, islice, product
from typing import Final, Literal, TypeAlias

from threadpoolctl import threadpool_limits

from mp2flame.data import Frame, Observation, concatenate
from mp2flame.errors import FormatError, Mp2FlameError, SinkError, SourceError
from mp2flame.filters import Filter
from mp2flame.head import FlameHead
from mp2flame.mapping import BlendshapeMapping, Person, check_compatible
from mp2flame.mapping.neutral import NEUTRAL_SECONDS, find_neutral_frames
from mp2flame.pipeline.timing import StageTiming, Stopwatch, low_latency_interpreter
from mp2flame.pipeline.workers import BoundedQueue, InlineSink, SinkThread
from mp2flame.sinks import Sink
from mp2flame.sources import Source

TimedObservation: TypeAlias = tuple[float, Observation]
"""When a frame left the source (`time.perf_counter` seconds), and the frame."""

_QUEUE_FILE, _QUEUE_LIVE = 8, 4
_BATCH: Final = 8
"""Frames of a file that are mapped together: eight cost little more than one."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run did."""

    frames: int
    """Number of frames that went through the pipeline."""
    frames_without_face: int
    """Number of those in which no face was found."""
    seconds: float
    """Wall time from the first frame to the last sink closed."""
    dropped: dict[str, int]
    """Frames lost by place: `source` (live only), and each sink by its name."""
    timings: dict[str, StageTiming]
    """Time by stage, `source`, `mapping`, `filters`, `head` and each sink by its name."""
    neutral_taken: bool = False
    """Frames that clearly show the person's neutral face were found in the source and used."""
    interrupted: bool = False
    """Ended by Ctrl-C; everything up to then is kept."""
    warnings: tuple[str, ...] = ()
    """What a user should know, such as a truncated video or a network sink that failed."""

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


class Pipeline:
    """A source, a mapping, filters, a head and sinks, ready to run.

    `mapping`, `filters`, `head` and `on_frame` may be replaced while it runs, from any thread, from the next frame on.

    Args:
        source: where observations come from; closed by the caller.
        mapping: observations to parameters.
        head: what is posed for sinks that need vertices; None if none does.
        sinks: where frames go; closed by the run.
        filters: parameters along time, or None.
        neutral: a person or frames of the neutral face; `"auto"` takes the first second of the source where the face
            is neutral; None leaves the mapping as it is.
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
        neutral: Observation | Person | Literal["auto"] | None = None,
        allow_head_mismatch: bool = False,
        on_frame: Callable[[Frame], None] | None = None,
    ) -> None:
        if head is not None:
            check_compatible(mapping, head, allow_mismatch=allow_head_mismatch)
        self.source = source
        self.mapping = mapping.for_person(neutral) if isinstance(neutral, Observation | Person) else mapping
        self.filters = filters
        self.head = head
        self.stopwatch = Stopwatch()
        self._take_neutral = neutral == "auto"
        self.on_frame = on_frame
        self._stopping = threading.Event()
        self._workers: list[InlineSink] = []
        self._lock = threading.Lock()
        self._sinks = list(sinks)
        self._queue: BoundedQueue[TimedObservation] = BoundedQueue(
            _QUEUE_LIVE if source.live else _QUEUE_FILE, wait=not source.live
        )
        self._read_error: Exception | None = None
        self._warnings: list[str] = []
        self._interrupted = False
        self._frames = self._without_face = 0

    @property
    def dropped(self) -> dict[str, int]:
        """Frames lost so far by place: `source` (live only), and each open sink by its name."""
        return self._dropped(self._open_workers())

    def _dropped(self, workers: Sequence[InlineSink]) -> dict[str, int]:
        dropped = {"source": self._queue.dropped} if self.source.live else {}
        return dropped | {worker.name: worker.dropped for worker in workers}

    def stop(self) -> None:
        """End the run after the current frame; may be called from any thread."""
        self._stopping.set()
        self._queue.end()

    def add_sink(self, sink: Sink) -> None:
        """Begin to write a sink while running."""
        with self._lock:
            names = {worker.name for worker in self._workers}
            # Two sinks may have the same target.
            numbered = (f"{sink.name or type(sink).__name__}{f' ({n})' if n > 1 else ''}" for n in count(1))
            name = next(name for name in numbered if name not in names)
            self._workers.append(
                InlineSink(sink, name, self.stopwatch)
                if sink.instant
                else SinkThread(sink, name, self.stopwatch, live=self.source.live)
            )
            self._ask_for_images()

    def remove_sink(self, sink: Sink) -> None:
        """Stop writing a sink, write what waits and close it.

        Raises:
            SinkError: what it holds could not be completed.
        """
        for worker in self._remove(sink):
            worker.finish()
            if worker.error is not None:
                raise worker.error

    def _open_workers(self) -> list[InlineSink]:
        with self._lock:
            return list(self._workers)

    def _remove(self, sink: Sink) -> list[InlineSink]:
        """Take the workers of a sink out; empty where another thread was first."""
        with self._lock:
            removed = [worker for worker in self._workers if worker.sink is sink]
            self._workers = [worker for worker in self._workers if worker.sink is not sink]
            self._ask_for_images()
        return removed

    def _ask_for_images(self) -> None:
        self.source.keep_image = any(worker.sink.needs_image for worker in self._workers)

    def run(self) -> Report:
        """Process every frame; returns when the source ends, `stop` is called or Ctrl-C is pressed.

        Raises:
            SourceError, FormatError: the source failed, or ended before its first frame; what was read before is in
                the sinks, which are closed.
            SinkError: a file sink failed; the others are closed with everything read so far.
        """
        started = time.perf_counter()
        with self._lock:
            self._ask_for_images()
        for sink in self._sinks:
            self.add_sink(sink)
        reader = threading.Thread(target=self._read, name="mp2flame-source", daemon=True)
        neutral_taken = completed = False
        try:
            items: Iterable[TimedObservation] = self._queue
            # Beside a detector that uses every core, threads of matrix products wait for each other.
            with threadpool_limits(limits=1, user_api="blas"), low_latency_interpreter(enabled=self.source.live):
                reader.start()
                if self._take_neutral:
                    neutral_taken, items = self._use_neutral()
                self._process(items)
            completed = True
        except KeyboardInterrupt:
            self._interrupted = True
        finally:
            # Only a source that has ended by itself must have had a frame.
            failed = not completed or self._stopping.is_set() or self._read_error is not None
            self._stopping.set()
            self._queue.end(discard=True)
            with self._lock:
                workers, self._workers = self._workers, []
            try:
                self._finish(workers, reader, failed=failed)
            except KeyboardInterrupt:
                # Ctrl-C does not spoil an output that is just being completed; once more, it does.
                self._interrupted = True
                self._finish(workers, reader, failed=failed)
        self._raise_first_error(workers)
        return Report(
            frames=self._frames,
            frames_without_face=self._without_face,
            seconds=time.perf_counter() - started,
            dropped=self._dropped(workers),
            timings=self.stopwatch.summary(),
            neutral_taken=neutral_taken,
            interrupted=self._interrupted,
            warnings=(*self.source.warnings, *self._warnings),
        )

    def _read(self) -> None:
        observations: Iterator[Observation] = iter(())
        started = time.perf_counter()
        try:
            observations = iter(self.source)
            for observation in observations:
                arrival = time.perf_counter()
                self.stopwatch.add("source", arrival - started)
                if self._stopping.is_set() or not self._queue.put((arrival, observation)):
                    break
                started = time.perf_counter()
        except Exception as error:  # noqa: BLE001 - kept and raised in the caller's thread
            self._read_error = error
        finally:
            self._queue.end()
            # Left to the thread that closes the source, the generator might still run then, and would never end.
            if isinstance(observations, Generator):
                observations.close()

    def _use_neutral(self) -> tuple[bool, Iterable[TimedObservation]]:
        neutral, items = take_neutral_prefix(self._queue)
        if neutral is None:
            self._warnings.append(
                "the first second does not show a neutral face, so an average person's neutral was used; "
                "give the person's own with --neutral FILE (an image, video or recording of the neutral face)"
            )
            return False, items
        self.mapping = self.mapping.for_person(neutral)
        return True, items

    def _process(self, items: Iterable[TimedObservation]) -> None:
        # A live frame is processed at once; a file's frames may wait for each other.
        for batch in make_batches(items, 1 if self.source.live else _BATCH):
            for frame in self._step(batch):
                self._distribute(frame)
                if self._stopping.is_set():
                    return

    def _step(self, batch: list[TimedObservation]) -> Iterator[Frame]:
        """The frames of a batch through mapping, filters and head; together, or one by one if that fails for one."""
        n, filters, moments = len(batch), self.filters, [time.perf_counter()]
        try:
            params = self.mapping(batch[0][1] if n == 1 else concatenate(observation for _, observation in batch))
        except Exception:
            if n == 1:
                raise
            for single in batch:
                yield from self._step([single])
            return
        moments.append(time.perf_counter())
        if filters is not None:
            params = filters(params)
        moments.append(time.perf_counter())
        rows = [params] if n == 1 else params
        frames = [
            Frame(observation, row, None, arrival) for (arrival, observation), row in zip(batch, rows, strict=True)
        ]
        workers = self._open_workers()
        for frame, worker in product(frames, [worker for worker in workers if worker.early]):
            worker.put(frame)
        written = time.perf_counter()
        if self.head is not None and any(worker.sink.needs_vertices for worker in workers):
            frames = [replace(frame, vertices=row) for frame, row in zip(frames, self.head(params), strict=True)]
        moments.append(moments[-1] + time.perf_counter() - written)
        for frame in frames:
            for stage, start, end in zip(("mapping", "filters", "head"), moments, moments[1:], strict=False):
                self.stopwatch.add(stage, (end - start) / n)
            yield frame

    def _distribute(self, frame: Frame) -> None:
        self._frames += 1
        self._without_face += not frame.observation.found[0]
        for worker in self._open_workers():
            if worker.error is not None:
                self._drop_failed(worker)
            elif not worker.early:
                worker.put(frame)
        if self.on_frame is not None:
            self.on_frame(frame)

    def _drop_failed(self, worker: InlineSink) -> None:
        """A network sink that failed gives a warning; a file sink that failed ends the run."""
        if worker.sink.policy == "every":
            self._stopping.set()
        elif self._remove(worker.sink):
            self._warn(worker)

    def _warn(self, worker: InlineSink) -> None:
        self._warnings.append(f"the output {worker.name} stopped: {worker.error}")

    def _finish(self, workers: Sequence[InlineSink], reader: threading.Thread, *, failed: bool) -> None:
        for worker in workers:
            worker.finish(failed=failed)
        if reader.is_alive():
            reader.join(timeout=1.0)
        if reader.is_alive():
            # Still waiting for a frame: closing the device wakes it.
            with suppress(Mp2FlameError):
                self.source.close()
            reader.join(timeout=5.0)

    def _raise_first_error(self, workers: Sequence[InlineSink]) -> None:
        files = [worker for worker in workers if worker.sink.policy == "every"]
        for worker in workers:
            if worker.error is not None and worker not in files:
                self._warn(worker)
        failed = next((worker for worker in files if worker.error is not None), None)
        error = self._read_error or (None if failed is None else failed.error)
        if error is None:
            return
        if self._frames == 0 and failed is not None:
            raise SourceError("the source ended before its first frame, so nothing was written") from error
        complete = [worker.name for worker in files if worker.error is None and self._frames]
        incomplete = f"; incomplete, with the first frames only: {', '.join(complete)}" if complete else ""
        if failed is not None and not isinstance(error, Mp2FlameError):
            message = f"the output {failed.name} failed after {failed.written} frames: {error}{incomplete}"
            raise SinkError(message) from error
        if incomplete and type(error) in (SinkError, SourceError, FormatError):
            raise type(error)(f"{error}{incomplete}") from error
        raise error


def make_batches(items: Iterable[TimedObservation], size: int) -> Iterator[list[TimedObservation]]:
    """The items in lists of at most `size` that can be joined; waits until a list is full or the items end."""
    stream = iter(items)
    while taken := list(islice(stream, size)):
        for _, alike in groupby(taken, key=_joinable):
            yield list(alike)


def _joinable(item: TimedObservation) -> tuple[object, ...]:
    """What frames must share to be joined without changing what a mapping makes of them."""
    observation = item[1]
    size = None if observation.image_size is None else tuple(observation.image_size.tolist())
    optional = observation.landmarks, observation.head_transform, observation.tongue_out
    return bool(observation.found[0]), size, *(array is None for array in optional)


def take_neutral_prefix(
    items: Iterable[TimedObservation], *, seconds: float = NEUTRAL_SECONDS
) -> tuple[Observation | None, Iterator[TimedObservation]]:
    """The neutral first second of a stream, and the whole stream again with that second in front.

    Args:
        items: single frames in rising time.
        seconds: how much of the stream is examined, counted from the first frame with a face.

    Returns:
        The frames of that second in which the face is neutral, or None where it is not; and every item.
    """
    stream = iter(items)
    held: list[TimedObservation] = []
    begin: float | None = None
    for arrival, observation in stream:
        held.append((arrival, observation))
        now = float(observation.time[0])
        if begin is None and observation.found[0]:
            begin = now
        if begin is not None and now - begin >= seconds:
            break
        # A source that shows no face for long must not be held back until its end.
        if begin is None and now - float(held[0][1].time[0]) >= 10 * seconds:
            break
    faces = [observation for _, observation in held if observation.found[0]]
    rows = find_neutral_frames(concatenate(faces)) if faces else None
    neutral = None if rows is None else concatenate(faces[row] for row in rows)
    return neutral, chain(held, stream)
