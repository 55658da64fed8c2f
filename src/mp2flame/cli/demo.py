"""`mp2flame demo`: a rendered performance of known parameters, detected by MediaPipe and driven onto another head."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from rich.table import Table

from mp2flame.cli.console import finish, hint, out, progress, warn
from mp2flame.cli.options import LandmarkerOption, check_files, option
from mp2flame.errors import FetchError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mp2flame.data import FlameParams, Frame, Observation
    from mp2flame.head import FlameHead
    from mp2flame.pipeline import Report
    from mp2flame.sources.base import Source

_SIZE = (512, 512)
_VIEW_ANGLE = 30.0
_CAMERA_DISTANCE = 0.56
_IDENTITY_SEED = 7
"""The driven head is another person than the performing one, to show that expressions carry over."""
_IDENTITY_SPREAD = 0.9


@dataclass(frozen=True, kw_only=True)
class Demo(LandmarkerOption):
    """Show a head that performs and a second head that follows it.

    A scripted performance of the built-in head is rendered, MediaPipe detects it, and the result drives the head of
    another person. The command writes demo.mp4 and demo.gif, and prints the error of the driven head.
    """

    output: Annotated[Path, option("DIR", "-o")] = Path()
    """The folder to write demo.mp4 and demo.gif to."""

    def run(self) -> int:
        """Render, detect, drive, measure."""
        from mp2flame.demo_animation import perform
        from mp2flame.head import load_head

        targets = [self.output / "demo.mp4", self.output / "demo.gif"]
        check_files(targets, [self.landmarker])
        head = load_head("builtin")
        truth, weights = perform(head.blendshapes())
        with tempfile.TemporaryDirectory() as name:
            video = Path(name) / "performance.mp4"
            _render(head, truth, video)
            with self._detect(video) or _scripted(video, truth, weights) as source:
                report, driven = _drive(source, head, targets)
        out.print(_errors(head, driven, truth))
        return finish(report, targets)

    def _detect(self, video: Path) -> Source | None:
        """The video as MediaPipe sees it; None, with a warning, where MediaPipe is not available."""
        from mp2flame.sources import open_source

        try:
            return open_source(video, landmarker=self.landmarker)
        except (FetchError, MissingExtraError) as error:
            warn("MediaPipe is not available, so the scripted scores are used instead")
            hint(str(error))
            return None


def _drive(source: Source, head: FlameHead, targets: list[Path]) -> tuple[Report, FlameParams]:
    from mp2flame.data import concatenate
    from mp2flame.pipeline import drive

    shape = np.random.default_rng(_IDENTITY_SEED).normal(scale=_IDENTITY_SPREAD, size=head.n_shape)
    other = head.with_shape(shape.astype(np.float32))
    driven: list[FlameParams] = []
    with progress("driving the other head", source.n_frames) as bar:

        def collect(frame: Frame) -> None:
            driven.append(frame.params)
            bar.advance()

        report = drive(source, targets, head=other, on_frame=collect)
    return report, concatenate(driven)


def _render(head: FlameHead, performance: FlameParams, path: Path) -> None:
    """Render the performing head as a camera would see it."""
    from mp2flame.render import MeshRenderer
    from mp2flame.sinks.encoders import Mp4Encoder

    encoder = Mp4Encoder(path, _SIZE)
    with (
        MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=_SIZE, view_angle=_VIEW_ANGLE) as renderer,
        progress("rendering the performance", len(performance)) as bar,
    ):
        middle = head.joints()[3:5].mean(axis=0) - np.array([0.0, 0.03, 0.0])
        renderer.set_camera(middle, distance=_CAMERA_DISTANCE)
        for params in performance:
            encoder.add(renderer.render(head(params)[0]), float(params.time[0]))
            bar.advance()
    encoder.close()


class _ScriptedDetector:
    """Returns the scores of the script in place of MediaPipe's results."""

    def __init__(self, performance: FlameParams, weights: NDArray[np.float32]) -> None:
        from mp2flame import rotations
        from mp2flame.blendshapes import to_mediapipe
        from mp2flame.mapping import load_mapping

        self._time = performance.time
        self._scores = to_mediapipe(weights, order="arkit")
        self._transforms = np.tile(np.eye(4, dtype=np.float32), (len(performance), 1, 1))
        # As MediaPipe would report the rotation: its frontal face is not the head's.
        frontal = load_mapping("builtin").info.frontal_rotation
        reported = rotations.matrix(np.zeros(3) if frontal is None else frontal)
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
        """There is no state."""


def _scripted(video: Path, performance: FlameParams, weights: NDArray[np.float32]) -> Source:
    from mp2flame.sources.detection import DetectedSource
    from mp2flame.sources.video import VideoReader

    return DetectedSource(VideoReader(video), _ScriptedDetector(performance, weights))


def _errors(head: FlameHead, driven: FlameParams, truth: FlameParams) -> Table:
    """The distance of the driven face from the true one, on the average person, by region."""
    from mp2flame.evaluation.metrics import compare

    figures = compare(head, driven, truth)
    table = Table(title="Error of the driven head", title_justify="left")
    for column, justify in (("", "left"), ("error", "right"), ("relative to a neutral face", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for region, figure in figures.regions.items():
        table.add_row(region, f"{figure.mm:.2f} mm", f"{figure.relative:.0%}")
    table.add_row("jaw opening", f"{figures.jaw_degrees:.1f}°", f"{figures.jaw_relative:.0%}")
    table.add_row("gaze", f"{figures.gaze_degrees:.1f}°", f"{figures.gaze_relative:.0%}")
    table.add_row("head rotation", f"{figures.head_degrees:.1f}°", "")
    return table
