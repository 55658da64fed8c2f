"""A film to judge a tracking by: the posed mesh over the picture, through the camera that it was tracked with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.atomic import PartFile, writing
from mp2flame.errors import InputError, SinkError
from mp2flame.signals import FlameParams, Observation
from mp2flame.sinks.base import HeadSurface, Sink

if TYPE_CHECKING:
    from mp2flame.render import MeshRenderer
    from mp2flame.sinks.encoders import Encoder

__all__ = ["OverlaySink"]

Picture = NDArray[np.uint8]

_TINT: Final = (96, 176, 255)
_NOTHING: Final = (2, 4, 6)
"""Background of the mesh; where it stays, the picture shows."""
_OPACITY: Final = 0.55


class OverlaySink(Sink):
    """Films the picture with the mesh laid over it (`.mp4`); frames without a face show the picture alone.

    Vertices are in the camera's frame: metres, x right, y up, z towards the viewer, the camera at the origin.

    Args:
        path: the final name, `.mp4`.
        head: the head that is shown.
        focal: focal length in pixels of the pictures.

    Raises:
        MissingExtraError: PyAV, PyVista or Pillow is not installed.
        MissingFileError: the folder does not exist.
        InputError: the suffix is another.
        SinkError: the folder cannot be written to.
    """

    needs_vertices: ClassVar[bool] = True
    needs_picture: ClassVar[bool] = True

    def __init__(self, path: str | Path, *, head: HeadSurface, focal: float) -> None:
        # What is missing shows now, and not after the first frame.
        import mp2flame.render
        import mp2flame.sinks.encoders  # noqa: F401 - as above

        self._path, self._head, self._focal = Path(path), head, focal
        if self._path.suffix.lower() != ".mp4":
            raise InputError(f"expected a film .mp4; got {self._path.name}")
        self._part = PartFile(self._path)
        self._n_frames, self._first_time = 0, 0.0
        self._renderer: MeshRenderer | None = None
        self._encoder: Encoder | None = None

    def write(self, observation: Observation, params: FlameParams, vertices: NDArray[np.float32] | None) -> None:  # noqa: ARG002 - vertices are shown
        """Film one frame.

        Raises:
            SinkError: the film cannot be written.
            InputError: there is no picture.
        """
        if observation.picture is None:
            raise InputError("an overlay needs the picture; got None")
        rows, columns = (size - size % 2 for size in observation.picture.shape[:2])
        canvas = observation.picture[:rows, :columns].copy()
        with writing(self._path, "nothing was left under that name"):
            if self._encoder is None:
                self._begin((columns, rows), observation)
            assert self._encoder is not None
            if vertices is not None and np.isfinite(vertices).all():
                self._lay_over(canvas, vertices)
            self._encoder.add(canvas, float(observation.time[0]) - self._first_time)
        self._n_frames += 1

    def _begin(self, size: tuple[int, int], observation: Observation) -> None:
        from mp2flame.render import MeshRenderer
        from mp2flame.sinks.encoders import Mp4Encoder

        assert observation.picture is not None
        self._first_time = float(observation.time[0])
        angle = 2 * float(np.degrees(np.arctan(observation.picture.shape[0] / 2 / self._focal)))
        tint = np.tile(np.array(_TINT, dtype=np.uint8), (len(self._head.rest_vertices), 1))
        self._renderer = MeshRenderer(
            self._head.faces, vertex_colors=tint, size=size, view_angle=angle, background=_NOTHING
        )
        self._encoder = Mp4Encoder(self._part.part, size)

    def _lay_over(self, canvas: Picture, vertices: NDArray[np.float32]) -> None:
        assert self._renderer is not None
        distance = max(0.05, -float(np.median(vertices[:, 2])))
        self._renderer.look((0.0, 0.0, -distance), distance=distance)
        mesh = self._renderer.render(vertices)
        shown = (mesh != np.array(_NOTHING, dtype=np.uint8)).any(axis=2)
        mixed = (1 - _OPACITY) * canvas[shown] + _OPACITY * mesh[shown]
        canvas[shown] = mixed.round().astype(np.uint8)

    def close(self) -> None:
        """Finish the film and give it its name; safe to call twice.

        Raises:
            SinkError: it cannot be completed, or there was no frame; nothing is left under its name.
        """
        try:
            if self._encoder is not None:
                with writing(self._path, "nothing was left under that name"):
                    self._encoder.close()
                    self._part.publish()
                    self._encoder = None
            elif not self._n_frames and self._part.part.exists():
                raise SinkError(f"{self._path} was not made: there was no frame to film")
        finally:
            self.abort()

    def abort(self) -> None:
        """Let go; nothing is left behind. Safe to call twice."""
        if self._encoder is not None:
            self._encoder.abort()
            self._encoder = None
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        self._part.discard()
