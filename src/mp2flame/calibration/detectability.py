"""What a head brings to be photographed: its named shapes, its colours, and whether MediaPipe sees it at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import InputError
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.landmark_model.cache import prepare_head
from mp2flame.landmark_model.diagnostic_plot import save_picture
from mp2flame.synthesis.appearance import Painter, Palette
from mp2flame.synthesis.photograph import IDENTITY_SPREAD, random_setting
from mp2flame.synthesis.studio import FRONTAL, Studio, View

__all__ = ["check_seen", "plain_colors", "shapes_of"]

_FIRST_LOOKS: Final = 16
"""Pictures that tell within a second whether minutes of them are worth taking."""


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
    from mp2flame.retargeting import transfer_shapes

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
    """Refuse a head in which MediaPipe sees no face, or seldom one, and save a picture that it was shown.

    The head is shown from the front, and then as a few people as they will be photographed, but at rest.

    Raises:
        InputError: naming the picture.
    """
    rest = FlameParams.neutral(n_expression=head.n_expression)
    picture = folder / f"unseen-{head.hash[:12]}.png"
    with Studio(head, landmarker) as studio:

        def missed(person: FlameHead, view: View) -> bool:
            studio.seat(person, colors)
            return not studio.look(person(rest)[0], view).found[0]

        def refusal(person: FlameHead, view: View, seen: str) -> InputError:
            studio.seat(person, colors)
            save_picture(studio.picture(person(rest)[0], view), picture)
            return InputError(f"expected a head that MediaPipe can see; it {seen}: see {picture}")

        if missed(head, FRONTAL):
            seen = f"finds no face in a picture of this one ({head.version}) at rest from the front"
            raise refusal(head, FRONTAL, seen)
        unseen = [look for look in _first_looks(head) if missed(*look)]
        if 2 * len(unseen) > _FIRST_LOOKS:
            seen = f"found the face in {_FIRST_LOOKS - len(unseen)} of {_FIRST_LOOKS} pictures only of this one "
            raise refusal(*unseen[0], seen + f"({head.version}) at rest, turned and lit as webcams show faces")


def _first_looks(head: FlameHead) -> Iterator[tuple[FlameHead, View]]:
    rng = np.random.default_rng(0)
    for _ in range(_FIRST_LOOKS):
        shape = rng.normal(scale=IDENTITY_SPREAD, size=head.n_shape).astype(np.float32)
        yield head.with_shape(shape), random_setting(rng)
