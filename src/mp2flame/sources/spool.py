"""A file's observations, kept in a temporary file so that they can be read again without detecting faces twice."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from typing import Final

import numpy as np
from typing_extensions import override

from mp2flame.data import N_LANDMARKS, N_SCORES, Observation
from mp2flame.errors import Mp2FlameError
from mp2flame.sources.base import Image, Source
from mp2flame.sources.detection import DetectedSource
from mp2flame.sources.images import mirror_image, to_rgb

_FRAME: Final = np.dtype(
    [
        ("time", "f8"),
        ("found", "?"),
        ("image_size", "i4", (2,)),
        ("scores", "f4", (N_SCORES,)),
        ("landmarks", "f4", (N_LANDMARKS, 3)),
        ("head_transform", "f4", (4, 4)),
    ]
)


class SpooledSource(Source):
    """A source that is scanned once and can then be iterated without detecting faces again.

    `scan` reads the observations of the source. Iterating gives the scanned frames again, with images, which are
    decoded a second time, where they are wanted. Memory does not grow with the number of frames. A source that detects
    nothing, such as a recording, is simply read again.

    Args:
        source: a source that is not live; the caller closes it.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._scanned = 0
        self._error: Exception | None = None

    @property
    @override
    def n_frames(self) -> int | None:
        return self._scanned or self._source.n_frames

    @property
    @override
    def fps(self) -> float | None:
        return self._source.fps

    @property
    @override
    def warnings(self) -> tuple[str, ...]:
        return self._source.warnings

    def scan(self) -> Generator[Observation, None, None]:
        """Every observation of the source, without images; what was yielded so far is what iterating gives later.

        An error of the source ends the scan; iterating raises it behind the frames that were read before it.
        """
        self._source.keep_image = False
        self._file.seek(0)
        self._file.truncate()
        self._scanned = 0
        self._error = None
        iteration: Iterator[Observation] = iter(())
        try:
            iteration = iter(self._source)
            for observation in iteration:
                if isinstance(self._source, DetectedSource):
                    self._file.write(_packed(observation))
                self._scanned += 1
                yield observation
        except Mp2FlameError as error:
            self._error = error
        finally:
            if isinstance(iteration, Generator):
                iteration.close()

    @override
    def __iter__(self) -> Iterator[Observation]:
        yield from self._detected(self._source) if isinstance(self._source, DetectedSource) else self._again()
        if self._error is not None:
            raise self._error

    def _again(self) -> Iterator[Observation]:
        self._source.keep_image = self.keep_image
        with closing(_as_generator(self._source)) as frames:
            yield from islice(frames, self._scanned)

    def _detected(self, source: DetectedSource) -> Iterator[Observation]:
        with closing(self._images(source)) as images:
            decoded = 0
            for number in range(self._scanned):
                self._file.seek(number * _FRAME.itemsize)
                frame = np.frombuffer(self._file.read(_FRAME.itemsize), dtype=_FRAME)
                image = None
                if self.keep_image:
                    # Images may be wanted from a later frame on, and a damaged video may give fewer of them this time.
                    image = next(islice(images, number - decoded, None), None)
                    decoded = number + 1
                yield _unpacked(frame, image)

    @staticmethod
    def _images(source: DetectedSource) -> Generator[Image | None, None, None]:
        with closing(iter(source.reader)) as frames:
            for _, image in frames:
                yield mirror_image(to_rgb(image)) if source.mirror and image is not None else image

    @override
    def close(self) -> None:
        self._file.close()


def _as_generator(source: Source) -> Generator[Observation, None, None]:
    yield from source


def _packed(observation: Observation) -> bytes:
    frame = np.zeros(1, dtype=_FRAME)
    frame["time"], frame["found"] = observation.time, observation.found
    for name in ("image_size", "scores", "landmarks", "head_transform"):
        value = getattr(observation, name)
        if value is not None:
            frame[name] = value
    return frame.tobytes()


def _unpacked(frame: np.ndarray[tuple[int], np.dtype[np.void]], image: Image | None) -> Observation:
    size = frame["image_size"][0].astype(np.int64)
    found = bool(frame["found"][0])
    return Observation(
        time=frame["time"],
        found=frame["found"],
        scores=frame["scores"],
        landmarks=frame["landmarks"] if found else None,
        head_transform=frame["head_transform"] if found else None,
        image_size=size if size.any() else None,
        picture=image,
    )
