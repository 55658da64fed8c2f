"""An evaluation as one HTML file with its images inside, and as JSON."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from mp2flame.data import FlameParams
from mp2flame.errors import MissingExtraError
from mp2flame.evaluation.evaluate import NO_EXPRESSION, Evaluation
from mp2flame.evaluation.metrics import ErrorSums, FrameError
from mp2flame.files import write_atomic
from mp2flame.geometry.face_regions import REGIONS, eye_centers

_TITLE: Final = "Evaluation of mappings"
_WORST_SHOWN: Final = 6
_IMAGE_SIZE: Final = (300, 300)


class _Column(NamedTuple):
    figure: str
    heading: str
    unit: str
    more_is_better: bool = False


_DISTANCES: Final = tuple(_Column(name, name.capitalize(), "") for name in REGIONS)
_DISTANCE_NOTE: Final = (
    "Mean distance of corresponding vertices, relative to a face that never moves (1.000), and in millimetres. "
    "Less is better."
)
_MOVEMENTS: Final = (
    _Column("jaw degrees", "Jaw opening", "°"),
    _Column("gaze degrees", "Gaze", "°"),
    _Column("lip gap mm", "Lip gap", " mm"),
    _Column("lid gap mm", "Lid gap", " mm"),
    _Column("blink recall", "Blinks found", " %", more_is_better=True),
    _Column("asymmetry mm", "Asymmetry", " mm"),
    _Column("jitter mm", "Jitter", " mm"),
)
_MOVEMENT_NOTE: Final = (
    "Mean errors of the jaw's opening, of both eyes' gaze, and of the openings between lips and lids; the share of "
    "blinks that are blinks in the result; the distance between the result of a mirrored face and the mirrored result; "
    "and, in videos, the jitter that the result adds to the face's own motion (second difference from frame to frame)."
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
    distances = _table(evaluation, "Distance on the head", _DISTANCE_NOTE, _DISTANCES)
    movements = _table(evaluation, "Movement", _MOVEMENT_NOTE, _MOVEMENTS)
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    return page.render(
        title=_TITLE,
        summary=_summary(evaluation),
        tables=[distances, movements],
        worst=list(_worst_frames(evaluation, log)),
    )


def _summary(evaluation: Evaluation) -> str:
    frames, people = evaluation.measures[NO_EXPRESSION].frames, len(evaluation.subjects)
    text = (
        f"{frames} frames of {'1 person' if people == 1 else f'{people} people'}; head: {evaluation.head.version}. "
        "Results and truth are put on the mean identity, the head not turned."
    )
    if evaluation.without_neutral:
        text += f" {evaluation.without_neutral} of them had no neutral frame, so the average person's was used."
    return text


def _table(evaluation: Evaluation, title: str, note: str, columns: tuple[_Column, ...]) -> dict[str, Any]:
    figures = {name: errors.figures() for name, errors in evaluation.measures.items()}
    columns = tuple(column for column in columns if any(column.figure in row for row in figures.values()))
    best = {}
    for column in columns:
        known = [row[column.figure] for name, row in figures.items() if name != NO_EXPRESSION and column.figure in row]
        if len(known) > 1:
            best[column.figure] = max(known) if column.more_is_better else min(known)
    rows = []
    for name, row in figures.items():
        baseline = name == NO_EXPRESSION
        cells = [_cell(row, column, None if baseline else best.get(column.figure)) for column in columns]
        rows.append({"name": name, "baseline": baseline, "cells": cells})
    return {"title": title, "note": note, "columns": [column.heading for column in columns], "rows": rows}


def _cell(row: dict[str, float], column: _Column, best: float | None) -> dict[str, Any]:
    value = row.get(column.figure)
    if value is None:
        return {"text": "-", "detail": "", "share": None, "best": False}
    if column.unit:
        text = f"{100 * value:.0f} %" if column.unit == " %" else f"{value:.2f}{column.unit}"
        return {"text": text, "detail": "", "share": None, "best": value == best}
    detail = f"{row[f'{column.figure} mm']:.2f} mm"
    return {"text": f"{value:.3f}", "detail": detail, "share": round(min(100.0, 100 * value)), "best": value == best}


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
                frames.append({**frame.as_json(), "mm": f"{frame.mm:.2f}", "number": frame.number, "png": png})
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
