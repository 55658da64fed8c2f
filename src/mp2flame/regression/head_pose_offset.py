"""The rotation that MediaPipe reports of a head that looks straight ahead, where a data set tells it."""

from __future__ import annotations

import json
from typing import Final

import numpy as np

from mp2flame import rotations
from mp2flame.dataset.store import Dataset
from mp2flame.mapping.wrappers import estimate_frontal_rotation

_SUBJECTS: Final = 50
"""A batch of each of so many subjects is enough for a mean."""
_AGREE_DEGREES: Final = 6.0
"""Rotations that disagree by more than this, in the median, are in other axes than MediaPipe's camera."""


def straight_metadata(data: Dataset) -> dict[str, str]:
    """`straight` for a mapping's metadata, from frames with both MediaPipe's head transform and the true rotation.

    Empty where the data has no head transforms, where its heads never turn (a tool that tells no rotation writes
    zeros), or where the two rotations do not agree, as with a tool whose camera has other axes.
    """
    if not data.has_column("head_transform"):
        return {}
    tables = [
        next(data.batches(["head_transform", "global"], subjects=[name]), None) for name in data.subjects[:_SUBJECTS]
    ]
    columns = [table[table.usable].columns for table in tables if table is not None]
    if not any(part["global"].any() for part in columns):
        return {}
    reported = np.concatenate([part["head_transform"] for part in columns]).reshape(-1, 4, 4)
    true = np.concatenate([part["global"] for part in columns])
    frontal = estimate_frontal_rotation(reported, true)
    expected = rotations.matrix(true) @ rotations.matrix(frontal)
    difference = expected.swapaxes(1, 2) @ rotations.nearest_rotation(reported[:, :3, :3].astype(np.float64))
    if np.degrees(np.median(np.linalg.norm(rotations.from_matrix(difference), axis=1))) > _AGREE_DEGREES:
        return {}
    return {"straight": json.dumps([round(float(value), 6) for value in frontal])}
