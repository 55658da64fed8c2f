"""Pictures in files by OpenCV, which knows EXIF orientation, 16 bits and palettes."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mp2flame.errors import FormatError, InputError, MissingFileError, SourceError
from mp2flame.sources.extras import importing
from mp2flame.sources.frames import FrameReader, Picture, TimedPicture

with importing("cv2", "read pictures"):
    import cv2

__all__ = ["ImagesReader", "read_picture"]

_DEFAULT_RATE = 30.0
# So many names fit into a remark.
_NAMED = 3


class ImagesReader(FrameReader):
    """Picture files one after the other, each seen for itself.

    A file that cannot be read is an error if it is the only one; among others it is a frame without a face and a
    remark.

    Args:
        paths: the files, in order.
        fps: how many of them make a second; 30 by default.

    Raises:
        InputError: no file, or a rate that is none.
        MissingFileError: one of the files does not exist.
    """

    mode: Literal["video", "image"] = "image"

    def __init__(self, paths: Sequence[Path], *, fps: float | None = None) -> None:
        self._paths = list(paths)
        self._rate = _DEFAULT_RATE if fps is None else float(fps)
        self._unreadable: list[Path] = []
        if not self._paths:
            raise InputError("expected at least one picture; got none")
        if not (math.isfinite(self._rate) and self._rate > 0):
            raise InputError(f"expected fps above 0; got {fps}")
        for path in self._paths:
            if not path.is_file():
                raise MissingFileError(f"no picture {path}")

    @property
    def frame_count(self) -> int | None:
        """How many files there are."""
        return len(self._paths)

    @property
    def frame_rate(self) -> float | None:
        """The rate that was asked for; None for a single picture."""
        return self._rate if len(self._paths) > 1 else None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Files that could not be read in the latest iteration."""
        if not self._unreadable:
            return ()
        names = ", ".join(path.name for path in self._unreadable[:_NAMED])
        more = ", ..." if len(self._unreadable) > _NAMED else ""
        return (
            f"{len(self._unreadable)} pictures could not be read and count as frames without a face: {names}{more}",
        )

    def __iter__(self) -> Generator[TimedPicture, None, None]:
        """Pictures with their times, or None in the place of one that cannot be read.

        Raises:
            FormatError: no picture at all can be read.
            SourceError: a picture vanished, or may not be read.
        """
        self._unreadable = []
        for index, path in enumerate(self._paths):
            yield index / self._rate, self._read(path)

    def _read(self, path: Path) -> Picture | None:
        try:
            return read_picture(path)
        except FormatError:
            self._unreadable.append(path)
            if len(self._unreadable) == len(self._paths):
                raise
            return None


def read_picture(path: Path) -> Picture:
    """The upright picture (H, W, 3) in RGB, 8 bits; alpha is left out.

    Raises:
        FormatError: the file is no picture, or is cut off.
        SourceError: the file may not be read.
    """
    try:
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise SourceError(f"the picture {path} cannot be read: {error.strerror}") from error
    try:
        decoded: Any = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as error:
        raise FormatError(f"the picture {path} cannot be decoded: {error}") from error
    if decoded is None:
        raise FormatError(f"{path} is no picture that can be decoded: it is empty, cut off or of another format")
    rgb: Picture = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return rgb
