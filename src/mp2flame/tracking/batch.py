"""Several people in several processes; who is finished is not tracked again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import FormatError, InputError, Mp2FlameError
from mp2flame.formats.tracked_person import PERSON_FILE, read_made_from
from mp2flame.parallel import run_jobs
from mp2flame.sources.registry import VIDEO_SUFFIXES
from mp2flame.tracking.config import TrackOptions
from mp2flame.tracking.model import TrackerModel
from mp2flame.tracking.results import save_person
from mp2flame.tracking.track import track_videos
from mp2flame.tracking.video import read_images


@dataclass(frozen=True)
class BatchOptions:
    """What all people of a run share."""

    head: str
    """The head as the user names it, and its identity width: by them a later run recognizes what is finished."""
    n_shape: int | None
    landmarker: Path
    suffixes: tuple[str, ...] = ()
    """Of the files for each video, besides recording and residuals."""
    track: TrackOptions = field(default_factory=TrackOptions)


@dataclass(frozen=True)
class Job:
    """One person."""

    person: str
    """The name, which is the folder's."""
    videos: tuple[Path, ...]


@dataclass(frozen=True)
class JobResult:
    """What became of a person."""

    summary: str = ""
    error: str = ""
    """Why there is no result."""
    warnings: tuple[str, ...] = ()


def jobs_of(videos: Sequence[Path], *, same_person: bool = False) -> list[Job]:
    """The people to track: one for each video or folder of videos, or one for all.

    Raises:
        InputError: a folder holds nothing to track, or two people have the same name.
    """
    groups = [(video.name if video.is_dir() else video.stem, _in_folder(video)) for video in videos]
    if same_person:
        groups = [(groups[0][0], tuple(path for _, paths in groups for path in paths))]
    names = [name for name, _ in groups]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            f"expected different names of people; {', '.join(repeated)} comes more than once: rename the videos, or "
            "say --same-person if all are of one"
        )
    return [Job(name, paths) for name, paths in groups]


def _in_folder(path: Path) -> tuple[Path, ...]:
    """The videos in a folder; a folder of images is one video itself, as a file is."""
    if not path.is_dir():
        return (path,)
    videos = tuple(sorted(file for file in path.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES))
    return videos or (path,)


def track_people(
    model: TrackerModel, jobs: Sequence[Job], folder: Path, options: BatchOptions, *, processes: int = 1
) -> Iterator[tuple[Job, JobResult]]:
    """Track people and write their folders into `folder`; yields each as it is finished.

    A person whose folder was made of the same videos with the same options is passed over. One that cannot be tracked,
    or whose process dies, does not keep the others from it.
    """
    yield from run_jobs(
        partial(_track_job, model, folder, options),
        jobs,
        processes=processes,
        label=lambda job: job.person,
        kept=f"the people that are finished are in {folder}",
        on_death=lambda _, error: JobResult(error=str(error)),
    )


def _track_job(model: TrackerModel, folder: Path, options: BatchOptions, job: Job) -> JobResult:
    place, made_from = folder / job.person, _made_from(job, options)
    try:
        if (place / PERSON_FILE).is_file():
            return _check_finished(place, made_from)
        return _track_and_save(model, place, made_from, options, job)
    except Mp2FlameError as error:
        return JobResult(error=str(error))


def _track_and_save(
    model: TrackerModel, place: Path, made_from: dict[str, Any], options: BatchOptions, job: Job
) -> JobResult:
    results = track_videos(job.videos, model, options.track, landmarker=options.landmarker)
    stems = [video.stem for video in job.videos]
    names = [stem if stems.count(stem) == 1 else f"{stem}-{number}" for number, stem in enumerate(stems)]
    videos = dict(zip(names, job.videos, strict=True))

    def images(name: str) -> Iterator[NDArray[np.uint8] | None]:
        return read_images(videos[name], options.landmarker, mirror=options.track.mirror)

    by_name = dict(zip(names, results, strict=True))
    save_person(place, by_name, model.head, suffixes=options.suffixes, images=images, made_from=made_from)
    frames, found = sum(len(x.params) for x in results), sum(int(x.params.found.sum()) for x in results)
    # A person with one video has its name, which is printed anyway.
    several = len(by_name) > 1
    warnings = tuple(
        f"{name}: {warning}" if several else warning for name, result in by_name.items() for warning in result.warnings
    )
    return JobResult(f"{frames} frames, {found} of them with the face", warnings=warnings)


def _check_finished(place: Path, made_from: dict[str, Any]) -> JobResult:
    try:
        before = read_made_from(place)
    except FormatError as error:
        raise InputError(f"{error}; remove {place} to track this person again") from error
    if before != made_from:
        raise InputError(
            f"{place} is there from other videos or options: remove it to track this person again, or choose another "
            "folder"
        )
    return JobResult("finished before, left as it is")


def _made_from(job: Job, options: BatchOptions) -> dict[str, Any]:
    """Videos and options, as they stand in the person's file."""
    files = {str(video): [video.stat().st_size, video.stat().st_mtime_ns] for video in job.videos}
    # `mapping` was an option of earlier versions.
    setting = {"head_source": options.head, "n_shape": options.n_shape, "mapping": None, **asdict(options.track)}
    return {"videos": files, "setting": {**setting, "suffixes": list(options.suffixes)}}
