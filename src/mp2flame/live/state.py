"""What a session is doing at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mp2flame.data import FlameParams
from mp2flame.live.stats import Stats


@dataclass(frozen=True, kw_only=True)
class SessionState:
    """A snapshot of a session: everything that the page shows beside the head and the image."""

    source: str
    """The source that is open, by its name in `sources`."""
    sources: tuple[str, ...]
    """The sources to choose from."""
    camera_on: bool = True
    """The source poses the head; otherwise the sliders do."""
    face: bool | None = None
    """A face was found in the latest frame; None before the first frame and after the last."""
    notice: str = ""
    """What there is to say of the source."""
    position: float | None = None
    """Seconds into the file that plays; None for cameras and streams."""
    duration: float | None = None
    """Seconds of that file, once they are known."""
    playing: bool = False
    """The file is not paused."""
    mappings: tuple[str, str | None] = ("", None)
    """The mapping of side A, and of side B if there is a second head."""
    neutral: str = ""
    """Which neutral is in use."""
    neutral_progress: float | None = None
    """0 to 1 while a neutral is taken."""
    has_own_neutral: bool = False
    """The neutral in use was taken from this source."""
    pose: FlameParams | None = None
    """The pose of the blendshape sliders, N = 1."""
    recording: str = ""
    """What the recording does."""
    is_recording: bool = False
    """Frames are being recorded."""
    can_download: bool = False
    """There is a finished recording."""
    recording_path: Path | None = None
    """The recording that runs, or the last one."""
    n_recorded: int = 0
    """Frames in that recording."""
    stats: Stats = field(default_factory=Stats)
    """Frame rate, durations and losses."""
