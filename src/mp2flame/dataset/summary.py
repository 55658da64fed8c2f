"""What a data set holds and what it lacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.dataset.store import Dataset
from mp2flame.errors import InputError

__all__ = ["Summary", "summarize"]

# As in fits: a score that never rises above this tells nothing.
_FIRES = 0.05
# A coefficient has unit spread over faces, and a radian is a lot: what varies less than this does not move.
_MOVES = 1e-3
_POSES = (
    *(f"jaw {axis}" for axis in "xyz"),
    *(f"{side} eye {axis}" for side in ("left", "right") for axis in "xyz"),
)


@dataclass(frozen=True)
class Summary:
    """Counts, and the channels that stay still."""

    frames: int
    """All frames."""
    found: int
    """Frames with a face and all numbers."""
    neutral: int
    """Rest frames."""
    subjects: tuple[str, ...]
    """Whose."""
    subjects_without_neutral: tuple[str, ...]
    """Who has no usable rest frame."""
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
    peak = np.zeros(len(MEDIAPIPE), dtype=np.float32)
    low: NDArray[np.float32] | None = None
    high: NDArray[np.float32] | None = None
    for rows in data.batches(["scores", "expression", "jaw", "eyes"], neutral=None):
        usable = rows.usable
        frames += len(rows)
        found += int(usable.sum())
        neutral += int((rows.neutral & usable).sum())
        if usable.any():
            values = rows.parameters[usable]
            peak = np.maximum(peak, rows.columns["scores"][usable].max(axis=0))
            low = values.min(axis=0) if low is None else np.minimum(low, values.min(axis=0))
            high = values.max(axis=0) if high is None else np.maximum(high, values.max(axis=0))
    if low is None or high is None:
        raise InputError(f"{data.path} holds no frame with a face and all numbers")
    names = [*(f"expression {i}" for i in range(data.n_expression)), *_POSES]
    return Summary(
        frames=frames,
        found=found,
        neutral=neutral,
        subjects=data.subjects,
        subjects_without_neutral=tuple(s for s in data.subjects if data.neutral(s, ["scores"]) is None),
        has_landmarks=data.has_column("landmarks"),
        head_version=data.head_version or "not stated",
        silent_scores=tuple(name for name, value in zip(MEDIAPIPE, peak, strict=True) if value <= _FIRES),
        still_outputs=tuple(name for name, a, b in zip(names, low, high, strict=True) if b - a <= _MOVES),
    )
