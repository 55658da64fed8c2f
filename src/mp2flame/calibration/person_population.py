"""How far people's scores go from rest: what one person is compared with, kept in the mapping's metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mp2flame.calibration.person_evidence import reach_of

__all__ = ["reach_metadata"]

Float32 = NDArray[np.float32]

_FEWEST = 200


def reach_metadata(people: Iterable[tuple[Float32, Float32]]) -> dict[str, str]:
    """The entry `reach` of a mapping's metadata; none where there are too few frames to tell.

    Args:
        people: of each person scores (N, 52) and rest scores (52,).
    """
    parts = [scores - rest for scores, rest in people]
    if sum(map(len, parts)) < _FEWEST:
        return {}
    reach = reach_of(np.concatenate(parts))
    return {"reach": json.dumps([round(float(value), 4) for value in reach])}
