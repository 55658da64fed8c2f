"""A source whose blendshape weights are set by hand, and the sliders that pose the head while the camera is off."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.blendshapes import ARKIT, MEDIAPIPE, reorder
from mp2flame.data import FlameParams, Observation
from mp2flame.sources.base import Source

_STEP = 1 / 30
_POSES = {
    "jaw": ("jaw_pose", ("open", "to the left", "roll"), 35.0),
    "neck": ("neck_pose", ("nod", "turn", "tilt"), 60.0),
    "left eye": ("leye_pose", ("down", "to the left", "roll"), 45.0),
    "right eye": ("reye_pose", ("down", "to the left", "roll"), 45.0),
}
_EXPRESSION_LIMIT = 6.0
_GROUPS = ("eye", "brow", "jaw", "mouth", "cheek", "nose", "tongue")


def observe_weights(weights: NDArray[np.float32], moment: float = 0.0) -> Observation:
    """One frame of a face that looks straight ahead with these weights (52,) in ARKit's order."""
    return Observation(
        time=np.array([moment]),
        found=np.ones(1, dtype=np.bool_),
        scores=reorder(weights[None], ARKIT, MEDIAPIPE),
        head_transform=np.eye(4, dtype=np.float32)[None],
        tongue_out=weights[None, ARKIT.index("tongueOut")],
    )


class SliderSource(Source):
    """Thirty frames per second of what the sliders say, and one at once whenever a slider moves."""

    live = True

    def __init__(self) -> None:
        self._weights = np.zeros(len(ARKIT), dtype=np.float32)
        self._moved = False
        self._closed = False
        self._changed = threading.Condition()

    def refresh(self, weights: NDArray[np.float32] | None = None) -> None:
        """Produce a frame at once, with new weights (52,) in ARKit's order if they are given."""
        with self._changed:
            if weights is not None:
                self._weights = weights
            self._moved = True
            self._changed.notify_all()

    @override
    def __iter__(self) -> Generator[Observation, None, None]:
        start = time.monotonic()
        while not self._closed:
            yield observe_weights(self._weights, time.monotonic() - start)
            with self._changed:
                self._changed.wait_for(lambda: self._moved or self._closed, _STEP)
                self._moved = False

    @override
    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class SliderPanel:
    """Blendshape sliders and parameter sliders in the container that is current."""

    def __init__(self, gui: Any, n_expression: int) -> None:
        self._shown: FlameParams | None = None
        self._enabled: bool | None = None
        self.zero = gui.add_button("All to zero", hint="The neutral face")
        self.weights: dict[str, Any] = {}
        """The slider of each blendshape."""
        self.coefficients: dict[tuple[str, int], tuple[Any, float]] = {}
        """The slider of each field of `FlameParams` and index, and the parameter's value at 1 on the slider."""
        for group in _GROUPS:
            with gui.add_folder(f"Blendshapes: {group}", expand_by_default=group in ("jaw", "mouth")):
                for name in ARKIT:
                    if name.startswith(group):
                        self.weights[name] = gui.add_slider(name, min=0.0, max=1.0, step=0.01, initial_value=0.0)
        rotations = (
            (title, field, [f"{name} (°)" for name in names], limit, np.pi / 180)
            for title, (field, names, limit) in _POSES.items()
        )
        numbers = [str(index + 1) for index in range(n_expression)]
        for title, field, labels, limit, unit in (
            *rotations,
            ("expression", "expression", numbers, _EXPRESSION_LIMIT, 1.0),
        ):
            with gui.add_folder(f"FLAME: {title}", expand_by_default=title == "jaw"):
                for index, label in enumerate(labels):
                    slider = gui.add_slider(label, min=-limit, max=limit, step=limit / 300, initial_value=0.0)
                    self.coefficients[field, index] = (slider, unit)

    def read_weights(self) -> NDArray[np.float32]:
        """The positions of the blendshape sliders, (52,) in ARKit's order."""
        return np.array([self.weights[name].value for name in ARKIT], dtype=np.float32)

    def set_zero(self) -> None:
        """Move every blendshape slider to zero."""
        for slider in self.weights.values():
            slider.value = 0.0

    def show(self, pose: FlameParams | None, *, enabled: bool) -> None:
        """Move the parameter sliders to a new pose, N = 1, as far as they go, and let all sliders be moved or not."""
        if enabled != self._enabled:
            self._enabled = enabled
            for slider in (*self.weights.values(), *(slider for slider, _ in self.coefficients.values())):
                slider.disabled = not enabled
        if pose is None or pose is self._shown:
            return
        self._shown = pose
        for (field, index), (slider, unit) in self.coefficients.items():
            value = float(getattr(pose, field)[0, index]) / unit
            slider.value = float(np.clip(round(value, 3), slider.min, slider.max))
