"""An evaluation as one HTML file with its images inside, and as JSON."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np

from mp2flame.data import FlameParams
from mp2flame.errors import MissingExtraError
from mp2flame.evaluation.evaluate import NO_EXPRESSION, Evaluation
from mp2flame.evaluation.metrics import ErrorSums, FrameError
from mp2flame.files import write_atomic
from mp2flame.geometry.face_regions import REGIONS, eye_centers

_WORST_SHOWN: Final = 6
_IMAGE_SIZE: Final = (300, 300)
# Name in the figures, heading, unit, and whether more is better.
_DISTANCES: Final = tuple((name, name.capitalize(), "", False) for name in REGIONS)
_MOVEMENTS: Final = (
    ("jaw degrees", "Jaw opening", "°", False),
    ("gaze degrees", "Gaze", "°", False),
    ("lip gap mm", "Lip gap", " mm", False),
    ("lid gap mm", "Lid gap", " mm", False),
    ("blink recall", "Blinks found", " %", True),
    ("asymmetry mm", "Asymmetry", " mm", False),
    ("jitter mm", "Jitter", " mm", False),
)


def write_report(evaluation: Evaluation, path: Path, *, log: Callable[[str], None] = lambda _: None) -> None:
    """Write the report; a path that ends in .json gets the figures alone, any other the HTML page.

    Args:
        evaluation: what to report.
        path: the file to write; nothing half-written is left.
        log: called with a sentence where there are no images for want of the extra render.

    Raises:
        MissingExtraError: Jinja is not installed.
        MissingFileError: the folder does not exist.
        SinkError: the file cannot be written.
    """
    if path.suffix == ".json":
        text = json.dumps(evaluation.as_json(), indent=1) + "\n"
    else:
        text = report_html(evaluation, log=log)
    write_atomic(path, text.encode("utf-8"))


def report_html(evaluation: Evaluation, *, log: Callable[[str], None] = lambda _: None) -> str:
    """The page as text; it loads nothing from anywhere."""
    try:
        from jinja2 import Environment
    except ImportError as error:
        raise MissingExtraError("jinja2", "train", "write HTML reports") from error
    template = files("mp2flame.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    figures = {name: errors.figures() for name, errors in evaluation.measures.items()}
    return (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(template)
        .render(
            frames=evaluation.measures[NO_EXPRESSION].frames,
            evaluation=evaluation,
            baseline=NO_EXPRESSION,
            figures=figures,
            distances=_columns(figures, _DISTANCES),
            movements=_columns(figures, _MOVEMENTS),
            worst=list(_worst_frames(evaluation, log)),
        )
    )


def _columns(
    figures: dict[str, dict[str, float]], columns: Sequence[tuple[str, str, str, bool]]
) -> list[dict[str, Any]]:
    """The columns that some mapping has a figure for, with the best figure where there are several."""
    shown = []
    for figure, heading, unit, more_is_better in columns:
        known = [row[figure] for name, row in figures.items() if name != NO_EXPRESSION and figure in row]
        if any(figure in row for row in figures.values()):
            best = (max if more_is_better else min)(known) if len(known) > 1 else None
            shown.append({"figure": figure, "heading": heading, "unit": unit, "best": best})
    return shown


def _worst_frames(evaluation: Evaluation, log: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    try:
        from PIL import Image

        from mp2flame.render import MeshRenderer

        head = evaluation.head
        renderer = MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=_IMAGE_SIZE)
    except (MissingExtraError, ImportError) as error:
        log(f"the report has no images: {error}")
        return
    try:
        eyes = eye_centers(head)
        apart = float(np.linalg.norm(eyes[0] - eyes[1]))
        # The middle of a face lies two thirds of the eyes' distance below them.
        renderer.set_camera(eyes.mean(axis=0) - [0, 0.65 * apart, 0], distance=7.5 * apart, yaw=12)
        for name, errors in evaluation.measures.items():
            if name == NO_EXPRESSION or not errors.worst:
                continue
            frames = []
            for frame in _spread_over_subjects(errors):
                meshes = head(FlameParams.from_rows(np.stack([frame.truth, frame.result])))
                buffer = io.BytesIO()
                pair = np.concatenate([renderer.render(mesh) for mesh in meshes], axis=1)
                Image.fromarray(pair).save(buffer, format="png", optimize=True)
                png = base64.b64encode(buffer.getvalue()).decode("ascii")
                frames.append({**frame.as_json(), "mm": f"{frame.mm:.2f}", "png": png})
            yield {"name": name, "frames": frames}
    finally:
        renderer.close()


def _spread_over_subjects(errors: ErrorSums) -> list[FrameError]:
    """The worst frames, no more than two of a person as long as there are others."""
    counts: dict[str, int] = {}
    first: list[FrameError] = []
    later: list[FrameError] = []
    for frame in errors.worst:
        counts[frame.subject] = counts.get(frame.subject, 0) + 1
        (first if counts[frame.subject] <= 2 else later).append(frame)
    return [*first, *later][:_WORST_SHOWN]
