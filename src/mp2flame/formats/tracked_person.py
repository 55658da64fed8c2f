"""The folder of a tracked person: `person.json`, and for each video a recording, its residuals and other files.

`person.json` is one JSON object:

    format, format_version    "mp2flame-tracked-person", 1
    head_version, head_hash   the head that was tracked with
    shape                     identity coefficients, the same in all videos
    videos                    by name, the figures of a `TrackedVideo`
    made_from                 the video files and the options; a run with others is refused

`<video>.jsonl` is the recording; `<video>.residuals.csv` has one row for each frame of the video.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mp2flame.errors import FormatError
from mp2flame.files import read_bounded

FORMAT: Final = "mp2flame-tracked-person"
VERSION: Final = 1
PERSON_FILE: Final = "person.json"
OVERLAY: Final = ".overlay.mp4"
RESIDUALS: Final = ".residuals.csv"
_MAX_BYTES: Final = 1 << 24


@dataclass(frozen=True, kw_only=True)
class TrackedVideo:
    """What `person.json` says of one video. Times are seconds from its start, as in the recording."""

    frames: int = 0
    """Number of frames."""
    found: int = 0
    """Number of frames in which the person's face was tracked."""
    focal: float = 0.0
    """Focal length, pixels."""
    image_size: tuple[int, int] = (0, 0)
    """Width and height, pixels."""
    neutral_times: tuple[float, ...] = ()
    """Frames that show the neutral face."""
    bad_times: tuple[float, ...] = ()
    """Frames that fit too badly to be learned from."""
    median_residual: float = 0.0
    """Median over the frames of the root mean square residual, standard deviations of the landmark error model."""
    warnings: tuple[str, ...] = ()
    """What a user should know."""

    def to_json(self) -> dict[str, Any]:
        """The video's object in `person.json`."""
        return {
            "frames": self.frames,
            "found": self.found,
            "focal": round(self.focal, 3),
            "image_size": list(self.image_size),
            "rest_times": list(self.neutral_times),
            "bad_times": list(self.bad_times),
            "median_misfit": round(self.median_residual, 4),
            "remarks": list(self.warnings),
        }


def person_json(
    videos: dict[str, TrackedVideo], *, head_version: str, head_hash: str, shape: list[float], made_from: dict[str, Any]
) -> bytes:
    """The content of a `person.json`."""
    document = {
        "format": FORMAT,
        "format_version": VERSION,
        "head_version": head_version,
        "head_hash": head_hash,
        "shape": [round(value, 6) for value in shape],
        "videos": {name: video.to_json() for name, video in videos.items()},
        "made_from": made_from,
    }
    return (json.dumps(document, indent=1) + "\n").encode("utf-8")


def read_made_from(folder: Path) -> Any:
    """What a person's folder was made from, as `person_json` was given it.

    Raises:
        FormatError: `person.json` is damaged.
    """
    return _read(folder / PERSON_FILE).get("made_from")


def read_tracked_videos(folder: Path) -> dict[str, TrackedVideo]:
    """The neutral and bad times of a person's videos by name; the other figures are not read.

    Raises:
        FormatError: `person.json` is damaged, of another kind, or written by a newer version.
    """
    path = folder / PERSON_FILE
    document = _read(path)
    try:
        format_, version = document["format"], int(document["format_version"])
        if format_ != FORMAT or version > VERSION:
            raise FormatError(f"{path}: expected {FORMAT}, version {VERSION} or less; got {format_!r:.60}, {version}")
        videos = {
            str(name): TrackedVideo(
                neutral_times=tuple(map(float, entry["rest_times"])), bad_times=tuple(map(float, entry["bad_times"]))
            )
            for name, entry in document["videos"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise FormatError(f"{path} is damaged: {error!r:.200}") from error
    for name in videos:
        if Path(name).name != name:
            raise FormatError(f"{path} is damaged: expected plain names of videos; got {name!r:.60}")
    return videos


def _read(path: Path) -> dict[str, Any]:
    content = read_bounded(path, "person's file", limit=_MAX_BYTES)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is damaged: {error}") from error
    if not isinstance(document, dict):
        raise FormatError(f"{path} is damaged: expected a JSON object; got {type(document).__name__}")
    return document
