"""Closed-loop figures of videos as one HTML page with curves and the worst frames, or as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import MissingExtraError
from mp2flame.evaluation.closed_loop import FACE_MEASURES, ClosedLoop, MotionFigures, pool
from mp2flame.files import write_atomic

_WORST_SHOWN: Final = 4
_CURVE_SIZE: Final = (300, 84)
"""Width and height of a curve, pixels of the page."""


def write_closed_loop(results: Mapping[str, ClosedLoop], path: Path) -> None:
    """Write the report; a path that ends in .json gets the figures alone, any other the HTML page.

    Args:
        results: by the video's name, in the order of the report.
        path: the file to write; nothing half-written is left.

    Raises:
        MissingExtraError: Jinja is not installed.
        SinkError: the file cannot be written.
    """
    as_json = path.suffix == ".json"
    text = json.dumps(_as_json(results), indent=1) + "\n" if as_json else closed_loop_html(results)
    write_atomic(path, text.encode("utf-8"))


def closed_loop_html(results: Mapping[str, ClosedLoop]) -> str:
    """The page as text; it loads nothing from anywhere."""
    try:
        from jinja2 import Environment
    except ImportError as error:
        raise MissingExtraError("jinja2", "train", "write HTML reports") from error
    template = files("mp2flame.evaluation").joinpath("closed_loop.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    pooled = pool([result.figures for result in results.values()])
    videos = [
        {
            "name": name,
            "frames": len(result.time),
            "neutral_mm": result.neutral_mm,
            "warnings": result.warnings,
            "curves": _curves(result),
            "worst": _worst(result),
        }
        for name, result in results.items()
    ]
    return page.render(rows=_rows(pooled), mean=_mean(pooled), videos=videos, size=_CURVE_SIZE)


def _rows(figures: MotionFigures) -> list[dict[str, Any]]:
    columns = (FACE_MEASURES, figures.deviation, figures.correlation, figures.gain, figures.explained)
    names = ("name", "deviation", "correlation", "gain", "explained")
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _mean(figures: MotionFigures) -> dict[str, float]:
    return {name: float(getattr(figures, name).mean()) for name in ("correlation", "gain", "explained")}


def _as_json(results: Mapping[str, ClosedLoop]) -> dict[str, Any]:
    def figures(one: MotionFigures) -> dict[str, Any]:
        rows = {row.pop("name"): {key: round(float(value), 4) for key, value in row.items()} for row in _rows(one)}
        return {"measures": rows, "mean": {name: round(value, 4) for name, value in _mean(one).items()}}

    videos = {
        name: {**figures(result.figures), "frames": len(result.time), "neutral_mm": result.neutral_mm}
        for name, result in results.items()
    }
    return {"pooled": figures(pool([result.figures for result in results.values()])), "videos": videos}


def _curves(result: ClosedLoop) -> list[dict[str, Any]]:
    """For each measure the points of two SVG polylines, each around its own mean."""
    width, height = _CURVE_SIZE
    x = (result.time - result.time[0]) / max(float(result.time[-1] - result.time[0]), 1e-9) * width
    curves = []
    for number, name in enumerate(FACE_MEASURES):
        pair = [values[:, number] - np.nanmean(values[:, number]) for values in (result.real, result.driven)]
        largest = max(float(np.nanmax(np.abs(np.concatenate(pair)))), 1e-9)
        real, driven = (_polyline(x, height / 2 * (1 - 0.95 * values / largest)) for values in pair)
        explained = float(result.figures.explained[number])
        curves.append({"name": name, "real": real, "driven": driven, "explained": explained})
    return curves


def _polyline(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b))


def _worst(result: ClosedLoop) -> list[dict[str, str]]:
    if not result.images:
        return []
    frames = []
    for number in result.worst_frames(_WORST_SHOWN):
        real, driven = (base64.b64encode(image).decode("ascii") for image in result.images[number])
        frames.append({"time": f"{result.time[number]:.2f}", "real": real, "driven": driven})
    return frames
