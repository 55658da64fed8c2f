"""Vertices to pictures, off screen, by PyVista. The one place that imports it for still pictures and films."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.errors import InputError, MissingExtraError

try:
    import pyvista
    import vtk
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("pyvista", "render", "draw heads") from error

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NEUTRAL_COLOR", "MeshRenderer"]

NEUTRAL_COLOR = (205, 190, 180)
"""RGB of a head that brings no vertex colours, such as a FLAME file."""

_BACKGROUND = (236, 238, 241)


def _quiet_vtk() -> None:
    # Without a display VTK tries X first, says so on stderr, then takes EGL or OSMesa, which works.
    if not os.environ.get("DISPLAY"):
        vtk.vtkObject.GlobalWarningDisplayOff()
        vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)


class MeshRenderer:
    """Draws one mesh topology again and again: set up once, then one call for each frame.

    Args:
        faces: (F, 3) vertex indices.
        vertex_colors: (V, 3) uint8 RGB, or None for a neutral material.
        size: width and height of the pictures in pixels.
        view_angle: vertical opening angle in degrees.
        background: RGB, 0..255.
        smooth_edges: sample edges several times, which takes four times as long without a graphics card.

    Raises:
        MissingExtraError: PyVista is not installed.
        InputError: the faces are not triangles.
    """

    def __init__(
        self,
        faces: ArrayLike,
        *,
        vertex_colors: NDArray[np.uint8] | None = None,
        size: tuple[int, int] = (512, 512),
        view_angle: float = 26.0,
        background: tuple[int, int, int] = _BACKGROUND,
        smooth_edges: bool = True,
    ) -> None:
        triangles = np.asarray(faces, dtype=np.int64)
        if triangles.ndim != 2 or triangles.shape[1] != 3:
            raise InputError(f"expected faces (F, 3) of vertex indices; got {triangles.shape}")
        _quiet_vtk()
        self._cells = np.hstack([np.full((len(triangles), 1), 3), triangles]).ravel()
        self._colors = vertex_colors
        self._plotter = pyvista.Plotter(off_screen=True, window_size=list(size), lighting="none")
        self.set_background(background)
        if smooth_edges:
            self._plotter.enable_anti_aliasing("msaa", multi_samples=4)
        else:
            self._plotter.disable_anti_aliasing()
        self._plotter.camera.view_angle = view_angle
        self._mesh: pyvista.PolyData | None = None
        self.set_lights()

    def set_lights(self, *lights: tuple[tuple[float, float, float], float]) -> None:
        """Replace the lights: (direction from which it shines, brightness) each; none given is a studio set-up.

        Directions are in the camera's frame: +X right in the picture, +Y up, +Z towards the viewer.
        """
        self._plotter.remove_all_lights()
        for direction, brightness in lights or _STUDIO:
            light = pyvista.Light(light_type="camera light", intensity=brightness)
            light.position = direction
            light.focal_point = (0, 0, 0)
            self._plotter.add_light(light)

    def set_background(self, color: tuple[int, int, int]) -> None:
        """Replace the background by this RGB, 0..255."""
        self._plotter.set_background([channel / 255 for channel in color])

    def look(
        self, target: ArrayLike, *, distance: float, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0
    ) -> None:
        """Place the camera.

        Args:
            target: (3,) metres, the point in the middle of the picture.
            distance: metres from the target.
            yaw: degrees; positive goes round to the subject's left (+X).
            pitch: degrees; positive goes up.
            roll: degrees; positive tilts the head to the left of the picture.
        """
        turn, rise = np.radians([yaw, pitch])
        away = np.array([np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)])
        centre = np.asarray(target, dtype=np.float64)
        camera = self._plotter.camera
        camera.focal_point = centre
        camera.position = centre + distance * away
        camera.up = (0.0, 1.0, 0.0)
        camera.roll += roll
        camera.clipping_range = (max(distance - 1.0, 0.01), distance + 1.0)

    def render(self, vertices: ArrayLike, vertex_colors: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The mesh as a picture.

        Args:
            vertices: (V, 3) metres.
            vertex_colors: (V, 3) uint8 RGB to use from now on, or None to keep the colours.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        points = np.asarray(vertices, dtype=np.float32)
        if points.ndim != 2 or points.shape[1] != 3:
            raise InputError(f"expected the vertices of one frame (V, 3); got {points.shape}")
        if self._mesh is None:
            self._mesh = self._add_mesh(points, vertex_colors)
        else:
            self._mesh.points = points
            if vertex_colors is not None:
                self._mesh.point_data["rgb"] = vertex_colors
            self._mesh.Modified()
        self._plotter.render()
        return np.ascontiguousarray(self._plotter.screenshot(return_img=True))

    def _add_mesh(self, points: NDArray[np.float32], vertex_colors: NDArray[np.uint8] | None) -> pyvista.PolyData:
        mesh = pyvista.PolyData(points, self._cells)
        colors = self._colors if vertex_colors is None else vertex_colors
        mesh.point_data["rgb"] = (
            np.tile(np.array(NEUTRAL_COLOR, dtype=np.uint8), (len(points), 1)) if colors is None else colors
        )
        # Normals are a filter in the pipeline, so that they follow when the points move.
        normals = vtk.vtkPolyDataNormals()
        normals.SetInputData(mesh)
        normals.SplittingOff()
        normals.ConsistencyOff()
        self._plotter.add_mesh(
            normals,
            scalars="rgb",
            rgb=True,
            interpolation="phong",
            ambient=0.18,
            diffuse=0.85,
            specular=0.12,
            specular_power=18,
            reset_camera=False,
        )
        return mesh

    def close(self) -> None:
        """Free the window; safe to call twice."""
        self._plotter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# Key from the upper left, a soft fill from the right, a little from below so that sockets do not go black.
_STUDIO: tuple[tuple[tuple[float, float, float], float], ...] = (
    ((-0.5, 0.6, 1.0), 0.75),
    ((0.8, 0.2, 0.8), 0.35),
    ((0.0, -0.6, 0.8), 0.15),
)
