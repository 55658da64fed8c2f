"""What every fit takes from its data set and head: one pass over the frames, the loss, the mirror, the description."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.dataset.store import Dataset
from mp2flame.dataset.table import PARAMETERS, FrameTable, concatenate_tables
from mp2flame.geometry.symmetry import Symmetry, head_symmetry
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.parallel import in_threads
from mp2flame.regression.mesh_loss import MeshLoss, head_loss, plain_loss
from mp2flame.regression.sufficient_statistics import SufficientStatistics, total_statistics

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

Float32 = NDArray[np.float32]
Kind = Literal["pinv", "ridge", "landmarks"]

KINDS: Final = ("pinv", "ridge", "landmarks")
_N_FOLDS = 5
_SAMPLE: Final = {"pinv": 0, "ridge": 20_000, "landmarks": 30_000}
"""Frames kept in memory, about."""


@dataclass(frozen=True, eq=False)
class FitContext:
    """A data set, the head that its parameters are for, and where to report.

    Raises:
        InputError: the parameters cannot be for this head.
    """

    data: Dataset
    head: FlameHead | None
    log: Callable[[str], None]
    """Called with sentences that a user should know."""

    def __post_init__(self) -> None:
        if self.head is not None:
            self.data.check_head(self.head)

    @cached_property
    def symmetry(self) -> Symmetry | None:
        """The mirror of the data's parameters; None, reported once, where it is unknown."""
        if self.head is None:
            self.log("without --head no mirrored faces are added: their parameters are found from the head's symmetry")
            return None
        symmetry = head_symmetry(self.head)
        if symmetry is None:
            self.log("this head is not symmetric enough to mirror: no mirrored faces are added")
            return None
        # The data may have only the first coefficients of the head.
        size = len(symmetry.matrix)
        keep = np.r_[0 : self.data.n_expression, size - N_ROTATIONS : size]
        return Symmetry(symmetry.matrix[np.ix_(keep, keep)], symmetry.error_mm)

    def loss(self, spread: Float32) -> MeshLoss:
        """The distance to minimize: on the head, or in units of each parameter's spread (P,) where none is known."""
        if self.head is None:
            return plain_loss(spread)
        return head_loss(self.head).for_coefficients(self.data.n_expression)

    def describe(self, frames: int, note: str) -> dict[str, str]:
        """Metadata for the mapping file."""
        return {
            "head_version": self.data.head_version or (self.head.version if self.head else ""),
            "head_hash": self.head.hash if self.head else str(self.data.metadata.get("head_hash") or ""),
            "training_subjects": str(len(self.data.subjects)),
            "training_frames": str(frames),
            "provenance": note,
        }


@dataclass(frozen=True, eq=False)
class DataPass:
    """What one pass over a data set leaves."""

    folds: list[SufficientStatistics]
    """Of each fold of subjects."""
    samples: list[FrameTable]
    """Sampled frames of each subject; none for `pinv`."""
    neutral: dict[str, Float32]
    """(52,) scores of each subject's neutral face; none for `pinv`."""
    left_out: Counter[str]
    """Frames or subjects left out, by reason."""


def subject_folds(subjects: Sequence[str]) -> dict[str, int]:
    """The fold of each subject: of five folds, or of as many as there are subjects."""
    return {subject: number % min(_N_FOLDS, len(subjects)) for number, subject in enumerate(sorted(subjects))}


def pass_over(data: Dataset, features: tuple[str, ...], kind: Kind, *, cluster: bool = False) -> DataPass:
    """Read every frame once, the subjects beside each other; the result does not depend on how many are.

    Args:
        data: the data set.
        features: element-wise features of the scores.
        kind: `pinv` sums up absolute scores of all frames, `ridge` scores relative to the neutral face, `landmarks`
            only samples.
        cluster: read on the Ray that this process is connected to; the data set must be where every machine can read.
    """
    work = partial(_read_subject, data, features, kind, _SAMPLE[kind] / max(1, data.count_rows()))
    if cluster:
        from mp2flame.dataset.cluster import run_on_cluster

        by_subject = dict(run_on_cluster(work, data.subjects))
        parts = [by_subject[subject] for subject in data.subjects]
    else:
        parts = list(in_threads(work, data.subjects))
    numbers = subject_folds(data.subjects)
    folds: list[list[SufficientStatistics]] = [[] for _ in set(numbers.values())]
    for subject, part in zip(data.subjects, parts, strict=True):
        folds[numbers[subject]] += part.folds
    left_out: Counter[str] = Counter()
    for part in parts:
        left_out.update(part.left_out)
    empty = SufficientStatistics.zeros(features, data.n_expression + N_ROTATIONS)
    return DataPass(
        folds=[total_statistics([empty, *fold]) for fold in folds],
        samples=[table for part in parts for table in part.samples],
        neutral={subject: scores for part in parts for subject, scores in part.neutral.items()},
        left_out=left_out,
    )


def _read_subject(data: Dataset, features: tuple[str, ...], kind: Kind, share: float, subject: str) -> DataPass:
    left_out: Counter[str] = Counter()
    neutral = None
    if kind != "pinv":
        table = data.neutral(subject, ["scores"])
        if table is None:
            return DataPass([], [], {}, Counter({"subjects without a neutral frame": 1}))
        neutral = np.median(table.columns["scores"], axis=0).astype(np.float32)
    statistics = SufficientStatistics.zeros(features, data.n_expression + N_ROTATIONS)
    samples = []
    columns = ["scores", *PARAMETERS, *(["landmarks", "head_transform"] if kind == "landmarks" else [])]
    for batch in data.batches(columns, subjects=[subject], neutral=None if kind == "pinv" else False):
        usable = batch.usable
        left_out["frames without a face or with NaN"] += int((~usable).sum())
        table = batch if usable.all() else batch[usable]
        if kind != "landmarks":
            parameters = [table.columns[name] for name in PARAMETERS]
            scores = table.columns["scores"]
            # A pseudo-inverse has no penalty that would hide rounding errors where scores rise together.
            how: dict[str, Any] = {"with_yy": False} if kind == "pinv" else {"dtype": np.float32}
            statistics = statistics.with_frames(scores, parameters, neutral, **how)
        if kind != "pinv":
            samples.append(table.sampled(share))
    known = {} if neutral is None else {subject: neutral}
    found = concatenate_tables(samples).sorted_by_hash() if any(map(len, samples)) else None
    return DataPass([statistics], [] if found is None else [found], known, +left_out)
