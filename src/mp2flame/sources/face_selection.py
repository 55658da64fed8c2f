"""Which of several faces to follow: the largest, steadily. Pure geometry; nothing here sees a pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

LOOK_SECONDS: Final = 1.0
"""How often to look at the whole picture while one face is followed without trouble."""
CLEARLY_LARGER: Final = 1.25
"""Ratio of sides above which another face may take over."""
PATIENCE: Final = 2
"""Looks in a row in which another face must be clearly larger before it takes over."""
WAIT_SECONDS: Final = 0.5
"""How long to wait for the followed face, among several, before another may take over."""


@dataclass(frozen=True)
class Box:
    """Where a face is, in pixels, y down."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def size(self) -> float:
        """Side of the square of the same area."""
        return math.sqrt(max(self.right - self.left, 0.0) * max(self.bottom - self.top, 0.0))

    def grown(self, margin: float) -> Box:
        """This box with `margin` times its size added on every side."""
        more = margin * self.size
        return Box(self.left - more, self.top - more, self.right + more, self.bottom + more)

    def is_same_face(self, other: Box) -> bool:
        """Whether two boxes, of different detectors or neighbouring frames, are of one face.

        Centres closer than half the smaller side, and sides within a factor of two.
        """
        small, large = sorted((self.size, other.size))
        apart = math.hypot(
            self.left + self.right - other.left - other.right, self.top + self.bottom - other.top - other.bottom
        )
        return apart / 2 < small / 2 and large < 2 * small


@dataclass(frozen=True)
class _Memory:
    followed: Box | None = None
    """The face that is followed, where it was last seen."""
    seen: float = -math.inf
    """When it was last seen, seconds."""
    looked: float = -math.inf
    """When the whole picture was last looked at."""
    tracking: bool = False
    """The tracker held the followed face in the previous frame."""
    in_company: bool = False
    """The last look saw several faces."""
    outgrown: int = 0
    """Looks in a row in which another face was clearly larger."""


class FaceSelector:
    """Follows one face among several.

    The largest is taken; it is kept until it is gone, or until another has been clearly larger (by a quarter in
    `PATIENCE` looks). Among several faces the followed one may vanish for half a second without another taking over.
    """

    def __init__(self) -> None:
        self._memory = _Memory()

    def needs_search(self, tracked: Box | None, time: float) -> bool:
        """Whether the whole picture should be searched: at first, after a loss or a jump, and once a second."""
        memory = self._memory
        if time - memory.looked >= LOOK_SECONDS or (tracked is not None) != memory.tracking:
            return True
        return tracked is not None and memory.followed is not None and not tracked.is_same_face(memory.followed)

    def follow(self, tracked: Box | None, time: float) -> None:
        """Note where the followed face is in this frame; None if it is not seen."""
        if tracked is None:
            self._memory = replace(self._memory, tracking=False)
        else:
            self._memory = replace(self._memory, followed=tracked, seen=time, tracking=True)

    def choose(self, faces: Sequence[Box], time: float) -> Box | None:
        """The face to follow among all that are seen; None to wait for the one that was followed."""
        memory = replace(self._memory, looked=time, in_company=self._memory.in_company or len(faces) > 1)
        self._memory = memory
        if not faces:
            return None
        largest = max(faces, key=lambda face: face.size)
        kept = self._kept(faces, time)
        if kept is None:
            if memory.in_company and time - memory.seen < WAIT_SECONDS:
                return None
            self._memory = replace(memory, outgrown=0, in_company=len(faces) > 1)
            return largest
        outgrown = memory.outgrown + 1 if largest.size > CLEARLY_LARGER * kept.size else 0
        chosen, outgrown = (largest, 0) if outgrown >= PATIENCE else (kept, outgrown)
        self._memory = replace(memory, outgrown=outgrown, in_company=len(faces) > 1)
        return chosen

    def _kept(self, faces: Sequence[Box], time: float) -> Box | None:
        """The face that was followed, among those seen now."""
        followed = self._memory.followed
        if followed is None or time - self._memory.seen > LOOK_SECONDS:
            return None
        same = [face for face in faces if face.is_same_face(followed)]
        return min(same, key=lambda face: abs(face.size - followed.size), default=None)
