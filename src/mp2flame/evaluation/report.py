"""An evaluation as one HTML file with its pictures inside, and as JSON."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import MissingExtraError
from mp2flame.evaluation.evaluate import NO_EXPRESSION, Evaluation
from mp2flame.evaluation.metrics import Frame, Measures
from mp2flame.files import AtomicFile, write_errors
from mp2flame.geometry.face_regions import REGIONS, eye_centers

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["report_html", "write_report"]

_WORST_SHOWN: Final = 6
_PICTURE: Final = (300, 300)
# Name in the figures, heading, unit, and whether more is better.
_OTHERS: Final = (
    ("jaw degrees", "Jaw opening", "°", False),
    ("gaze degrees", "Gaze", "°", False),
    ("lip gap mm", "Lip gap", " mm", False),
    ("lid gap mm", "Lid gap", " mm", False),
    ("blink recall", "Blinks seen", "", True),
    ("asymmetry mm", "Left-right", " mm", False),
    ("jitter mm", "Jitter", " mm", False),
)

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2329; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.note { color: #59636e; max-width: 46rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid #e3e7eb; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { color: #59636e; font-weight: 600; }
td.best { font-weight: 700; background: #eaf5ec; }
td small { color: #7b858f; margin-left: .35rem; }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { width: 100%; border-radius: 6px; display: block; }
figcaption { color: #59636e; font-size: .85rem; }
"""


def write_report(evaluation: Evaluation, path: Path, *, log: Callable[[str], None] = lambda _: None) -> None:
    """Write the report; a path that ends in .json gets the figures alone, any other the HTML page.

    Args:
        evaluation: what to report.
        path: the file to write; nothing half-written is left.
        log: told where there are no pictures for want of the extra render.

    Raises:
        MissingFileError: the folder does not exist.
        SinkError: the file cannot be written.
    """
    if path.suffix == ".json":
        text = json.dumps(evaluation.as_json(), indent=1) + "\n"
    else:
        text = report_html(evaluation, log=log)
    part = AtomicFile(path)
    try:
        with write_errors(path, "nothing was written"):
            part.temporary.write_text(text, encoding="utf-8")
            part.publish()
    finally:
        part.discard()


_DISTANCE_NOTE: Final = (
    "Mean distance of corresponding vertices, relative to a face that never moves (1.000), and in millimetres. "
    "Less is better."
)
_MOVEMENT_NOTE: Final = (
    "Mean errors of jaw opening and of the left eye's gaze; of the openings between lips and lids; the share of blinks "
    "that are blinks in the result; the distance between the result of a mirrored face and the mirrored result; and "
    "trembling that the face does not do, in frames that follow each other."
)


def report_html(evaluation: Evaluation, *, log: Callable[[str], None] = lambda _: None) -> str:
    """The page as text; it loads nothing from anywhere."""
    title = "How good the mappings are"
    body = [
        f"<h1>{title}</h1>",
        _note(_setting(evaluation)),
        "<h2>Distance on the head</h2>",
        _note(_DISTANCE_NOTE),
        _table(evaluation, [(name, name.capitalize(), f"{name} mm") for name in REGIONS]),
        "<h2>Movement</h2>",
        _note(_MOVEMENT_NOTE),
        _other_table(evaluation),
        *_worst(evaluation, log),
    ]
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    return head + "\n".join(body) + "</html>\n"


def _note(text: str) -> str:
    return f"<p class=note>{escape(text)}</p>"


def _setting(evaluation: Evaluation) -> str:
    frames, people = evaluation.measures[NO_EXPRESSION].frames, len(evaluation.subjects)
    whose = "1 person" if people == 1 else f"{people} people"
    text = (
        f"{frames} frames of {whose}; head: {evaluation.head.version}. Results and truth are put on the mean identity."
    )
    if evaluation.without_neutral:
        text += f" {evaluation.without_neutral} of them had no rest frame, so the average person's was used."
    return text


def _best(values: list[float | None], more: bool) -> float | None:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    return max(known) if more else min(known)


def _table(evaluation: Evaluation, columns: list[tuple[str, str, str]]) -> str:
    figures = {name: measures.figures() for name, measures in evaluation.measures.items()}
    head = "".join(f"<th>{escape(title)}</th>" for _, title, _ in columns)
    best = {key: _best([f.get(key) for f in figures.values()], more=False) for key, _, _ in columns}
    lines = []
    for name, row in figures.items():
        cells = []
        for key, _, mm in columns:
            value = row.get(key)
            mark = " class=best" if value is not None and value == best[key] else ""
            text = "-" if value is None else f"{value:.3f}<small>{row[mm]:.2f} mm</small>"
            cells.append(f"<td{mark}>{text}</td>")
        lines.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    return f"<table><thead><tr><th>Mapping</th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _other_table(evaluation: Evaluation) -> str:
    figures = {name: measures.figures() for name, measures in evaluation.measures.items()}
    columns = [column for column in _OTHERS if any(column[0] in row for row in figures.values())]
    real = [row for name, row in figures.items() if name != NO_EXPRESSION]
    best = {key: _best([row.get(key) for row in real], more) for key, _, _, more in columns}
    head = "".join(f"<th>{escape(title)}</th>" for _, title, _, _ in columns)
    lines = []
    for name, row in figures.items():
        cells = []
        for key, _, unit, _ in columns:
            value = row.get(key)
            mark = " class=best" if value is not None and name != NO_EXPRESSION and value == best[key] else ""
            text = "-" if value is None else f"{100 * value:.0f} %" if key == "blink recall" else f"{value:.2f}{unit}"
            cells.append(f"<td{mark}>{text}</td>")
        lines.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    return f"<table><thead><tr><th>Mapping</th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _worst(evaluation: Evaluation, log: Callable[[str], None]) -> list[str]:
    try:
        camera = _Camera(evaluation.head)
    except MissingExtraError as error:
        log(f"the report has no pictures: {error}")
        return []
    parts = []
    with camera:
        for name, measures in evaluation.measures.items():
            if name == NO_EXPRESSION or not measures.worst:
                continue
            parts.append(f"<h2>Worst frames of {escape(name)}</h2>")
            parts.append(_note("The truth on the left, the result on the right.") + "<div class=frames>")
            parts += [_figure(camera, frame) for frame in _spread(measures)]
            parts.append("</div>")
    return parts


def _spread(measures: Measures) -> list[Frame]:
    """The worst frames, no more than two of a person as long as there are others."""
    seen: dict[str, int] = {}
    first: list[Frame] = []
    later: list[Frame] = []
    for frame in measures.worst:
        seen[frame.subject] = seen.get(frame.subject, 0) + 1
        (first if seen[frame.subject] <= 2 else later).append(frame)
    return [*first, *later][:_WORST_SHOWN]


def _figure(camera: _Camera, frame: Frame) -> str:
    pair = np.concatenate([camera.picture(frame.truth), camera.picture(frame.result)], axis=1)
    where = f"{frame.subject}, {frame.sequence} frame {frame.number}: {frame.mm:.2f} mm"
    return (
        f'<figure><img src="data:image/png;base64,{_png(pair)}" alt="truth and result">'
        f"<figcaption>{escape(where)}</figcaption></figure>"
    )


def _png(picture: NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


class _Camera:
    """Pictures of a head's face by joined parameters."""

    def __init__(self, head: FlameHead) -> None:
        from mp2flame.render import MeshRenderer

        self._head = head
        self._renderer = MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=_PICTURE)
        eyes = eye_centers(head)
        # The middle of a face lies two thirds of the eyes' distance below them.
        apart = float(np.linalg.norm(eyes[0] - eyes[1]))
        self._renderer.set_camera(eyes.mean(axis=0) - [0, 0.65 * apart, 0], distance=7.5 * apart, yaw=12)

    def picture(self, joined: NDArray[np.float32]) -> NDArray[np.uint8]:
        return self._renderer.render(self._head(FlameParams.from_rows(joined[None]))[0])

    def __enter__(self) -> _Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self._renderer.close()
