"""From tracked data of any tool to one data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import to_mediapipe
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.training.dataset import Dataset
from mp2flame.training.extract import Extraction, Task, tasks_of
from mp2flame.training.readers.sequence import TrackedSequence
from mp2flame.training.readers.telling import read_input
from mp2flame.training.rows import Rows, join_rows
from mp2flame.training.sanity import OrderCheck
from mp2flame.training.writer import DatasetWriter

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["BuildReport", "build", "check_versions"]

_REST_FRAMES = 10


@dataclass
class BuildReport:
    """What became of the frames."""

    frames: int = 0
    """Frames in the data set, rest frames among them."""
    rest: int = 0
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
    estimate_rest: bool = False,
    cluster: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Dataset, BuildReport]:
    """Read inputs and write a data set folder: all of it, or nothing under its name.

    Scores that an input lacks are computed from its pictures. A run that was killed goes on where it was, when it is
    started again with the same output: what was seen is kept beside it until the data set is written.

    Args:
        inputs: files and folders, see `mp2flame.training.readers.telling.EXPECTED`.
        output: the folder to make.
        head: the head that the parameters are for; remembered, and blinks are checked against its lids.
        head_version: the same in words, where there is no head at hand.
        order: of the inputs' scores, where it is not MediaPipe's.
        landmarker: MediaPipe's bundle; None for the one that is fetched.
        processes: for looking at pictures; None for one on each processor.
        estimate_rest: mark the calmest frames of subjects without rest frames as their rest.
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
    path, report = Path(output), BuildReport()
    check = OrderCheck(head)
    version, digest = (head_version or (head.version if head else "")), (head.hash if head else "")
    with DatasetWriter(path, head_version=version, head_hash=digest) as writer:
        sequences = [sequence for spec in inputs for sequence in read_input(spec, order=order)]
        stated = check_versions(sequences, version, digest)
        writer.state_head(version or stated, digest)
        extraction = _extraction(path.with_name(f".{path.name}.seen"), processes, cluster=cluster)
        looked = _look(extraction, sequences, landmarker, progress)
        sources = sorted({sequence.source for sequence in sequences})
        by_subject = _by_subject(sequences, looked)
        # What is written is not kept: the dictionary alone holds what was read.
        sequences.clear()
        for subject in sorted(by_subject):
            rows = [
                _rows(sequence, tasks, extraction, order=order, report=report)
                for sequence, tasks in by_subject.pop(subject)
            ]
            for part in _with_rest([part for part in rows if len(part)], estimate_rest):
                check.add(part)
                writer.add(part)
                _count(report, part)
        check.check()
        writer.finish({"sources": sources, "left_out": report.left_out, "rest_estimated": estimate_rest})
    extraction.forget()
    return Dataset(path), report


def _extraction(folder: Path, processes: int | None, *, cluster: bool) -> Extraction:
    if cluster:
        from mp2flame.training.cluster import ClusterExtraction

        return ClusterExtraction(folder)
    return Extraction(folder, processes=processes or os.cpu_count() or 1)


def check_versions(sequences: Sequence[TrackedSequence], version: str, digest: str) -> str:
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


def _look(
    extraction: Extraction,
    sequences: Sequence[TrackedSequence],
    landmarker: Path | None,
    progress: Callable[[int, int], None],
) -> dict[int, list[Task]]:
    """Compute what is missing from pictures; the tasks of each sequence that needed it."""
    needy = [number for number, sequence in enumerate(sequences) if "scores" not in sequence.seen]
    if not needy:
        return {}
    from mp2flame.fetch import landmarker_path

    bundle = landmarker_path(landmarker)
    tasks = {number: tasks_of(sequences[number], bundle) for number in needy}
    total = sum(len(task) for parts in tasks.values() for task in parts)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    extraction.run([task for parts in tasks.values() for task in parts], advance)
    return tasks


def _by_subject(
    sequences: Sequence[TrackedSequence], looked: dict[int, list[Task]]
) -> dict[str, list[tuple[TrackedSequence, list[Task] | None]]]:
    """Each subject's sequences, with the tasks of those whose pictures were looked at."""
    grouped: dict[str, list[tuple[TrackedSequence, list[Task] | None]]] = {}
    for number, sequence in enumerate(sequences):
        grouped.setdefault(sequence.subject, []).append((sequence, looked.get(number)))
    return grouped


def _rows(
    sequence: TrackedSequence,
    tasks: list[Task] | None,
    extraction: Extraction,
    *,
    order: str | None,
    report: BuildReport,
) -> Rows:
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


def _with_rest(parts: list[Rows], estimate: bool) -> list[Rows]:
    """A subject's rows with columns alike, and with rest frames marked where that is asked for and there are none."""
    if not parts:
        return []
    joined = parts[0] if len(parts) == 1 else join_rows(parts)
    usable = np.flatnonzero(joined.usable)
    if not estimate or joined.rest.any() or not len(usable):
        return [joined]
    rest = np.zeros(len(joined), dtype=np.bool_)
    rest[_calmest(joined, usable)] = True
    return [replace(joined, rest=rest)]


def _calmest(rows: Rows, usable: NDArray[np.intp]) -> NDArray[np.intp]:
    """The usable frames whose parameters are nearest to zero, in units of their spread; at most a tenth of them."""
    values = rows.joined[usable]
    spread = values.std(axis=0)
    size = np.square(values[:, spread > 0] / spread[spread > 0]).sum(axis=1)
    count = min(_REST_FRAMES, max(1, len(usable) // 10))
    return usable[np.argsort(size, kind="stable")[:count]]


def _count(report: BuildReport, rows: Rows) -> None:
    report.frames += len(rows)
    report.rest += int(rows.rest.sum())
    report.subjects.add(rows.subject)
