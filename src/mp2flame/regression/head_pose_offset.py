"""What MediaPipe reports of a head that looks straight ahead, where a data set tells it."""

from __future__ import annotations

import json
from typing import Final

import numpy as np

from mp2flame import rotations
from mp2flame.dataset.store import Dataset
from mp2flame.mapping.wrappers import estimate_frontal_rotation

__all__ = ["straight_metadata"]

# A batch of each of so many people is enough for a mean.
_PEOPLE: Final = 50
# Rotations that disagree by more than this, in the median, are in other axes than MediaPipe's camera.
_AGREE_DEGREES: Final = 6.0


def straight_metadata(data: Dataset) -> dict[str, str]:
    """`straight` for a mapping's metadata, from frames with both MediaPipe's head transform and the true rotation.

    Empty where the data has no head transforms, where its heads never turn (a tool that tells no rotation writes
    zeros), or where the two rotations do not go together, as with a tool whose camera has other axes.
    """
    if not data.has_column("head_transform"):
        return {}
    seen, true = [], []
    for subject in data.subjects[:_PEOPLE]:
        rows = next(data.batches(["head_transform", "global"], subjects=[subject]), None)
        if rows is not None and rows.usable.any():
            seen.append(rows.columns["head_transform"][rows.usable].reshape(-1, 4, 4))
            true.append(rows.columns["global"][rows.usable])
    if not true or not np.concatenate(true).any():
        return {}
    reported, truth = np.concatenate(seen), np.concatenate(true)
    straight = estimate_frontal_rotation(reported, truth)
    expected = rotations.matrix(truth) @ rotations.matrix(straight)
    got = rotations.nearest_rotation(reported[:, :3, :3].astype(np.float64))
    off = np.degrees(np.linalg.norm(rotations.from_matrix(expected.swapaxes(1, 2) @ got), axis=1))
    if np.median(off) > _AGREE_DEGREES:
        return {}
    return {"straight": json.dumps([round(float(value), 6) for value in straight])}
