"""Scores and landmarks out of images and videos, over processes; what is finished survives a kill."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import Observation
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.errors import FormatError, InputError, MissingFileError, SourceError
from mp2flame.files import AtomicFile, exclusive_lock, file_sha256, read_npz, write_errors
from mp2flame.parallel import run_jobs

Float32 = NDArray[np.float32]

_IMAGES_IN_A_TASK = 64
_WIDTHS: Final = {"scores": 52, "landmarks": 1434, "head_transform": 16}


@dataclass(frozen=True)
class Task:
    """A part of a sequence's images, small enough that a kill costs little; or a whole video."""

    images: tuple[Path, ...]
    """Files, each detected for itself; empty for a video."""
    video: Path | None
    """A video, followed from its beginning to its end."""
    frames: tuple[int, ...]
    """The frames of the video that are wanted."""
    landmarker: Path
    landmarker_hash: str
    key: str = field(init=False)
    """Names the result: the same for the same files, another for files that changed."""

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.landmarker_hash.encode())
        for path in (*self.images, *([self.video] if self.video else [])):
            state = path.stat() if path.exists() else None
            size = (state.st_size, state.st_mtime_ns) if state else "absent"
            digest.update(f"{path.resolve()}|{size}\n".encode())
        digest.update(repr(self.frames).encode())
        object.__setattr__(self, "key", digest.hexdigest()[:32])

    def __len__(self) -> int:
        return len(self.frames) if self.video else len(self.images)

    def label(self) -> str:
        """The task in words, for messages."""
        return str(self.video) if self.video else f"{self.images[0]} to {self.images[-1].name}"


@dataclass(frozen=True, eq=False)
class Extracted:
    """What was detected in the images of a sequence."""

    columns: dict[str, Float32]
    """(N, width) scores, landmarks, head transforms; NaN where no face was found."""
    image_size: tuple[int, int] | None
    """Width and height; None where no image could be read."""
    time: NDArray[np.float64] | None
    """(N,) seconds from the start of the video; None for images, which hold no times."""
    unreadable: int
    """Images that could not be read."""


class Extraction:
    """Detects faces in the images of sequences, and keeps the results in a folder until they are removed.

    Args:
        folder: where results are kept; what an earlier, killed run left there is used.
        landmarker: MediaPipe's bundle.
        processes: how many; 1 stays in this process.
        cluster: run on the Ray that this process is connected to; images and the folder must be where every machine
            can reach them.
    """

    def __init__(self, folder: Path, landmarker: Path, *, processes: int = 1, cluster: bool = False) -> None:
        self._folder = folder.resolve()
        self._landmarker = landmarker, file_sha256(landmarker)
        self._processes = processes
        self._cluster = cluster

    @contextmanager
    def locked(self, output: Path) -> Iterator[None]:
        """Keep other processes from building the same output for the block.

        Raises:
            SinkError: another process builds it.
        """
        with write_errors(output, "nothing was done"):
            self._folder.mkdir(exist_ok=True)
        with exclusive_lock(self._folder / "lock", f"another process builds {output}: wait until it is done"):
            yield

    def tasks(self, sequence: TrackedSequence) -> list[Task]:
        """The tasks of a sequence that has images, in its frames' order."""
        if sequence.video is not None:
            return [Task((), sequence.video, tuple(int(frame) for frame in sequence.frame), *self._landmarker)]
        files = list(sequence.images)
        starts = range(0, len(files), _IMAGES_IN_A_TASK)
        return [Task(tuple(files[i : i + _IMAGES_IN_A_TASK]), None, (), *self._landmarker) for i in starts]

    def run(self, sequences: Sequence[TrackedSequence], progress: Callable[[int, int], None]) -> None:
        """Do all tasks of the sequences that are not done yet.

        Args:
            sequences: what to detect faces in.
            progress: called with the number of images done, also in earlier runs, and of all.

        Raises:
            WorkerError: a process died; the results of all others are kept.
        """
        self._folder.mkdir(exist_ok=True)
        tasks = [task for sequence in sequences for task in self.tasks(sequence)]
        remaining = [task for task in tasks if not self._target(task).is_file()]
        total = sum(map(len, tasks))
        done = total - sum(map(len, remaining))
        progress(done, total)
        work = partial(_extract, self._folder)
        if self._cluster:
            from mp2flame.dataset.cluster import run_on_cluster

            jobs = run_on_cluster(work, remaining)
        else:
            kept = f"what is finished is kept in {self._folder}"
            jobs = run_jobs(work, remaining, processes=self._processes, label=Task.label, kept=kept)
        for task, _ in jobs:
            done += len(task)
            progress(done, total)

    def result(self, sequence: TrackedSequence) -> Extracted:
        """What was detected in a sequence.

        Raises:
            InputError: its images were changed since.
        """
        targets = [self._target(task) for task in self.tasks(sequence)]
        if not all(target.is_file() for target in targets):
            raise InputError(f"the images of {sequence.source} were changed while they were processed: build again")
        parts = [read_npz(target, "kept result") for target in targets]
        sizes = [part["size"] for part in parts if part["size"].any()]
        time: NDArray[np.float64] = np.concatenate([part["time"] for part in parts])
        return Extracted(
            columns={name: np.concatenate([part[name] for part in parts]) for name in _WIDTHS},
            image_size=(int(sizes[0][0]), int(sizes[0][1])) if sizes else None,
            time=time if np.isfinite(time).all() else None,
            unreadable=sum(int(part["unreadable"].sum()) for part in parts),
        )

    def remove(self) -> None:
        """Remove the results: the data set that they were for is written."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _target(self, task: Task) -> Path:
        return _result_file(self._folder, task)


def _result_file(folder: Path, task: Task) -> Path:
    return folder / f"{task.key}.npz"


def _extract(folder: Path, task: Task) -> None:
    """Detect faces in the task's images and write the result into `folder`, all of it or nothing."""
    n = len(task)
    arrays: dict[str, Any] = {name: np.full((n, width), np.nan, dtype=np.float32) for name, width in _WIDTHS.items()}
    size = np.zeros(2, dtype=np.int64)
    time = np.full(n, np.nan)
    unreadable = np.ones(n, dtype=np.bool_)
    for row, seconds, observation in _video(task, task.video) if task.video else _images(task):
        time[row] = seconds
        if observation is None:
            continue
        unreadable[row] = False
        if observation.image_size is not None:
            size = observation.image_size
        for name in _WIDTHS:
            value = getattr(observation, name)
            if value is not None and observation.found[0]:
                arrays[name][row] = value.reshape(-1)
    with AtomicFile(_result_file(folder, task)) as temporary, temporary.open("wb") as file:
        np.savez(file, size=size, time=time, unreadable=unreadable, **arrays)


def _images(task: Task) -> Iterator[tuple[int, float, Observation | None]]:
    from mp2flame.sources.detector import FaceDetector
    from mp2flame.sources.images import read_image

    # MediaPipe must be closed before the process ends, so a detector lives no longer than its task.
    with closing(FaceDetector(task.landmarker, mode="image")) as detector:
        for row, path in enumerate(task.images):
            try:
                observation = detector.detect(read_image(path), float(row))
            except (FormatError, MissingFileError, SourceError):
                observation = None
            yield row, np.nan, observation


def _video(task: Task, video: Path) -> Iterator[tuple[int, float, Observation | None]]:
    from mp2flame.sources.detector import FaceDetector
    from mp2flame.sources.video import VideoReader

    rows = {frame: row for row, frame in enumerate(task.frames)}
    with closing(FaceDetector(task.landmarker, mode="video")) as detector:
        for number, (time, image) in enumerate(VideoReader(video)):
            observation = None if image is None else detector.detect(image, time)
            if number in rows:
                yield rows[number], time, observation
