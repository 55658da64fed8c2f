"""Blendshapes in JSON: BEAT's and EMAGE's, and LAM's `bsData.json`."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

from mp2flame.blendshapes import canonical_name, order_names
from mp2flame.data import Observation
from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.sources.base import Source
from mp2flame.streams.packet import WireFace, checked_scores

__all__ = ["BlendshapeJsonSource"]


class BlendshapeJsonSource(Source):
    """Frames of a file `{"names": [...], "frames": [{"weights": [...], "time": ...}, ...]}`.

    Times are the frames' own; where they have none, or these do not rise, the frame's number at `fps`, else at the
    file's own `metadata.fps`. Head rotations, whose unit no document states, are not read.

    Args:
        path: the file.
        fps: frames per second where the file states no times.
        order: the order of the weights where the file names none: `beat`, `arkit`, `lam`, ...

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is not such a file.
        InputError: it names no blendshapes and `order` is not given, or it states no times and `fps` is not given.
    """

    def __init__(self, path: str | Path, *, fps: float | None = None, order: str | None = None) -> None:
        self._path = Path(path)
        content = self._load()
        frames = content.get("frames")
        if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
            raise FormatError(f'{path}: expected a list "frames" of objects with "weights"; is it BEAT\'s or LAM\'s?')
        self._weights = [self._weights_of(frame, index) for index, frame in enumerate(frames)]
        self._names = self._names_of(content, len(self._weights[0]), order)
        self._times, self._rate = self._times_of(content, frames, fps)
        self._closed = False

    @classmethod
    def from_spec(cls, spec: str, *, fps: float | None = None, order: str | None = None) -> BlendshapeJsonSource:
        """Open a `.json` file; see the class."""
        return cls(spec, fps=fps, order=order)

    @property
    def frame_count(self) -> int | None:
        """The number of frames."""
        return len(self._weights)

    @property
    def frame_rate(self) -> float | None:
        """As the file or the caller states it."""
        return self._rate

    def close(self) -> None:
        """End an iteration."""
        self._closed = True

    def __iter__(self) -> Generator[Observation, None, None]:
        """Frames in rising time.

        Raises:
            FormatError: a frame has another number of weights, or one far outside of 0..1.
        """
        self._closed = False
        for index, (time, weights) in enumerate(zip(self._times, self._weights, strict=True)):
            if self._closed:
                return
            if len(weights) != len(self._names):
                raise FormatError(
                    f"{self._path}, frame {index}: expected {len(self._names)} weights; got {len(weights)}"
                )
            named = zip(self._names, weights, strict=True)
            try:
                scores = checked_scores((name, value) for name, value in named if name is not None)
            except FormatError as error:
                raise FormatError(f"{self._path}, frame {index}: {error}") from error
            yield WireFace(scores=scores).observation(time)

    def _load(self) -> dict[str, Any]:
        if not self._path.is_file():
            raise MissingFileError(f"no file {self._path}")
        try:
            content = json.loads(self._path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{self._path} is no JSON file, or is cut off: {error}") from error
        if not isinstance(content, dict):
            raise FormatError(f"{self._path}: expected an object; got {type(content).__name__}")
        return content

    def _weights_of(self, frame: dict[str, Any], index: int) -> list[float]:
        weights = frame.get("weights")
        if not isinstance(weights, list) or not all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in weights
        ):
            raise FormatError(f'{self._path}, frame {index}: expected a list of numbers "weights"')
        return weights

    def _names_of(self, content: dict[str, Any], width: int, order: str | None) -> Sequence[str | None]:
        metadata = content.get("metadata")
        names = content.get("names") or (metadata.get("blendshape_names") if isinstance(metadata, dict) else None)
        if not names:
            if order is None:
                raise InputError(
                    f"{self._path} does not name its {width} blendshapes: state their order "
                    "(order='beat' for BEAT and EMAGE, 'lam' for LAM, 'arkit' for Apple's)"
                )
            return order_names(order, width)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise FormatError(f'{self._path}: expected a list of texts "names"')
        known = [canonical_name(name) for name in names]
        found = [name for name in known if name is not None]
        if not found or len(set(found)) != len(found):
            raise FormatError(f'{self._path}: expected distinct ARKit names in "names"; got {names[:3]}')
        return known

    def _times_of(
        self, content: dict[str, Any], frames: list[dict[str, Any]], fps: float | None
    ) -> tuple[list[float], float | None]:
        metadata = content.get("metadata")
        rate = fps if fps is not None else metadata.get("fps") if isinstance(metadata, dict) else None
        if rate is not None and not (isinstance(rate, int | float) and isfinite(rate) and rate > 0):
            raise FormatError(f"{self._path}: expected a frame rate above 0; got {rate!r}")
        times = [frame.get("time") for frame in frames]
        numbers = [float(time) for time in times if isinstance(time, int | float) and isfinite(time)]
        if fps is None and len(numbers) == len(times) and all(b > a for a, b in pairwise(numbers)):
            return [time - numbers[0] for time in numbers], rate
        if rate is None:
            raise InputError(f"{self._path} states no rising times and no frame rate: give it (fps=60 for BEAT)")
        return [index / rate for index in range(len(frames))], float(rate)
