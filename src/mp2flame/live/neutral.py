"""A person's neutral: taken from three seconds of looking straight, kept in a file, found again next time."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, Literal

from platformdirs import user_data_path

from mp2flame.data import Frame, HeadLike, Observation, concatenate
from mp2flame.errors import InputError, Mp2FlameError, SinkError
from mp2flame.files import AtomicFile
from mp2flame.formats.recording import RecordingSink, read_recording
from mp2flame.mapping.neutral import find_neutral_frames
from mp2flame.pipeline import Pipeline
from mp2flame.sinks.base import Sink

__all__ = [
    "NEUTRAL_SECONDS",
    "NeutralTaker",
    "data_folder",
    "load_neutral",
    "neutral_file",
    "save_neutral",
    "take_neutral",
]

NEUTRAL_SECONDS: Final = 3.0
_PATIENCE = 12.0
"""Seconds after which a neutral without enough of a face is given up."""


def data_folder() -> Path:
    """Where a user's neutrals and recordings are kept; the variable `MP2FLAME_DATA` names another place."""
    named = os.environ.get("MP2FLAME_DATA")
    return Path(named) if named else user_data_path("mp2flame", appauthor=False)


def neutral_file(folder: Path, source: str) -> Path:
    """The file of a source's neutral: who sits at a camera is not who is seen in a film."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", Path(source).name).strip("-")[:40] or "source"
    return folder / "neutral" / f"{readable}-{hashlib.sha256(source.encode()).hexdigest()[:8]}.jsonl"


def save_neutral(path: Path, frames: list[Observation], head: HeadLike) -> None:
    """Keep frames at rest as a recording, which `--rest` of the other commands reads too.

    Raises:
        SinkError: it cannot be written; an older file is left as it was.
        InputError: the name is a folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = AtomicFile(path)
        try:
            with closing(RecordingSink(part.temporary, head=head)) as writer:
                for frame in frames:
                    writer.append(frame)
            part.publish()
        finally:
            part.discard()
    except OSError as error:
        # What the writer says it has kept was in the part.
        reason = error.__cause__ or error
        raise SinkError(f"cannot keep the neutral in {path}: {getattr(reason, 'strerror', None) or reason}") from error


def load_neutral(path: Path) -> Observation | None:
    """The frames at rest that were kept, or None where there is no file.

    Raises:
        FormatError: it is not a recording.
        InputError: no frame in it has a face.
    """
    if not path.is_file():
        return None
    frames = [observation for observation, _ in read_recording(path) if observation.found[0]]
    if not frames:
        raise InputError(f"no face in the neutral kept in {path}: press Neutral to take it again")
    return concatenate(frames)


class NeutralTaker(Sink):
    """Collects frames with a face until they span three seconds; `progress` and `done` may be read from any thread."""

    name = "neutral"
    policy: Literal["every", "latest"] = "every"

    def __init__(self, seconds: float = NEUTRAL_SECONDS) -> None:
        self.frames: list[Observation] = []
        self.progress = 0.0
        """0 to 1."""
        self.done = threading.Event()
        self._seconds = seconds

    def write(self, frame: Frame) -> None:
        """Keep a frame with a face."""
        if self.done.is_set() or not frame.observation.found[0]:
            return
        self.frames.append(frame.observation.without_picture())
        self.progress = min(1.0, float(frame.observation.time[0] - self.frames[0].time[0]) / self._seconds)
        if self.progress >= 1.0:
            self.done.set()

    def close(self) -> None:
        """Nothing more comes."""
        self.done.set()


def take_neutral(
    pipeline: Pipeline, path: Path, head: HeadLike, on_progress: Callable[[float], None]
) -> tuple[Observation, str]:
    """Collect three seconds of a person at rest from a running corridor, and keep them.

    Args:
        pipeline: runs.
        path: where to keep the frames.
        head: is named in the file.
        on_progress: is told 0..1, ten times a second.

    Returns:
        The frames, and a warning where they are less calm than a rest should be, or cannot be kept for next time.

    Raises:
        InputError: no face was seen long enough.
    """
    taker = NeutralTaker()
    pipeline.add_sink(taker)
    try:
        deadline = time.monotonic() + _PATIENCE
        while not taker.done.wait(0.1) and time.monotonic() < deadline:
            on_progress(taker.progress)
    finally:
        pipeline.remove_sink(taker)
    if taker.progress < 1.0:
        raise InputError(
            f"expected {NEUTRAL_SECONDS:.0f} seconds with a face; got {len(taker.frames)} frames in "
            f"{_PATIENCE:.0f} seconds: look straight into the camera, in good light, and press Neutral again"
        )
    on_progress(1.0)
    frames = taker.frames
    calm = find_neutral_frames(concatenate(frames))
    if calm is not None:
        frames = [frames[number] for number in calm]
    warning = "" if calm is not None else "The face moved: take it again if the head looks odd at rest."
    try:
        save_neutral(path, frames, head)
    except Mp2FlameError as error:
        warning = f"{warning} For now only: {error}"
    return concatenate(frames), warning
