"""`mp2flame track`: the parameters of a FLAME head from videos of people."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mp2flame.cli.console import fail, progress, say, warn
from mp2flame.cli.head import ShapeOption
from mp2flame.cli.options import Flag, HeadOption, HeadPose, ImageOptions, option, read_paths
from mp2flame.cli.text import pluralize
from mp2flame.errors import InputError, MissingFileError

if TYPE_CHECKING:
    from mp2flame.tracking.config import TrackOptions
    from mp2flame.tracking.model import TrackerModel

Format = Literal["npz", "csv", "mp4", "gif", "overlay"]


@dataclass(frozen=True, kw_only=True)
class Track(ImageOptions, ShapeOption, HeadOption):
    """Estimate identity, expression and pose of people in videos.

    One video is written to files (-o face.npz -o video.mp4 -o check.overlay.mp4). Any number of videos is written to
    a folder (-o DIR) with one folder for each person, which mp2flame dataset build reads. Started again after an
    interruption, the command continues with the people that are not finished.

    Formats of files: .npz, .csv, .jsonl (a recording), .mp4 and .gif (the video on the left, the head on the right),
    .overlay.mp4 (the mesh over the video), .residuals.csv. In a folder, each video gets the recording, the residuals,
    and the files that --formats names.

    No image shows the size of a head: with --ipd the result has the person's true scale.
    """

    videos: Annotated[tyro.conf.Positional[list[Path]], option("VIDEO [VIDEO ...]")]
    """Videos, each of another person; a folder of videos is one person's."""
    output: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], option("FILE|DIR", "-o")]
    """The folder, or a file; may be repeated for files."""
    formats: Annotated[tuple[Format, ...], option("FORMAT [FORMAT ...]")] = ("npz",)
    """The files for each video in a folder: npz, csv, mp4, gif, overlay."""
    same_person: Flag = False
    """All videos show the same person and share the identity."""
    head_pose: HeadPose = "global_orient"
    """The joint that takes the head's rotation: global_orient, neck_pose, or none."""
    focal: Annotated[float | None, option("PIXELS")] = None
    """Focal length of the camera in pixels; estimated by default."""
    ipd: Annotated[float | None, option("MM")] = None
    """Distance between the person's pupils in millimeters, as on a prescription for glasses."""
    processes: Annotated[int | None, option("N")] = None
    """Number of people that are tracked at the same time; by default one for each processor."""

    def run(self) -> int:
        """Fit the head's landmark model if it is new, track everybody, and print the results."""
        from mp2flame.tracking.results import check_targets

        if not self.videos or not self.output:
            wanted = (
                "at least one video"
                if not self.videos
                else "an output: -o DIR for a folder, or -o face.npz for one video"
            )
            raise InputError(f"expected {wanted}; got none")
        for video in self.videos:
            if not video.exists():
                raise MissingFileError(f"no video {video}")
        to_folder = len(self.output) == 1 and not self.output[0].suffix
        if not to_folder and (len(self.videos) > 1 or self.videos[0].is_dir()):
            raise InputError("expected a folder to write to for more than one video: -o DIR")
        _ = self._options
        read = read_paths([*self.videos, self.head, self.landmarker])
        check_targets(self.output, list(read), folder=to_folder)
        return self._to_folder(self.output[0]) if to_folder else self._to_files(self.videos[0])

    @cached_property
    def _options(self) -> TrackOptions:
        from mp2flame.tracking.config import TrackOptions

        ipd = None if self.ipd is None else self.ipd / 1000
        return TrackOptions(head_pose=self.head_pose, focal=self.focal, ipd=ipd, mirror=self.mirror)

    def _model(self, landmarker: Path) -> TrackerModel:
        """The head's model, fitted now, with a progress bar, if it is new."""
        from mp2flame.head import load_head
        from mp2flame.tracking.model import fit_tracker_model

        head = load_head(self.head, n_shape=self.n_shape)
        with progress(f"fitting the landmark model of {head.version} (once)", None) as bar:
            return fit_tracker_model(head, landmarker, on_image=bar.advance, log=warn)

    def _to_files(self, video: Path) -> int:
        from mp2flame.downloads import landmarker_path
        from mp2flame.tracking.results import save_files
        from mp2flame.tracking.track import track_videos
        from mp2flame.tracking.video import read_images

        path = landmarker_path(self.landmarker)
        model = self._model(path)
        with progress("detecting, then solving", None) as bar:
            (result,) = track_videos([video], model, self._options, landmarker=path, on_frame=bar.advance)
        save_files(result, model.head, self.output, lambda: read_images(video, path, mirror=self.mirror))
        for warning in result.warnings:
            warn(warning)
        say(f"{pluralize(len(result.params), 'frame')}, {int(result.params.found.sum())} of them with the face")
        for file in self.output:
            say(f"wrote {file}")
        return 0

    def _to_folder(self, folder: Path) -> int:
        from mp2flame.downloads import landmarker_path
        from mp2flame.tracking.batch import BatchOptions, jobs_of, track_people

        jobs, failed = jobs_of(self.videos, same_person=self.same_person), 0
        if self.ipd is not None and len(jobs) > 1:
            raise InputError(
                f"--ipd belongs to one person, and these are {len(jobs)}: track them one by one, or add --same-person"
            )
        path = landmarker_path(self.landmarker)
        model, processes = self._model(path), self.processes or os.cpu_count() or 1
        suffixes = tuple(".overlay.mp4" if name == "overlay" else f".{name}" for name in self.formats)
        options = BatchOptions(self.head, self.n_shape, path, suffixes, self._options)
        folder.mkdir(exist_ok=True)
        with progress("tracking people", len(jobs)) as bar:
            for job, result in track_people(model, jobs, folder, options, processes=processes):
                bar.advance()
                failed += bool(result.error)
                if result.error:
                    fail(f"{job.person}: {result.error}")
                else:
                    say(f"{job.person}: {result.summary}")
                for warning in result.warnings:
                    warn(f"{job.person}: {warning}")
        say(f"wrote {folder}: {len(jobs) - failed} of {len(jobs)} people")
        return 1 if failed else 0
