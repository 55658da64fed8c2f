"""Filters on what MediaPipe really says of the built-in head: a still picture with camera noise, and a blink."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.blink import STILL, observe_blink
from mp2flame.data import FlameParams, Observation
from mp2flame.filters import OneEuro
from mp2flame.head import FlameHead, load_head
from mp2flame.mapping import WithHeadPose, load_mapping

pytest.importorskip("mp2flame.render", reason="PyVista comes with the render extra")
pytest.importorskip("mp2flame.sources.detector", reason="MediaPipe comes with the track extra")


@pytest.fixture(scope="module")
def head() -> FlameHead:
    return load_head("builtin")


@pytest.fixture(scope="module")
def seen(head: FlameHead, landmarker: Path) -> Observation:
    return observe_blink(head, landmarker)


def _moved(head: FlameHead, params: FlameParams) -> NDArray[np.float64]:
    """(N - 1, V) how far each vertex moves from frame to frame."""
    steps: NDArray[np.float64] = np.linalg.norm(np.diff(head(params).astype(np.float64), axis=0), axis=2)
    return steps


def test_a_still_face_trembles_at_most_a_quarter(head: FlameHead, seen: Observation) -> None:
    raw = WithHeadPose(load_mapping("builtin").for_person(seen[:STILL]))(seen[20:STILL])
    assert _moved(head, OneEuro()(raw)).mean() <= 0.25 * _moved(head, raw).mean()


def test_a_blink_keeps_its_depth_and_its_moment(head: FlameHead, seen: Observation) -> None:
    raw = load_mapping("builtin").for_person(seen[:STILL])(seen)
    vertices = [head(params).astype(np.float64) for params in (raw, OneEuro()(raw))]
    lids = vertices[0] - vertices[0][STILL - 5 : STILL].mean(axis=0)
    peak = int(np.linalg.norm(lids, axis=2).mean(axis=1).argmax())
    assert STILL <= peak < STILL + 4
    # Along the movement that the blink makes, all vertices together.
    depth, filtered = (((v - v[STILL - 5 : STILL].mean(axis=0)) * lids[peak]).sum(axis=(1, 2)) for v in vertices)
    assert filtered.max() >= 0.85 * depth.max()
    assert 0 <= int(filtered.argmax()) - int(depth.argmax()) <= 1
