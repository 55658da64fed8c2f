"""How soon a thread of Python that has work gets its turn: no long turns of others, no long cleaning in between."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quick_turns"]

_TURN = 0.0005
"""Seconds. Python lets a thread compute for ten times as long before another may, longer than a frame's whole road."""


class _Turns:
    """How many ask for quick turns at the moment, and what was set before the first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.before = 0.0


_TURNS = _Turns()


@contextmanager
def quick_turns() -> Iterator[None]:
    """Threads take turns often while this is open, for the whole process: a frame does not wait for housekeeping.

    What is in memory already is kept out of Python's search for cycles, which would stop a frame for all of it.
    """
    with _TURNS.lock:
        if _TURNS.users == 0:
            _TURNS.before = sys.getswitchinterval()
            sys.setswitchinterval(min(_TURN, _TURNS.before))
            gc.freeze()
        _TURNS.users += 1
    try:
        yield
    finally:
        with _TURNS.lock:
            _TURNS.users -= 1
            if _TURNS.users == 0:
                sys.setswitchinterval(_TURNS.before)
                gc.unfreeze()
