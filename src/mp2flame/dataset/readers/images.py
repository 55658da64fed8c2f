"""Joining parameters with the pictures that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from mp2flame.data import FlameParams
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.errors import FormatError, MissingFileError
from mp2flame.sources.images import list_images

__all__ = ["pictures_beside", "stacked", "trailing_number", "with_pictures", "with_suffix"]

_VIDEOS: Final = (".mp4", ".mov", ".mkv", ".avi", ".webm")
_BESIDE: Final = ("images", "image", "imgs", "rgb", "source")
_SUFFIXES: Final = (".png", ".jpg", ".jpeg")
_HEADERS_ERR: Final = 2
"""Frames. What a film's header promises is not always what is in it."""


def with_pictures(
    params: FlameParams, *, subject: str, source: str, near: Path, pictures: Path | None
) -> TrackedSequence:
    """A sequence with the pictures named, or those that lie beside it; frame i belongs to picture i.

    Raises:
        FormatError: there is not one picture for each frame.
        MissingFileError: there are no pictures.
    """
    place = pictures or pictures_beside(near)
    if place.is_file() and place.suffix.lower() in _VIDEOS:
        files: Sequence[Path] = ()
        video: Path | None = place
        _check_film(place, near, len(params))
    else:
        if not place.is_dir():
            raise MissingFileError(f"no pictures at {place}: give a folder of pictures or a video as PARAMS=PICTURES")
        files, video = list_images(place), None
        if len(files) != len(params):
            raise FormatError(
                f"{near} has {len(params)} frames and {place} {len(files)} pictures: give those that were tracked"
            )
    return TrackedSequence(
        subject=subject,
        name=near.stem,
        source=source,
        params=params,
        frame=np.arange(len(params)),
        pictures=files,
        video=video,
    )


def _check_film(film: Path, near: Path, frames: int) -> None:
    # Data sets without pictures are built without the extra that decodes films.
    from mp2flame.sources.video import VideoReader

    promised = VideoReader(film).n_frames
    if promised is not None and abs(promised - frames) > max(_HEADERS_ERR, frames // 100):
        raise FormatError(
            f"{near} has {frames} frames and {film} {promised}: a film that was tracked at another rate, or in part, "
            f"shows other frames; give the folder of the pictures that were tracked: {near}=PICTURES"
        )


def pictures_beside(near: Path) -> Path:
    """The folder of pictures or the one video that lies beside a file, or in a folder.

    Raises:
        MissingFileError: there is none, or there are several videos.
    """
    folder = near if near.is_dir() else near.parent
    for name in _BESIDE:
        if (folder / name).is_dir():
            return folder / name
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in _VIDEOS)
    if len(videos) == 1:
        return videos[0]
    raise MissingFileError(
        f"no pictures beside {near}: the scores are computed from them, so name the folder of pictures or the video: "
        f"{near}=PICTURES"
    )


def stacked(
    parts: list[FlameParams], *, subject: str, name: str, source: str, frame: list[int], pictures: list[Path]
) -> TrackedSequence:
    """Single frames as one sequence, without those whose picture is not there."""
    there = [i for i, picture in enumerate(pictures) if picture.is_file()]
    if not there:
        raise MissingFileError(f"{source}: none of the {len(pictures)} pictures exists, such as {pictures[0]}")
    fields = ("expression", "jaw_pose", "leye_pose", "reye_pose", "neck_pose", "global_orient")
    widths = {parts[i].n_expression for i in there}
    if len(widths) > 1:
        raise FormatError(f"{source}: expected the same number of coefficients in every frame; got {sorted(widths)}")
    columns = {field: np.concatenate([getattr(parts[i], field) for i in there]) for field in fields}
    numbers = np.array([frame[i] for i in there])
    found = np.concatenate([parts[i].found for i in there])
    return TrackedSequence(
        subject=subject,
        name=name,
        source=source,
        params=FlameParams(time=numbers / 30, found=found, **columns),
        frame=numbers,
        pictures=[pictures[i] for i in there],
        missing_pictures=len(pictures) - len(there),
    )


def trailing_number(name: str) -> int:
    """The number that a file name is, without its suffix; 0 for any other name."""
    digits = Path(name).stem
    return int(digits) if digits.isdecimal() else 0


def with_suffix(path: Path) -> Path:
    """The picture that is named without its suffix."""
    if path.suffix.lower() in _SUFFIXES:
        return path
    there = (path.with_name(path.name + suffix) for suffix in _SUFFIXES)
    return next((candidate for candidate in there if candidate.is_file()), path.with_name(path.name + ".png"))
