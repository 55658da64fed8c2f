"""Frames of a data set in memory: what was seen, what was true, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation
from mp2flame.errors import InputError
from mp2flame.mapping.linear import N_ROTATIONS

__all__ = ["WIDTHS", "FrameTable", "concatenate_tables"]

Float32 = NDArray[np.float32]

WIDTHS: Final = {"scores": 52, "landmarks": 1434, "head_transform": 16, "jaw": 3, "eyes": 6, "neck": 3, "global": 3}
"""Numbers for each frame in every column of numbers but `expression`, which is as wide as the data set's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameTable:
    """Frames of one subject, as a table with a few wide columns; columns that were not asked for are absent.

    FrameTable where `found` is False have NaN scores.
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
    """(N,) a face was seen."""
    neutral: NDArray[np.bool_]
    """(N,) the face is at rest."""
    columns: dict[str, Float32]
    """(N, width) by name: `expression` and those of `WIDTHS`."""
    image_size: tuple[int, int] | None = None
    """Width and height in pixels, where known."""

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, chosen: slice | NDArray[np.integer] | NDArray[np.bool_]) -> FrameTable:
        """The chosen rows."""
        names = ("sequence", "frame", "time", "found", "neutral")
        parts = {name: getattr(self, name)[chosen] for name in names}
        return replace(self, **parts, columns={name: column[chosen] for name, column in self.columns.items()})

    def as_neutral(self) -> FrameTable:
        """The same rows, all of them at rest."""
        return replace(self, neutral=np.ones(len(self), dtype=np.bool_))

    @property
    def parameters(self) -> Float32:
        """(N, E + 9): expression, jaw, left eye, right eye, as the columns of a mapping."""
        return np.concatenate([self.columns[name] for name in ("expression", "jaw", "eyes")], axis=1)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(N,) a face was found, and every number of every column present is finite."""
        good: NDArray[np.bool_] = self.found.copy()
        for column in self.columns.values():
            # A product adds up rows several times as fast as a sum along the short axis; NaN and infinity stay.
            good &= np.isfinite(column @ np.ones(column.shape[1], dtype=np.float32))
        return good

    def observation(self) -> Observation:
        """What was seen, as the noun that mappings take."""
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
        """What was true, as the noun that mappings give; neck and global rotation left out."""
        joined = self.parameters
        e = joined.shape[1] - N_ROTATIONS
        return FlameParams(
            time=self.time,
            found=self.found & np.isfinite(joined).all(axis=1),
            expression=joined[:, :e],
            jaw_pose=joined[:, e : e + 3],
            leye_pose=joined[:, e + 3 : e + 6],
            reye_pose=joined[:, e + 6 :],
        )


def concatenate_tables(parts: Sequence[FrameTable]) -> FrameTable:
    """FrameTable of one subject, one after the other, with the columns that all of them have.

    Raises:
        InputError: nothing to join.
    """
    if not parts:
        raise InputError("expected at least one part to join; got none")
    names = set.intersection(*(set(part.columns) for part in parts))
    fields = ("sequence", "frame", "time", "found", "neutral")
    joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in fields}
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in sorted(names)}
    return replace(parts[0], **joined, columns=columns)
