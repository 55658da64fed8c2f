"""What a data set holds and what it lacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.dataset.store import Dataset
from mp2flame.dataset.table import PARAMETERS
from mp2flame.errors import InputError

_FIRES = 0.05
"""As in fits: a score that never rises above this carries no information."""
_MOVES = 1e-3
"""A coefficient has unit spread over faces, and a radian is large: what varies less than this does not move."""
_POSES = (
    *(f"jaw {axis}" for axis in "xyz"),
    *(f"{side} eye {axis}" for side in ("left", "right") for axis in "xyz"),
)


@dataclass(frozen=True)
class Summary:
    """Counts, and the scores and parameters that never change."""

    frames: int
    """All frames."""
    found: int
    """Frames with a face and all numbers."""
    neutral: int
    """Neutral frames among these."""
    subjects: tuple[str, ...]
    """The subjects' names."""
    subjects_without_neutral: tuple[str, ...]
    """Those without a usable neutral frame."""
    has_landmarks: bool
    """Whether the landmarks kind can be fitted."""
    head_version: str
    """The head that the parameters are for, in words."""
    silent_scores: tuple[str, ...]
    """Blendshapes that never fire."""
    still_outputs: tuple[str, ...]
    """Parameters that never move."""


def summarize(data: Dataset) -> Summary:
    """Read the data set once and count.

    Raises:
        InputError: it holds no usable frame.
        FormatError: a file is damaged.
    """
    frames = found = neutral = 0
    with_neutral: set[str] = set()
    peak = np.zeros(len(MEDIAPIPE), dtype=np.float32)
    low = np.full(data.n_expression + len(_POSES), np.inf)
    high = -low
    for rows in data.batches(["scores", *PARAMETERS], neutral=None):
        usable = rows.usable
        frames += len(rows)
        found += int(usable.sum())
        neutral += int((rows.neutral & usable).sum())
        if (rows.neutral & usable).any():
            with_neutral.add(rows.subject)
        values = rows.parameters[usable]
        peak = np.maximum(peak, rows.columns["scores"][usable].max(axis=0, initial=0))
        low, high = (
            np.minimum(low, values.min(axis=0, initial=np.inf)),
            np.maximum(high, values.max(0, initial=-np.inf)),
        )
    if not found:
        raise InputError(f"{data.path} holds no frame with a face and all numbers")
    names = [*(f"expression {i}" for i in range(data.n_expression)), *_POSES]
    return Summary(
        frames=frames,
        found=found,
        neutral=neutral,
        subjects=data.subjects,
        subjects_without_neutral=tuple(subject for subject in data.subjects if subject not in with_neutral),
        has_landmarks=data.has_column("landmarks"),
        head_version=data.head_version or "not stated",
        silent_scores=tuple(name for name, value in zip(MEDIAPIPE, peak, strict=True) if value <= _FIRES),
        still_outputs=tuple(name for name, a, b in zip(names, low, high, strict=True) if b - a <= _MOVES),
    )
