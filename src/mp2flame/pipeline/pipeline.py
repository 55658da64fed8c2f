"""The pipeline: it connects source, mapping, filters, head and sinks, owns the threads, and counts dropped frames.

The source is read (and faces are detected) in a thread of its own; mapping, filters and head run in the caller's
thread, where all state lives; a sink is written in a thread of its own, or, if it never blocks, in the caller's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count, groupby, islice
from pathlib import Path
from typing import Final, Literal

from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from mp2flame.data import Frame, Observation, concatenate
from mp2flame.errors import FormatError, InputError, Mp2FlameError, SinkError, SourceError
from mp2flame.files import check_outputs
from mp2flame.filters import Filter, default_filters
from mp2flame.formats import load_params
from mp2flame.head import FlameHead, load_head
from mp2flame.mapping import BlendshapeMapping, HeadPoseTarget, Person, check_compatible, load_mapping
from mp2flame.pipeline.neutral import TimedObservation, load_neutral, take_neutral_prefix
from mp2flame.pipeline.timing import StageTiming, Stopwatch, low_latency_interpreter
from mp2flame.pipeline.workers import BoundedQueue, InlineSink, make_worker
from mp2flame.sinks import Sink, open_sinks
from mp2flame.sources import Source, open_source

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
    """A person's neutral was found at the start of the source and used."""
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
        self._frames = self._without_face = 0

    @property
    def dropped(self) -> dict[str, int]:
        """Frames lost so far by place: `source` (live only), and each open sink by its name."""
        return self._dropped(self._open_workers())

    def _open_workers(self) -> list[InlineSink]:
        with self._lock:
            return list(self._workers)

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
            self._workers.append(make_worker(sink, name, self.stopwatch, live=self.source.live))
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

    def _remove(self, sink: Sink) -> list[InlineSink]:
        """Take the workers of a sink out, from whichever thread comes first."""
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
        for sink in self._sinks:
            self.add_sink(sink)
        with self._lock:
            self._ask_for_images()
        reader = threading.Thread(target=self._read, name="mp2flame-source", daemon=True)
        reader.start()
        neutral_taken = interrupted = completed = False
        workers: list[InlineSink] = []
        try:
            items: Iterable[TimedObservation] = self._queue
            # Beside a detector that uses every core, threads of matrix products wait for each other.
            with threadpool_limits(limits=1, user_api="blas"), low_latency_interpreter(enabled=self.source.live):
                if self._take_neutral:
                    neutral_taken, items = self._use_neutral()
                self._process(items)
            completed = True
        except KeyboardInterrupt:
            interrupted = True
        finally:
            # Only a source that has ended by itself must have had a frame.
            failed = not completed or self._stopping.is_set() or self._read_error is not None
            self._stopping.set()
            self._queue.end(discard=True)
            workers = self._finish(reader, failed=failed)
        self._raise_first_error(workers, interrupted=interrupted)
        return Report(
            frames=self._frames,
            frames_without_face=self._without_face,
            seconds=time.perf_counter() - started,
            dropped=self._dropped(workers),
            timings=self.stopwatch.summary(),
            neutral_taken=neutral_taken,
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
                if not self._queue.put((arrival, observation)):
                    break
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

    def _step(self, batch: list[TimedObservation]) -> Iterator[Frame]:
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
        rows = [params] if len(batch) == 1 else list(params)
        workers = self._open_workers()
        early = [worker for worker in workers if worker.early]
        for (arrival, seen), one in zip(batch, rows, strict=True):
            for worker in early:
                worker.put(Frame(seen, one, None, arrival))
        t3 = time.perf_counter()
        vertices = None
        if self.head is not None and any(worker.sink.needs_vertices for worker in workers):
            vertices = self.head(params)
        t4 = time.perf_counter()
        for row, ((arrival, seen), one) in enumerate(zip(batch, rows, strict=True)):
            for stage, seconds in (("mapping", t1 - t0), ("filters", t2 - t1), ("head", t4 - t3)):
                self.stopwatch.add(stage, seconds / len(batch))
            yield Frame(seen, one, None if vertices is None else vertices[row], arrival)

    def _drop_failed(self, worker: InlineSink) -> None:
        """A network sink that failed gives a warning; a file sink that failed ends the run."""
        if worker.sink.policy == "every":
            self._stopping.set()
        elif self._remove(worker.sink):
            self._warn(worker)

    def _warn(self, worker: InlineSink) -> None:
        self._warnings.append(f"the output {worker.name} stopped: {worker.error}")

    def _finish(self, reader: threading.Thread, *, failed: bool) -> list[InlineSink]:
        with self._lock:
            workers, self._workers = self._workers, []
        for worker in workers:
            worker.finish(failed=failed)
        reader.join(timeout=1.0)
        if reader.is_alive():
            # Still waiting for a frame: closing the device wakes it.
            with suppress(Mp2FlameError):
                self.source.close()
            reader.join(timeout=5.0)
        return workers

    def _raise_first_error(self, workers: Sequence[InlineSink], *, interrupted: bool) -> None:
        failed = [worker for worker in workers if worker.error is not None and worker.sink.policy == "every"]
        for worker in workers:
            if worker.error is not None and worker not in failed:
                self._warn(worker)
        error = self._read_error or next((worker.error for worker in failed), None)
        if error is None:
            return
        if self._read_error is None and self._frames == 0 and not interrupted:
            raise SourceError("the source ended before its first frame, so nothing was written") from error
        kept = [worker.name for worker in workers if worker.sink.policy == "every" and worker not in failed]
        incomplete = f"; incomplete, with the first frames only: {', '.join(kept)}" if kept and self._frames else ""
        if self._read_error is None and not isinstance(error, Mp2FlameError):
            raise SinkError(
                f"the output {failed[0].name} failed after {failed[0].written} frames: {error}{incomplete}"
            ) from error
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


def drive(
    source: str | Path | int | Source,
    outputs: str | Path | Iterable[str | Path] = (),
    mapping: str | Path | BlendshapeMapping = "builtin",
    head: str | Path | FlameHead | None = "builtin",
    sinks: Sequence[Sink] = (),
    *,
    filters: Filter | Literal["default"] | None = "default",
    neutral: str | Path | Person | Observation | None = "auto",
    head_pose: HeadPoseTarget = "global_orient",
    identity: str | Path | ArrayLike | None = None,
    landmarker: str | Path | None = None,
    mirror: bool = False,
    fps: float | None = None,
    order: str | None = None,
    allow_head_mismatch: bool = False,
    on_frame: Callable[[Frame], None] | None = None,
) -> Report:
    """Drive a head from a source into outputs, until the source ends; what the command `mp2flame drive` does.

        mp2flame.drive("me.mp4", "out.mp4")
        mp2flame.drive(0, ["take.jsonl", "vmc://localhost:39539"], head="mine.pkl", mapping="mine.safetensors")

    Args:
        source: what `open_source` takes, or an open source, which the caller closes.
        outputs: files and addresses, as `open_sink` takes them.
        mapping: what `load_mapping` takes, or a mapping, which is used as it is.
        head: what `load_head` takes, or a head; None where nothing needs its vertices.
        sinks: open sinks besides the outputs; they are closed in every case.
        filters: parameters along time; `"default"` for `default_filters()`, None for none.
        neutral: the person's neutral face: `"auto"` for the first second of the source if it is neutral, `"none"` or
            None for an average person's, an image, video, recording or person file, frames of it, or a person.
        head_pose: the joint that takes the head's rotation, of a mapping that is given by name.
        identity: identity coefficients of the head, or a parameter file that holds them.
        landmarker: MediaPipe's face_landmarker.task; by default it is found or downloaded.
        mirror: the camera's image is mirrored.
        fps: frames per second of a folder of images.
        order: the order of blendshapes in files that do not name them.
        allow_head_mismatch: use the mapping although it was made for another head.
        on_frame: called after each frame, for progress.

    Raises:
        InputError: an output is an input, or another output, or no format has its suffix.
        HeadMismatchError: the mapping was made for another head.
        SourceError, FormatError, SinkError: as `Pipeline.run` does.
    """
    if isinstance(outputs, BlendshapeMapping):
        raise InputError(
            "expected file names or addresses as outputs; got a mapping: give mapping, head, sinks by name"
        )
    outputs = [outputs] if isinstance(outputs, str | Path) else list(outputs)
    with ExitStack() as stack:
        undo = stack.enter_context(ExitStack())
        for sink in sinks:
            undo.callback(sink.abort)
        named = [item for item in (source, mapping, head, neutral, identity) if isinstance(item, str | Path)]
        check_outputs(outputs, named)
        loaded_head = load_head(head) if isinstance(head, str | Path) else head
        if identity is not None:
            if loaded_head is None:
                raise InputError("an identity needs a head; got head=None")
            loaded_head = loaded_head.with_shape(_identity(identity))
        if not isinstance(mapping, BlendshapeMapping):
            mapping = load_mapping(mapping, head_pose=head_pose)
        if not isinstance(source, Source):
            spec = str(source) if isinstance(source, int) else source
            opened = open_source(spec, landmarker=landmarker, mirror=mirror, fps=fps, order=order)
            source = stack.enter_context(opened)
        if isinstance(neutral, str | Path):
            neutral = load_neutral(neutral, landmarker=landmarker, mirror=mirror)
        if outputs and loaded_head is None:
            raise InputError("outputs need the head that is driven; got head=None")
        opened_sinks = [] if loaded_head is None else open_sinks(outputs, head=loaded_head)
        for sink in opened_sinks:
            undo.callback(sink.abort)
        pipeline = Pipeline(
            source,
            mapping,
            loaded_head,
            [*opened_sinks, *sinks],
            filters=default_filters() if filters == "default" else filters,
            neutral=neutral,
            allow_head_mismatch=allow_head_mismatch,
            on_frame=on_frame,
        )
        undo.pop_all()
        return pipeline.run()


def _identity(identity: str | Path | ArrayLike) -> ArrayLike:
    if not isinstance(identity, str | Path):
        return identity
    shape = load_params(identity).shape
    if shape is None:
        raise InputError(f"{identity} holds no identity coefficients: expected a parameter file with `shape`")
    return shape
