"""The base class of filters: `FlameParams` to `FlameParams` along time, with one state that is replaced as a whole.

Letters: N frames, E expression coefficients, C = E + 18 channels: the expression, then the six vectors of `VECTORS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.data import VECTORS, FlameParams, replace_unchecked
from mp2flame.errors import InputError
from mp2flame.validation import check_number

N_VECTOR_CHANNELS = 3 * len(VECTORS)


@dataclass(frozen=True, eq=False)
class ChannelArray:
    """N frames as numbers; a filter changes `values` in place."""

    time: NDArray[np.float64]
    """(N,) seconds, rising."""
    found: NDArray[np.bool_]
    """(N,) a face was found."""
    values: NDArray[np.float64]
    """(N, C)."""

    @property
    def n_expression(self) -> int:
        """E, the number of expression coefficients."""
        return int(self.values.shape[1]) - N_VECTOR_CHANNELS


class Filter(ABC):
    """Call it with a sample (N frames in rising time), get a sample of the same N.

    A sequence gives the same result at once or in pieces. Times are read from the sample, never from a clock.
    """

    _last: tuple[float, int] | None = None
    """Time of the last frame and E, to tell whether the next sample continues the sequence."""

    def __call__(self, params: FlameParams) -> FlameParams:
        """Filter N frames that follow those of the last call.

        Raises:
            InputError: time runs backwards, or the number of coefficients changed since the last call.
        """
        channels = ChannelArray(params.time, params.found, params.to_rows(VECTORS).astype(np.float64))
        self.step(channels)
        values = channels.values.astype(np.float32)
        values.flags.writeable = False
        n = params.n_expression
        vectors: dict[str, Any] = {name: values[:, n + 3 * i : n + 3 * i + 3] for i, name in enumerate(VECTORS)}
        return replace_unchecked(params, expression=values[:, :n], **vectors)

    def step(self, channels: ChannelArray) -> None:
        """As a call, on channels in place.

        Raises:
            InputError: time runs backwards, or the number of coefficients changed since the last call.
        """
        self._last = _check_continues(self._last, channels)
        self._apply(channels)

    @abstractmethod
    def _apply(self, channels: ChannelArray) -> None:
        """Filter N frames, which continue the sequence, in place."""

    def reset(self) -> None:
        """Forget everything: what follows is filtered as by a new filter."""
        self._last = None


class Chain(Filter):
    """Each filter gets the result of the one before.

    Raises:
        InputError: no filter is given.
    """

    def __init__(self, *filters: Filter) -> None:
        if not filters:
            raise InputError("expected at least one filter for a chain; got none")
        self._filters = filters

    @override
    def _apply(self, channels: ChannelArray) -> None:
        for part in self._filters:
            part.step(channels)

    @override
    def reset(self) -> None:
        super().reset()
        for part in self._filters:
            part.reset()


def check_settings(settings: Any, *, zero: bool = False) -> None:
    """Check that the public fields of a dataclass are positive numbers; with `zero`, zero will do.

    Raises:
        InputError: one is not.
    """
    for item in fields(settings):
        if item.init:
            value = getattr(settings, item.name)
            check_number(item.name, value, above=None if zero else 0.0, at_least=0.0 if zero else None)


def _check_continues(last: tuple[float, int] | None, channels: ChannelArray) -> tuple[float, int]:
    """The time of the last frame and E, after checking that `channels` continue the sequence; times may repeat."""
    time, n_expression = channels.time, channels.n_expression
    start, n_before = last or (float(time[0]), n_expression)
    if n_before != n_expression:
        raise InputError(
            f"expected {n_before} expression coefficients as before; got {n_expression}: "
            "call reset() before another sequence"
        )
    steps = np.diff(time, prepend=start) if len(time) > 1 else time - start
    if (steps < 0).any():
        at = int(np.argmax(steps < 0))
        before = start if at == 0 else time[at - 1]
        raise InputError(
            f"expected time to rise; got {time[at]:g} s after {before:g} s: call reset() before another sequence"
        )
    return float(time[-1]), n_expression
