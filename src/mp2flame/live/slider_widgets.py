"""Sliders for the 52 blendshapes and for FLAME's own parameters, with which a head is posed while the camera is off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams

__all__ = ["SliderPanel"]

_POSES = {
    "jaw": ("jaw_pose", ("open", "to the left", "roll"), 35.0),
    "neck": ("neck_pose", ("nod", "turn", "tilt"), 60.0),
    "left eye": ("leye_pose", ("down", "to the left", "roll"), 45.0),
    "right eye": ("reye_pose", ("down", "to the left", "roll"), 45.0),
}
_EXPRESSION_LIMIT = 6.0
_GROUPS = ("eye", "brow", "jaw", "mouth", "cheek", "nose", "tongue")


class SliderPanel:
    """Blendshape sliders and parameter sliders in the container that is current.

    Args:
        gui: where they are made.
        n_expression: E, one slider for each coefficient.
        on_weights: is given all weights (52,) in ARKit's order when a blendshape's slider is moved.
        on_coefficient: is given a field of `FlameParams`, an index and a value when a parameter's slider is moved.
    """

    def __init__(
        self,
        gui: Any,
        *,
        n_expression: int,
        on_weights: Callable[[NDArray[np.float32]], None],
        on_coefficient: Callable[[str, int, float], None],
    ) -> None:
        self._gui = gui
        self._on_weights = on_weights
        self._on_coefficient = on_coefficient
        self._weights: dict[str, Any] = {}
        self._coefficients: dict[tuple[str, int], tuple[Any, float]] = {}
        gui.add_button("All to zero", hint="The face at rest").on_click(lambda _: self.zero())
        for group in _GROUPS:
            with gui.add_folder(f"Blendshapes: {group}", expand_by_default=group in ("jaw", "mouth")):
                for name in ARKIT:
                    if name.startswith(group):
                        self._add_weight(name)
        for title, (field, names, limit) in _POSES.items():
            with gui.add_folder(f"FLAME: {title}", expand_by_default=title == "jaw"):
                for index, name in enumerate(names):
                    self._add_coefficient(f"{name} (°)", field, index, limit, np.pi / 180)
        with gui.add_folder("FLAME: expression", expand_by_default=False):
            for index in range(n_expression):
                self._add_coefficient(f"{index + 1}", "expression", index, _EXPRESSION_LIMIT, 1.0)

    def _add_weight(self, name: str) -> None:
        slider = self._gui.add_slider(name, min=0.0, max=1.0, step=0.01, initial_value=0.0)
        slider.on_update(self._moved_weight)
        self._weights[name] = slider

    def _moved_weight(self, event: Any) -> None:
        # A change made by the program has no client.
        if event.client_id is not None:
            self._on_weights(self.weights())

    def _add_coefficient(self, label: str, field: str, index: int, limit: float, unit: float) -> None:
        slider = self._gui.add_slider(label, min=-limit, max=limit, step=limit / 300, initial_value=0.0)

        def moved(event: Any) -> None:
            if event.client_id is not None:
                self._on_coefficient(field, index, float(slider.value) * unit)

        slider.on_update(moved)
        self._coefficients[field, index] = (slider, unit)

    def weights(self) -> NDArray[np.float32]:
        """Where the blendshape sliders are, (52,) in ARKit's order."""
        return np.array([self._weights[name].value for name in ARKIT], dtype=np.float32)

    def zero(self) -> None:
        """Every blendshape to zero, and the head with them."""
        for slider in self._weights.values():
            slider.value = 0.0
        self._on_weights(self.weights())

    def show(self, params: FlameParams) -> None:
        """Move the parameter sliders to what the mapping made, N = 1; beyond a slider's end it stands at its end."""
        for (field, index), (slider, unit) in self._coefficients.items():
            row = getattr(params, field)[0]
            value = float(row[index]) / unit if index < len(row) else 0.0
            slider.value = float(np.clip(round(value, 3), slider.min, slider.max))

    def enable(self, on: bool) -> None:
        """Let the sliders be moved, or only looked at."""
        for slider in (*self._weights.values(), *(slider for slider, _ in self._coefficients.values())):
            slider.disabled = not on
