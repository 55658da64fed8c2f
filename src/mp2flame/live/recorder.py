"""Record, stop, download: recordings with their images, kept in the user's data folder and converted to any format.

While it records, every frame is appended to a `.jsonl` and its image to a video beside it, and both can be read after a
crash. Only when a format is asked for is the recording played through the sink with which `drive` writes this format,
so that no slow format can make a live recording lose frames.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.data import FlameParams, Frame, HeadLike, Observation, replace_unchecked
from mp2flame.errors import InputError, MissingExtraError, Mp2FlameError, SinkError
from mp2flame.files import exclusive_lock
from mp2flame.formats.recording import read_recording
from mp2flame.head import FlameHead
from mp2flame.pipeline import Pipeline
from mp2flame.sinks import open_sink
from mp2flame.sinks.base import Sink, write_frames

if TYPE_CHECKING:
    from mp2flame.sinks.encoders import Mp4Encoder

FORMATS: Final = (".mp4", ".gif", ".npz", ".csv", ".jsonl", "flame_param")
"""The formats for download: everything that `drive` writes. The folder `flame_param` comes as a .zip."""

_IMAGES: Final = ".images.mp4"
_LOCK: Final = ".lock"
"""Exists while a recording is written, and after its process was killed."""
_LARGEST_SIDE: Final = 1280
"""Pixels of an image; the videos that `drive` writes are not larger."""
_LEAD: Final = 1.0
"""Seconds at the start of the video of images, before the recording starts: players let a video start at 0, also where
the first frames of a recording have no image."""
_SAME_TIME: Final = 1e-3
_WRITE_ERRORS = (Mp2FlameError, OSError, ValueError)

Image = NDArray[np.uint8]


class Recording(Sink):
    """Records every frame in a `.jsonl`, and its image beside it. An error is kept in `error` and does not end the run.

    Raises:
        SinkError: the file cannot be created, or another process writes it.
    """

    name = "recording"
    needs_image = True

    def __init__(self, path: Path, head: HeadLike) -> None:
        self.path = path
        self.error: Exception | None = None
        self.n_frames = 0
        self.seconds = 0.0
        self._start = 0.0
        self._images: Mp4Encoder | None = None
        with ExitStack() as stack:
            stack.callback(lambda: path.with_suffix(_LOCK).unlink(missing_ok=True))
            stack.enter_context(exclusive_lock(path.with_suffix(_LOCK), f"{path} is being recorded by another session"))
            self._sink = stack.enter_context(open_sink(path, head=head, landmarks=False))
            self._held = stack.pop_all()

    @override
    def write(self, frame: Frame) -> None:
        if self.error is not None:
            return
        try:
            if self.n_frames == 0:
                self._start = float(frame.observation.time[0])
            times = frame.observation.time - self._start
            observation = replace_unchecked(frame.observation, time=times, picture=None)
            self._sink.write(Frame(observation, replace_unchecked(frame.params, time=times)))
            self._add_image(frame.observation.picture, float(times[0]))
            self.n_frames += 1
            self.seconds = float(times[0])
        except _WRITE_ERRORS as error:
            self.error = error
            self.close()

    def _add_image(self, image: Image | None, moment: float) -> None:
        if image is None or min(image.shape[:2]) < 2:
            return
        if self._images is None:
            try:
                from mp2flame.sinks.encoders import Mp4Encoder
            except MissingExtraError:
                return
            scale = min(1.0, _LARGEST_SIDE / max(image.shape))
            width, height = (max(2, 2 * int(side * scale / 2)) for side in image.shape[1::-1])
            self._images = Mp4Encoder(self.path.with_suffix(_IMAGES), (width, height), full_color=True, fragmented=True)
            self._images.add(image, 0.0)
        self._images.add(image, moment + _LEAD)

    @override
    def close(self) -> None:
        """Complete both files; safe to call twice. What cannot be completed is kept in `error`."""
        images, self._images = self._images, None
        try:
            with self._held:
                if images is not None:
                    images.close()
        except _WRITE_ERRORS as error:
            self.error = self.error or error


def export(path: Path, kind: str, head: FlameHead, on_frame: Callable[[Frame], None] | None = None) -> Path:
    """Convert a recording, a `.jsonl`, to one of `FORMATS`, beside it.

    Args:
        path: the recording.
        kind: the format.
        head: is posed for videos.
        on_frame: is called with each frame that is written.

    Raises:
        InputError: no such format, or the recording has no frames.
        MissingExtraError: the format needs a package that is not installed.
        SinkError: the file cannot be written.
    """
    if kind not in FORMATS:
        raise InputError(f"expected a format among {', '.join(FORMATS)}; got {kind!r}")
    if kind == ".jsonl":
        return path
    if kind == "flame_param":
        target = path.with_suffix("") / kind
        target.parent.mkdir(exist_ok=True)
    else:
        target = path.with_suffix(kind)
    sink = open_sink(target, head=head)
    write_frames([sink], _frames(path, with_images=sink.needs_image), head=head, on_frame=on_frame)
    if kind != "flame_param":
        return target
    try:
        return Path(shutil.make_archive(str(target.parent), "zip", target.parent, kind))
    except OSError as error:
        raise SinkError(f"cannot pack {target}: {error}") from error
    finally:
        shutil.rmtree(target.parent, ignore_errors=True)


def _frames(path: Path, *, with_images: bool) -> Iterator[tuple[Observation, FlameParams]]:
    """The frames of a recording, each with the image of the same time. An interrupted video has fewer images."""
    images = _images(path.with_suffix(_IMAGES)) if with_images else iter(())
    image = next(images, None)
    for observation, params in read_recording(path):
        assert params is not None
        moment = float(observation.time[0])
        while image is not None and image[0] < moment - _SAME_TIME:
            image = next(images, None)
        if image is not None and image[0] < moment + _SAME_TIME:
            observation = replace_unchecked(observation, picture=image[1])  # noqa: PLW2901 - the same frame
        yield observation, params


def _images(path: Path) -> Iterator[tuple[float, Image]]:
    if path.is_file():
        from mp2flame.sources.video import VideoReader

        with suppress(Mp2FlameError):
            yield from ((moment - _LEAD, image) for moment, image in VideoReader(path) if image is not None)


class Recorder:
    """One recording at a time, kept in a folder. Methods may be called from any thread."""

    def __init__(self, folder: Path, head: FlameHead, pipeline: Pipeline) -> None:
        self.running = False
        """Frames are being recorded."""
        self.recording: Recording | None = None
        """The recording of this session that runs, or the last one."""
        self._folder = folder
        self._head = head
        self._pipeline = pipeline
        self._text = ""
        self._exporting = threading.Lock()
        self._lock = threading.Lock()
        self.path = self._find_interrupted()
        """The recording that runs, or the last one, or one of an earlier session that was interrupted."""
        if self.path is not None:
            self._text = f"A recording that was interrupted can be downloaded: {self.path}"

    @property
    def can_download(self) -> bool:
        """Whether there is a finished recording with frames."""
        empty = self.recording is not None and self.recording.n_frames == 0
        return self.path is not None and not self.running and not empty

    @property
    def text(self) -> str:
        """What the page says of the recording."""
        recording = self.recording
        if recording is None or self._text:
            return self._text
        if self.running:
            return f"Recording: {recording.seconds:.1f} s"
        failed = f" It was stopped by an error: {recording.error}" if recording.error is not None else ""
        return f"{recording.n_frames} frames, {recording.seconds:.1f} s, saved in {recording.path}.{failed}"

    def start(self) -> None:
        """Start a new recording; an error if one is running, or its file cannot be created."""
        with self._lock:
            if self.running:
                raise InputError("a recording is running: stop it first")
            self._folder.mkdir(parents=True, exist_ok=True)
            now = time.strftime("%Y-%m-%d_%H-%M-%S")
            paths = (self._folder / f"{now}{f'_{n}' if n > 1 else ''}.jsonl" for n in count(1))
            self.recording = Recording(next(path for path in paths if not path.exists()), self._head)
            self.path, self._text, self.running = self.recording.path, "", True
            self._pipeline.add_sink(self.recording)

    def stop(self) -> None:
        """Stop the recording that runs; an error if none is."""
        with self._lock:
            if not self.running or self.recording is None:
                raise InputError("nothing is being recorded")
            self.running = False
            self._pipeline.remove_sink(self.recording)

    def check(self) -> None:
        """Stop a recording that has failed."""
        if self.running and self.recording is not None and self.recording.error is not None:
            # A user may press Stop at the same moment.
            with suppress(InputError):
                self.stop()

    def export(self, kind: str) -> Path:
        """The last recording as a file of another format, see `mp2flame.live.recorder.export`.

        Raises:
            InputError: there is no finished recording with frames, or no such format.
            SinkError: the file cannot be written.
        """
        if self.path is None or not self.can_download:
            raise InputError("expected a finished recording with frames: press Record, then Stop, while a source plays")

        def on_frame(frame: Frame) -> None:
            self._text = f"Writing {kind}: {frame.observation.time[0]:.1f} s"

        with self._exporting:
            try:
                path = export(self.path, kind, self._head, on_frame)
            except BaseException:
                self._text = ""
                raise
            self._text = f"Saved in {path}"
            return path

    def _find_interrupted(self) -> Path | None:
        """The newest recording whose process was killed. Older ones are not offered, but kept."""
        found = None
        for lock in sorted(self._folder.glob(f"*{_LOCK}")):
            with suppress(SinkError), exclusive_lock(lock, "it is still being recorded"):
                path = lock.with_suffix(".jsonl")
                found = path if path.is_file() else found
                lock.unlink()
        return found
