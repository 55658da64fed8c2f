"""The head in the scene: its meshes, how they are coloured, and new vertices for them."""

from __future__ import annotations

import threading
from typing import Any, Literal, TypeAlias

import numpy as np
import viser
from numpy.typing import NDArray

from mp2flame.data import HeadLike
from mp2flame.live.color_patches import Painting

__all__ = ["CLAY", "HeadView", "Look"]

Look: TypeAlias = Literal["colours", "clay"]

CLAY = (205, 190, 180)
"""RGB of the neutral material."""

_TELL_AGAIN = 30
"""After so many frames in which nothing moves the head is sent once more."""


class HeadView:
    """One head. Vertices and looks may be set from different threads.

    Args:
        server: shows it.
        name: its place in the scene tree.
        surface: what is shown.
        paintings: what was made of it already for another view; it is added to.
    """

    def __init__(
        self, server: viser.ViserServer, name: str, surface: HeadLike, paintings: dict[Look, Painting]
    ) -> None:
        self._server = server
        self._name = name
        self._surface = surface
        self._vertices = surface.neutral_vertices
        self._paintings = paintings
        self._look: Look = "colours" if surface.vertex_colors is not None else "clay"
        self._wireframe = False
        self._meshes: list[Any] = []
        self._unchanged = 0
        self._lock = threading.Lock()
        self._frame = server.scene.add_frame(name, show_axes=False)
        rest = surface.neutral_vertices
        below = (float(rest[:, 0].mean()), float(rest[:, 1].min()) - 0.015, float(rest[:, 2].max()) - 0.05)
        self._caption = server.scene.add_label(
            f"{name}/caption", "", position=below, anchor="top-center", visible=False
        )
        self._build()

    def show(self, vertices: NDArray[np.float32]) -> None:
        """Move the head's vertices (V, 3); a frame that is not finite leaves it as it is."""
        if not np.isfinite(vertices).all():
            return
        with self._lock, self._server.atomic():
            self._unchanged = self._unchanged + 1 if np.array_equal(vertices, self._vertices) else 0
            self._vertices = vertices
            # A head at rest is drawn once, and told again now and then.
            if self._frame.visible and self._unchanged % _TELL_AGAIN == 0:
                for mesh, points in zip(self._meshes, self._paintings[self._look].points(vertices), strict=True):
                    # What assigning to `vertices` ends in. Before that it compares and copies twice, for arrays that
                    # may be changed later; these are new every time, and half a frame's way to the browser is saved.
                    mesh._queue_update("vertices", points)

    def place(self, x: float, z: float = 0.0, *, caption: str = "", visible: bool = True) -> None:
        """Move the head aside by x and forward by z metres, with a caption below it, or hide it."""
        with self._lock:
            self._frame.position = (x, 0.0, z)
            self._unchanged = -1  # what is shown again must be told where it is
            self._frame.visible = visible
            self._caption.text = caption
            self._caption.visible = bool(caption)

    def set_wireframe(self, on: bool) -> None:
        """Draw edges only."""
        with self._lock:
            self._wireframe = on
            for mesh in self._meshes:
                mesh.wireframe = on

    def set_look(self, look: Look) -> None:
        """The head's own colours, or a neutral material."""
        with self._lock, self._server.atomic():
            if look != self._look:
                self._look = look
                for mesh in self._meshes:
                    mesh.remove()
                self._build()

    def _build(self) -> None:
        if self._look not in self._paintings:
            colors = self._surface.vertex_colors if self._look == "colours" else None
            self._paintings[self._look] = Painting(self._surface.faces, colors, CLAY)
        painting = self._paintings[self._look]
        self._meshes = [
            self._server.scene.add_mesh_simple(
                f"{self._name}/{self._look}{index}",
                points,
                patch.faces,
                color=patch.color,
                wireframe=self._wireframe,
                cast_shadow=False,
                receive_shadow=False,
            )
            for index, (patch, points) in enumerate(zip(painting.patches, painting.points(self._vertices), strict=True))
        ]
