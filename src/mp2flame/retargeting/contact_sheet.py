"""A contact sheet: each of the built-in head's shapes beside the same shape on another head."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams
from mp2flame.geometry.face_regions import eye_centers, head_scale
from mp2flame.head import FlameHead
from mp2flame.render import MeshRenderer, save_image
from mp2flame.retargeting.registration import source_head
from mp2flame.retargeting.transfer import COMPOSED_ON, Transfer

Pixels = NDArray[np.uint8]

_SIZE: Final = (168, 190)
_COLUMNS: Final = 8
_LABEL_HEIGHT: Final = 18
_DISTANCE: Final = 0.56
_VIEW_ANGLE: Final = 20.0
_YAW: Final = 18.0
_BELOW_EYES: Final = 0.028
_BLACK, _RED, _WHITE = (30, 30, 36), (190, 60, 50), (255, 255, 255)


def contact_sheet(head: FlameHead, transfer: Transfer) -> Pixels:
    """All 52 shapes at weight 1, on the built-in head left and on the other one right; omitted shapes are named in red.

    Args:
        head: the head that the shapes were carried over to.
        transfer: the result of `transfer_shapes` for it.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    source = source_head()
    pairs = zip(_images(source, source.blendshapes()), _images(head, transfer.shapes), strict=True)
    width, height = 2 * _SIZE[0], _SIZE[1] + _LABEL_HEIGHT
    sheet = Image.new("RGB", (_COLUMNS * width, -(-len(ARKIT) // _COLUMNS) * height), _WHITE)
    draw = ImageDraw.Draw(sheet)
    for index, (name, pair) in enumerate(zip(ARKIT, pairs, strict=True)):
        left, top = index % _COLUMNS * width, index // _COLUMNS * height
        sheet.paste(Image.fromarray(np.concatenate(pair, axis=1)), (left, top + _LABEL_HEIGHT))
        label = f"{name} on {COMPOSED_ON[name]}" if name in COMPOSED_ON else name
        made = name in transfer.made
        draw.text((left + 6, top + 3), label if made else f"{label}: omitted", fill=_BLACK if made else _RED)
    return np.asarray(sheet)


def _images(head: FlameHead, shapes: FlameParams) -> list[Pixels]:
    scale = head_scale(head)
    rows = shapes.to_rows()
    composed = rows.copy()
    for name, below in COMPOSED_ON.items():
        composed[ARKIT.index(name)] += rows[ARKIT.index(below)]
    with MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=_SIZE, view_angle=_VIEW_ANGLE) as renderer:
        target = eye_centers(head).mean(axis=0) - [0.0, _BELOW_EYES * scale, 0.0]
        renderer.set_camera(target, distance=_DISTANCE * scale, yaw=_YAW)
        return [renderer.render(head(params)[0]) for params in FlameParams.from_rows(composed)]


def save_sheet(head: FlameHead, transfer: Transfer, path: Path) -> None:
    """Write the contact sheet as PNG.

    Raises:
        MissingExtraError: PyVista is not installed.
        MissingFileError: the folder does not exist.
        SinkError: the file cannot be written.
    """
    save_image(contact_sheet(head, transfer), path)
