"""One pass over a data set: sums for linear fits, and a sample of frames for everything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.dataset.sample import Sampler
from mp2flame.dataset.store import Dataset, Piece
from mp2flame.dataset.table import FrameTable
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.parallel import in_threads
from mp2flame.regression.moments import Moments

__all__ = ["KINDS", "N_FOLDS", "Gathered", "Kind", "gather", "subject_folds"]

Float32 = NDArray[np.float32]
Kind = Literal["pinv", "ridge", "landmarks"]

KINDS: Final = ("pinv", "ridge", "landmarks")
N_FOLDS: Final = 5
_LINEAR_SAMPLE = 20_000
_LANDMARK_SAMPLE = 30_000
_PARAMETERS = ("expression", "jaw", "eyes")


@dataclass(eq=False)
class Gathered:
    """What one pass over frames leaves: sums by fold, and a sample."""

    folds: list[Moments]
    sample: Sampler
    skipped: dict[str, int] = field(default_factory=dict)
    """Frames or subjects left out, by reason."""

    def merge(self, other: Gathered) -> None:
        """Take in what a pass over other subjects left."""
        self.folds = [mine + theirs for mine, theirs in zip(self.folds, other.folds, strict=True)]
        self.sample.merge(other.sample)
        for reason, count in other.skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + count

    def skip(self, reason: str, count: int) -> None:
        """Count what is left out."""
        if count:
            self.skipped[reason] = self.skipped.get(reason, 0) + count


def subject_folds(subjects: tuple[str, ...]) -> dict[str, int]:
    """Which fold each subject is in: as many folds as `N_FOLDS`, or as subjects where those are fewer."""
    return {subject: number % min(N_FOLDS, len(subjects)) for number, subject in enumerate(sorted(subjects))}


def gather(dataset: Dataset, subjects: tuple[str, ...], features: tuple[str, ...], *, kind: Kind) -> Gathered:
    """One pass over some subjects' frames, on all processors; what comes out is the same on any number of them.

    Args:
        dataset: where they are.
        subjects: whose; every subject's fold is the same whoever else is asked for.
        features: element-wise features of the scores.
        kind: `pinv` sums up absolute scores, the others relative ones.
    """
    folds = subject_folds(dataset.subjects)
    width = dataset.n_expression + N_ROTATIONS
    limit = _LANDMARK_SAMPLE if kind == "landmarks" else _LINEAR_SAMPLE
    empty = [Moments.empty(features, width) for _ in range(max(folds.values()) + 1)]
    gathered = Gathered(empty, Sampler(limit))

    def work(item: tuple[Piece, Float32 | None]) -> _Part:
        piece, base = item
        part = _Part(piece.subject, Moments.empty(features, width))
        for batch in piece.batches(("scores", *_PARAMETERS, *(("landmarks",) if kind == "landmarks" else ()))):
            good = batch.usable
            part.left_out += int((~good).sum())
            rows = batch if good.all() else batch[good]
            if kind != "landmarks":
                plain = kind == "pinv"
                truth = [rows.columns[name] for name in _PARAMETERS]
                scores = rows.columns["scores"]
                part.sums.include(Moments.of(features, scores, truth, base, exact=plain, lean=plain))
            if kind != "pinv":
                part.sampled.append(gathered.sample.choose(rows))
        return part

    for part in in_threads(work, _with_base(dataset, subjects, gathered, kind)):
        gathered.skip("frames without a face or with NaN", part.left_out)
        gathered.folds[folds[part.subject]].include(part.sums)
        for rows in part.sampled:
            gathered.sample.add(rows)
    return gathered


@dataclass
class _Part:
    """What a piece of one subject's frames leaves."""

    subject: str
    sums: Moments
    sampled: list[FrameTable] = field(default_factory=list)
    left_out: int = 0


def _with_base(
    dataset: Dataset, subjects: tuple[str, ...], gathered: Gathered, kind: Kind
) -> Iterator[tuple[Piece, Float32 | None]]:
    """The pieces to pass over, with the rest scores of whose they are; who needs a rest and has none is left out."""
    for subject in subjects:
        if kind == "pinv":
            yield from ((piece, None) for piece in dataset.pieces(subjects=[subject], neutral=None))
            continue
        neutral = dataset.neutral(subject, ["scores"])
        if neutral is None:
            gathered.skip("subjects without a rest frame", 1)
            continue
        base = np.median(neutral.columns["scores"], axis=0).astype(np.float32)
        yield from ((piece, base) for piece in dataset.pieces(subjects=[subject]))
