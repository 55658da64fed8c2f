"""From tracked data of any tool to one data set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mp2flame.blendshapes import to_mediapipe
from mp2flame.data import HeadLike
from mp2flame.dataset.extract import Extracted, Extraction, Task, tasks_of
from mp2flame.dataset.order_check import OrderCheck
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.dataset.readers.detect_format import read_input
from mp2flame.dataset.store import Dataset
from mp2flame.dataset.table import FrameTable
from mp2flame.dataset.writer import DatasetWriter
from mp2flame.downloads import landmarker_path
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.validation import check_number


@dataclass
class BuildReport:
    """What became of the frames."""

    frames: int = 0
    """Frames in the data set, neutral frames among them."""
    neutral: int = 0
    """Neutral frames."""
    subjects: set[str] = field(default_factory=set)
    """The subjects' names."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Frames left out, or kept as frames without a face, by reason."""


def build(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    head: HeadLike | None = None,
    head_version: str = "",
    order: str | None = None,
    fps: float | None = None,
    landmarker: Path | None = None,
    processes: int | None = None,
    estimate_neutral: bool = False,
    cluster: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Dataset, BuildReport]:
    """Read inputs and write a data set folder: all of it, or nothing under its name.

    Scores that an input lacks are computed from its images. A run that was killed continues where it was, when it is
    started again with the same output: what was detected is kept beside it until the data set is written.

    Args:
        inputs: files and folders, see `mp2flame.dataset.readers.detect_format.EXPECTED`.
        output: the folder to make.
        head: the head that the parameters are for, to be remembered.
        head_version: the same in words, where there is no head at hand.
        order: of the inputs' scores, where it is not MediaPipe's.
        fps: frames per second of inputs that hold no times; None for 30. Plain arrays without times are taken as
            unrelated frames unless it is stated.
        landmarker: MediaPipe's bundle; None for the one that is downloaded.
        processes: that detect faces in images; None for one on each processor.
        estimate_neutral: mark the frames whose parameters are nearest to zero as neutral, of subjects without neutral
            frames.
        cluster: detect faces on the Ray that this process is connected to.
        progress: called with the number of images done, and of all.

    Returns:
        The data set, and what became of the frames.

    Raises:
        MissingFileError: an input or an image does not exist.
        FormatError: an input is of no known tool, or damaged.
        InputError: inputs of different heads or widths, scores in another order, or no usable frame.
        WorkerError: a process died; what the others detected is kept.
    """
    if not inputs:
        raise InputError("expected at least one input; got none")
    if fps is not None:
        check_number("fps", fps, above=0)
    path = Path(output)
    version, digest = (head_version or (head.version if head else "")), (head.hash if head else "")
    extraction = Extraction(
        path.with_name(f".{path.name}.seen"), processes=processes or os.cpu_count() or 1, cluster=cluster
    )
    with DatasetWriter(path, head_version=version, head_hash=digest) as writer:
        intake = _Intake(writer, extraction, order, fps)
        waiting = _write_observed(inputs, intake, landmarker)
        stated = check_versions(list(intake.origins), version, digest)
        writer.set_head(version or stated, digest)
        with extraction.locked(path) if waiting else nullcontext():
            _detect(extraction, [task for parts in waiting.values() for tasks in parts for task in tasks], progress)
            for spec, parts in waiting.items():
                _write_detected(spec, parts, intake)
            intake.check.check()
            report = intake.report
            for subject in sorted(report.subjects) if estimate_neutral else ():
                report.neutral += writer.estimate_neutral(subject)
            if not report.frames:
                extraction.remove()
            sources = sorted({origin.source for origin in intake.origins})
            details = {"sources": sources, "left_out": dict(report.left_out), "rest_estimated": estimate_neutral}
            writer.finish(details)
            extraction.remove()
    return Dataset(path), report


class Origin(NamedTuple):
    """Where a sequence is from."""

    source: str
    """The tool and the path."""
    head_version: str
    """The head that it is for, in words; empty where that is not stated."""
    head_hash: str
    """Its hash, likewise."""


@dataclass
class _Intake:
    """Writes sequences as they come, and keeps of them only what must be reported in the end."""

    writer: DatasetWriter
    extraction: Extraction
    order: str | None
    fps: float | None
    check: OrderCheck = field(default_factory=OrderCheck)
    report: BuildReport = field(default_factory=BuildReport)
    origins: set[Origin] = field(default_factory=set)

    def write(self, sequence: TrackedSequence, tasks: list[Task] | None) -> None:
        """Write a sequence, with what its tasks detected; rows whose truth is not known are left out."""
        extracted = None if tasks is None else self.extraction.results(tasks)
        rows = _table(sequence, extracted, self.order, self.report.left_out)
        if len(rows):
            self.check.add(rows)
            self.writer.add(rows)
            self.report.frames += len(rows)
            self.report.neutral += int(rows.neutral.sum())
            self.report.subjects.add(rows.subject)


def _table(
    sequence: TrackedSequence, extracted: Extracted | None, order: str | None, left_out: Counter[str]
) -> FrameTable:
    """The rows of a sequence whose truth is known; frames without a face stay as such."""
    if extracted is None:
        rows = sequence.table()
        if order is not None and not sequence.named_scores:
            rows = replace(rows, columns={**rows.columns, "scores": to_mediapipe(rows.columns["scores"], order=order)})
        without_face = "NaN among the scores"
    else:
        rows = sequence.table(extracted.columns, extracted.image_size, extracted.time)
        without_face = "no face found in the image"
    known = sequence.params.found
    unreadable = extracted.unreadable if extracted else 0
    counts = {
        "no image": sequence.missing_images,
        "image cannot be read": unreadable,
        without_face: int((known & ~rows.found).sum()) - unreadable,
        "no or NaN parameters": int((~known).sum()),
    }
    left_out.update({reason: count for reason, count in counts.items() if count > 0})
    return rows[np.flatnonzero(known)]


def _write_observed(
    inputs: Sequence[str | Path], intake: _Intake, landmarker: Path | None
) -> dict[str | Path, list[list[Task]]]:
    """Write every sequence that has scores; the tasks of each of the others, by input."""
    waiting: dict[str | Path, list[list[Task]]] = {}
    bundle: Path | None = None
    for spec in dict.fromkeys(inputs):
        for sequence in read_input(spec, order=intake.order, fps=intake.fps):
            intake.origins.add(Origin(sequence.source, sequence.head_version, sequence.head_hash))
            if "scores" in sequence.observed:
                intake.write(sequence, None)
                continue
            bundle = bundle or landmarker_path(landmarker)
            waiting.setdefault(spec, []).append(tasks_of(sequence, bundle))
    return waiting


def _write_detected(spec: str | Path, parts: list[list[Task]], intake: _Intake) -> None:
    """Read an input again, and write its sequences whose images were processed.

    Reading twice is little work beside detecting, and memory need not hold all sequences meanwhile.
    """
    read = read_input(spec, order=intake.order, fps=intake.fps)
    sequences = (sequence for sequence in read if "scores" not in sequence.observed)
    for sequence, tasks in zip_longest(sequences, parts, fillvalue=None):
        if sequence is None or tasks is None or sum(map(len, tasks)) != len(sequence.frame):
            raise InputError(f"{spec} was changed while its images were processed: build again")
        intake.write(sequence, tasks)


def check_versions(sequences: Sequence[Origin | TrackedSequence], version: str, digest: str) -> str:
    """The one head that the inputs state; the empty string where none does.

    Raises:
        HeadMismatchError: two state different ones, and the user did not say which it is.
    """
    hashes = {sequence.head_hash for sequence in sequences if sequence.head_hash}
    if digest and hashes - {digest}:
        raise HeadMismatchError(
            f"a recording was made with another head (hash {min(hashes - {digest})[:12]}) than the one given "
            f"({digest[:12]}): give the head that it was made with"
        )
    stated = {sequence.head_version: sequence.source for sequence in sequences if sequence.head_version}
    if (len(stated) > 1 or len(hashes) > 1) and not version:
        listed = "; ".join(f"{name}: {source}" for name, source in sorted(stated.items()))
        raise HeadMismatchError(
            f"the inputs are for different heads ({listed}), whose coefficients do not mean the same: build one data "
            "set for each, or state --head-version if you know that they are the same"
        )
    return next(iter(stated), "")


def _detect(extraction: Extraction, tasks: list[Task], progress: Callable[[int, int], None]) -> None:
    total, done = sum(map(len, tasks)), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    if tasks:
        extraction.run(tasks, advance)
