"""A contact sheet: each of the built-in head's shapes beside what the other head makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams
from mp2flame.errors import MissingExtraError
from mp2flame.geometry.face_regions import EYE_DISTANCE, eye_centers
from mp2flame.head import FlameHead
from mp2flame.landmark_model.diagnostic_plot import save_picture
from mp2flame.render import MeshRenderer
from mp2flame.retargeting.correspondence import source_head
from mp2flame.retargeting.transfer import ON_TOP, Transfer

try:
    from PIL import Image, ImageDraw
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("pillow", "render", "draw a contact sheet") from error

__all__ = ["contact_sheet", "save_sheet"]

Picture = NDArray[np.uint8]

_SIZE: Final = (168, 190)
_ACROSS: Final = 8
_BAND: Final = 18
_DISTANCE: Final = 0.56
_VIEW_ANGLE: Final = 20.0
_YAW: Final = 18.0
_BELOW_EYES: Final = 0.028
_INK, _FAINT, _PAPER = (30, 30, 36), (190, 60, 50), (255, 255, 255)


def contact_sheet(head: FlameHead, transfer: Transfer) -> Picture:
    """All 52 shapes at weight 1, the built-in head left and the other one right; those not made are named in red.

    Args:
        head: the head that the shapes were carried over to.
        transfer: what `transfer_shapes` gave for it.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    pairs = zip(_pictures(source_head(), source_head().blendshapes()), _pictures(head, transfer.shapes), strict=True)
    width, height = 2 * _SIZE[0], _SIZE[1] + _BAND
    down = -(-len(ARKIT) // _ACROSS)
    sheet = Image.new("RGB", (_ACROSS * width, down * height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (name, pair) in enumerate(zip(ARKIT, pairs, strict=True)):
        left, top = index % _ACROSS * width, index // _ACROSS * height
        sheet.paste(Image.fromarray(np.concatenate(pair, axis=1)), (left, top + _BAND))
        made = name in transfer.made
        label = f"{name} on {ON_TOP[name]}" if name in ON_TOP else name
        draw.text((left + 6, top + 3), label if made else f"{label}: not made", fill=_INK if made else _FAINT)
    return np.asarray(sheet)


def _pictures(head: FlameHead, shapes: FlameParams) -> list[Picture]:
    eyes = eye_centers(head)
    scale = float(np.linalg.norm(eyes[0] - eyes[1])) / EYE_DISTANCE
    target = eyes.mean(axis=0) - [0.0, _BELOW_EYES * scale, 0.0]
    with MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=_SIZE, view_angle=_VIEW_ANGLE) as renderer:
        renderer.set_camera(target, distance=_DISTANCE * scale, yaw=_YAW)
        return [renderer.render(head(FlameParams.from_rows(values[None]))[0]) for values in _with_base(shapes)]


def _with_base(shapes: FlameParams) -> NDArray[np.float32]:
    """(52, E + 9) the shapes, each on top of the one that it is made for."""
    values = shapes.to_rows()
    raised: NDArray[np.float32] = values.copy()
    for name, below in ON_TOP.items():
        raised[ARKIT.index(name)] += values[ARKIT.index(below)]
    return raised


def save_sheet(head: FlameHead, transfer: Transfer, path: Path) -> None:
    """Write the contact sheet as PNG.

    Raises:
        MissingExtraError: PyVista is not installed.
        MissingFileError: the folder does not exist.
        SinkError: it cannot be written.
    """
    save_picture(contact_sheet(head, transfer), path)
