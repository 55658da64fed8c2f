"""Filters on what MediaPipe really says of the built-in head: a still picture with camera noise, and a blink."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.filters import OneEuro
from mp2flame.head import FlameHead, load_head
from mp2flame.mapping import HeadPose, load_mapping
from mp2flame.signals import FlameParams, Observation, concatenate

_RATE = 30
_STILL = 90
_NOISE = 4.0
"""Standard deviation of the camera's noise, of 255."""


@pytest.fixture(scope="module")
def head() -> FlameHead:
    return load_head("builtin")


@pytest.fixture(scope="module")
def seen(head: FlameHead, landmarker: Path) -> Observation:
    """Three seconds still, then a blink of 100 ms, then still again; every picture with new noise."""
    render = pytest.importorskip("mp2flame.render", reason="PyVista comes with the render extra")
    detector = pytest.importorskip("mp2flame.sources.detector", reason="MediaPipe comes with the track extra")
    blink = [ARKIT.index("eyeBlinkLeft"), ARKIT.index("eyeBlinkRight")]
    closed = head.blendshapes().expression[blink].sum(axis=0)
    weights = [0.0] * _STILL + [0.5, 1.0, 0.5] + [0.0] * 20
    rng = np.random.default_rng(0)

    def pictures() -> Iterable[NDArray[np.uint8]]:
        with render.MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=(512, 512)) as renderer:
            renderer.look(head.joints()[3:5].mean(axis=0) - (0, 0.03, 0), distance=0.75)
            for weight in weights:
                found = np.ones(1, dtype=np.bool_)
                params = FlameParams(time=np.zeros(1), found=found, expression=(weight * closed)[None])
                picture = renderer.render(head(params)[0])
                yield np.clip(picture + rng.normal(0, _NOISE, picture.shape), 0, 255).astype(np.uint8)

    watcher = detector.FaceDetector(landmarker, mode="video")
    frames: list[Observation] = [watcher.detect(picture, i / _RATE) for i, picture in enumerate(pictures())]
    watcher.close()
    return concatenate(frames)


def _moved(head: FlameHead, params: FlameParams) -> NDArray[np.float64]:
    """(N - 1, V) how far each vertex moves from frame to frame."""
    steps: NDArray[np.float64] = np.linalg.norm(np.diff(head(params).astype(np.float64), axis=0), axis=2)
    return steps


def test_a_still_face_trembles_at_most_a_quarter(head: FlameHead, seen: Observation) -> None:
    raw = HeadPose(load_mapping("builtin").for_person(seen[:_STILL]))(seen[20:_STILL])
    assert _moved(head, OneEuro()(raw)).mean() <= 0.25 * _moved(head, raw).mean()


def test_a_blink_keeps_its_depth_and_its_moment(head: FlameHead, seen: Observation) -> None:
    raw = load_mapping("builtin").for_person(seen[:_STILL])(seen)
    vertices = [head(params).astype(np.float64) for params in (raw, OneEuro()(raw))]
    lids = vertices[0] - vertices[0][_STILL - 5 : _STILL].mean(axis=0)
    peak = int(np.linalg.norm(lids, axis=2).mean(axis=1).argmax())
    assert _STILL <= peak < _STILL + 4
    # Along the movement that the blink makes, all vertices together.
    depth, filtered = (((v - v[_STILL - 5 : _STILL].mean(axis=0)) * lids[peak]).sum(axis=(1, 2)) for v in vertices)
    assert filtered.max() >= 0.85 * depth.max()
    assert 0 <= int(filtered.argmax()) - int(depth.argmax()) <= 1
