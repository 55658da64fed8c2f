"""`FlameParams` as one matrix with a row for each frame, and the check that all filters make of what comes in.

Letters: N frames, E expression coefficients, C = E + 18 channels: expression, then six vectors of three.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import InputError
from mp2flame.signals import FlameParams

__all__ = ["VECTORS", "Order", "from_rows", "to_rows"]

VECTORS: Final = ("jaw_pose", "neck_pose", "global_orient", "leye_pose", "reye_pose", "translation")
"""The channels behind the expression, three for each; the translation last."""


def to_rows(params: FlameParams) -> NDArray[np.float64]:
    """(N, C) every channel in float64."""
    parts = [params.expression, *(getattr(params, name) for name in VECTORS)]
    return np.concatenate(parts, axis=1, dtype=np.float64)


def from_rows(params: FlameParams, rows: NDArray[np.float64]) -> FlameParams:
    """`params` with its channels replaced by `rows` (N, C), in float32."""
    values = rows.astype(np.float32)
    n = params.n_expression
    vectors: dict[str, Any] = {name: values[:, n + 3 * i : n + 3 * i + 3] for i, name in enumerate(VECTORS)}
    return replace(params, expression=values[:, :n], **vectors)


@dataclass(frozen=True)
class Order:
    """What a filter remembers of the sample before, to tell whether the next one follows it."""

    time: float
    """Seconds, of the last frame."""
    n_expression: int
    """E."""

    @classmethod
    def after(cls, previous: Order | None, params: FlameParams) -> Order:
        """The order after `params`, which come after `previous` (None at the start).

        Raises:
            InputError: time runs backwards, or the number of coefficients changed. Repeated times are fine.
        """
        if previous is not None and len(params) == 1:
            # A live frame: nothing to look for inside it.
            time = float(params.time[0])
            if time >= previous.time and params.n_expression == previous.n_expression:
                return cls(time=time, n_expression=previous.n_expression)
        start = params.time[:1] if previous is None else np.array([previous.time])
        steps = np.diff(params.time, prepend=start)
        if (steps < 0).any():
            at = int(np.argmax(steps < 0))
            before = start[0] if at == 0 else params.time[at - 1]
            raise InputError(
                f"expected time to rise; got {params.time[at]:g} s after {before:g} s: "
                "call reset() before another sequence"
            )
        if previous is not None and params.n_expression != previous.n_expression:
            raise InputError(
                f"expected {previous.n_expression} expression coefficients as before; got {params.n_expression}: "
                "call reset() before another sequence"
            )
        return cls(time=float(params.time[-1]), n_expression=params.n_expression)
