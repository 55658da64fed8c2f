"""How far MediaPipe's score of each shape rises when the shape is driven to 1 on the built-in head.

python scripts/measure_response.py FACE_LANDMARKER.task [-o docs/research/builtin_head_response.md]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import mp2flame
from mp2flame.blendshapes import ARKIT, MEDIAPIPE, mirror_name
from mp2flame.render import MeshRenderer
from mp2flame.sources.detector import FaceDetector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from mp2flame import FlameHead

CLEAR = 0.15
"""A rise from here on is clear: neutral scores of one face under other lights differ by less."""
# Scores of MediaPipe that stay near 0 on every head that we rendered.
UNSCORED = ("cheekPuff", "cheekSquint", "noseSneer", "jawForward")

_OUT = Path(__file__).resolve().parents[1] / "docs" / "research" / "builtin_head_response.md"

_HEADER = """# MediaPipe's response to the built-in head

Each shape of the built-in head is driven to 1, and MediaPipe's Face Landmarker scores it: an image of 512 x 512 pixels
from 0.6 m away. *Alone* is the shape by itself, *both sides* together with its other side (a gaze shape with the
one that turns the other eye the same way), as faces move; `mouthClose` is driven on top of `jawOpen`, as it is defined.
A shape passes where the better of the two rises by at least {clear:.2f} above neutral.
Written by `python scripts/measure_response.py`.

{passed} of the {seen} shapes that MediaPipe scores at all pass.{failed}

| shape | neutral | alone | both sides | rise | verdict |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Response:
    """MediaPipe's scores of one shape, under its name."""

    name: str
    neutral: float
    alone: float
    both: float | None

    @property
    def size(self) -> float:
        """How far the score rose above neutral."""
        return max(self.alone, self.both if self.both is not None else 0.0) - self.neutral

    @property
    def verdict(self) -> str:
        """One word or two for the table."""
        if self.size >= CLEAR:
            return "passes"
        return "MediaPipe hardly scores it" if self.name.startswith(UNSCORED) else "**fails**"


class ResponseMeter:
    """Renders the built-in head and gets its scores from MediaPipe."""

    def __init__(self, head: FlameHead, landmarker: Path) -> None:
        self._head = head
        self._shapes = head.blendshapes()
        self._detector = FaceDetector(landmarker, mode="image")
        self._renderer = MeshRenderer(
            head.faces, vertex_colors=head.vertex_colors, view_angle=30.0, background=(128, 130, 134)
        )
        self._renderer.set_camera((0.0, 0.0, 0.0), distance=0.6)

    def __enter__(self) -> ResponseMeter:
        return self

    def __exit__(self, *_: object) -> None:
        self._renderer.close()
        self._detector.close()

    def scores(self, names: Iterable[str]) -> NDArray[np.float32]:
        """MediaPipe's 52 scores of the head with these shapes at 1."""
        rows = self._shapes.to_rows()[[ARKIT.index(name) for name in names]].sum(axis=0, keepdims=True)
        image = self._renderer.render(self._head(mp2flame.FlameParams.from_rows(rows))[0])
        detected = self._detector.detect(image, 0.0)
        if not detected.found[0]:
            raise SystemExit(f"MediaPipe found no face with {', '.join(names) or 'the neutral head'}")
        return np.asarray(detected.scores[0])


def partner(name: str) -> str | None:
    """The shape that moves the other side likewise, or None."""
    other = mirror_name(name)
    if other == name or name.startswith(("jaw", "mouthLeft", "mouthRight")):
        return None
    for part, opposite in (("LookIn", "LookOut"), ("LookOut", "LookIn")):
        if part in name:
            return other.replace(part, opposite)
    return other


def measure(meter: ResponseMeter) -> list[Response]:
    """The rise of every shape that has a score, in MediaPipe's order."""
    neutral = meter.scores([])
    rises = []
    for name in MEDIAPIPE[1:]:
        column = MEDIAPIPE.index(name)
        first = ["jawOpen"] if name == "mouthClose" else []
        other = partner(name)
        alone = float(meter.scores([*first, name])[column])
        both = float(meter.scores([*first, name, other])[column]) if other else None
        rises.append(Response(name, float(neutral[column]), alone, both))
    return rises


def table(rises: list[Response]) -> str:
    """The page for the docs."""
    seen = [rise for rise in rises if not rise.name.startswith(UNSCORED)]
    failing = [f"`{rise.name}`" for rise in seen if rise.verdict != "passes"]
    header = _HEADER.format(
        clear=CLEAR,
        passed=len(seen) - len(failing),
        seen=len(seen),
        failed=f" Failing: {', '.join(failing)}." if failing else "",
    )
    rows = (
        f"| `{rise.name}` | {rise.neutral:.2f} | {rise.alone:.2f} | {'' if rise.both is None else f'{rise.both:.2f}'} "
        f"| {rise.size:+.2f} | {rise.verdict} |\n"
        for rise in rises
    )
    return header + "".join(rows)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("landmarker", type=Path, help="MediaPipe's face_landmarker.task")
    parser.add_argument("-o", "--out", type=Path, default=_OUT)
    arguments = parser.parse_args()
    with ResponseMeter(mp2flame.load_head("builtin"), arguments.landmarker) as meter:
        page = table(measure(meter))
    arguments.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
