"""A person's neutral: three seconds of looking straight ahead, kept in a file for each source."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from pathlib import Path
from typing import Final, Literal

from platformdirs import user_data_path

from mp2flame.data import Frame, HeadLike, Observation, concatenate
from mp2flame.errors import InputError, Mp2FlameError
from mp2flame.formats.recording import RecordingSink, read_recording
from mp2flame.live.sinks import FunctionSink
from mp2flame.live.state import NEUTRAL
from mp2flame.mapping import Person
from mp2flame.mapping.neutral import find_neutral_frames
from mp2flame.pipeline import Pipeline

_SECONDS: Final = 3.0


def data_folder() -> Path:
    """Where a user's neutrals and recordings are kept; the variable `MP2FLAME_DATA` names another place."""
    named = os.environ.get("MP2FLAME_DATA")
    return Path(named) if named else user_data_path("mp2flame", appauthor=False)


class NeutralController:
    """Takes, keeps, finds and deletes neutrals. Methods may be called from any thread.

    Args:
        folder: where they are kept.
        head: is named in the files.
        start: what the session starts with: a person or the average neutral (None), or "auto" for the stored ones.
        patience: seconds after which taking a neutral without enough of a face is given up.
    """

    def __init__(
        self, folder: Path, head: HeadLike, start: Person | Literal["auto"] | None = "auto", *, patience: float = 12.0
    ) -> None:
        self.text = ""
        """What the page says of the neutral in use."""
        self.is_own = False
        """The neutral in use was taken from this source."""
        self._folder = folder
        self._head = head
        self._start = start
        self._patience = patience
        self.progress: float | None = None
        """0 to 1 while a neutral is taken."""

    def path(self, source: str) -> Path:
        """The file of a source's neutral: a camera and a video show different people."""
        readable = re.sub(r"[^A-Za-z0-9]+", "-", Path(source).name).strip("-")[:40] or "source"
        return self._folder / f"{readable}-{hashlib.sha256(source.encode()).hexdigest()[:8]}.jsonl"

    def find(self, source: str) -> Observation | None:
        """The neutral that was kept for a source, or None."""
        self.is_own = False
        self.text = "Using the average neutral. Look straight ahead and press Neutral."
        if self._start != "auto":
            if self._start is not None:
                self.text = "Neutral loaded from --neutral."
            return None
        path = self.path(source)
        try:
            frames = [seen for seen, _ in read_recording(path) if seen.found[0]] if path.is_file() else []
        except (Mp2FlameError, OSError) as error:
            self.text = f"The saved neutral cannot be used: {error}"
            return None
        if not frames:
            return None
        self.use("Using your neutral from an earlier session.")
        return concatenate(frames)

    def use(self, text: str, *, own: bool = True) -> None:
        """Say which neutral is in use, and whether it was taken from this source."""
        self.text, self.is_own = text, own

    def take(self, pipeline: Pipeline, source: str) -> tuple[Observation, str]:
        """Collect three seconds of a neutral face from a running pipeline, and keep them.

        Returns:
            The frames, and a sentence that says what is wrong with them, if anything is.

        Raises:
            InputError: no face was found for long enough, or a neutral is being taken already.
        """
        if self.progress is not None:
            raise InputError("a neutral is being taken already")
        self.progress, done = 0.0, threading.Event()
        frames: list[Observation] = []

        def collect(frame: Frame) -> None:
            if frame.observation.found[0] and not done.is_set():
                frames.append(frame.observation.without_picture())
                self.progress = float(frames[-1].time[0] - frames[0].time[0]) / _SECONDS
                if self.progress >= 1.0:
                    done.set()

        sink = FunctionSink(NEUTRAL, collect, done.set, policy="every")
        try:
            pipeline.add_sink(sink)
            done.wait(self._patience)
            pipeline.remove_sink(sink)
            complete = self.progress >= 1.0
        finally:
            self.progress = None
        if not complete:
            raise InputError(
                f"expected {_SECONDS:.0f} seconds with a face; got {len(frames)} frames in {self._patience:.0f} "
                "seconds: look straight into the camera, in good light, and press Neutral again"
            )
        chosen = find_neutral_frames(concatenate(frames))
        warning = "" if chosen is not None else "The face moved: take it again if the head looks odd at rest."
        frames = frames if chosen is None else [frames[index] for index in chosen]
        path = self.path(source)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # `--neutral` of the other commands reads it too.
            with RecordingSink(path, head=self._head) as recording:
                for frame in frames:
                    recording.append(frame)
        except (Mp2FlameError, OSError) as error:
            warning = f"{warning} It is not kept for the next session: {error}"
        return concatenate(frames), warning
