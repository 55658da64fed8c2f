"""Which of several faces to follow: the largest, without switching back and forth. Geometry only; no pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SEARCH_INTERVAL: Final = 1.0
"""Seconds between searches of the whole image while one face is tracked without interruption."""
CLEARLY_LARGER: Final = 1.25
"""Ratio of sides above which another face may replace the followed one."""
SEARCHES_TO_SWITCH: Final = 2
"""Consecutive searches in which another face must be clearly larger before it replaces the followed one."""
WAIT_SECONDS: Final = 0.5
"""How long to wait for the followed face, among several, before another may replace it."""


@dataclass(frozen=True)
class Box:
    """A face's bounding box in pixels, y down."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def size(self) -> float:
        """Side of the square of the same area."""
        return math.sqrt(max(self.right - self.left, 0.0) * max(self.bottom - self.top, 0.0))

    def expanded(self, margin: float) -> Box:
        """This box with `margin` times its size added on every side."""
        more = margin * self.size
        return Box(self.left - more, self.top - more, self.right + more, self.bottom + more)

    def is_same_face(self, other: Box) -> bool:
        """Whether two boxes, of different detectors or consecutive frames, are of one face.

        Centers closer than half the smaller side, and sides within a factor of two.
        """
        small, large = sorted((self.size, other.size))
        distance = math.hypot(
            self.left + self.right - other.left - other.right, self.top + self.bottom - other.top - other.bottom
        )
        return distance / 2 < small / 2 and large < 2 * small


class FaceSelector:
    """Follows one face among several.

    The largest is selected. It is kept until it is gone, or until another has been clearly larger (by a quarter in
    `SEARCHES_TO_SWITCH` searches). Among several faces the followed one may vanish for half a second without another
    replacing it.
    """

    def __init__(self) -> None:
        self._followed: Box | None = None
        # Seconds at which the followed face was found last, and the whole image searched.
        self._found_at = self._searched_at = -math.inf
        self._tracking = False
        self._several = False
        # Consecutive searches in which another face was clearly larger.
        self._n_larger = 0

    def needs_search(self, tracked: Box | None, time: float) -> bool:
        """Whether to search the whole image: at first, after a loss or a jump, and once a second."""
        if time - self._searched_at >= SEARCH_INTERVAL or (tracked is not None) != self._tracking:
            return True
        return tracked is not None and self._followed is not None and not tracked.is_same_face(self._followed)

    def follow(self, tracked: Box | None, time: float) -> None:
        """Note the box of the followed face in this frame; None if it was not found."""
        self._tracking = tracked is not None
        if tracked is not None:
            self._followed, self._found_at = tracked, time

    def select(self, faces: Sequence[Box], time: float) -> Box | None:
        """The face to follow among all that a search found; None to wait for the one that was followed."""
        self._searched_at = time
        self._several = self._several or len(faces) > 1
        if not faces:
            return None
        selected = max(faces, key=lambda face: face.size)
        kept = self._followed_among(faces, time)
        if kept is None:
            if self._several and time - self._found_at < WAIT_SECONDS:
                return None
            self._n_larger = 0
        else:
            self._n_larger = self._n_larger + 1 if selected.size > CLEARLY_LARGER * kept.size else 0
            if self._n_larger < SEARCHES_TO_SWITCH:
                selected = kept
            else:
                self._n_larger = 0
        self._several = len(faces) > 1
        return selected

    def _followed_among(self, faces: Sequence[Box], time: float) -> Box | None:
        followed = self._followed
        if followed is None or time - self._found_at > SEARCH_INTERVAL:
            return None
        same = [face for face in faces if face.is_same_face(followed)]
        return min(same, key=lambda face: abs(face.size - followed.size), default=None)
