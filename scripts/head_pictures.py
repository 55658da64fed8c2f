"""Photograph the built-in head: the README's picture, its views, twenty expressions and ten identities.

python scripts/head_pictures.py [-o docs/pictures]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

import mp2flame
from mp2flame.blendshapes import ARKIT
from mp2flame.render import MeshRenderer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mp2flame import FlameHead, FlameParams

_OUT = Path(__file__).resolve().parents[1] / "docs" / "pictures"

Weights = dict[str, float]


def _both(**weights: float) -> Weights:
    """The same weight for both sides of each shape."""
    return {f"{name}{side}": weight for name, weight in weights.items() for side in ("Left", "Right")}


EXPRESSIONS: tuple[Weights, ...] = (
    {},
    {**_both(mouthSmile=0.8, cheekSquint=0.4, eyeSquint=0.2)},
    {**_both(mouthSmile=1.0, cheekSquint=0.8, eyeSquint=0.5, browOuterUp=0.2), "jawOpen": 0.35},
    {**_both(browOuterUp=1.0, eyeWide=0.8), "browInnerUp": 1.0, "jawOpen": 0.6},
    {**_both(browDown=0.9, noseSneer=0.6, mouthPress=0.5, eyeSquint=0.4)},
    {**_both(mouthFrown=0.9, eyeLookDown=0.4), "browInnerUp": 0.8, "mouthShrugLower": 0.4},
    {**_both(noseSneer=1.0, mouthUpperUp=0.7, browDown=0.5, eyeSquint=0.5)},
    {**_both(eyeWide=1.0, mouthStretch=0.8), "browInnerUp": 1.0, "jawOpen": 0.3},
    {"mouthPucker": 1.0},
    {"mouthFunnel": 0.9, "jawOpen": 0.2},
    {"jawOpen": 1.0},
    {"mouthLeft": 0.9, "mouthSmileLeft": 0.3},
    {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.7, "cheekSquintLeft": 0.6, "jawOpen": 0.1},
    {**_both(eyeBlink=1.0), "mouthPucker": 0.3},
    {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0, "browOuterUpRight": 0.8},
    {**_both(eyeLookUp=0.9, browOuterUp=0.4), "browInnerUp": 0.5},
    {"cheekPuff": 0.8, **_both(mouthPress=0.2)},
    {"tongueOut": 1.0, "jawOpen": 0.5, **_both(mouthSmile=0.3)},
    {**_both(mouthPress=1.0, mouthDimple=0.5)},
)
_VIEWS = (0.0, 40.0, 90.0, 180.0, -40.0)


class Studio:
    """The built-in head in front of a camera."""

    def __init__(self, size: int) -> None:
        self.head: FlameHead = mp2flame.load_head("builtin")
        self._shapes = self.head.blendshapes()
        self._renderer = MeshRenderer(
            self.head.faces, vertex_colors=self.head.vertex_colors, size=(size, size), view_angle=30.0
        )

    def params(self, weights: Weights) -> FlameParams:
        """The parameters of a mix of shapes."""
        rows = [ARKIT.index(name) for name in weights]
        share = np.array(list(weights.values()), dtype=np.float32)[:, None]
        mixed = {
            field: (share * getattr(self._shapes, field)[rows]).sum(axis=0, keepdims=True)
            for field in ("expression", "jaw_pose", "leye_pose", "reye_pose")
        }
        return replace(self._shapes[:1], **mixed)

    def photo(
        self, weights: Weights, *, yaw: float = 0.0, shape: NDArray[np.float32] | None = None, distance: float = 0.58
    ) -> NDArray[np.uint8]:
        """One picture (size, size, 3)."""
        head = self.head if shape is None else self.head.with_shape(shape)
        self._renderer.set_camera((0.0, 0.012, 0.0), distance=distance, yaw=yaw, pitch=2.0)
        return self._renderer.render(head(self.params(weights))[0])


def sheet(pictures: Sequence[NDArray[np.uint8]], columns: int) -> Image.Image:
    """Pictures of one size in rows."""
    rows = [np.hstack(pictures[start : start + columns]) for start in range(0, len(pictures), columns)]
    return Image.fromarray(np.vstack(rows))


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("-o", "--out", type=Path, default=_OUT)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    large, small = Studio(400), Studio(256)
    top = [large.photo(EXPRESSIONS[index], yaw=yaw) for index, yaw in ((0, 30.0), (2, -18.0), (3, 0.0), (12, 15.0))]
    sheet(top, 4).save(out / "builtin_head.png", optimize=True)
    sheet([small.photo({}, yaw=yaw) for yaw in _VIEWS], 5).save(out / "builtin_head_views.png", optimize=True)
    sheet([small.photo(weights) for weights in EXPRESSIONS], 5).save(
        out / "builtin_head_expressions.png", optimize=True
    )
    random = np.random.default_rng(7)
    people = [random.standard_normal(small.head.n_shape).astype(np.float32) for _ in range(10)]
    sheet([small.photo({}, yaw=15.0 * (-1) ** index, shape=who) for index, who in enumerate(people)], 5).save(
        out / "builtin_head_people.png", optimize=True
    )


if __name__ == "__main__":
    main()
