"""One pass over a data set: sums for linear fits, and a sample of frames for everything else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.training.dataset import Dataset
from mp2flame.training.moments import Moments
from mp2flame.training.sample import Sampler
from mp2flame.training.threads import read_ahead

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
    """One pass over some subjects' frames.

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
    columns = ("scores", *_PARAMETERS, *(("landmarks",) if kind == "landmarks" else ()))
    for subject in subjects:
        rest = None if kind == "pinv" else dataset.rest(subject, ["scores"])
        if rest is None and kind != "pinv":
            gathered.skip("subjects without a rest frame", 1)
            continue
        base = None if rest is None else np.median(rest.columns["scores"], axis=0).astype(np.float32)
        batches = dataset.batches(columns, subjects=[subject], rest=None if kind == "pinv" else False)
        for batch in read_ahead(batches):
            good = batch.usable
            gathered.skip("frames without a face or with NaN", int((~good).sum()))
            rows = batch if good.all() else batch[good]
            if kind != "landmarks":
                plain = kind == "pinv"
                sums = gathered.folds[folds[subject]]
                truth = [rows.columns[name] for name in _PARAMETERS]
                sums.add(rows.columns["scores"], truth, base, exact=plain, lean=plain)
            if kind != "pinv":
                gathered.sample.add(rows)
    return gathered
