"""From a sender's time stamps, which may stand still, jump or run backwards, to seconds that rise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

__all__ = ["PacketClock"]

_JUMP = 0.5
"""Stamps that leave our own clock by more seconds than this began anew: a restart, midnight, another sender."""
_LEAST_STEP = 1e-3


@dataclass(frozen=True)
class _State:
    start: float
    last: float = -1.0
    stamp: float | None = None
    offset: float | None = None
    trusted: bool = True


class PacketClock:
    """Seconds since the first packet: by the sender's stamps where they make sense, else by the time of receipt.

    Args:
        now: our own clock; seconds that only rise.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._state: _State | None = None

    @property
    def started(self) -> bool:
        """A packet has come."""
        return self._state is not None

    def stamp(self, sent: float | None) -> float | None:
        """The time of a packet that comes in now; None if it is older than the last one and should be dropped.

        Args:
            sent: the sender's stamp in seconds, or None if the packet carries none.
        """
        state = self._state or _State(start=self._now())
        elapsed = self._now() - state.start
        if sent is None or not state.trusted:
            return self._advance(state, elapsed)
        offset = state.offset
        if offset is None or abs(sent - offset - elapsed) > _JUMP:
            offset = sent - max(elapsed, state.last + _LEAST_STEP)
        elif state.stamp is not None and sent < state.stamp:
            return None
        if sent == state.stamp:
            # Two frames with one stamp: this sender's stamps are too coarse, or stand still.
            return self._advance(replace(state, trusted=False), elapsed)
        return self._advance(replace(state, stamp=sent, offset=offset), sent - offset)

    def silence(self) -> float:
        """A time between packets, when none has come for a while."""
        assert self._state is not None, "nothing is silent before the first packet"
        return self._advance(self._state, self._now() - self._state.start)

    def _advance(self, state: _State, seconds: float) -> float:
        seconds = max(seconds, state.last + _LEAST_STEP) if state.last >= 0 else max(seconds, 0.0)
        self._state = replace(state, last=seconds)
        return seconds
