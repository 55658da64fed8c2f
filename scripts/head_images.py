"""Render the built-in head for the documentation: the README's image, views, twenty expressions and ten identities.

python scripts/head_images.py [-o docs/pictures]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

import mp2flame
from mp2flame import FlameParams
from mp2flame.blendshapes import ARKIT
from mp2flame.demo_animation import both_sides
from mp2flame.render import MeshRenderer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mp2flame import FlameHead

_OUT = Path(__file__).resolve().parents[1] / "docs" / "pictures"

Weights = dict[str, float]


EXPRESSIONS: tuple[Weights, ...] = (
    {},
    {**both_sides(mouthSmile=0.8, cheekSquint=0.4, eyeSquint=0.2)},
    {**both_sides(mouthSmile=1.0, cheekSquint=0.8, eyeSquint=0.5, browOuterUp=0.2), "jawOpen": 0.35},
    {**both_sides(browOuterUp=1.0, eyeWide=0.8), "browInnerUp": 1.0, "jawOpen": 0.6},
    {**both_sides(browDown=0.9, noseSneer=0.6, mouthPress=0.5, eyeSquint=0.4)},
    {**both_sides(mouthFrown=0.9, eyeLookDown=0.4), "browInnerUp": 0.8, "mouthShrugLower": 0.4},
    {**both_sides(noseSneer=1.0, mouthUpperUp=0.7, browDown=0.5, eyeSquint=0.5)},
    {**both_sides(eyeWide=1.0, mouthStretch=0.8), "browInnerUp": 1.0, "jawOpen": 0.3},
    {"mouthPucker": 1.0},
    {"mouthFunnel": 0.9, "jawOpen": 0.2},
    {"jawOpen": 1.0},
    {"mouthLeft": 0.9, "mouthSmileLeft": 0.3},
    {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.7, "cheekSquintLeft": 0.6, "jawOpen": 0.1},
    {**both_sides(eyeBlink=1.0), "mouthPucker": 0.3},
    {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0, "browOuterUpRight": 0.8},
    {**both_sides(eyeLookUp=0.9, browOuterUp=0.4), "browInnerUp": 0.5},
    {"cheekPuff": 0.8, **both_sides(mouthPress=0.2)},
    {"tongueOut": 1.0, "jawOpen": 0.5, **both_sides(mouthSmile=0.3)},
    {**both_sides(mouthPress=1.0, mouthDimple=0.5)},
)
_VIEWS = (0.0, 40.0, 90.0, 180.0, -40.0)


class HeadRenderer:
    """Renders the built-in head."""

    def __init__(self, size: int) -> None:
        self.head: FlameHead = mp2flame.load_head("builtin")
        self._shapes = self.head.blendshapes()
        self._renderer = MeshRenderer(
            self.head.faces, vertex_colors=self.head.vertex_colors, size=(size, size), view_angle=30.0
        )

    def params(self, weights: Weights) -> FlameParams:
        """The parameters of a mix of shapes."""
        rows = self._shapes.to_rows()[[ARKIT.index(name) for name in weights]]
        mixed = np.array(list(weights.values()), dtype=np.float32)[:, None] * rows
        return FlameParams.from_rows(mixed.sum(axis=0, keepdims=True))

    def render(
        self, weights: Weights, *, yaw: float = 0.0, shape: NDArray[np.float32] | None = None, distance: float = 0.58
    ) -> NDArray[np.uint8]:
        """One image (size, size, 3)."""
        head = self.head if shape is None else self.head.with_shape(shape)
        self._renderer.set_camera((0.0, 0.012, 0.0), distance=distance, yaw=yaw, pitch=2.0)
        return self._renderer.render(head(self.params(weights))[0])


def sheet(images: Sequence[NDArray[np.uint8]], columns: int) -> Image.Image:
    """Images of one size in rows."""
    rows = [np.hstack(images[start : start + columns]) for start in range(0, len(images), columns)]
    return Image.fromarray(np.vstack(rows))


def main() -> None:
    """Write all images."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("-o", "--out", type=Path, default=_OUT)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    large, small = HeadRenderer(400), HeadRenderer(256)
    top = [large.render(EXPRESSIONS[index], yaw=yaw) for index, yaw in ((0, 30.0), (2, -18.0), (3, 0.0), (12, 15.0))]
    sheet(top, 4).save(out / "builtin_head.png", optimize=True)
    sheet([small.render({}, yaw=yaw) for yaw in _VIEWS], 5).save(out / "builtin_head_views.png", optimize=True)
    sheet([small.render(weights) for weights in EXPRESSIONS], 5).save(
        out / "builtin_head_expressions.png", optimize=True
    )
    random = np.random.default_rng(7)
    subjects = [random.standard_normal(small.head.n_shape).astype(np.float32) for _ in range(10)]
    sheet([small.render({}, yaw=15.0 * (-1) ** index, shape=shape) for index, shape in enumerate(subjects)], 5).save(
        out / "builtin_head_people.png", optimize=True
    )


if __name__ == "__main__":
    main()
