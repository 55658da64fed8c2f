"""`mp2flame track`: parameters of a head from videos of people, person by person."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mp2flame.cli.console import err, out, progress
from mp2flame.errors import InputError, MissingFileError

if TYPE_CHECKING:
    from mp2flame.head import FlameHead
    from mp2flame.tracking.model import StoredModel
    from mp2flame.tracking.track import TrackOptions

__all__ = ["Track"]

Format = Literal["npz", "csv", "mp4", "gif", "overlay"]


@dataclass(frozen=True)
class Track:
    """Estimate a FLAME head's parameters from videos: one identity for each person, and every frame's face and pose.

    One video goes to files (-o face.npz -o face.mp4 -o check.overlay.mp4), any number of them to a folder (-o DIR),
    which gets one folder for each person and is what `mp2flame dataset build` takes. Started again after a kill, a
    folder goes on with the people that are not finished.
    """

    videos: tyro.conf.Positional[list[Path]]
    """Videos, each of another person; a folder of videos is one person's."""
    output: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=("-o",)), tyro.conf.UseAppendAction]
    """A folder, or files: .npz, .jsonl, .csv, .mp4, .gif, .overlay.mp4 (mesh over the image), .residuals.csv."""
    head: str = "builtin"
    """The head to track with: a FLAME file (.pkl, .npz, .safetensors) of yours, or the built-in one."""
    formats: tuple[Format, ...] = ("npz",)
    """In a folder: the files for each video besides the recording (.jsonl) and the residuals."""
    same_person: bool = False
    """All videos show the same person: they share the identity."""
    head_pose: Literal["global_orient", "neck_pose", "none"] = "global_orient"
    """The parameter that takes the head's rotation; none leaves the head unrotated at its own place."""
    focal: float | None = None
    """Focal length of the camera in pixels; estimated if not given."""
    ipd: float | None = None
    """Millimetres between the person's pupils, as on a prescription for glasses: no image tells a head's size."""
    n_shape: int | None = None
    """How many of the head's shape components are identity, for heads that are not as wide as FLAME."""
    landmarker: Path | None = None
    """MediaPipe's face_landmarker.task, where it is not to be downloaded."""
    mirror: bool = False
    """The images are mirrored."""
    processes: int | None = None
    """People tracked at a time; by default one for each processor."""

    def run(self) -> int:
        """Learn the head if it is new, track everybody, and print the result of each person."""
        from mp2flame.head import load_head
        from mp2flame.tracking.results import check_targets

        if not self.videos:
            raise InputError("expected at least one video; got none")
        if not self.output:
            raise InputError("expected an output: -o DIR for a folder, or -o face.npz and so on for one video")
        for video in self.videos:
            if not video.exists():
                raise MissingFileError(f"no video {video}")
        to_folder = len(self.output) == 1 and not self.output[0].suffix
        if not to_folder and (len(self.videos) > 1 or self.videos[0].is_dir()):
            raise InputError("expected a folder to write to for more than one video: -o DIR")
        _ = self._options
        check_targets(self.output, [*self.videos, Path(self.head), *filter(None, [self.landmarker])], folder=to_folder)
        head = load_head(self.head, n_shape=self.n_shape)
        return self._to_folder(head) if to_folder else self._to_files(head)

    @cached_property
    def _options(self) -> TrackOptions:
        from mp2flame.tracking.track import TrackOptions

        ipd = None if self.ipd is None else self.ipd / 1000
        return TrackOptions(head_pose=self.head_pose, focal=self.focal, ipd=ipd, mirror=self.mirror)

    @contextmanager
    def _model(self, head: FlameHead, bundle: Path) -> Iterator[StoredModel]:
        """Learn the head now, with a progress bar, so that every process finds it learned."""
        from mp2flame.tracking.model import stored_model

        with ExitStack() as stack:
            with progress(f"learning how MediaPipe sees {head.version} (once)", None) as bar:
                stored = stack.enter_context(stored_model(head, bundle, on_image=bar.advance))
            for warning in stored.warnings:
                _warn(warning)
            yield stored

    def _to_files(self, head: FlameHead) -> int:
        from mp2flame.downloads import landmarker_path
        from mp2flame.tracking.results import save_files
        from mp2flame.tracking.track import track_videos
        from mp2flame.tracking.video import read_images

        bundle = landmarker_path(self.landmarker)
        with self._model(head, bundle) as stored, progress("detecting, then solving", None) as bar:
            (result,) = track_videos(self.videos, stored.model, self._options, landmarker=bundle, on_frame=bar.advance)
        save_files(result, head, self.output, lambda: read_images(self.videos[0], bundle, mirror=self.mirror))
        for warning in result.warnings:
            _warn(warning)
        out.print(f"{len(result.params)} frames, {int(result.params.found.sum())} of them with the face")
        for file in self.output:
            out.print(f"wrote {file}", soft_wrap=True, markup=False)
        return 0

    def _to_folder(self, head: FlameHead) -> int:
        from mp2flame.downloads import landmarker_path
        from mp2flame.tracking.batch import BatchOptions, jobs_of, track_people

        folder, failed = self.output[0], 0
        jobs = jobs_of(self.videos, same_person=self.same_person)
        if self.ipd is not None and len(jobs) > 1:
            raise InputError(
                f"--ipd is one person's, and these are {len(jobs)}: track them one by one, or --same-person"
            )
        bundle = landmarker_path(self.landmarker)
        with self._model(head, bundle) as stored, progress("tracking people", len(jobs)) as bar:
            folder.mkdir(exist_ok=True)
            suffixes = tuple(".overlay.mp4" if name == "overlay" else f".{name}" for name in self.formats)
            options = BatchOptions(self.head, bundle, stored.folder, self.n_shape, suffixes, self._options)
            for job, result in track_people(jobs, folder, options, processes=self.processes or os.cpu_count() or 1):
                bar.advance()
                failed += bool(result.error)
                if result.error:
                    err.print("[bold red]error:[/] ", end="")
                    err.print(f"{job.person}: {result.error}", soft_wrap=True, markup=False)
                else:
                    out.print(f"{job.person}: {result.summary}", soft_wrap=True, markup=False)
                for warning in result.warnings:
                    _warn(f"{job.person}: {warning}")
        out.print(f"wrote {folder}: {len(jobs) - failed} of {len(jobs)} people", soft_wrap=True, markup=False)
        return 1 if failed else 0


def _warn(warning: str) -> None:
    err.print("[yellow]note:[/] ", end="")
    err.print(warning, soft_wrap=True, markup=False)
