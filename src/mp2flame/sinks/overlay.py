"""A film to judge a tracking by: the posed mesh over the picture, through the camera that it was tracked with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import HeadLike, Observation
from mp2flame.errors import InputError
from mp2flame.sinks.filming import FilmingSink, Picture

if TYPE_CHECKING:
    from mp2flame.sinks.encoders import Encoder

__all__ = ["OverlaySink"]

_TINT: Final = (96, 176, 255)
_NOTHING: Final = (2, 4, 6)
"""Background of the mesh; where it stays, the picture shows."""
_OPACITY: Final = 0.55


class OverlaySink(FilmingSink):
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

    suffixes: ClassVar[tuple[str, ...]] = (".mp4",)

    def __init__(self, path: str | Path, *, head: HeadLike, focal: float) -> None:
        super().__init__(path, head=head)
        self._focal = focal

    def _check(self, observation: Observation, vertices: NDArray[np.float32] | None) -> None:  # noqa: ARG002 - a picture may go without a mesh
        if observation.picture is None:
            raise InputError("an overlay needs the picture; got None")

    def _begin(self, observation: Observation) -> Encoder:
        from mp2flame.render import MeshRenderer
        from mp2flame.sinks.encoders import Mp4Encoder

        assert observation.picture is not None
        rows, columns = _even(observation.picture)
        angle = 2 * float(np.degrees(np.arctan(observation.picture.shape[0] / 2 / self._focal)))
        tint = np.tile(np.array(_TINT, dtype=np.uint8), (len(self._head.neutral_vertices), 1))
        self._renderer = MeshRenderer(
            self._head.faces, vertex_colors=tint, size=(columns, rows), view_angle=angle, background=_NOTHING
        )
        return Mp4Encoder(self._part.temporary, (columns, rows))

    def _compose(self, observation: Observation, vertices: NDArray[np.float32] | None) -> Picture:
        assert observation.picture is not None
        rows, columns = _even(observation.picture)
        canvas: Picture = observation.picture[:rows, :columns].copy()
        if vertices is not None and np.isfinite(vertices).all():
            self._lay_over(canvas, vertices)
        return canvas

    def _lay_over(self, canvas: Picture, vertices: NDArray[np.float32]) -> None:
        assert self._renderer is not None
        distance = max(0.05, -float(np.median(vertices[:, 2])))
        self._renderer.look((0.0, 0.0, -distance), distance=distance)
        mesh = self._renderer.render(vertices)
        shown = (mesh != np.array(_NOTHING, dtype=np.uint8)).any(axis=2)
        mixed = (1 - _OPACITY) * canvas[shown] + _OPACITY * mesh[shown]
        canvas[shown] = mixed.round().astype(np.uint8)


def _even(picture: Picture) -> tuple[int, int]:
    """Rows and columns of a picture, less an odd one: films have none."""
    rows, columns = (size - size % 2 for size in picture.shape[:2])
    return rows, columns
