"""What a head brings to be photographed: its named shapes, its colours, and whether MediaPipe sees it at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import InputError
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.signals import FlameParams
from mp2flame.training.calibration.studio import FRONTAL, Studio
from mp2flame.training.embedding.paint import Painter, Palette
from mp2flame.training.embedding.picture import save_picture
from mp2flame.training.embedding.preparation import prepare_head

__all__ = ["check_seen", "plain_colors", "shapes_of"]


def shapes_of(
    head: FlameHead, landmarker: Path, *, say: Callable[[str], None]
) -> tuple[FlameParams, LandmarkEmbedding | None]:
    """ARKit's 52 shapes on a head, its own or carried over from the built-in head; and its landmarks, where needed.

    Raises:
        InputError: MediaPipe finds no face in pictures of it.
    """
    own = head.arrays.blendshapes is not None
    if own and head.vertex_colors is not None:
        return head.blendshapes(), None
    say("finding MediaPipe's landmarks on the head (kept for next time)")
    embedding = prepare_head(head, landmarker).embedding
    if own:
        return head.blendshapes(), embedding
    from mp2flame.training.transfer import transfer_shapes

    say("carrying the 52 shapes over from the built-in head")
    transfer = transfer_shapes(head, embedding)
    if transfer.not_made:
        say(f"this head cannot make {', '.join(transfer.not_made)}: no face is drawn with them")
    return transfer.shapes, embedding


def plain_colors(head: FlameHead, embedding: LandmarkEmbedding | None) -> NDArray[np.uint8] | None:
    """(V, 3) RGB to paint a head with that brings no colours; None where it brings them."""
    if head.vertex_colors is not None or embedding is None:
        return None
    return Painter(head, embedding).paint(Palette())


def check_seen(head: FlameHead, landmarker: Path, colors: NDArray[np.uint8] | None, folder: Path) -> None:
    """Refuse a head in which MediaPipe sees no face, and save the picture that it was shown.

    Raises:
        InputError: naming the picture.
    """
    with Studio(head, landmarker) as studio:
        studio.seat(head, colors)
        vertices = head(FlameParams.neutral(n_expression=head.n_expression))[0]
        if studio.look(vertices, FRONTAL).found[0]:
            return
        picture = folder / f"unseen-{head.hash[:12]}.png"
        studio.seat(head, colors)
        save_picture(studio.picture(vertices, FRONTAL), picture)
    raise InputError(
        f"expected a head that MediaPipe can see; it finds no face in a picture of this one ({head.version}) at rest "
        f"from the front: see {picture}"
    )
