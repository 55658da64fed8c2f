"""`mp2flame demo`: the whole road on the built-in head, with MediaPipe watching, and an honest figure at the end."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from mp2flame.cli.console import err, out, progress
from mp2flame.errors import FetchError, MissingExtraError, MissingFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mp2flame.data import FlameParams, Observation
    from mp2flame.head import FlameHead
    from mp2flame.pipeline import Report
    from mp2flame.sources.base import Source

__all__ = ["Demo"]

_SIZE = (512, 512)
_VIEW_ANGLE = 30.0
_CAMERA_DISTANCE = 0.56
_OTHER_PERSON = 7
"""Seed of the driven head's identity: somebody else, to show that expressions carry over."""
_OTHER_SPREAD = 0.9


@dataclass(frozen=True)
class Demo:
    """See it work: a head performs, MediaPipe watches, a second head follows.

    Films the built-in head in a scripted performance, lets MediaPipe watch that film, drives another person's head
    from what MediaPipe saw, writes demo.mp4 and demo.gif side by side, and prints how far the driven head was from
    the truth.
    """

    output: Path = Path()
    """The folder to write demo.mp4 and demo.gif to."""
    landmarker: Path | None = None
    """MediaPipe's face_landmarker.task, where it is not to be fetched."""

    def run(self) -> int:
        """Film, watch, drive, measure."""
        from mp2flame.demo_animation import perform
        from mp2flame.head import load_head

        if not self.output.is_dir():
            raise MissingFileError(f"no folder {self.output}: make it first, or name another with --output")
        head = load_head("builtin")
        truth, weights = perform(head.blendshapes())
        with tempfile.TemporaryDirectory() as name:
            film = Path(name) / "performance.mp4"
            _film(head, truth, film)
            with self._watch(film) or _scripted(film, truth, weights) as source:
                report, driven = self._drive(source, head)
        out.print(_distances(head, driven, truth))
        out.print(f"{report.frames} frames in {report.seconds:.1f} s, {report.frames_without_face} without a face")
        for suffix in ("mp4", "gif"):
            out.print(f"wrote {self.output / f'demo.{suffix}'}", soft_wrap=True)
        return 0

    def _watch(self, film: Path) -> Source | None:
        """The film as MediaPipe sees it; None where it cannot watch, which is said."""
        from mp2flame.sources import open_source

        try:
            return open_source(film, landmarker=self.landmarker)
        except (FetchError, MissingExtraError) as error:
            err.print("[yellow]MediaPipe cannot watch, so the scripted scores are fed instead.[/]")
            err.print(str(error), soft_wrap=True, markup=False)
            return None

    def _drive(self, source: Source, head: FlameHead) -> tuple[Report, FlameParams]:
        from mp2flame.data import concatenate
        from mp2flame.mapping import load_mapping
        from mp2flame.pipeline import drive
        from mp2flame.sinks import open_sink

        shape = np.random.default_rng(_OTHER_PERSON).normal(scale=_OTHER_SPREAD, size=head.n_shape)
        other = head.with_shape(shape.astype(np.float32))
        sinks = [open_sink(self.output / f"demo.{suffix}", head=other) for suffix in ("mp4", "gif")]
        driven: list[FlameParams] = []
        with progress("MediaPipe watches, the other head follows", source.n_frames) as bar:

            def note(frame: Any) -> None:
                driven.append(frame.params)
                bar.advance()

            mapping = load_mapping("builtin")
            report = drive(source, mapping=mapping, head=other, sinks=sinks, on_frame=note)
        for warning in report.warnings:
            err.print(f"[yellow]note:[/] {warning}", soft_wrap=True)
        return report, concatenate(driven)


def _film(head: FlameHead, performance: FlameParams, path: Path) -> None:
    """Film the performing head as a camera would see it."""
    from mp2flame.render import MeshRenderer
    from mp2flame.sinks.encoders import Mp4Encoder

    encoder = Mp4Encoder(path, _SIZE)
    with (
        MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=_SIZE, view_angle=_VIEW_ANGLE) as renderer,
        progress("filming the performance", len(performance)) as bar,
    ):
        middle = head.joints()[3:5].mean(axis=0) - np.array([0.0, 0.03, 0.0])
        renderer.set_camera(middle, distance=_CAMERA_DISTANCE)
        for i, time in enumerate(performance.time):
            encoder.add(renderer.render(head(performance[i])[0]), float(time))
            bar.advance()
    encoder.close()


class _Prompter:
    """Says what the script says, where MediaPipe would say what it sees."""

    def __init__(self, performance: FlameParams, weights: NDArray[np.float32]) -> None:
        from mp2flame import rotations
        from mp2flame.blendshapes import to_mediapipe
        from mp2flame.mapping import load_mapping

        self._time = performance.time
        self._scores = to_mediapipe(weights, order="arkit")
        self._transforms = np.tile(np.eye(4, dtype=np.float32), (len(performance), 1, 1))
        # Turned as MediaPipe would report it, whose straight ahead is not the head's.
        straight = load_mapping("builtin").info.frontal_rotation
        reported = rotations.matrix(np.zeros(3) if straight is None else straight)
        self._transforms[:, :3, :3] = rotations.matrix(performance.global_orient) @ reported

    def detect(self, picture: NDArray[Any], time: float, *, keep_image: bool = False) -> Observation:
        """The script at that time."""
        from mp2flame.data import Observation

        row = int(np.abs(self._time - time).argmin())
        return Observation(
            time=np.array([time]),
            found=np.array([True]),
            scores=self._scores[row : row + 1],
            head_transform=self._transforms[row : row + 1],
            picture=picture if keep_image else None,
        )

    def reset(self) -> None:
        """Nothing is remembered."""


def _scripted(film: Path, performance: FlameParams, weights: NDArray[np.float32]) -> Source:
    from mp2flame.sources.detection import DetectedSource
    from mp2flame.sources.video import VideoReader

    return DetectedSource(VideoReader(film), _Prompter(performance, weights))


def _distances(head: FlameHead, driven: FlameParams, truth: FlameParams) -> Table:
    """How far the driven face was from the true one, on the average person, by region."""
    from mp2flame.evaluation.metrics import compare

    figures = compare(head, driven, truth)
    table = Table(title="How far the driven head was from the truth", title_justify="left")
    for column, justify in (("", "left"), ("error", "right"), ("of no expression at all", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for region, figure in figures.regions.items():
        table.add_row(region, f"{figure.mm:.2f} mm", f"{figure.relative:.0%}")
    table.add_row("jaw opening", f"{figures.jaw_degrees:.1f}°", f"{figures.jaw_relative:.0%}")
    table.add_row("gaze", f"{figures.gaze_degrees:.1f}°", f"{figures.gaze_relative:.0%}")
    table.add_row("head rotation", f"{figures.head_degrees:.1f}°", "")
    return table
