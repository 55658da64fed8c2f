"""Synthetic subjects: random expressions of random identities, rendered, and MediaPipe's detections of them.

Letters: N images, E expression coefficients.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self, override

from mp2flame.data import FlameParams, Observation
from mp2flame.errors import FormatError, MissingFileError
from mp2flame.files import Arrays, encode_safetensors, read_safetensors, write_atomic
from mp2flame.head import load_head
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.parallel import one_blas_thread, run_jobs
from mp2flame.synthesis.appearance import SubjectColors
from mp2flame.synthesis.expressions import ExpressionSampler
from mp2flame.synthesis.render import RenderedDetector, Scene
from mp2flame.synthesis.views import FRONTAL, IDENTITY_STD, random_view

_WIDTHS: Final = {"scores": 52, "landmarks": 1434, "head_transform": 16}
_COLOR_SEED: Final = 1
"""Third word of the seed of a subject's colors; identity, faces and views have two."""
_MAX_BYTES: Final = 256 * 1024**2


@dataclass(frozen=True, eq=False)
class SubjectSamples:
    """The images of one subject in which MediaPipe found the face; none if it did not find the neutral face."""

    number: int
    """Of the subject."""
    rendered: int
    """Images rendered, besides the neutral one."""
    parameters: NDArray[np.float32]
    """(N, E + 9) the truth: expression, jaw, left eye, right eye."""
    detected: dict[str, NDArray[np.float32]]
    """`scores` (N + 1, 52), `landmarks` (N + 1, 1434), `head_transform` (N + 1, 16); the first row is neutral."""

    def save(self, path: Path) -> None:
        """Write the samples as `.safetensors` with a checksum.

        Raises:
            SinkError: the file cannot be written.
        """
        arrays: Arrays = {"parameters": self.parameters, **self.detected}
        header = {"number": str(self.number), "rendered": str(self.rendered)}
        header["crc32"] = _checksum(arrays, header)
        write_atomic(path, encode_safetensors(arrays, header))


def load_samples(path: Path) -> SubjectSamples | None:
    """The samples that `SubjectSamples.save` wrote; None if there are none, or if the file is damaged."""
    try:
        arrays, header = read_safetensors(path, "subject's samples", limit=_MAX_BYTES, advice="delete it")
        if header.pop("crc32") != _checksum(arrays, header):
            return None
        return SubjectSamples(int(header["number"]), int(header["rendered"]), arrays.pop("parameters"), arrays)
    except (FormatError, MissingFileError, KeyError, ValueError):
        return None


def _checksum(arrays: Arrays, header: dict[str, str]) -> str:
    value = zlib.crc32(repr(sorted(header.items())).encode())
    for name in sorted(arrays):
        value = zlib.crc32(name.encode() + np.ascontiguousarray(arrays[name]).tobytes(), value)
    return str(value)


@dataclass(eq=False)
class SubjectRenderer(AbstractContextManager["SubjectRenderer"]):
    """Renders subjects of one head and keeps each in a file. Picklable; to render, use it as a context manager."""

    head_source: str
    """What `load_head` takes: each process loads the head for itself."""
    landmarker: Path
    """MediaPipe's face landmarker file."""
    shapes: FlameParams
    """ARKit's 52 shapes on the head."""
    embedding: LandmarkEmbedding | None
    """Where the landmarks lie on a head without colors."""
    images: int
    """Of each subject, besides the neutral one."""
    seed: int
    folder: Path
    """Where the samples are kept."""

    def path(self, number: int) -> Path:
        """The file of a subject."""
        return self.folder / f"subject-{number:05d}.safetensors"

    @override
    def __enter__(self) -> Self:
        self._head = load_head(self.head_source)
        self._colors = SubjectColors(self._head, self.embedding)
        self._sampler = ExpressionSampler(self._head, self.shapes)
        self._detector = RenderedDetector(self._head.faces, self.landmarker, fast=True)
        return self

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._detector.__exit__(kind, error, trace)

    def __call__(self, number: int) -> None:
        """Render a subject and write its file."""
        with one_blas_thread():
            self.render(number).save(self.path(number))

    def render(self, number: int) -> SubjectSamples:
        """Render a subject: a neutral face from the front, then random faces in random views.

        The seed and the number decide everything about the subject.
        """
        rng = np.random.default_rng([self.seed, number])
        shape = rng.normal(scale=IDENTITY_STD, size=self._head.n_shape)
        subject, detect = self._head.with_shape(shape.astype(np.float32)), self._detector.detect
        params = self._sampler(self.images, rng).params
        views = [random_view(rng, roll_and_background=True) for _ in range(self.images)]
        colors = self._colors(np.random.default_rng([self.seed, number, _COLOR_SEED]))
        neutral = FlameParams.neutral(n_expression=params.n_expression)
        detections = [detect(Scene(subject, neutral, FRONTAL, colors))[0]]
        if detections[0].found[0]:
            vertices = subject(params)
            for i, view in enumerate(views):
                detections.append(detect(Scene(subject, params[i], view, colors), vertices[i])[0])
        found = [i for i, detected in enumerate(detections) if detected.found[0]]
        truth = params.to_rows()[[i - 1 for i in found if i > 0]]
        return SubjectSamples(number, self.images, truth, _columns([detections[i] for i in found]))


def _columns(detections: Sequence[Observation]) -> dict[str, NDArray[np.float32]]:
    return {
        name: np.concatenate(
            [np.zeros((0, width), dtype=np.float32)]
            + [np.asarray(getattr(detected, name)).reshape(1, width) for detected in detections]
        )
        for name, width in _WIDTHS.items()
    }


def render_subjects(
    renderer: SubjectRenderer, numbers: Sequence[int], *, workers: int, on_subject: Callable[[], None] = lambda: None
) -> None:
    """Render subjects and keep the samples of each in a file; those that are kept already are not rendered again.

    Args:
        renderer: renders and keeps them.
        numbers: which subjects.
        workers: processes; the result does not depend on their number.
        on_subject: called after each.

    Raises:
        WorkerError: a process was killed; all other subjects are kept.
    """
    missing = [number for number in numbers if load_samples(renderer.path(number)) is None]
    for _ in range(len(numbers) - len(missing)):
        on_subject()
    for _ in run_jobs(
        renderer,
        missing,
        processes=workers,
        label=lambda number: f"subject {number}",
        kept="the subjects rendered so far are kept",
    ):
        on_subject()
