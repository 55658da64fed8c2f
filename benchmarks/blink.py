"""A rendered face that is still and then blinks, in images with camera noise, as MediaPipe detects it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams, Observation, concatenate
from mp2flame.head import FlameHead

RATE = 30
STILL = 90
NOISE = 4.0
"""Standard deviation of the camera's noise, of 255."""


def observe_blink(head: FlameHead, landmarker: Path, *, still: int = STILL) -> Observation:
    """Detections of `still` frames without motion, a blink of 100 ms, and 20 more frames; every image has new noise.

    Raises:
        MissingExtraError: PyVista or MediaPipe is not installed.
    """
    from mp2flame.render import MeshRenderer
    from mp2flame.sources.detector import FaceDetector

    eyes = [ARKIT.index("eyeBlinkLeft"), ARKIT.index("eyeBlinkRight")]
    closed = head.blendshapes().expression[eyes].sum(axis=0)
    weights = [0.0] * still + [0.5, 1.0, 0.5] + [0.0] * 20
    rng = np.random.default_rng(0)

    def images() -> Iterable[NDArray[np.uint8]]:
        with MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=(512, 512)) as renderer:
            renderer.set_camera(head.joints()[3:5].mean(axis=0) - (0, 0.03, 0), distance=0.75)
            for weight in weights:
                found = np.ones(1, dtype=np.bool_)
                params = FlameParams(time=np.zeros(1), found=found, expression=(weight * closed)[None])
                image = renderer.render(head(params)[0])
                yield np.clip(image + rng.normal(0, NOISE, image.shape), 0, 255).astype(np.uint8)

    detector = FaceDetector(landmarker, mode="video")
    frames: list[Observation] = [detector.detect(image, i / RATE) for i, image in enumerate(images())]
    detector.close()
    return concatenate(frames)
