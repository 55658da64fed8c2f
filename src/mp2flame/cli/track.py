"""`mp2flame track`: parameters of a head from videos of people, person by person."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mp2flame.cli.console import err, out, progress
from mp2flame.errors import InputError, MissingFileError

if TYPE_CHECKING:
    from mp2flame.head import FlameHead
    from mp2flame.tracking.batch import Job, Outcome, Setting

__all__ = ["Track"]

Kind = Literal["npz", "csv", "mp4", "gif", "overlay"]


@dataclass(frozen=True)
class Track:
    """Estimate a FLAME head's parameters from videos: one identity for each person, and every frame's face and pose.

    One video goes to files (-o face.npz -o film.mp4 -o check.overlay.mp4), any number of them to a folder (-o DIR),
    which gets one folder for each person and is what `mp2flame dataset build` takes. Started again after a kill, a
    folder goes on with the people that are not finished.
    """

    videos: tyro.conf.Positional[list[Path]]
    """Videos, each of another person; a folder of videos is one person's."""
    output: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=("-o",)), tyro.conf.UseAppendAction]
    """A folder, or files: .npz, .jsonl, .csv, .mp4, .gif, .overlay.mp4 (mesh over the picture), .residuals.csv."""
    head: str = "builtin"
    """The head to track with: a FLAME file (.pkl, .npz, .safetensors) of yours, or the built-in one."""
    kinds: tuple[Kind, ...] = ("npz",)
    """In a folder: what to write for each video besides the recording (.jsonl) and the residuals."""
    same_person: bool = False
    """All videos show the same person: they share the identity."""
    head_pose: Literal["global_orient", "neck_pose", "none"] = "global_orient"
    """Which joint the head's rotation goes to; none leaves the head in its own place."""
    focal: float | None = None
    """Focal length of the camera in pixels; estimated if not given."""
    ipd: float | None = None
    """Millimetres between the person's pupils, as on a prescription for glasses: no picture tells a head's size."""
    mapping: str | None = None
    """A mapping for this head (see `mp2flame calibrate`) to look for faces near what it says."""
    n_shape: int | None = None
    """How many of the head's shape directions are identity, for heads that are not as wide as FLAME."""
    landmarker: Path | None = None
    """MediaPipe's face_landmarker.task, where it is not to be fetched."""
    mirror: bool = False
    """The pictures are mirrored."""
    processes: int | None = None
    """People tracked at a time; by default one for each processor."""

    def run(self) -> int:
        """Learn the head if it is new, track everybody, and say what became of whom."""
        from mp2flame.head import load_head
        from mp2flame.tracking.people import check_ipd

        check_ipd(self._metres)
        files = self._files()
        for video in self.videos:
            if not video.exists():
                raise MissingFileError(f"no video {video}")
        head = load_head(self.head, n_shape=self.n_shape)
        return self._to_files(head, files) if files else self._to_folder(head)

    def _files(self) -> tuple[Path, ...]:
        """The outputs, if they are files; none if there is one and it is a folder."""
        if not self.output:
            raise InputError("expected an output: -o DIR for a folder, or -o face.npz and so on for one video")
        if len(self.output) == 1 and not self.output[0].suffix:
            return ()
        if len(self.videos) > 1 or self.videos[0].is_dir():
            raise InputError("expected a folder to write to for more than one video: -o DIR")
        return self.output

    @property
    def _metres(self) -> float | None:
        return None if self.ipd is None else self.ipd / 1000

    def _study(self, head: FlameHead, bundle: Path) -> None:
        """Learn the head now, with a progress bar, so that every process finds it learned."""
        from mp2flame.tracking.model import study_head

        with progress(f"learning how MediaPipe sees {head.version} (once)", None) as bar:
            study_head(head, bundle, on_picture=bar.advance)

    def _to_files(self, head: FlameHead, files: tuple[Path, ...]) -> int:
        from mp2flame.downloads import landmarker_path
        from mp2flame.mapping import load_mapping
        from mp2flame.tracking.batch import video_pictures
        from mp2flame.tracking.results import check_targets, save_files
        from mp2flame.tracking.track import track

        check_targets(files)
        bundle, video = landmarker_path(self.landmarker), self.videos[0]
        self._study(head, bundle)
        with progress("watching, then solving", None) as bar:
            tracked = track(
                video,
                head,
                landmarker=bundle,
                head_pose=self.head_pose,
                focal=self.focal,
                ipd=self._metres,
                mapping=None if self.mapping is None else load_mapping(self.mapping),
                mirror=self.mirror,
                on_frame=bar.advance,
            )[0]
        save_files(tracked, head, files, lambda: video_pictures(video, bundle, mirror=self.mirror))
        for warning in tracked.warnings:
            err.print(f"[yellow]note:[/] {warning}", soft_wrap=True)
        out.print(f"{len(tracked.params)} frames, {int(tracked.params.found.sum())} of them with the face")
        for file in files:
            out.print(f"wrote {file}", soft_wrap=True)
        return 0

    def _to_folder(self, head: FlameHead) -> int:
        from mp2flame.downloads import landmarker_path
        from mp2flame.tracking.batch import jobs_of, run_jobs

        folder = self.output[0]
        if not folder.parent.is_dir():
            raise MissingFileError(f"cannot write {folder}: the folder {folder.parent} does not exist; make it first")
        jobs = jobs_of(self.videos, same_person=self.same_person)
        if self.ipd is not None and len(jobs) > 1:
            raise InputError(
                f"--ipd is one person's, and these are {len(jobs)}: track them one by one, or --same-person"
            )
        bundle = landmarker_path(self.landmarker)
        self._study(head, bundle)
        folder.mkdir(exist_ok=True)
        setting = self._setting(bundle)
        failed = 0
        with progress("tracking people", len(jobs)) as bar:
            for job, outcome in run_jobs(jobs, folder, setting, processes=self.processes or os.cpu_count() or 1):
                bar.advance()
                failed += not _told(job, outcome)
        out.print(f"wrote {folder}: {len(jobs) - failed} of {len(jobs)} people", soft_wrap=True)
        return 1 if failed else 0

    def _setting(self, bundle: Path) -> Setting:
        from mp2flame.tracking.batch import Setting

        return Setting(
            head_source=self.head,
            n_shape=self.n_shape,
            landmarker=bundle,
            head_pose=self.head_pose,
            focal=self.focal,
            ipd=self._metres,
            mapping=self.mapping,
            mirror=self.mirror,
            suffixes=tuple(".overlay.mp4" if kind == "overlay" else f".{kind}" for kind in self.kinds),
        )


def _told(job: Job, outcome: Outcome) -> bool:
    """Print what became of a person; whether it is there."""
    if outcome.error:
        err.print(f"[bold red]error:[/] {job.person}: {outcome.error}", soft_wrap=True, markup=True)
        return False
    out.print(f"{job.person}: {outcome.summary}", soft_wrap=True)
    for warning in outcome.warnings:
        err.print(f"[yellow]note:[/] {job.person}: {warning}", soft_wrap=True)
    return True
