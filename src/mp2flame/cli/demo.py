"""`mp2flame demo`: a rendered performance of known parameters, detected by MediaPipe and driven onto another head."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from rich.table import Table

from mp2flame.cli.console import finish, out, progress
from mp2flame.cli.options import LandmarkerOption, check_files, option

if TYPE_CHECKING:
    from mp2flame.data import FlameParams, Frame
    from mp2flame.head import FlameHead
    from mp2flame.pipeline import Report

_SIZE: Final = (512, 512)
_VIEW_ANGLE: Final = 30.0
_CAMERA_DISTANCE: Final = 0.56
_IDENTITY_SEED: Final = 7
"""The driven head is another person than the performing one, to show that expressions carry over."""
_IDENTITY_SPREAD: Final = 0.9


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
        from mp2flame.demo_animation import animate
        from mp2flame.downloads import landmarker_path
        from mp2flame.head import load_head

        targets = [self.output / "demo.mp4", self.output / "demo.gif"]
        check_files(targets, [self.landmarker])
        landmarker = landmarker_path(self.landmarker)
        head = load_head("builtin")
        truth, _ = animate(head.blendshapes())
        with tempfile.TemporaryDirectory() as name:
            video = Path(name) / "performance.mp4"
            _render(head, truth, video)
            report, driven = _drive(video, landmarker, head, targets)
        out.print(_errors(head, driven, truth))
        return finish(report, targets)


def _drive(video: Path, landmarker: Path, head: FlameHead, targets: list[Path]) -> tuple[Report, FlameParams]:
    from mp2flame.data import concatenate
    from mp2flame.pipeline import drive

    shape = np.random.default_rng(_IDENTITY_SEED).normal(scale=_IDENTITY_SPREAD, size=head.n_shape)
    driven: list[FlameParams] = []
    with progress("driving the other head", None) as bar:

        def collect(frame: Frame) -> None:
            driven.append(frame.params)
            bar.advance()

        identity = shape.astype(np.float32)
        report = drive(video, targets, head=head, identity=identity, landmarker=landmarker, on_frame=collect)
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


def _errors(head: FlameHead, driven: FlameParams, truth: FlameParams) -> Table:
    """The distance of the driven face from the true one, on the average person, by region."""
    from mp2flame.evaluation.metrics import compare
    from mp2flame.geometry.face_regions import REGIONS

    figures = compare(head, driven, truth)
    table = Table(title="Error of the driven head", title_justify="left")
    for column, justify in (("", "left"), ("error", "right"), ("relative to a neutral face", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for region in REGIONS:
        table.add_row(region, f"{figures[f'{region} mm']:.2f} mm", f"{figures[region]:.0%}")
    table.add_row("jaw opening", f"{figures['jaw degrees']:.1f}°", f"{figures['jaw']:.0%}")
    table.add_row("gaze", f"{figures['gaze degrees']:.1f}°", f"{figures['gaze']:.0%}")
    table.add_row("head rotation", f"{figures['head degrees']:.1f}°", "")
    return table
