"""What a stream may tell of itself before and while it is read."""

from __future__ import annotations

__all__ = ["Expectations"]


class Expectations:
    """Of observations or of pictures; whoever knows more says so."""

    @property
    def frame_count(self) -> int | None:
        """How many frames are expected, where that is known; for progress only."""
        return None

    @property
    def frame_rate(self) -> float | None:
        """Frames per second on average, where that is known; never used to make up times."""
        return None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know about the frames read so far, such as a truncated end."""
        return ()
