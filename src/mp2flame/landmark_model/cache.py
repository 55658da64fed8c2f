"""What has to be known of a head before faces can be tracked with it, found once and kept by the head's hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.downloads import cache_folder
from mp2flame.errors import FormatError, MissingFileError
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding, load_embedding
from mp2flame.landmark_model.correspondences import vote
from mp2flame.landmark_model.offsets import ErrorModel, fit_errors, load_errors
from mp2flame.synthesis.appearance import Painter, Palette, random_palette
from mp2flame.synthesis.landmark_samples import Dress, Plan, Sitting, photograph
from mp2flame.synthesis.studio import tinted

__all__ = ["Preparation", "find_landmarks", "prepare_head"]

Picture = NDArray[np.uint8]

_EDITION = 1
"""Goes up when the method changes, so that what was found before is found again."""
_FIRST_LOOK = 4
"""Pictures of each person when the head is still unpainted, of a quarter of the people."""


@dataclass(frozen=True, eq=False)
class Preparation:
    """One head, as MediaPipe sees it."""

    embedding: LandmarkEmbedding
    """Where all 478 landmarks lie."""
    errors: ErrorModel
    """How MediaPipe misses them."""


def find_landmarks(
    head: FlameHead,
    landmarker: Path,
    *,
    plan: Plan | None = None,
    unseen_picture: Path | None = None,
    on_picture: Callable[[], None] | None = None,
) -> Preparation:
    """Find MediaPipe's landmarks on a head and learn their errors, from renders alone.

    A head without vertex colours is looked at twice: first with eyes and mouth alone to tell it from a statue, then
    with lips, brows and lashes painted where the first look found them.

    Args:
        head: the head, of any identity; what is found holds for all of its identities.
        landmarker: MediaPipe's face landmarker file.
        plan: which pictures; None is the default one.
        unseen_picture: where to save the picture if MediaPipe finds no face in it (PNG).
        on_picture: called after each picture.

    Raises:
        InputError: MediaPipe finds no face in pictures of this head.
        MissingExtraError: PyVista or MediaPipe is not installed.
    """
    plan = plan or Plan()

    def explain(picture: Picture) -> str:
        if unseen_picture is None:
            return "look at it from the front"
        from mp2flame.landmark_model.diagnostic_plot import save_picture

        save_picture(picture, unseen_picture)
        return f"see {unseen_picture}"

    def look(dress: Dress, plan: Plan) -> Sitting:
        return photograph(head, dress, landmarker, plan, on_picture=on_picture, on_unseen=explain)

    colors = head.vertex_colors
    if colors is not None:
        sitting = look(lambda rng: colors if rng is None else tinted(colors, rng), plan)
    else:
        few = replace(plan, people=max(plan.people // 4, 4), pictures=_FIRST_LOOK)
        first = vote(head, look(_painted(Painter(head)), few))
        sitting = look(_painted(Painter(head, first)), plan)
    embedding = vote(head, sitting)
    return Preparation(embedding, fit_errors(sitting, embedding, head.faces))


def _painted(painter: Painter) -> Dress:
    return lambda rng: painter.paint(Palette() if rng is None else random_palette(rng))


def prepare_head(
    head: FlameHead,
    landmarker: Path,
    *,
    plan: Plan | None = None,
    folder: Path | None = None,
    on_picture: Callable[[], None] | None = None,
) -> Preparation:
    """`find_landmarks`, kept in a folder with a picture to check by eye; found again only for another head or plan.

    Args:
        head: the head.
        landmarker: MediaPipe's face landmarker file.
        plan: which pictures; None is the default one.
        folder: where to keep it; None is `heads` in mp2flame's cache folder.
        on_picture: called after each picture; not called for what was found before.

    Raises:
        InputError: MediaPipe finds no face in pictures of this head; the error names a picture of it.
        MissingExtraError: PyVista or MediaPipe is not installed.
    """
    plan = plan or Plan()
    place = cache_folder() / "heads" if folder is None else folder
    stem = place / _name(head, landmarker, plan)
    embedding_file, errors_file = stem.with_suffix(".landmarks.npz"), stem.with_suffix(".errors.npz")
    try:
        return Preparation(load_embedding(embedding_file), load_errors(errors_file))
    except (MissingFileError, FormatError):
        # Not found yet, or damaged since: found now.
        place.mkdir(parents=True, exist_ok=True)
    unseen = stem.with_suffix(".unseen.png")
    found = find_landmarks(head, landmarker, plan=plan, unseen_picture=unseen, on_picture=on_picture)
    found.embedding.save(embedding_file)
    found.errors.save(errors_file)
    _keep_picture(head, found.embedding, stem.with_suffix(".png"))
    return found


def _name(head: FlameHead, landmarker: Path, plan: Plan) -> str:
    model = hashlib.sha256(landmarker.read_bytes()).hexdigest()
    what = f"{_EDITION} {head.hash} {head.vertex_colors is not None} {model} {plan}"
    return f"{head.hash[:12]}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"


def _keep_picture(head: FlameHead, embedding: LandmarkEmbedding, path: Path) -> None:
    from mp2flame.landmark_model.diagnostic_plot import landmark_picture, save_picture

    colors = Painter(head, embedding).paint(Palette()) if head.vertex_colors is None else None
    save_picture(landmark_picture(head, embedding, colors), path)
