"""Several people in several processes; who is finished is not done again."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import FormatError, InputError, Mp2FlameError
from mp2flame.formats.tracked_person import PERSON_FILE, read_made_from
from mp2flame.head import load_head
from mp2flame.mapping import load_mapping
from mp2flame.sources.registry import VIDEO_SUFFIXES
from mp2flame.tracking.model import Study, study_head
from mp2flame.tracking.people import HeadPose
from mp2flame.tracking.results import save_person
from mp2flame.tracking.track import track

__all__ = ["Job", "Outcome", "Setting", "jobs_of", "run_jobs", "video_pictures"]


@dataclass(frozen=True)
class Setting:
    """What all people of a run share."""

    head_source: str
    """What `load_head` takes: each process loads the head for itself."""
    n_shape: int | None
    """For `load_head`."""
    landmarker: Path
    head_pose: HeadPose
    focal: float | None
    ipd: float | None
    """Metres."""
    mapping: str | None
    """What `load_mapping` takes."""
    mirror: bool
    suffixes: tuple[str, ...]
    """Of the files for each video, besides recording and residuals."""


@dataclass(frozen=True)
class Job:
    """One person."""

    person: str
    """The name, which is the folder's."""
    videos: tuple[Path, ...]
    """What the person is seen in."""


@dataclass(frozen=True)
class Outcome:
    """What became of a person."""

    summary: str = ""
    error: str = ""
    """Why there is no result."""
    warnings: tuple[str, ...] = ()


def jobs_of(videos: Sequence[Path], *, same_person: bool = False) -> list[Job]:
    """Who is to be tracked: a person for each video, or for each folder of videos, or one person for all.

    Raises:
        InputError: a folder holds nothing to track, or two people have the same name.
    """
    groups = [(video.name if video.is_dir() else video.stem, _in_folder(video)) for video in videos]
    if same_person:
        groups = [(groups[0][0], tuple(path for _, paths in groups for path in paths))]
    names = [name for name, _ in groups]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(
            f"expected different names of people; {', '.join(doubled)} comes more than once: rename the videos, or say "
            "--same-person if all are of one"
        )
    return [Job(name, paths) for name, paths in groups]


def _in_folder(path: Path) -> tuple[Path, ...]:
    """The videos in a folder; a folder of pictures is one video itself, as a file is."""
    if not path.is_dir():
        return (path,)
    videos = tuple(sorted(file for file in path.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES))
    return videos or (path,)


def run_jobs(
    jobs: Sequence[Job], folder: Path, setting: Setting, *, processes: int = 1
) -> Iterator[tuple[Job, Outcome]]:
    """Track people and write their folders into `folder`, in the order in which they are given.

    A person whose folder is there and was made of the same videos with the same settings is passed over; one that
    cannot be tracked does not keep the others from it.
    """
    tasks = [(job, folder, setting) for job in jobs]
    if min(processes, len(jobs)) < 2:
        yield from zip(jobs, map(_work, tasks), strict=True)
        return
    with multiprocessing.get_context("spawn").Pool(min(processes, len(jobs))) as pool:
        yield from zip(jobs, pool.imap(_work, tasks), strict=True)


_studied: dict[tuple[str, int | None, Path], Study] = {}


def _work(task: tuple[Job, Path, Setting]) -> Outcome:
    job, folder, setting = task
    try:
        return _one(job, folder, setting)
    except Mp2FlameError as error:
        return Outcome(error=str(error))


def _one(job: Job, folder: Path, setting: Setting) -> Outcome:
    place, made_from = folder / job.person, _made_from(job, setting)
    if (place / PERSON_FILE).is_file():
        return _finished(place, made_from)
    key = setting.head_source, setting.n_shape, setting.landmarker
    if key not in _studied:
        head = load_head(setting.head_source, n_shape=setting.n_shape)
        _studied[key] = study_head(head, setting.landmarker)
    study, videos = _studied[key], list(job.videos)
    results = track(
        videos,
        study,
        landmarker=setting.landmarker,
        head_pose=setting.head_pose,
        focal=setting.focal,
        ipd=setting.ipd,
        mapping=None if setting.mapping is None else load_mapping(setting.mapping),
        mirror=setting.mirror,
    )
    names = _names(videos)
    by_name = dict(zip(names, videos, strict=True))

    def pictures(name: str) -> Iterator[NDArray[np.uint8] | None]:
        return video_pictures(by_name[name], setting.landmarker, mirror=setting.mirror)

    tracked = dict(zip(names, results, strict=True))
    save_person(place, tracked, study.head, suffixes=setting.suffixes, pictures=pictures, made_from=made_from)
    frames, found = (sum(x) for x in zip(*((len(r.params), int(r.params.found.sum())) for r in results), strict=True))
    warnings = tuple(f"{name}: {warning}" for name, r in zip(names, results, strict=True) for warning in r.warnings)
    return Outcome(f"{frames} frames, {found} of them with the face", warnings=warnings)


def _finished(place: Path, made_from: dict[str, Any]) -> Outcome:
    try:
        before = read_made_from(place)
    except FormatError as error:
        raise InputError(f"{error}; remove {place} to track this person again") from error
    if before != made_from:
        raise InputError(
            f"{place} is there from other videos or settings: remove it to track this person again, or choose another "
            "folder"
        )
    return Outcome("finished before, left as it is")


def _made_from(job: Job, setting: Setting) -> dict[str, Any]:
    """Videos and settings, as they stand in the person's file."""
    files = {str(video): [video.stat().st_size, video.stat().st_mtime_ns] for video in job.videos}
    told = {name: value for name, value in asdict(setting).items() if name != "landmarker"}
    result: dict[str, Any] = json.loads(json.dumps({"videos": files, "setting": told}))
    return result


def _names(videos: Sequence[Path]) -> list[str]:
    """A name for each video of a person; where two are the same, they are numbered."""
    stems = [video.stem for video in videos]
    return [stem if stems.count(stem) == 1 else f"{stem}-{number}" for number, stem in enumerate(stems)]


def video_pictures(path: Path, landmarker: Path, *, mirror: bool = False) -> Iterator[NDArray[np.uint8] | None]:
    """The pictures of a video, once more, as they were seen; None for one that cannot be read."""
    from mp2flame.sources import open_source
    from mp2flame.sources.detection import DetectedSource
    from mp2flame.sources.images import mirror_image, to_rgb

    with open_source(path, landmarker=landmarker, mirror=mirror) as source:
        assert isinstance(source, DetectedSource)
        for _, picture in source.reader:
            if picture is None:
                yield None
            else:
                yield mirror_image(to_rgb(picture)) if mirror else to_rgb(picture)
