"""What the page asks of whoever runs the session; every method may be called from any of the page's threads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Director"]


class Director(Protocol):
    """The session behind the page. Methods raise `Mp2FlameError` with a sentence that the page shows."""

    def open_source(self, spec: str) -> None:
        """Take frames from another source."""

    def set_mirror(self, on: bool) -> None:
        """The camera's picture is mirrored, or not."""

    def set_camera(self, on: bool) -> None:
        """Take frames from the source, or from the sliders."""

    def set_playing(self, on: bool) -> None:
        """Play or pause a file."""

    def set_loop(self, on: bool) -> None:
        """Begin a file again at its end, or stop there."""

    def seek(self, seconds: float) -> None:
        """Go to a moment of a file."""

    def take_neutral(self) -> None:
        """Take the person's rest in the next seconds; returns when that is done."""

    def forget_neutral(self) -> None:
        """Go back to an average person's rest."""

    def set_smoothing(self, amount: float) -> None:
        """0 is off, 1 the default."""

    def set_gains(self, expression: float, jaw: float) -> None:
        """Factors of the whole expression and of the jaw."""

    def set_mapping(self, side: Literal["A", "B"], name: str | None) -> None:
        """Use another mapping; None on side B shows one head only."""

    def pose_by_weights(self, weights: NDArray[np.float32]) -> None:
        """Show what the mapping does with these weights (52,) in ARKit's order."""

    def pose_by_coefficient(self, name: str, index: int, value: float) -> None:
        """Set one number of the pose by hand, by `FlameParams`' names."""

    def start_recording(self) -> None:
        """Record from now on."""

    def stop_recording(self) -> None:
        """Stop; what was recorded can be downloaded."""

    def export(self, kind: str) -> Path:
        """The last recording as a file of this format."""
