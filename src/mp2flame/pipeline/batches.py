"""Frames of a file taken several at a time: mapping eight frames costs little more than mapping one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import TypeAlias

from mp2flame.data import Observation

__all__ = ["Arrived", "in_batches"]

Arrived: TypeAlias = tuple[float, Observation]
"""When a frame left the source (`time.perf_counter` seconds), and the frame."""


def _kind(arrived: Arrived) -> tuple[object, ...]:
    """What frames must share to be joined without changing what a mapping makes of them."""
    seen = arrived[1]
    size = None if seen.image_size is None else tuple(seen.image_size.tolist())
    return bool(seen.found[0]), size, seen.landmarks is None, seen.head_transform is None, seen.tongue_out is None


def in_batches(items: Iterable[Arrived], size: int) -> Iterator[list[Arrived]]:
    """The items in lists of at most `size` that can be joined; waits until a list is full or the items end."""
    stream = iter(items)
    while taken := list(islice(stream, size)):
        for _, alike in groupby(taken, key=_kind):
            yield list(alike)
