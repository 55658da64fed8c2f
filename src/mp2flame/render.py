"""Meshes to images, off screen, by PyVista: the one place that draws still images and videos."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.errors import MissingExtraError
from mp2flame.files import AtomicFile
from mp2flame.validation import check_array


@contextmanager
def _interrupt_later() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block: a half imported VTK crashes the process when it exits."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    interrupts: list[int] = []

    def remember(number: int, _: FrameType | None) -> None:
        interrupts.append(number)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if interrupts:
            signal.raise_signal(signal.SIGINT)


try:
    with _interrupt_later():
        # PyVista would import its plotting when it is first used: at the same time in the threads of several sinks.
        import pyvista
        import pyvista.plotting
        from vtkmodules.vtkCommonCore import vtkLogger, vtkObject
        from vtkmodules.vtkFiltersCore import vtkPolyDataNormals
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("pyvista", "render", "draw heads") from error

if TYPE_CHECKING:
    from typing_extensions import Self

NEUTRAL_COLOR: Final = (205, 190, 180)
"""RGB of a head without vertex colors, such as a FLAME file."""

_BACKGROUND: Final = (236, 238, 241)
# Key from the upper left, a soft fill from the right, a little from below so that sockets do not go black.
_STUDIO: Final = (((-0.5, 0.6, 1.0), 0.75), ((0.8, 0.2, 0.8), 0.35), ((0.0, -0.6, 0.8), 0.15))


def save_image(image: NDArray[np.uint8], path: Path) -> None:
    """Write an RGB image (H, W, 3) as PNG.

    Raises:
        MissingFileError: the folder does not exist.
        SinkError: the file cannot be written.
    """
    from PIL import Image

    with AtomicFile(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


class MeshRenderer:
    """Draws one mesh topology again and again: set up once, then one call for each frame.

    Args:
        faces: (F, 3) vertex indices.
        vertex_colors: (V, 3) uint8 RGB, or None for a neutral material.
        size: width and height of the images in pixels.
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
        triangles = check_array("faces", faces, ("F", 3), np.int64)
        if not os.environ.get("DISPLAY"):
            # Without a display VTK tries X first, says so on stderr, then takes EGL or OSMesa, which works.
            vtkObject.GlobalWarningDisplayOff()
            vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
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
        """Replace the lights: (direction from which it shines, brightness) each; by default a studio set-up.

        Directions are in the camera's frame: +X right in the image, +Y up, +Z towards the viewer.
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

    def set_camera(
        self, target: ArrayLike, *, distance: float, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0
    ) -> None:
        """Place the camera.

        Args:
            target: (3,) meters, the point in the middle of the image.
            distance: meters from the target.
            yaw: degrees; positive goes round to the subject's left (+X).
            pitch: degrees; positive goes up.
            roll: degrees; positive tilts the head to the left of the image.
        """
        turn, rise = np.radians([yaw, pitch])
        away = np.array([np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)])
        center = np.asarray(target, dtype=np.float64)
        camera = self._plotter.camera
        camera.focal_point = center
        camera.position = center + distance * away
        camera.up = (0.0, 1.0, 0.0)
        camera.roll += roll
        camera.clipping_range = (max(distance - 1.0, 0.01), distance + 1.0)

    def render(self, vertices: ArrayLike, vertex_colors: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The mesh as an image.

        Args:
            vertices: (V, 3) meters.
            vertex_colors: (V, 3) uint8 RGB to use from now on, or None to keep the colors.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        points = check_array("vertices", vertices, ("V", 3), np.float32)
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
        normals = vtkPolyDataNormals()
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
