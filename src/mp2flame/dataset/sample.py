"""A fair sample of frames of bounded size, the same whatever the order in which the frames came."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from mp2flame.dataset.table import FrameTable, concatenate_tables

__all__ = ["Sampler"]


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Bits so well mixed that their order is as good as random (Steele et al. 2014, SplitMix64's finaliser)."""
    mixed = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return result


def _keys(rows: FrameTable) -> NDArray[np.uint64]:
    # Frames of a sequence lie together, so its name is looked at once for each run of them.
    starts = np.flatnonzero(np.concatenate([[True], rows.sequence[1:] != rows.sequence[:-1]]))
    sums = [zlib.crc32(f"{rows.subject}/{name}".encode()) for name in rows.sequence[starts]]
    lengths = np.diff([*starts, len(rows)])
    return _mixed((np.repeat(np.array(sums, dtype=np.uint64), lengths) << np.uint64(32)) ^ rows.frame.astype(np.uint64))


class Sampler:
    """Keeps the `limit` frames whose names hash lowest, so that parts can be sampled apart and put together.

    Args:
        limit: the most frames to keep.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Parts are joined only now and then: at every offer, that would cost more than all other work.
        self._kept: dict[str, list[tuple[NDArray[np.uint64], FrameTable]]] = {}
        self._count = 0
        self._bound = np.uint64(2**64 - 1)

    def add(self, rows: FrameTable) -> None:
        """Offer frames of one subject."""
        rows = self.choose(rows)
        if not len(rows):
            return
        self._kept.setdefault(rows.subject, []).append((_keys(rows), rows))
        self._count += len(rows)
        if self._count > 2 * self._limit:
            self._shrink()

    def choose(self, rows: FrameTable) -> FrameTable:
        """Those of one subject's frames that can still be kept, in memory of their own; many threads may ask."""
        if not len(rows):
            return rows
        # A view would keep the whole batch that it looks into.
        return rows[np.flatnonzero(_keys(rows) <= self._bound)]

    def merge(self, other: Sampler) -> None:
        """Take in what another sampler kept."""
        for parts in other._kept.values():
            for _, rows in parts:
                self.add(rows)

    def _shrink(self) -> None:
        """Join each subject's parts, without what is beyond the limit."""
        if self._count > self._limit:
            everything = np.concatenate([keys for parts in self._kept.values() for keys, _ in parts])
            self._bound = np.partition(everything, self._limit - 1)[self._limit - 1]
        kept = {name: [self._low(keys, rows) for keys, rows in parts] for name, parts in self._kept.items()}
        self._kept = {
            name: [(np.concatenate([keys for keys, _ in parts]), concatenate_tables([rows for _, rows in parts]))]
            for name, parts in kept.items()
            if any(len(rows) for _, rows in parts)
        }
        self._count = sum(len(keys) for parts in self._kept.values() for keys, _ in parts)

    def _low(self, keys: NDArray[np.uint64], rows: FrameTable) -> tuple[NDArray[np.uint64], FrameTable]:
        low = np.flatnonzero(keys <= self._bound)
        return keys[low], rows[low]

    def parts(self) -> list[FrameTable]:
        """What was kept, by subject in the order of the names, each subject's frames in a fixed order."""
        self._shrink()
        return [rows[np.argsort(keys, kind="stable")] for _, [(keys, rows)] in sorted(self._kept.items())]
