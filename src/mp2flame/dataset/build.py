"""From tracked data of any tool to one data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mp2flame.blendshapes import to_mediapipe
from mp2flame.dataset.extract import Extraction, Task, tasks_of
from mp2flame.dataset.finalize import finalize_subject
from mp2flame.dataset.order_check import OrderCheck
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.dataset.readers.detect_format import read_input
from mp2flame.dataset.store import Dataset, subject_folder
from mp2flame.dataset.table import FrameTable
from mp2flame.dataset.writer import DatasetWriter
from mp2flame.downloads import landmarker_path
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.files import write_errors

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["BuildReport", "Origin", "build", "check_versions"]


@dataclass
class BuildReport:
    """What became of the frames."""

    frames: int = 0
    """Frames in the data set, rest frames among them."""
    neutral: int = 0
    """Rest frames."""
    subjects: set[str] = field(default_factory=set)
    """Whose."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Frames left out, or kept as frames without a face, by reason."""

    def leave_out(self, reason: str, count: int) -> None:
        """Count frames."""
        if count:
            self.left_out[reason] = self.left_out.get(reason, 0) + count


def build(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    head: FlameHead | None = None,
    head_version: str = "",
    order: str | None = None,
    landmarker: Path | None = None,
    processes: int | None = None,
    estimate_neutral: bool = False,
    cluster: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Dataset, BuildReport]:
    """Read inputs and write a data set folder: all of it, or nothing under its name.

    Scores that an input lacks are computed from its pictures. A run that was killed goes on where it was, when it is
    started again with the same output: what was seen is kept beside it until the data set is written.

    Args:
        inputs: files and folders, see `mp2flame.dataset.readers.detect_format.EXPECTED`.
        output: the folder to make.
        head: the head that the parameters are for; remembered, and blinks are checked against its lids.
        head_version: the same in words, where there is no head at hand.
        order: of the inputs' scores, where it is not MediaPipe's.
        landmarker: MediaPipe's bundle; None for the one that is fetched.
        processes: for looking at pictures; None for one on each processor.
        estimate_neutral: mark the calmest frames of subjects without rest frames as their rest.
        cluster: look at pictures on the Ray that this process is connected to.
        progress: told how many of how many pictures were looked at.

    Returns:
        The data set, and what became of the frames.

    Raises:
        MissingFileError: an input or a picture does not exist.
        FormatError: an input is of no known tool, or damaged.
        InputError: inputs of different heads or widths, scores in another order, or no usable frame.
    """
    if not inputs:
        raise InputError("expected at least one input; got none")
    path = Path(output)
    version, digest = (head_version or (head.version if head else "")), (head.hash if head else "")
    extraction = _extraction(path.with_name(f".{path.name}.seen"), processes, cluster=cluster)
    with DatasetWriter(path, head_version=version, head_hash=digest) as writer:
        intake = _Intake(writer, OrderCheck(head), extraction, order)
        waiting = _take_seen(inputs, intake, landmarker)
        stated = check_versions(list(intake.origins), version, digest)
        writer.state_head(version or stated, digest)
        _look(extraction, [task for parts in waiting.values() for tasks in parts for task in tasks], progress)
        for spec, parts in waiting.items():
            _take_looked(spec, parts, intake)
        intake.check.check()
        report = intake.report
        with write_errors(path, "nothing is kept of this data set"):
            for subject in sorted(report.subjects):
                folder = writer.part / subject_folder(subject)
                report.neutral += finalize_subject(folder, subject, estimate_neutral=estimate_neutral)
        sources = sorted({origin.source for origin in intake.origins})
        writer.finish({"sources": sources, "left_out": report.left_out, "rest_estimated": estimate_neutral})
    extraction.forget()
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
    """Writes sequences as they come, and keeps of them only what must be told in the end."""

    writer: DatasetWriter
    check: OrderCheck
    extraction: Extraction
    order: str | None
    report: BuildReport = field(default_factory=BuildReport)
    origins: set[Origin] = field(default_factory=set)

    def meet(self, sequence: TrackedSequence) -> None:
        """Remember where a sequence is from."""
        self.origins.add(Origin(sequence.source, sequence.head_version, sequence.head_hash))

    def take(self, sequence: TrackedSequence, tasks: list[Task] | None) -> None:
        """Write a sequence; with what its tasks saw, where its pictures were looked at."""
        rows = _rows(sequence, tasks, self.extraction, order=self.order, report=self.report)
        if len(rows):
            self.check.add(rows)
            self.writer.add(rows)
            _count(self.report, rows)


def _take_seen(
    inputs: Sequence[str | Path], intake: _Intake, landmarker: Path | None
) -> dict[str | Path, list[list[Task]]]:
    """Write every sequence that has scores; what is to be looked at for each of the others, by input."""
    waiting: dict[str | Path, list[list[Task]]] = {}
    bundle: Path | None = None
    for spec in dict.fromkeys(inputs):
        for sequence in read_input(spec, order=intake.order):
            intake.meet(sequence)
            if "scores" in sequence.seen:
                intake.take(sequence, None)
                continue
            bundle = bundle or landmarker_path(landmarker)
            waiting.setdefault(spec, []).append(tasks_of(sequence, bundle))
    return waiting


def _take_looked(spec: str | Path, parts: list[list[Task]], intake: _Intake) -> None:
    """Read an input again, and write its sequences whose pictures were looked at.

    Reading twice is little work beside looking, and memory need not hold all sequences meanwhile.
    """
    sequences = (sequence for sequence in read_input(spec, order=intake.order) if "scores" not in sequence.seen)
    for sequence, tasks in zip_longest(sequences, parts, fillvalue=None):
        if sequence is None or tasks is None or sum(map(len, tasks)) != len(sequence.frame):
            raise InputError(f"{spec} was changed while its pictures were looked at: build again")
        intake.take(sequence, tasks)


def _extraction(folder: Path, processes: int | None, *, cluster: bool) -> Extraction:
    if cluster:
        from mp2flame.dataset.cluster import ClusterExtraction

        return ClusterExtraction(folder)
    return Extraction(folder, processes=processes or os.cpu_count() or 1)


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
        told = "; ".join(f"{name}: {source}" for name, source in sorted(stated.items()))
        raise HeadMismatchError(
            f"the inputs are for different heads ({told}), whose coefficients do not mean the same: build one data set "
            "for each, or state --head-version if you know that they are the same"
        )
    return next(iter(stated), "")


def _look(extraction: Extraction, tasks: list[Task], progress: Callable[[int, int], None]) -> None:
    """Compute from pictures what is missing."""
    total, done = sum(map(len, tasks)), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    if tasks:
        extraction.run(tasks, advance)


def _rows(
    sequence: TrackedSequence,
    tasks: list[Task] | None,
    extraction: Extraction,
    *,
    order: str | None,
    report: BuildReport,
) -> FrameTable:
    """A sequence's rows, without frames whose truth is not known; frames without a face stay as such."""
    report.leave_out("no picture", sequence.missing_pictures)
    if tasks is not None:
        seen, size, unreadable = extraction.results(tasks)
        report.leave_out("picture cannot be read", unreadable)
        rows = sequence.rows(seen, size)
        report.leave_out("no face found in the picture", int((sequence.params.found & ~rows.found).sum()) - unreadable)
    else:
        rows = sequence.rows()
        if order is not None and order != "mediapipe" and not sequence.source.startswith(("speech", "recording")):
            columns = {**rows.columns, "scores": to_mediapipe(rows.columns["scores"], order=order)}
            rows = replace(rows, columns=columns)
        report.leave_out("NaN among the scores", int((sequence.params.found & ~rows.found).sum()))
    report.leave_out("no or NaN parameters", int((~sequence.params.found).sum()))
    return rows[np.flatnonzero(sequence.params.found)]


def _count(report: BuildReport, rows: FrameTable) -> None:
    report.frames += len(rows)
    report.neutral += int(rows.neutral.sum())
    report.subjects.add(rows.subject)
