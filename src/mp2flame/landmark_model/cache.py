"""The landmark models of a head, computed once and kept in the cache folder.

What was computed is found again under a key of the head, of MediaPipe's landmarker, of the settings and of the code
that renders and fits, so that a change of any of them computes it anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Final, TypeVar

import mp2flame
from mp2flame.downloads import cache_folder
from mp2flame.errors import FormatError, MissingFileError, Mp2FlameError, plain
from mp2flame.files import file_sha256
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding, load_embedding
from mp2flame.landmark_model import correspondences, error_model
from mp2flame.landmark_model.correspondences import find_landmarks
from mp2flame.landmark_model.error_model import (
    LandmarkErrorModel,
    fit_error_model,
    load_error_model,
    render_error_samples,
)
from mp2flame.synthesis.appearance import SubjectColors
from mp2flame.synthesis.render import RenderSettings

_Model = TypeVar("_Model", LandmarkEmbedding, LandmarkErrorModel)

_CODE: Final = ("mp2flame.geometry", "mp2flame.synthesis", "mp2flame.landmark_model")


def code_digest(*packages: str) -> str:
    """sha256 of the version of mp2flame and of the source files of packages, so far as these are at hand."""
    digest = hashlib.sha256(mp2flame.__version__.encode())
    for package in packages or _CODE:
        for source in sorted(files(package).iterdir(), key=lambda entry: entry.name):
            if source.name.endswith(".py"):
                digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def cache_key(head: FlameHead, landmarker: Path, *settings: object) -> str:
    """A key that differs between heads, landmarkers, settings and versions of the code; the start of a file's name."""
    model = file_sha256(landmarker)
    parts = [code_digest(), head.hash, str(head.vertex_colors is not None), model, *map(repr, settings)]
    return f"{head.hash[:12]}-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:12]}"


def cached_landmarks(
    head: FlameHead,
    landmarker: Path,
    *,
    settings: RenderSettings = correspondences.DEFAULT_IMAGES,
    folder: Path | None = None,
    on_image: Callable[[], None] = lambda: None,
    log: Callable[[str], None] = lambda _: None,
) -> LandmarkEmbedding:
    """MediaPipe's landmarks on a head, from the cache or by `find_landmarks`, with an image to check by eye.

    Args:
        head: the head, at any identity.
        landmarker: MediaPipe's face landmarker file.
        settings: the number of images to find the landmarks in.
        folder: the cache; None is `heads` in mp2flame's cache folder.
        on_image: called after each image; not called for what is in the cache.
        log: called with a warning if the cache cannot be written.

    Raises:
        InputError: MediaPipe finds no face in images of this head; the error names one of them.
        MissingExtraError: PyVista or MediaPipe is not installed.
    """
    folder = cache_folder() / "heads" if folder is None else folder
    stem = folder / cache_key(head, landmarker, settings)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)

    def compute() -> LandmarkEmbedding:
        missed = stem.with_suffix(".missed.png")
        return find_landmarks(head, landmarker, settings=settings, missed_image=missed, on_image=on_image)

    def save(embedding: LandmarkEmbedding) -> None:
        from mp2flame.landmark_model.diagnostic_plot import plot_landmarks
        from mp2flame.render import save_image

        embedding.save(stem.with_suffix(".landmarks.npz"))
        image = plot_landmarks(head, embedding, SubjectColors(head, embedding)())
        save_image(image, stem.with_suffix(".png"))

    return _cached(stem.with_suffix(".landmarks.npz"), load_embedding, compute, save, log)


def cached_error_model(
    head: FlameHead,
    landmarker: Path,
    embedding: LandmarkEmbedding,
    *,
    settings: RenderSettings = error_model.DEFAULT_IMAGES,
    folder: Path | None = None,
    on_image: Callable[[], None] = lambda: None,
    log: Callable[[str], None] = lambda _: None,
) -> LandmarkErrorModel:
    """The error model of landmarks that lie at `embedding` on a head, from the cache or fitted to renders.

    The other arguments and errors are those of `cached_landmarks`.
    """
    folder = cache_folder() / "heads" if folder is None else folder
    places = [embedding.landmark_index, embedding.face_index, embedding.barycentric]
    key = cache_key(head, landmarker, settings, *(hashlib.sha256(array.tobytes()).hexdigest() for array in places))
    path = folder / f"{key}.errors.safetensors"

    def compute() -> LandmarkErrorModel:
        return fit_error_model(render_error_samples(head, embedding, landmarker, settings, on_image=on_image))

    return _cached(path, load_error_model, compute, lambda model: model.save(path), log)


def _cached(
    path: Path,
    load: Callable[[Path], _Model],
    compute: Callable[[], _Model],
    save: Callable[[_Model], None],
    log: Callable[[str], None],
) -> _Model:
    try:
        return load(path)
    except (MissingFileError, FormatError):
        model = compute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(model)
    except (OSError, Mp2FlameError) as error:
        log(
            f"the cache folder {path.parent} cannot be written ({plain(error)}): what was found of this head is not "
            "kept; set MP2FLAME_CACHE to a folder that can be written"
        )
    return model
