"""`mp2flame drive`: a video, pictures, a webcam or a recording in; parameters, recordings and films out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mp2flame.cli.console import err, out, progress
from mp2flame.errors import InputError, MissingFileError
from mp2flame.files import check_outputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mp2flame.data import HeadLike, Observation
    from mp2flame.mapping import Person
    from mp2flame.pipeline import Report
    from mp2flame.sinks import Sink

__all__ = ["Drive", "load_rest", "open_sinks"]


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
        from mp2flame.filters import default_filters
        from mp2flame.head import load_head
        from mp2flame.mapping import Person, load_mapping
        from mp2flame.pipeline import drive
        from mp2flame.sources import open_source

        self._check_outputs()
        head = load_head(self.head)
        if self.shape is not None:
            head = head.with_shape(_identity(self.shape))
        mapping = load_mapping(self.mapping, head_pose=self.head_pose)
        with open_source(
            self.source, landmarker=self.landmarker, mirror=self.mirror, fps=self.fps, order=self.order
        ) as source:
            rest = load_rest(self.rest, self.landmarker, mirror=self.mirror)
            if isinstance(rest, Person):
                mapping, rest = mapping.for_person(rest), None
            sinks = open_sinks(self.output, head)
            with progress("driving", source.n_frames) as bar:
                report = drive(
                    source,
                    mapping,
                    head,
                    sinks,
                    filters=default_filters() if self.smooth else None,
                    rest=rest,
                    allow_head_mismatch=self.allow_head_mismatch,
                    on_frame=lambda _: bar.advance(),
                )
        _print_report(report, self.output)
        return 0

    def _check_outputs(self) -> None:
        if not self.output:
            raise InputError("expected at least one output: add -o result.npz, -o film.mp4 or both")
        check_outputs(self.output, [self.source])


def open_sinks(targets: Sequence[str | Path], head: HeadLike) -> list[Sink]:
    """A sink for each target; if one cannot be opened, those before it leave nothing behind."""
    from mp2flame.sinks import open_sink

    sinks: list[Sink] = []
    try:
        for target in targets:
            sinks.append(open_sink(target, head=head))  # noqa: PERF401 - those before must be known
    except Exception:
        for sink in sinks:
            sink.abort()
        raise
    return sinks


def load_rest(rest: str, landmarker: Path | None, *, mirror: bool) -> Observation | Person | Literal["auto"] | None:
    """What `--rest` names: "auto", None for "none", the observations in a file, or the person in a person file.

    Raises:
        InputError: no face is seen in the file.
        MissingFileError: there is no such file.
        FormatError: it is no person file, though it is named like one.
    """
    from mp2flame.data import concatenate
    from mp2flame.mapping import is_person_file, load_person
    from mp2flame.sources import open_source

    if rest in ("auto", "none"):
        return "auto" if rest == "auto" else None
    if not Path(rest).exists():
        raise MissingFileError(
            f"no rest file {rest}: expected auto, none, or a picture, video, recording or person file"
        )
    if is_person_file(rest):
        return load_person(rest)
    with open_source(rest, landmarker=landmarker, mirror=mirror) as source:
        seen = [observation for observation in source if observation.found[0]]
    if not seen:
        raise InputError(f"no face was found in the rest file {rest}: choose one that shows the face from the front")
    return concatenate(seen)


def _identity(path: Path) -> NDArray[np.float32]:
    from mp2flame.formats import load_params

    shape = load_params(path).shape
    if shape is None:
        raise InputError(f"{path} holds no identity coefficients: expected a parameter file with `shape`")
    return shape


def _print_report(report: Report, outputs: tuple[Path, ...]) -> None:
    rest = "the person's own rest was taken from the start" if report.rest_taken else ""
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
