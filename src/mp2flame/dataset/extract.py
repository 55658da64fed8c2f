"""Scores and landmarks out of pictures, over processes; what is done survives a kill."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import Observation
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.errors import FormatError, MissingFileError, SourceError
from mp2flame.files import AtomicFile, read_npz, write_errors
from mp2flame.parallel import run_jobs

__all__ = ["Extraction", "Task", "run_task", "tasks_of"]

Float32 = NDArray[np.float32]

_PICTURES_IN_A_TASK = 64
_WIDTHS = {"scores": 52, "landmarks": 1434, "head_transform": 16}


@dataclass(frozen=True)
class Task:
    """A part of a sequence's pictures, small enough that a kill costs little."""

    pictures: tuple[Path, ...]
    """Files to look at, each for itself; empty for a film."""
    video: Path | None
    """A film to look at from its beginning to its end."""
    frames: tuple[int, ...]
    """Which of the film's frames are wanted."""
    landmarker: Path

    @property
    def key(self) -> str:
        """The same for the same files; another for files that changed."""
        digest = hashlib.sha256()
        for path in (*self.pictures, *([self.video] if self.video else [])):
            state = path.stat() if path.exists() else None
            size = (state.st_size, state.st_mtime_ns) if state else "absent"
            digest.update(f"{path.resolve()}|{size}\n".encode())
        digest.update(repr(self.frames).encode())
        return digest.hexdigest()[:32]

    def label(self) -> str:
        """The task in words."""
        if self.video is not None:
            return str(self.video)
        return f"{self.pictures[0]} to {self.pictures[-1].name}"

    def __len__(self) -> int:
        return len(self.frames) if self.video else len(self.pictures)


def tasks_of(sequence: TrackedSequence, landmarker: Path) -> list[Task]:
    """The tasks of a sequence that has pictures, in its frames' order."""
    if sequence.video is not None:
        return [Task((), sequence.video, tuple(int(frame) for frame in sequence.frame), landmarker)]
    files = list(sequence.pictures)
    starts = range(0, len(files), _PICTURES_IN_A_TASK)
    return [Task(tuple(files[i : i + _PICTURES_IN_A_TASK]), None, (), landmarker) for i in starts]


def run_task(task: Task, folder: Path) -> None:
    """Look at the task's pictures and write what was seen into `folder`, all of it or nothing.

    Raises:
        SourceError, FormatError: the film cannot be read.
        SinkError: the result cannot be written.
    """
    seen = dict.fromkeys(range(len(task)), None) | dict(_film(task) if task.video else _files(task))
    arrays: dict[str, Any] = {
        name: np.full((len(task), width), np.nan, dtype=np.float32) for name, width in _WIDTHS.items()
    }
    size = np.zeros(2, dtype=np.int64)
    unreadable = np.zeros(len(task), dtype=np.bool_)
    for row, observation in seen.items():
        if observation is None:
            unreadable[row] = True
            continue
        if observation.image_size is not None:
            size = observation.image_size
        for name in _WIDTHS:
            value = getattr(observation, name)
            if value is not None and observation.found[0]:
                arrays[name][row] = value.reshape(-1)
    target = folder / f"{task.key}.npz"
    part = AtomicFile(target)
    try:
        with write_errors(target, "this part is looked at again next time"):
            with part.temporary.open("wb") as file:
                np.savez(file, size=size, unreadable=unreadable, **arrays)
            part.publish()
    finally:
        part.discard()


def _files(task: Task) -> Iterator[tuple[int, Observation | None]]:
    from mp2flame.sources.detector import FaceDetector
    from mp2flame.sources.images import read_image

    # MediaPipe must be closed before the process ends, so a detector lives no longer than its task.
    with closing(FaceDetector(task.landmarker, mode="image")) as detector:
        for row, path in enumerate(task.pictures):
            try:
                picture = read_image(path)
            except (FormatError, MissingFileError, SourceError):
                yield row, None
                continue
            yield row, detector.detect(picture, float(row))


def _film(task: Task) -> Iterator[tuple[int, Observation | None]]:
    from mp2flame.sources.detector import FaceDetector
    from mp2flame.sources.video import VideoReader

    assert task.video is not None
    wanted = {frame: row for row, frame in enumerate(task.frames)}
    with closing(FaceDetector(task.landmarker, mode="video")) as detector:
        for number, (time, picture) in enumerate(VideoReader(task.video)):
            if picture is None:
                continue
            observation = detector.detect(picture, time)
            if number in wanted:
                yield wanted[number], observation


class Extraction:
    """Runs tasks over processes and keeps their results in a folder until it is told that they are used.

    Args:
        folder: where results are kept; made when needed. What an earlier, killed run left there is used.
        processes: how many; 1 stays in this process.
    """

    def __init__(self, folder: Path, *, processes: int = 1) -> None:
        self.folder = folder
        self._processes = processes

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> None:
        """Do all tasks that are not done yet.

        Args:
            tasks: what to do.
            advance: told how many pictures were done, also of earlier runs.
        """
        self.folder.mkdir(exist_ok=True)
        open_tasks = []
        for task in tasks:
            if self.target(task).is_file():
                advance(len(task))
            else:
                open_tasks.append(task)
        work = partial(run_task, folder=self.folder)
        kept = f"what was finished is kept in {self.folder}"
        for task, _ in run_jobs(work, open_tasks, processes=self._processes, label=Task.label, kept=kept):
            advance(len(task))

    def results(self, tasks: Sequence[Task]) -> tuple[dict[str, Float32], tuple[int, int] | None, int]:
        """What was seen by all tasks of a sequence, in order.

        Returns:
            The columns, the pictures' width and height (None where nothing could be read), and how many pictures
            could not be read.
        """
        parts = [read_npz(self.target(task), "parameter file") for task in tasks]
        columns = {name: np.concatenate([part[name] for part in parts]).astype(np.float32) for name in _WIDTHS}
        sizes = [part["size"] for part in parts if part["size"].any()]
        size = (int(sizes[0][0]), int(sizes[0][1])) if sizes else None
        return columns, size, sum(int(part["unreadable"].sum()) for part in parts)

    def target(self, task: Task) -> Path:
        """Where a task's result is kept."""
        return self.folder / f"{task.key}.npz"

    def forget(self) -> None:
        """Remove the results: the data set that they were for is written."""
        shutil.rmtree(self.folder, ignore_errors=True)
