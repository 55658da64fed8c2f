"""What a session starts with, what it does at one moment, and its figures: frame rate, durations, frames lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from mp2flame.data import FlameParams
from mp2flame.mapping import HeadPoseTarget, Person
from mp2flame.pipeline import Pipeline
from mp2flame.pipeline.timing import StageTiming

DETECTION: Final = "detection"
END_TO_END: Final = "end to end"
NEUTRAL: Final = "neutral"
"""The name of the sink that collects a neutral, which is not a stage of its own."""
_ARRIVAL: Final = "arrival to "


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """What a live session starts with."""

    source: str = "0"
    """A camera's number, a file, or a stream's address."""
    head: str = "builtin"
    """A head file, or the built-in head."""
    mappings: tuple[str, ...] = ("builtin",)
    """Mappings to choose from; the first is in use."""
    compare: str | None = None
    """A second mapping that is shown beside the first."""
    send: tuple[str, ...] = ()
    """Addresses that every frame is sent to."""
    host: str = "127.0.0.1"
    """Where the page listens."""
    port: int = 8080
    """The first port to try; 0 lets the system choose."""
    mirror: bool = False
    """The camera's image is mirrored."""
    landmarker: Path | None = None
    """MediaPipe's bundle, or None to find or download it."""
    head_pose: HeadPoseTarget = "global_orient"
    """The joint that takes the head's rotation."""
    allow_head_mismatch: bool = False
    """Use mappings that were made for other heads."""
    neutral: Person | Literal["auto"] | None = "auto"
    """The person in front of the camera; "auto" is the neutral that was kept for the source, None the average one."""
    data: Path | None = None
    """Where neutrals and recordings are kept; by default the user's data folder."""


@dataclass(frozen=True)
class Stats:
    """Figures over the latest frames."""

    frame_rate: float = 0.0
    """Frames per second."""
    timings: Mapping[str, StageTiming] = field(default_factory=dict)
    """Duration by stage, in the order of processing; the last is from the camera's image to the browser's socket."""
    losses: tuple[str, ...] = ()
    """One sentence for each place that lost frames."""


@dataclass(frozen=True, kw_only=True)
class SessionState:
    """A snapshot of a session: everything that the page shows beside the head and the image."""

    source: str
    """The source that is open, by its name in `sources`."""
    sources: tuple[str, ...]
    """The sources to choose from."""
    mirrored: bool = False
    """The camera's image is mirrored."""
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
    mapping_names: tuple[str, ...] = ()
    """The mappings to choose from."""
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


def collect_stats(pipeline: Pipeline, frame_rate: float, skipped: int) -> Stats:
    """The figures of a running pipeline, with the frame rate of its source and the frames that a file skipped."""
    summary = pipeline.stopwatch.summary()
    sinks = [stage for stage in summary if f"{_ARRIVAL}{stage}" in summary and stage != NEUTRAL]
    order = [DETECTION, "mapping", "filters", "head", *sinks, END_TO_END]
    timings = {stage: summary[stage] for stage in order if stage in summary}
    return Stats(frame_rate, timings, tuple(_losses(pipeline.dropped, skipped)))


def _losses(dropped: Mapping[str, int], skipped: int) -> Iterator[str]:
    places = {"of the file skipped": skipped} | {
        f"dropped before {'mapping' if place == 'source' else place}": count
        for place, count in dropped.items()
        if place != NEUTRAL
    }
    yield from (f"{count} frame{'s' * (count != 1)} {place}" for place, count in places.items() if count)
