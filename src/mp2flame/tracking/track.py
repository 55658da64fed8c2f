"""From videos of one person to parameters of a head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mp2flame.downloads import landmarker_path
from mp2flame.errors import InputError
from mp2flame.tracking.model import Study, study_head
from mp2flame.tracking.people import HeadPose, Tracked, track_person
from mp2flame.tracking.video import Footage, watch

if TYPE_CHECKING:
    from mp2flame.head import FlameHead
    from mp2flame.mapping import BlendshapeMapping

__all__ = ["look_at", "track"]


def track(
    videos: str | Path | Sequence[str | Path],
    head: FlameHead | Study,
    *,
    landmarker: Path | None = None,
    head_pose: HeadPose = "global_orient",
    focal: float | None = None,
    ipd: float | None = None,
    mapping: BlendshapeMapping | None = None,
    mirror: bool = False,
    on_picture: Callable[[], None] | None = None,
    on_frame: Callable[[], None] | None = None,
) -> list[Tracked]:
    """Track one person through videos: one identity, and expression, jaw, eyes, rotation and place of every frame.

    Before a head is used for the first time it is rendered and looked at by MediaPipe, which takes one or two minutes
    and is kept in the cache folder.

    Args:
        videos: a video, a picture, a folder of pictures, or several of them that show the same person.
        head: the head, or what `study_head` learned of it.
        landmarker: MediaPipe's `face_landmarker.task`; None for the one that is fetched.
        head_pose: the joint that turns the head; `none` leaves it unturned in its own place.
        focal: focal length in pixels; None estimates it for each video.
        ipd: metres between the person's pupils, looking far; None leaves the head's size to the prior, since no picture
            tells a small head from one that is farther away.
        mapping: of this head, as `calibrate` makes one; faces are then looked for near what it says.
        mirror: the pictures are mirrored.
        on_picture: called after each picture of the head that is learned from.
        on_frame: called twice for each frame: when it was watched and when it was solved.

    Returns:
        One result for each video.

    Raises:
        InputError: MediaPipe cannot see the head when it is rendered, the head has no expression, a video has no
            face, or `ipd` is no person's.
        HeadMismatchError: the mapping is another head's.
        MissingFileError: a video does not exist.
        MissingExtraError: PyVista, MediaPipe or PyAV is not installed.
    """
    paths = [videos] if isinstance(videos, str | Path) else list(videos)
    if not paths:
        raise InputError("expected at least one video; got none")
    bundle = landmarker_path(landmarker)
    footage = [look_at(path, bundle, mirror=mirror, on_frame=on_frame) for path in paths]
    study = head if isinstance(head, Study) else study_head(head, bundle, on_picture=on_picture)
    return track_person(study, footage, head_pose=head_pose, focal=focal, ipd=ipd, mapping=mapping, on_frame=on_frame)


def look_at(
    path: str | Path, landmarker: Path, *, mirror: bool = False, on_frame: Callable[[], None] | None = None
) -> Footage:
    """Watch a file or folder of pixels.

    Raises:
        InputError: it shows no face, or is live.
        MissingFileError: it does not exist.
    """
    from mp2flame.sources import open_source

    with open_source(path, landmarker=landmarker, mirror=mirror) as source:
        if source.live or not hasattr(source, "detector"):
            raise InputError(f"expected a video or pictures to track; got {path}: drive a head with it instead")
        try:
            return watch(source, on_frame=on_frame)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
