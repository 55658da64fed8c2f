"""Frames of a data set in memory: what was observed, the true parameters, and whose they are.

Letters: N frames, E expression coefficients.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation
from mp2flame.errors import InputError

Float32 = NDArray[np.float32]

WIDTHS: Final = {"scores": 52, "landmarks": 1434, "head_transform": 16, "jaw": 3, "eyes": 6, "neck": 3, "global": 3}
"""Numbers for each frame in every column of numbers but `expression`, which is as wide as the data set's."""
PARAMETERS: Final = ("expression", "jaw", "eyes")
"""The columns of `FrameTable.parameters`."""
_ROWS: Final = ("sequence", "frame", "time", "found", "neutral")


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameTable:
    """Frames of one subject, as a table with a few wide columns; columns that were not asked for are absent.

    Rows where `found` is False have NaN scores.
    """

    subject: str
    """Whose frames they are."""
    sequence: NDArray[np.object_]
    """(N,) names of the recordings that the frames are from."""
    frame: NDArray[np.int64]
    """(N,) numbers of the frames in their sequence."""
    time: NDArray[np.float64]
    """(N,) seconds from the start of the sequence."""
    found: NDArray[np.bool_]
    """(N,) a face was found."""
    neutral: NDArray[np.bool_]
    """(N,) the face is neutral."""
    columns: dict[str, Float32]
    """(N, width) by name: `expression` and those of `WIDTHS`."""
    image_size: tuple[int, int] | None = None
    """Width and height in pixels, where known."""
    video: bool = False
    """The frames of a sequence are a video: successive numbers follow each other in time. Otherwise its frames are
    unrelated, and nothing may be said of how a face moves."""

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, chosen: slice | NDArray[np.integer] | NDArray[np.bool_]) -> FrameTable:
        """The chosen rows."""
        rows = {name: getattr(self, name)[chosen] for name in _ROWS}
        return replace(self, **rows, columns={name: column[chosen] for name, column in self.columns.items()})

    def as_neutral(self) -> FrameTable:
        """The same rows, all of them neutral."""
        return replace(self, neutral=np.ones(len(self), dtype=np.bool_))

    @property
    def parameters(self) -> Float32:
        """(N, E + 9): expression, jaw, left eye, right eye, as the columns of a mapping."""
        return np.concatenate([self.columns[name] for name in PARAMETERS], axis=1)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(N,) a face was found, and every number of every column present is finite."""
        good: NDArray[np.bool_] = self.found.copy()
        for column in self.columns.values():
            # A product adds up rows several times as fast as a sum along the short axis; NaN and infinity remain.
            good &= np.isfinite(column @ np.ones(column.shape[1], dtype=np.float32))
        return good

    def observation(self) -> Observation:
        """What was observed, as mappings take it."""
        landmarks = self.columns.get("landmarks")
        transform = self.columns.get("head_transform")
        return Observation(
            time=self.time,
            found=self.found,
            scores=self.columns["scores"],
            landmarks=None if landmarks is None else landmarks.reshape(len(self), -1, 3),
            head_transform=None if transform is None else transform.reshape(len(self), 4, 4),
            image_size=None if self.image_size is None else np.array(self.image_size),
        )

    def params(self) -> FlameParams:
        """The true parameters, as mappings give them; neck and global rotation left out."""
        return FlameParams.from_rows(self.parameters, time=self.time, found=self.found)

    def sampled(self, share: float) -> FrameTable:
        """About this share of the rows, the same whatever other rows there are and in which order they come."""
        if share >= 1:
            return self
        # A view would keep the whole batch that it looks into in memory.
        return self[np.flatnonzero(self._hashes() < np.uint64(share * 2.0**64))]

    def sorted_by_hash(self) -> FrameTable:
        """The rows in an order that depends on their names and numbers alone."""
        return self[np.argsort(self._hashes(), kind="stable")]

    def _hashes(self) -> NDArray[np.uint64]:
        """(N,) of subject, sequence and frame (the finalizer of SplitMix64, Steele et al. 2014)."""
        names, which = np.unique(self.sequence.astype(str), return_inverse=True)
        sums = np.array([zlib.crc32(f"{self.subject}/{name}".encode()) for name in names], dtype=np.uint64)
        values = (sums[which.reshape(-1)] << np.uint64(32)) ^ self.frame.astype(np.uint64)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashes: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
        return hashes


def concatenate_tables(parts: Sequence[FrameTable]) -> FrameTable:
    """Rows of one subject, one after the other, with the columns that all parts have.

    Raises:
        InputError: there is no part.
    """
    if not parts:
        raise InputError("expected at least one part to join; got none")
    names = set.intersection(*(set(part.columns) for part in parts))
    rows: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ROWS}
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in sorted(names)}
    return replace(parts[0], **rows, columns=columns, video=all(part.video for part in parts))
