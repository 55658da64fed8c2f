"""One recording of one person, as a reader gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.dataset.table import FrameTable

__all__ = ["TrackedSequence"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedSequence:
    """True parameters of N frames, and either what was seen in them or the pictures to look at."""

    subject: str
    """Whose face."""
    name: str
    """Of the sequence, unique among the subject's."""
    source: str
    """The tool and the path that it is from."""
    params: FlameParams
    """N frames; `found` False where the tool gave none."""
    frame: NDArray[np.int64]
    """(N,) frame numbers."""
    seen: dict[str, Float32] = field(default_factory=dict)
    """(N, width) columns `scores`, and where there are any `landmarks`, `head_transform`."""
    neutral: NDArray[np.bool_] | None = None
    """(N,) frames at rest."""
    pictures: Sequence[Path] = ()
    """N picture files, where scores are to be computed from them."""
    video: Path | None = None
    """A film whose frame numbers are `frame`, likewise."""
    image_size: tuple[int, int] | None = None
    """Width and height, where known."""
    head_version: str = ""
    """The head that the tool's parameters are for, in words, where that is known."""
    head_hash: str = ""
    """Its hash, likewise."""
    missing_pictures: int = 0
    """Frames that had to be left out because there is no picture of them."""

    def rows(self, seen: dict[str, Float32] | None = None, image_size: tuple[int, int] | None = None) -> FrameTable:
        """The sequence as rows of a data set.

        Args:
            seen: the columns seen, where they were computed from the pictures.
            image_size: of the pictures, likewise.
        """
        columns = dict(self.seen if seen is None else seen)
        p = self.params
        eyes = np.concatenate([p.leye_pose, p.reye_pose], axis=1)
        columns |= {"expression": p.expression, "jaw": p.jaw_pose, "eyes": eyes}
        columns |= {"neck": p.neck_pose, "global": p.global_orient}
        found = p.found & np.isfinite(columns["scores"]).all(axis=1)
        return FrameTable(
            subject=self.subject,
            sequence=np.full(len(p), self.name, dtype=np.object_),
            frame=self.frame,
            time=p.time,
            found=found,
            neutral=np.zeros(len(p), dtype=np.bool_) if self.neutral is None else self.neutral,
            columns={name: np.ascontiguousarray(column, dtype=np.float32) for name, column in columns.items()},
            image_size=self.image_size or image_size,
        )
