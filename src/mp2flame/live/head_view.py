"""The head in the scene: its meshes, how they are colored, and new vertices for them."""

from __future__ import annotations

import threading
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import HeadLike
from mp2flame.live.color_patches import ColorPatches

Material: TypeAlias = Literal["colors", "clay"]

_CLAY: Final = (205, 190, 180)


class HeadView:
    """One head. Its vertices and its looks may be set from different threads. Views of one head share `patches`."""

    def __init__(self, server: Any, name: str, head: HeadLike, patches: dict[Material, ColorPatches]) -> None:
        self._server = server
        self._name = name
        self._head = head
        self._patches = patches
        neutral = head.neutral_vertices
        self._vertices = neutral
        self._material: Material = "colors" if head.vertex_colors is not None else "clay"
        self._wireframe = False
        self._meshes: list[Any] = []
        self._outdated = False
        self._lock = threading.Lock()
        self._frame = server.scene.add_frame(name, show_axes=False)
        below = (float(neutral[:, 0].mean()), float(neutral[:, 1].min()) - 0.015, float(neutral[:, 2].max()) - 0.05)
        self._caption = server.scene.add_label(
            f"{name}/caption", "", position=below, anchor="top-center", visible=False
        )
        self._build()

    def show(self, vertices: NDArray[np.float32]) -> None:
        """Move the head's vertices (V, 3). Vertices that are not finite leave it as it is."""
        if not np.isfinite(vertices).all():
            return
        with self._lock, self._server.atomic():
            changed, self._vertices = not np.array_equal(vertices, self._vertices), vertices
            if self._frame.visible and (changed or self._outdated):
                self._outdated = False
                for mesh, points in zip(self._meshes, self._patches[self._material].points(vertices), strict=True):
                    # What assigning to `vertices` does after comparing and copying twice, for arrays that may be
                    # changed later. These are new in every frame, and half of the latency to the browser is saved.
                    mesh._queue_update("vertices", points)

    def place(self, x: float, z: float = 0.0, *, caption: str = "", visible: bool = True) -> None:
        """Move the head aside by x and forward by z meters, with a caption below it, or hide it."""
        with self._lock:
            self._frame.position = (x, 0.0, z)
            self._outdated = True  # nothing was sent while it was hidden
            self._frame.visible = visible
            self._caption.text = caption
            self._caption.visible = bool(caption)

    def set_wireframe(self, on: bool) -> None:
        """Draw edges only."""
        with self._lock:
            self._wireframe = on
            for mesh in self._meshes:
                mesh.wireframe = on

    def set_material(self, material: Material) -> None:
        """Use the head's own colors, or one color."""
        with self._lock, self._server.atomic():
            if material != self._material:
                self._material = material
                for mesh in self._meshes:
                    mesh.remove()
                self._build()

    def _build(self) -> None:
        if self._material not in self._patches:
            colors = self._head.vertex_colors if self._material == "colors" else None
            self._patches[self._material] = ColorPatches(self._head.faces, colors, _CLAY)
        surface = self._patches[self._material]
        self._meshes = [
            self._server.scene.add_mesh_simple(
                f"{self._name}/{self._material}{index}",
                points,
                patch.faces,
                color=patch.color,
                wireframe=self._wireframe,
                cast_shadow=False,
                receive_shadow=False,
            )
            for index, (patch, points) in enumerate(zip(surface.patches, surface.points(self._vertices), strict=True))
        ]
