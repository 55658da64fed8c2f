"""What a run did."""

from __future__ import annotations

from dataclasses import dataclass, field

from mp2flame.pipeline.timing import RoomTime

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """What a run did."""

    frames: int
    """Frames that went through the corridor."""
    frames_without_face: int
    """Those of them in which no face was found."""
    seconds: float
    """Wall time from the first frame to the last sink closed."""
    dropped: dict[str, int]
    """Frames lost by place: `source` (live only), and each sink by its name."""
    rooms: dict[str, RoomTime]
    """Time by room."""
    rest_taken: bool
    """A person's rest was found in the source and used."""
    interrupted: bool = False
    """Ended by Ctrl-C or `stop`; everything up to then is kept."""
    warnings: tuple[str, ...] = field(default=())
    """What a user should know, such as a truncated video or a sink that fell out."""

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0
