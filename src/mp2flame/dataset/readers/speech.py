"""Speech data: blendshapes of BEAT or LAM with the parameters of EMAGE."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mp2flame.data import concatenate
from mp2flame.dataset.readers.base import USUAL_FPS, TrackedSequence
from mp2flame.errors import FormatError
from mp2flame.formats import load_params
from mp2flame.sources.tables import BlendshapeJsonSource

_BEAT_FPS = 60.0


def read_speech(scores: Path, params: Path, *, order: str | None) -> Iterator[TrackedSequence]:
    """Blendshapes of BEAT or LAM (`.json`) with the parameters of EMAGE (`.npz`), joined by time.

    Every frame of the parameters gets the scores nearest in time, at most half a frame away.

    Args:
        scores: the JSON.
        params: the `.npz`.
        order: of the JSON's weights where it names none.

    Raises:
        FormatError: one is damaged, or they do not overlap in time.
    """
    truth = load_params(params)
    with BlendshapeJsonSource(scores, order=order, fps=None if order is None else _BEAT_FPS) as source:
        observed = concatenate(frame.without_picture() for frame in source)
    after = np.clip(np.searchsorted(observed.time, truth.time), min(1, len(observed) - 1), len(observed) - 1)
    before = np.maximum(after - 1, 0)
    is_before = np.abs(observed.time[before] - truth.time) <= np.abs(observed.time[after] - truth.time)
    nearest = np.where(is_before, before, after)
    step = float(np.median(np.diff(truth.time))) if len(truth) > 1 else 1 / USUAL_FPS
    both = np.flatnonzero(np.abs(observed.time[nearest] - truth.time) <= step / 2 + 1e-6)
    if not len(both):
        raise FormatError(f"{scores} and {params} have no moment in common")
    yield TrackedSequence(
        subject=params.stem,
        name=params.stem,
        # EMAGE's expression space is that of SMPL-X 2020.
        head_version="FLAME 2020",
        source=f"speech {scores} with {params}",
        params=truth[both],
        frame=both,
        observed={"scores": observed.scores[nearest[both]]},
        named_scores=True,
        timed=True,
    )
