"""Small grey pictures of the face in every frame of a video, for finding where its skin went.

A glimpse is the face's surroundings, made smaller where the face is large: what counts is the motion of the skin, and
that is told to a fraction of a pixel. Glimpses are compressed as they are taken, some 10 kB each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Album", "Glimpse"]

_HEIGHT: Final = 240.0
"""Pixels from forehead to chin in a glimpse, at most."""
_MARGIN: Final = 0.25
"""Of the face's own size, on every side: jaws open, and landmarks miss."""
_QUALITY: Final = 95
"""Of JPEG."""


@dataclass(frozen=True, eq=False)
class Glimpse:
    """A face in one frame."""

    grey: NDArray[np.uint8]
    """(h, w)"""
    corner: NDArray[np.float64]
    """(2,) where the middle of its first pixel is in the frame, pixels right and down from its corner."""
    scale: NDArray[np.float64]
    """(2,) its pixels for each pixel of the frame, across and down."""

    def places(self, frame: NDArray[np.number]) -> NDArray[np.float32]:
        """(..., 2) in this picture, of places in the frame (..., 2), pixels right and down."""
        # Pictures of places are large, and as exact in single precision.
        exact = np.result_type(frame, np.float32)
        corner, scale = (x.astype(exact) for x in (self.corner, self.scale))
        result: NDArray[np.float32] = ((frame - corner) * scale).astype(np.float32)
        return result

    def in_frame(self, places: NDArray[np.floating]) -> NDArray[np.float64]:
        """The reverse of `places`."""
        result: NDArray[np.float64] = places / self.scale + self.corner
        return result


@dataclass(eq=False)
class Album:
    """Glimpses of one video, in the order of its frames."""

    _kept: list[tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]] | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, picture: NDArray[np.uint8], landmarks: NDArray[np.floating] | None) -> None:
        """Keep the next frame.

        Args:
            picture: (H, W, 3) RGB.
            landmarks: (K, 3) normalised; None where there is no face, and nothing to keep.
        """
        # Comes with MediaPipe, without which there are no pictures.
        import cv2

        cut = None if landmarks is None else _surroundings(picture.shape[:2], landmarks)
        if cut is None:
            self._kept.append(None)
            return
        rows, columns, scale = cut
        grey = cv2.cvtColor(np.ascontiguousarray(picture[rows, columns]), cv2.COLOR_RGB2GRAY)
        whole = np.array(grey.shape[::-1])
        if scale < 1:
            size = np.maximum(1, (whole * scale).round().astype(int))
            grey = cv2.resize(grey, size.tolist(), interpolation=cv2.INTER_AREA)
        exact = np.array(grey.shape[::-1]) / whole
        _, packed = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        self._kept.append((packed, np.array([columns.start, rows.start]) + 0.5 / exact, exact))

    def glimpse(self, frame: int) -> Glimpse | None:
        """The face in a frame; None where there is none."""
        import cv2

        kept = self._kept[frame]
        if kept is None:
            return None
        packed, corner, scale = kept
        return Glimpse(np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), dtype=np.uint8), corner, scale)


def _surroundings(size: tuple[int, int], landmarks: NDArray[np.floating]) -> tuple[slice, slice, float] | None:
    """Rows and columns of the face's surroundings, and how much smaller to make them; None outside the picture."""
    height, width = size
    places = landmarks[:, :2] * (width, height)
    low, high = places.min(axis=0), places.max(axis=0)
    margin = _MARGIN * (high - low).max()
    left, top = np.maximum(np.floor(low - margin), 0).astype(int)
    right, bottom = np.minimum(np.ceil(high + margin), (width, height)).astype(int)
    if right - left < 2 or bottom - top < 2:
        return None
    # A face that is near the camera and cut off has a scale as if it were whole.
    scale = min(1.0, _HEIGHT / float((high - low).max()))
    return slice(int(top), int(bottom)), slice(int(left), int(right)), scale
