"""Pictures in files by OpenCV, which knows EXIF orientation, 16 bits and palettes."""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import FormatError, InputError, MissingFileError, SourceError
from mp2flame.sources.base import FrameReader, Image, TimedImage
from mp2flame.sources.optional import importing

IMAGE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2"}
)


def natural_order(path: Path) -> tuple[list[tuple[int, str, str]], str]:
    """A sorting key that puts `frame2` before `frame10` and does not look at case."""
    parts = re.split(r"(\d+)", str(path).casefold())
    # Numbers sort by their length without leading zeros, then by their digits: no number is too long to compare.
    key = [(len(part.lstrip("0")) + 1, part.lstrip("0"), part) if part.isdecimal() else (0, part, "") for part in parts]
    return key, str(path)


def list_images(folder: Path) -> list[Path]:
    """The pictures of a folder (not of folders in it) in natural order; hidden files are left out.

    Raises:
        MissingFileError: there is none.
    """
    found = [path for path in folder.iterdir() if _is_picture(path)]
    if not found:
        raise MissingFileError(f"the folder {folder} holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return sorted(found, key=natural_order)


def match_images(pattern: str) -> list[Path]:
    """The pictures that match a glob pattern (`**` for any depth), in natural order.

    Raises:
        MissingFileError: there is none.
    """
    found = [path for name in glob.iglob(pattern, recursive=True) if _is_picture(path := Path(name))]  # noqa: PTH207
    if not found:
        raise MissingFileError(f"no picture matches {pattern!r} ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return sorted(found, key=natural_order)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def to_rgb(pixels: NDArray[Any]) -> Image:
    """Grey, RGB or RGBA pixels of 8 or 16 bits as (H, W, 3) uint8 RGB; alpha is left out, not blended.

    Args:
        pixels: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or uint16; any strides.

    Raises:
        InputError: another shape or dtype, or no pixels at all.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"expected a picture of uint8 (or uint16) values; got {pixels.dtype}: scale it to 0..255 first"
        )
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise InputError(f"expected a picture (H, W, 3) in RGB, or (H, W), or (H, W, 4); got shape {pixels.shape}")
    if pixels.size == 0:
        raise InputError(f"expected a picture with at least one pixel; got shape {pixels.shape}")
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, :3])


def mirror_image(picture: Image) -> Image:
    """The picture with left and right exchanged."""
    # Forty times as fast as NumPy's reversed copy; it is there wherever faces are detected.
    import cv2

    flipped: Image = cv2.flip(picture, 1)
    return flipped


_DEFAULT_RATE = 30.0
# So many names fit into a warning.
_NAMED = 3


class ImagesReader(FrameReader):
    """Image files one after the other, each seen for itself.

    A file that cannot be read is an error if it is the only one; among others it is a frame without a face and a
    warning.

    Args:
        paths: the files, in order.
        fps: how many of them make a second; 30 by default.

    Raises:
        InputError: no file, or a rate that is none.
        MissingFileError: one of the files does not exist.
    """

    mode: Literal["video", "image"] = "image"

    def __init__(self, paths: Sequence[Path], *, fps: float | None = None) -> None:
        _opencv()
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
    def n_frames(self) -> int | None:
        """How many files there are."""
        return len(self._paths)

    @property
    def fps(self) -> float | None:
        """The rate that was asked for; None for a single picture."""
        return self._rate if len(self._paths) > 1 else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Files that could not be read in the latest iteration."""
        if not self._unreadable:
            return ()
        names = ", ".join(path.name for path in self._unreadable[:_NAMED])
        more = ", ..." if len(self._unreadable) > _NAMED else ""
        return (
            f"{len(self._unreadable)} pictures could not be read and count as frames without a face: {names}{more}",
        )

    def __iter__(self) -> Generator[TimedImage, None, None]:
        """Pictures with their times, or None in the place of one that cannot be read.

        Raises:
            FormatError: no picture at all can be read.
            SourceError: a picture vanished, or may not be read.
        """
        self._unreadable = []
        for index, path in enumerate(self._paths):
            yield index / self._rate, self._read(path)

    def _read(self, path: Path) -> Image | None:
        try:
            return read_image(path)
        except FormatError:
            self._unreadable.append(path)
            if len(self._unreadable) == len(self._paths):
                raise
            return None


def read_image(path: Path) -> Image:
    """The upright picture (H, W, 3) in RGB, 8 bits; alpha is left out.

    Raises:
        FormatError: the file is no picture, or is cut off.
        SourceError: the file may not be read.
    """
    cv2 = _opencv()
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
    rgb: Image = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return rgb


def _opencv() -> Any:
    """OpenCV, loaded when an image is to be read: listing images needs no extra."""
    with importing("cv2", "read images"):
        import cv2
    return cv2
