"""`mp2flame drive`: a video, pictures, a webcam or a recording in; parameters, recordings and films out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mp2flame.cli.console import err, out, progress
from mp2flame.errors import InputError
from mp2flame.files import check_outputs

if TYPE_CHECKING:
    from mp2flame.pipeline import Report


@dataclass(frozen=True)
class Drive:
    """Drive a FLAME head from a face: video, pictures, webcam or recording in; parameters and films out.

    Formats are chosen by the suffix of each output: .npz (VHAP and GaussianAvatars), .jsonl (recording), .csv,
    .mp4 and .gif (what was seen on the left, the driven head on the right).
    """

    source: tyro.conf.Positional[str]
    """A video file, a picture, a folder or glob of pictures, a webcam's index (0), or a .jsonl recording."""
    output: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=("-o",)), tyro.conf.UseAppendAction] = ()
    """Where to write; give it several times for several formats."""
    head: str = "builtin"
    """The head to drive: a FLAME file (.pkl, .npz, .safetensors) of yours, or the built-in one."""
    mapping: str = "builtin"
    """A mapping file or folder, or the name of a fetched one; by default the one for the built-in head."""
    rest: Annotated[str, tyro.conf.arg(aliases=("--person",))] = "auto"
    """The person's face at rest: auto (a calm first second), none, a picture, video or recording of it, or the file
    that calibrate --person made of a minute of this person."""
    head_pose: Literal["global_orient", "neck_pose", "none"] = "global_orient"
    """Which joint the head's rotation goes to."""
    shape: Path | None = None
    """A parameter file whose identity coefficients the head takes on."""
    landmarker: Path | None = None
    """MediaPipe's face_landmarker.task, where it is not to be fetched."""
    mirror: bool = False
    """The camera's picture is mirrored."""
    smooth: bool = True
    """Filter jitter, hold the face when it is lost for a moment, and keep to anatomical limits."""
    fps: float | None = None
    """Frames per second of a folder of pictures; 30 if not given."""
    order: str | None = None
    """The order of blendshapes in files that do not name them."""
    allow_head_mismatch: bool = False
    """Use the mapping although it was made for another head."""

    def run(self) -> int:
        """Drive, with a progress bar, and print what was done."""
        from mp2flame.pipeline import drive
        from mp2flame.sources import open_source

        self._check_outputs()
        with (
            open_source(
                self.source, landmarker=self.landmarker, mirror=self.mirror, fps=self.fps, order=self.order
            ) as source,
            progress("driving", source.n_frames) as bar,
        ):
            report = drive(
                source,
                self.output,
                self.mapping,
                self.head,
                filters="default" if self.smooth else None,
                neutral=self.rest,
                head_pose=self.head_pose,
                identity=self.shape,
                landmarker=self.landmarker,
                mirror=self.mirror,
                allow_head_mismatch=self.allow_head_mismatch,
                on_frame=lambda _: bar.advance(),
            )
        _print_report(report, self.output)
        return 0

    def _check_outputs(self) -> None:
        if not self.output:
            raise InputError("expected at least one output: add -o result.npz, -o film.mp4 or both")
        inputs = (self.source, self.head, self.mapping, self.rest, self.shape)
        check_outputs(self.output, [path for path in inputs if path is not None])


def _print_report(report: Report, outputs: tuple[Path, ...]) -> None:
    rest = "the person's own rest was taken from the start" if report.neutral_taken else ""
    out.print(
        f"{report.frames} frames in {report.seconds:.1f} s ({report.rate:.1f} fps), "
        f"{report.frames_without_face} without a face" + (f"; {rest}" if rest else "")
    )
    for place, count in report.dropped.items():
        if count:
            err.print(f"[yellow]{count} frames were dropped at {place}[/]")
    for warning in report.warnings:
        err.print(f"[yellow]note:[/] {warning}", soft_wrap=True)
    for path in outputs:
        out.print(f"wrote {path}", soft_wrap=True)
    if report.interrupted:
        err.print("stopped early; everything up to here is kept")
