"""`mp2flame drive`: from a video, images, a webcam, a stream or a recording to parameters, recordings and videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mp2flame.cli.console import finish, progress
from mp2flame.cli.options import Flag, HeadOption, ImageOptions, MappingOptions, OptionalFile, check_files, option
from mp2flame.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Drive(ImageOptions, MappingOptions, HeadOption):
    """Drive a head from a video, images, a webcam or a recording.

    The suffix of each output is its format: .npz (as VHAP and GaussianAvatars read it), .csv, .jsonl (a recording),
    .mp4 and .gif (the input on the left, the driven head on the right).

    With --neutral auto, the person's neutral face is estimated from all of a file before its first frame is mapped. Of
    a webcam or a stream, the first second is used if the face is neutral there.
    """

    source: Annotated[tyro.conf.Positional[str], option("SOURCE")]
    """A video, an image, a folder or glob of images, a webcam's index (0), a recording (.jsonl), or an address."""
    output: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], option("FILE", "-o")] = ()
    """A file to write; repeat the option for several formats."""
    identity: OptionalFile = None
    """A parameter file whose identity coefficients the head takes."""
    smooth: Flag = True
    """Do not filter jitter, hold the face while it is lost, or limit rotations."""
    fps: Annotated[float | None, option("FPS")] = None
    """Frames per second of a folder of images; 30 by default."""
    order: Annotated[str | None, option("ORDER")] = None
    """The order of scores in files that do not name them: mediapipe, arkit, livelink-csv, lam or beat."""

    def run(self) -> int:
        """Drive, with a progress bar, and print the report."""
        from mp2flame.mapping import companion_path
        from mp2flame.pipeline import drive
        from mp2flame.sources import open_source

        if not self.output:
            raise InputError("expected at least one output: add -o result.npz, -o video.mp4 or both")
        read = (self.source, self.head, self.mapping, self.neutral, self.identity, self.landmarker)
        check_files(self.output, (*read, companion_path(self.mapping)))
        with (
            open_source(
                self.source, landmarker=self.landmarker, mirror=self.mirror, fps=self.fps, order=self.order
            ) as source,
            progress("driving", source.n_frames and (1 + (self.neutral == "auto")) * source.n_frames) as bar,
        ):
            report = drive(
                source,
                self.output,
                self.mapping,
                self.head,
                filters="default" if self.smooth else None,
                neutral=self.neutral,
                head_pose=self.head_pose,
                identity=self.identity,
                landmarker=self.landmarker,
                mirror=self.mirror,
                allow_head_mismatch=self.allow_head_mismatch,
                on_frame=lambda _: bar.advance(),
                on_scan=lambda _: bar.advance(),
            )
        return finish(report, self.output)
