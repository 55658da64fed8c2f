"""From tracked data of any tool to one data set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mp2flame.blendshapes import to_mediapipe
from mp2flame.data import HeadLike
from mp2flame.dataset.extract import Extracted, Extraction
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
    path, version, digest = Path(output), head_version or (head.version if head else ""), head.hash if head else ""
    with ExitStack() as stack:
        writer = stack.enter_context(DatasetWriter(path, head_version=version, head_hash=digest))
        intake = _Intake(writer, order)
        sequences = (item for spec in dict.fromkeys(inputs) for item in read_input(spec, order=order, fps=fps))
        # Sequences with scores are written at once: memory holds one of them, however many there are.
        pending = [sequence for sequence in sequences if not intake.write_observed(sequence)]
        writer.set_head(check_heads(intake.heads, version, digest), digest)
        extraction: Extraction | None = None
        if pending:
            kept, count = path.with_name(f".{path.name}.detected"), processes or os.cpu_count() or 1
            extraction = Extraction(kept, landmarker_path(landmarker), processes=count, cluster=cluster)
            stack.enter_context(extraction.locked(path))
            extraction.run(pending, progress)
            for sequence in pending:
                intake.write(sequence, extraction.result(sequence))
            if not intake.report.frames:
                extraction.remove()
        intake.check.check()
        for subject in sorted(intake.report.subjects) if estimate_neutral else ():
            intake.report.neutral += writer.estimate_neutral(subject)
        sources = sorted({source for *_, source in intake.heads})
        left_out = dict(intake.report.left_out)
        writer.finish({"sources": sources, "left_out": left_out, "rest_estimated": estimate_neutral})
        if extraction is not None:
            extraction.remove()
    return Dataset(path), intake.report


@dataclass
class _Intake:
    """Writes sequences as they come, and keeps of them only what must be known in the end."""

    writer: DatasetWriter
    order: str | None
    check: OrderCheck = field(default_factory=OrderCheck)
    report: BuildReport = field(default_factory=BuildReport)
    heads: set[tuple[str, str, str]] = field(default_factory=set)

    def write_observed(self, sequence: TrackedSequence) -> bool:
        """Write a sequence that has scores; False for one whose images must be processed first."""
        self.heads.add((sequence.head_version, sequence.head_hash, sequence.source))
        if sequence.observed:
            self.write(sequence, None)
        return bool(sequence.observed)

    def write(self, sequence: TrackedSequence, extracted: Extracted | None) -> None:
        """Write the frames of a sequence whose truth is known."""
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
    known, unreadable = sequence.params.found, 0
    if extracted is None:
        rows, without_face = sequence.table(), "NaN among the scores"
        if order is not None and not sequence.named_scores:
            rows = replace(rows, columns={**rows.columns, "scores": to_mediapipe(rows.columns["scores"], order=order)})
    else:
        rows = sequence.table(extracted.columns, extracted.image_size, extracted.time)
        unreadable, without_face = extracted.unreadable, "no face found in the image"
    counts = {
        "no image": sequence.missing_images,
        "image cannot be read": unreadable,
        without_face: int((known & ~rows.found).sum()) - unreadable,
        "no or NaN parameters": int((~known).sum()),
    }
    left_out.update({reason: count for reason, count in counts.items() if count > 0})
    return rows[np.flatnonzero(known)]


def check_heads(heads: Iterable[tuple[str, str, str]], version: str, digest: str) -> str:
    """The version of the one head that all inputs are for; the empty string where nobody states it.

    Args:
        heads: the version in words, the hash and the source of every sequence; empty strings where they are unknown.
        version: what the user states.
        digest: the hash of the head that the user gives, or the empty string.

    Raises:
        HeadMismatchError: a recording is for another head than the given one, or two inputs state different heads and
            the user does not say which it is.
    """
    stated = {found: source for found, _, source in heads if found}
    hashes = {found for _, found, _ in heads if found}
    if digest and hashes - {digest}:
        raise HeadMismatchError(
            f"a recording was made with another head (hash {min(hashes - {digest})[:12]}) than the one given "
            f"({digest[:12]}): give the head that it was made with"
        )
    if (len(stated) > 1 or len(hashes) > 1) and not version:
        listed = "; ".join(f"{name}: {source}" for name, source in sorted(stated.items()))
        raise HeadMismatchError(
            f"the inputs are for different heads ({listed}), whose coefficients do not mean the same: build one data "
            "set for each, or state --head-version if you know that they are the same"
        )
    return version or next(iter(stated), "")
