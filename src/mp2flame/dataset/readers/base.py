"""One recording of one person, as every reader gives it, and the images that its parameters belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, concatenate
from mp2flame.dataset.table import FrameTable
from mp2flame.errors import FormatError, MissingFileError
from mp2flame.sources.images import list_images

Float32 = NDArray[np.float32]

USUAL_FPS: Final = 30.0
"""Frames per second where neither the files nor the user state it."""
_VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".mkv", ".avi", ".webm")
_IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg")
_NEARBY: Final = ("images", "image", "imgs", "rgb", "source")
_COUNT_TOLERANCE: Final = 2
"""Frames. The number that a video's header states is not always the number in it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedSequence:
    """True parameters of N frames, and either what was observed in them or the images to detect faces in."""

    subject: str
    """Whose face."""
    name: str
    """Of the sequence, unique among the subject's."""
    source: str
    """The tool and the path that it is from."""
    params: FlameParams
    """N frames; `found` False where the tool gave none."""
    frame: NDArray[np.int64]
    """(N,) frame numbers."""
    observed: dict[str, Float32] = field(default_factory=dict)
    """(N, width) columns `scores`, and where there are any `landmarks`, `head_transform`."""
    named_scores: bool = False
    """The scores come with their names: they are in MediaPipe's order whatever order the user states."""
    neutral: NDArray[np.bool_] | None = None
    """(N,) frames of the neutral face."""
    images: Sequence[Path] = ()
    """N image files, where scores are to be computed from them."""
    video: Path | None = None
    """A video whose frame numbers are `frame`, likewise."""
    image_size: tuple[int, int] | None = None
    """Width and height, where known."""
    head_version: str = ""
    """The head that the tool's parameters are for, in words, where that is known."""
    head_hash: str = ""
    """Its hash, likewise."""
    missing_images: int = 0
    """Frames that had to be left out because there is no image of them."""
    timed: bool = False
    """The times of `params` are the recording's own; otherwise they count frames at the usual rate."""
    is_video: bool = True
    """Frames with successive numbers follow each other in time."""

    def at_rate(self, fps: float | None) -> TrackedSequence:
        """The sequence as the video of this rate that the user states it to be, where its own times are unknown."""
        if fps is None or self.timed or self.neutral is not None:
            return self
        return replace(self, params=replace(self.params, time=self.frame / fps), is_video=True)

    def table(
        self,
        observed: dict[str, Float32] | None = None,
        image_size: tuple[int, int] | None = None,
        time: NDArray[np.float64] | None = None,
    ) -> FrameTable:
        """The sequence as rows of a data set.

        Args:
            observed: the columns detected, where they were computed from images.
            image_size: of the images, likewise.
            time: (N,) true times of the frames, where a video told them.
        """
        columns = dict(self.observed if observed is None else observed)
        p = self.params
        columns |= {"expression": p.expression, "jaw": p.jaw_pose, "eyes": p.eye_pose}
        columns |= {"neck": p.neck_pose, "global": p.global_orient}
        return FrameTable(
            subject=self.subject,
            sequence=np.full(len(p), self.name, dtype=np.object_),
            frame=self.frame,
            time=p.time if time is None else time,
            found=p.found & np.isfinite(columns["scores"]).all(axis=1),
            neutral=np.zeros(len(p), dtype=np.bool_) if self.neutral is None else self.neutral,
            columns={name: np.ascontiguousarray(column, dtype=np.float32) for name, column in columns.items()},
            image_size=self.image_size or image_size,
            video=self.is_video,
        )


def params_of(frame: NDArray[np.int64], expression: Float32, jaw: Float32, eyes: Float32) -> FlameParams:
    """Parameters from arrays of N rows, at the usual rate; rows that are not finite count as not found.

    Args:
        frame: (N,) frame numbers.
        expression: (N, E)
        jaw: (N, 3) axis-angle.
        eyes: (N, 6) axis-angle, left and right.
    """
    rows = np.concatenate([expression, jaw, eyes], axis=1)
    return FlameParams.from_rows(rows, time=frame / USUAL_FPS, found=np.isfinite(rows).all(axis=1))


def subject_of(path: Path, generic: str) -> str:
    """The name of the person that a file is of: its own, or its folder's where its own is the tool's for every file.

    Args:
        path: a file, or a folder, whose name it is then.
        generic: what the tool's own names begin with.
    """
    alone = path.stem.startswith(generic) and len(list(path.parent.glob(f"{generic}*{path.suffix}"))) < 2
    return path.parent.name if path.is_file() and alone else path.stem if path.is_file() else path.name


def with_images(params: FlameParams, *, subject: str, source: str, near: Path, images: Path | None) -> TrackedSequence:
    """A sequence with the images named, or those that lie beside it; frame i belongs to image i.

    Raises:
        FormatError: there is not one image for each frame.
        MissingFileError: there are no images.
    """
    place = images or nearby_images(near)
    files: Sequence[Path] = ()
    video: Path | None = None
    if place.is_file() and place.suffix.lower() in _VIDEO_SUFFIXES:
        video = place
        _check_length(video, near, len(params))
    elif place.is_dir():
        files = list_images(place)
        if len(files) != len(params):
            raise FormatError(
                f"{near} has {len(params)} frames and {place} {len(files)} images: give those that were tracked"
            )
    else:
        raise MissingFileError(f"no images at {place}: give a folder of images or a video as PARAMS=IMAGES")
    return TrackedSequence(
        subject=subject,
        name=near.stem,
        source=source,
        params=params,
        frame=np.arange(len(params)),
        images=files,
        video=video,
    )


def _check_length(video: Path, near: Path, frames: int) -> None:
    # Data sets without images are built without the extra that decodes videos.
    from mp2flame.sources.video import VideoReader

    stated = VideoReader(video).n_frames
    if stated is not None and abs(stated - frames) > max(_COUNT_TOLERANCE, frames // 100):
        raise FormatError(
            f"{near} has {frames} frames and {video} {stated}: a video that was tracked at another rate, or in part, "
            f"shows other frames; give the folder of the images that were tracked: {near}=IMAGES"
        )


def nearby_images(near: Path) -> Path:
    """The folder of images or the one video that lies beside a file, or in a folder.

    Raises:
        MissingFileError: there is none, or there are several videos.
    """
    folder = near if near.is_dir() else near.parent
    for name in _NEARBY:
        if (folder / name).is_dir():
            return folder / name
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in _VIDEO_SUFFIXES)
    if len(videos) == 1:
        return videos[0]
    raise MissingFileError(
        f"no images beside {near}: the scores are computed from them, so name the folder of images or the video: "
        f"{near}=IMAGES"
    )


def sequence_of_frames(
    parts: list[FlameParams], frame: list[int], images: list[Path], **details: Any
) -> TrackedSequence:
    """Single frames as one sequence, without those whose image does not exist.

    Args:
        parts: parameters of one frame each.
        frame: their numbers.
        images: their images.
        details: `subject`, `name`, `source` of the sequence.

    Raises:
        MissingFileError: none of the images exists.
        FormatError: frames differ in the number of their coefficients.
    """
    source = details["source"]
    present = [i for i, image in enumerate(images) if image.is_file()]
    if not present:
        raise MissingFileError(f"{source}: none of the {len(images)} images exists, such as {images[0]}")
    widths = {parts[i].n_expression for i in present}
    if len(widths) > 1:
        raise FormatError(f"{source}: expected the same number of coefficients in every frame; got {sorted(widths)}")
    numbers = np.array([frame[i] for i in present])
    return TrackedSequence(
        params=replace(concatenate(parts[i] for i in present), time=numbers / USUAL_FPS),
        frame=numbers,
        images=[images[i] for i in present],
        missing_images=len(images) - len(present),
        **details,
    )


def trailing_number(name: str) -> int:
    """The number that a file name is, without its suffix; 0 for any other name."""
    digits = Path(name).stem
    return int(digits) if digits.isdecimal() and len(digits) < 16 else 0


def image_named(path: Path) -> Path:
    """The image file that is named without its suffix."""
    if path.suffix.lower() in _IMAGE_SUFFIXES:
        return path
    candidates = [path.with_name(path.name + suffix) for suffix in _IMAGE_SUFFIXES]
    return next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
