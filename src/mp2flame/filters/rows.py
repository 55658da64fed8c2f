"""`FlameParams` as one matrix with a row for each frame, and the check that all filters make of what comes in.

Letters: N frames, E expression coefficients, C = E + 18 channels: expression, then six vectors of three.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import InputError

__all__ = ["VECTORS", "Order", "Rows", "from_rows", "to_rows"]

VECTORS: Final = ("jaw_pose", "neck_pose", "global_orient", "leye_pose", "reye_pose", "translation")
"""The channels behind the expression, three for each; the translation last."""


@dataclass(frozen=True, eq=False)
class Rows:
    """N frames as numbers; a filter changes `values` where they are."""

    time: NDArray[np.float64]
    """(N,) seconds."""
    found: NDArray[np.bool_]
    """(N,) a face was seen."""
    values: NDArray[np.float64]
    """(N, C) every channel."""

    @property
    def n_expression(self) -> int:
        """E, the number of expression coefficients."""
        return int(self.values.shape[1]) - 3 * len(VECTORS)


def to_rows(params: FlameParams) -> Rows:
    """Every channel of the parameters, in float64."""
    parts = [params.expression, *(getattr(params, name) for name in VECTORS)]
    return Rows(params.time, params.found, np.concatenate(parts, axis=1, dtype=np.float64))


def from_rows(params: FlameParams, rows: Rows) -> FlameParams:
    """`params` with its channels replaced by those of `rows`, in float32."""
    values = rows.values.astype(np.float32)
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
    def after(cls, previous: Order | None, rows: Rows) -> Order:
        """The order after `rows`, which come after `previous` (None at the start).

        Raises:
            InputError: time runs backwards, or the number of coefficients changed. Repeated times are fine.
        """
        if previous is not None and len(rows.time) == 1:
            # A live frame: nothing to look for inside it.
            time = float(rows.time[0])
            if time >= previous.time and rows.n_expression == previous.n_expression:
                return cls(time=time, n_expression=previous.n_expression)
        start = rows.time[:1] if previous is None else np.array([previous.time])
        steps = np.diff(rows.time, prepend=start)
        if (steps < 0).any():
            at = int(np.argmax(steps < 0))
            before = start[0] if at == 0 else rows.time[at - 1]
            raise InputError(
                f"expected time to rise; got {rows.time[at]:g} s after {before:g} s: "
                "call reset() before another sequence"
            )
        if previous is not None and rows.n_expression != previous.n_expression:
            raise InputError(
                f"expected {previous.n_expression} expression coefficients as before; got {rows.n_expression}: "
                "call reset() before another sequence"
            )
        return cls(time=float(rows.time[-1]), n_expression=rows.n_expression)
