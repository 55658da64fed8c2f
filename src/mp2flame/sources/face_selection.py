"""Which of several faces to follow: the largest, without switching back and forth. Geometry only; no pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
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

        Centres closer than half the smaller side, and sides within a factor of two.
        """
        small, large = sorted((self.size, other.size))
        distance = math.hypot(
            self.left + self.right - other.left - other.right, self.top + self.bottom - other.top - other.bottom
        )
        return distance / 2 < small / 2 and large < 2 * small


@dataclass(frozen=True)
class _State:
    followed: Box | None = None
    """Latest box of the followed face."""
    seen: float = -math.inf
    """When it was tracked last, seconds."""
    searched: float = -math.inf
    """When the whole image was searched last."""
    tracking: bool = False
    """The tracker had the followed face in the previous frame."""
    several: bool = False
    """The last search found several faces."""
    larger: int = 0
    """Consecutive searches in which another face was clearly larger."""


class FaceSelector:
    """Follows one face among several.

    The largest is selected. It is kept until it is gone, or until another has been clearly larger (by a quarter in
    `SEARCHES_TO_SWITCH` searches). Among several faces the followed one may vanish for half a second without another
    replacing it.
    """

    def __init__(self) -> None:
        self._state = _State()

    def needs_search(self, tracked: Box | None, time: float) -> bool:
        """Whether to search the whole image: at first, after a loss or a jump, and once a second."""
        state = self._state
        if time - state.searched >= SEARCH_INTERVAL or (tracked is not None) != state.tracking:
            return True
        return tracked is not None and state.followed is not None and not tracked.is_same_face(state.followed)

    def follow(self, tracked: Box | None, time: float) -> None:
        """Note the box of the followed face in this frame; None if it was not found."""
        if tracked is None:
            self._state = replace(self._state, tracking=False)
        else:
            self._state = replace(self._state, followed=tracked, seen=time, tracking=True)

    def select(self, faces: Sequence[Box], time: float) -> Box | None:
        """The face to follow among all that a search found; None to wait for the one that was followed."""
        state = replace(self._state, searched=time, several=self._state.several or len(faces) > 1)
        self._state = state
        if not faces:
            return None
        largest = max(faces, key=lambda face: face.size)
        kept = self._followed_among(faces, time)
        if kept is None:
            if state.several and time - state.seen < WAIT_SECONDS:
                return None
            self._state = replace(state, larger=0, several=len(faces) > 1)
            return largest
        larger = state.larger + 1 if largest.size > CLEARLY_LARGER * kept.size else 0
        selected, larger = (largest, 0) if larger >= SEARCHES_TO_SWITCH else (kept, larger)
        self._state = replace(state, larger=larger, several=len(faces) > 1)
        return selected

    def _followed_among(self, faces: Sequence[Box], time: float) -> Box | None:
        followed = self._state.followed
        if followed is None or time - self._state.seen > SEARCH_INTERVAL:
            return None
        same = [face for face in faces if face.is_same_face(followed)]
        return min(same, key=lambda face: abs(face.size - followed.size), default=None)
