"""A video as MediaPipe sees it, cut where the picture changes at once, with the frames at rest told.

Letters: N frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import Observation, concatenate
from mp2flame.errors import InputError
from mp2flame.mapping.neutral import NEUTRAL_SECONDS, find_neutral_frames, neutral_candidates, select_neutral
from mp2flame.sources.base import Source
from mp2flame.tracking.album import Album

__all__ = ["Footage", "find_rest", "watch"]

_THUMBNAIL: Final = 24
_CUT: Final = 24.0
"""Mean change of a small grey picture, of 255, from one frame to the next, in a cut at least this large."""
_CUT_AGAINST: Final = 6.0
"""And so many times as large as the changes around it."""
_AROUND: Final = 15
_JUMP: Final = 0.5
"""A face that moves by this many of its own widths from one frame to the next is another one."""


@dataclass(frozen=True, eq=False)
class Footage:
    """A video's frames."""

    seen: Observation
    """N frames without pictures."""
    shot: NDArray[np.int64]
    """(N,) the number of the shot that each frame belongs to; a new one begins at a cut."""
    warnings: tuple[str, ...]
    """What the source says of them."""
    album: Album = field(default_factory=Album)
    """N glimpses of the face; none where no pictures were kept."""


def watch(source: Source, *, on_frame: Callable[[], None] | None = None) -> Footage:
    """Look at all frames of a video or of pictures.

    Args:
        source: of pixels.
        on_frame: called after each frame.

    Raises:
        InputError: there is no frame, or no face in any.
        SourceError: it cannot be read.
    """
    source.keep_image = True
    frames: list[Observation] = []
    thumbnails: list[NDArray[np.float32]] = []
    album = Album()
    for seen in source:
        assert seen.picture is not None
        frames.append(seen.without_picture())
        thumbnails.append(_thumbnail(seen.picture))
        album.add(seen.picture, None if seen.landmarks is None or not seen.found[0] else seen.landmarks[0])
        if on_frame is not None:
            on_frame()
    if not frames:
        raise InputError("expected a video with frames; this one has none")
    if not any(frame.found[0] for frame in frames):
        raise InputError(f"expected a face; MediaPipe finds none in any of the {len(frames)} frames")
    joined = concatenate(frames)
    return Footage(joined, _shots(joined, np.stack(thumbnails)), source.warnings, album)


def _thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A small grey picture."""
    # Comes with MediaPipe, without which there are no pictures.
    import cv2

    small = cv2.resize(picture, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    return np.asarray(small.mean(axis=2), dtype=np.float32)


def _shots(seen: Observation, thumbnails: NDArray[np.float32]) -> NDArray[np.int64]:
    n = len(seen)
    change = np.zeros(n)
    change[1:] = np.abs(np.diff(thumbnails, axis=0)).mean(axis=(1, 2))
    cut = np.zeros(n, dtype=np.bool_)
    for i in np.flatnonzero(change > _CUT):
        around = np.delete(change[max(1, i - _AROUND) : i + _AROUND], min(i - 1, _AROUND))
        cut[i] = not len(around) or change[i] > _CUT_AGAINST * np.median(around)
    cut |= _jumps(seen)
    return np.cumsum(cut)


def _jumps(seen: Observation) -> NDArray[np.bool_]:
    """(N,) where the face is elsewhere than in the frame before."""
    jumps = np.zeros(len(seen), dtype=np.bool_)
    if seen.landmarks is None:
        return jumps
    both = np.flatnonzero(seen.found[1:] & seen.found[:-1]) + 1
    places = seen.landmarks[..., :2]
    width = np.ptp(places[both, :, 0], axis=1)
    jumps[both] = np.linalg.norm(places[both] - places[both - 1], axis=2).mean(axis=1) > _JUMP * width
    return jumps


def find_rest(footage: Footage) -> NDArray[np.intp] | None:
    """The frames of a calm second: the first second if that is calm, else the earliest one as usual as any.

    Returns:
        Their numbers, or None where no second is calm.
    """
    rows: NDArray[np.intp] = np.flatnonzero(footage.seen.found)
    if not len(rows):
        return None
    time = footage.seen.time[rows]
    first: NDArray[np.intp] = rows[time < time[0] + NEUTRAL_SECONDS]
    calm = find_neutral_frames(footage.seen[first])
    if calm is not None and _in_one_shot(footage, first):
        return first[calm]
    seconds = [second for second in neutral_candidates(footage.seen[rows]) if _in_one_shot(footage, rows[second.rows])]
    return rows[select_neutral(seconds).rows] if seconds else None


def _in_one_shot(footage: Footage, rows: NDArray[np.intp]) -> bool:
    return len(set(footage.shot[rows])) == 1
