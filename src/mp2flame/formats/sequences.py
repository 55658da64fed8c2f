"""`.npz` sequences of other layouts: this package's own field names, and BEAT2's body motion (EMAGE)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import FormatError
from mp2flame.formats.arrays import constant, frame_times, rows

__all__ = ["read_emage", "read_named"]

_POSES = ("jaw_pose", "neck_pose", "global_orient", "leye_pose", "reye_pose", "translation")
# SMPL-X joints 22, 23 and 24 in 55 axis-angle triplets.
_SMPLX = {"jaw_pose": 66, "leye_pose": 69, "reye_pose": 72}


def read_named(arrays: Mapping[str, NDArray[Any]], *, where: str, frame_rate: float) -> FlameParams:
    """Parameters under the field names of `FlameParams`: `expression` (T, E), poses (T, 3), `eye_pose` (T, 6).

    Raises:
        FormatError: an array has the wrong shape, or is not finite where a face was found.
    """
    n = len(rows(arrays, "expression", None, where=where))
    found = rows(arrays, "found", 0, n=n, where=where, kind="b") if "found" in arrays else np.ones(n, dtype=np.bool_)
    poses = {name: rows(arrays, name, 3, n=n, where=where, found=found) for name in _POSES if name in arrays}
    if "eye_pose" in arrays:
        eyes = rows(arrays, "eye_pose", 6, n=n, where=where, found=found)
        poses |= {"leye_pose": eyes[:, :3], "reye_pose": eyes[:, 3:]}
    return FlameParams(
        time=frame_times(arrays, n, where=where, frame_rate=frame_rate),
        found=found,
        expression=rows(arrays, "expression", None, n=n, where=where, found=found),
        shape=constant(arrays, "shape", where=where),
        **poses,
    )


def read_emage(arrays: Mapping[str, NDArray[Any]], *, where: str, frame_rate: float) -> FlameParams:
    """The face of a BEAT2 or EMAGE sequence: expression, jaw and eyes out of SMPL-X `poses` (T, 165), and `betas`.

    Its expression space is FLAME 2020's. The body, and with it the head's place in the room, is left out: SMPL-X turns
    the head by a chain of joints that FLAME does not have.

    Raises:
        FormatError: an array has the wrong shape or is not finite.
    """
    expression = rows(arrays, "expressions", None, where=where)
    found = np.ones(len(expression), dtype=np.bool_)
    poses = rows(arrays, "poses", 165, n=len(expression), where=where, found=found)
    rate = float(arrays["mocap_frame_rate"]) if "mocap_frame_rate" in arrays else frame_rate
    if not (np.isfinite(rate) and rate > 0):
        raise FormatError(f"{where}: mocap_frame_rate must be above 0; got {rate}")
    return FlameParams(
        time=np.arange(len(expression)) / rate,
        found=found,
        expression=rows(arrays, "expressions", None, where=where, found=found),
        shape=constant(arrays, "betas", where=where),
        **{name: poses[:, start : start + 3] for name, start in _SMPLX.items()},
    )
