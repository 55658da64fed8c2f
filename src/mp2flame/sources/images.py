"""Image files, and arrays of pixels as (H, W, 3) uint8 RGB."""

from __future__ import annotations

import glob
import io
import os
import re
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.errors import FormatError, InputError, MissingFileError, SourceError, plain
from mp2flame.files import check_regular
from mp2flame.sources.base import FrameReader, Image, TimedImage, require
from mp2flame.validation import check_number

IMAGE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2"}
)
MAX_PIXELS: Final = 100_000_000
"""Largest image. MediaPipe's 32-bit sizes overflow at seven times as many pixels and end the process."""

_MAX_BYTES: Final = 1 << 30
_MAX_FOLDERS: Final = 20_000
_DEFAULT_FPS: Final = 30.0
_MAX_NAMES: Final = 3


def natural_order(path: Path) -> tuple[list[tuple[int, str, str]], str]:
    """A sorting key that puts `frame2` before `frame10` and ignores case."""
    parts = re.split(r"(\d+)", str(path).casefold())
    # Numbers sort by their length without leading zeros, then by their digits: no number is too long to compare.
    key = [(len(part.lstrip("0")) + 1, part.lstrip("0"), part) if part.isdecimal() else (0, part, "") for part in parts]
    return key, str(path)


def list_images(folder: Path) -> list[Path]:
    """The images in a folder (not in its subfolders) in natural order, without hidden files.

    Raises:
        MissingFileError: there is none.
    """
    return _select_images(folder.iterdir(), f"in the folder {folder}")


def match_images(pattern: str) -> list[Path]:
    """The images that match a glob pattern (`**` for any depth), in natural order.

    Raises:
        MissingFileError: there is none.
        InputError: `**` leads through too many folders.
    """
    return _select_images(_expand(Path(pattern), count(1)), f"for the pattern {pattern}")


def _select_images(paths: Iterable[Path], where: str) -> list[Path]:
    images = {
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    }
    if not images:
        raise MissingFileError(f"no images {plain(where)} ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return sorted(images, key=natural_order)


def _expand(pattern: Path, n_folders: Iterator[int]) -> Iterator[Path]:
    """The paths that a pattern matches; unlike `glob` it ends in a whole file system, and where links go in circles."""
    parts = pattern.parts
    if "**" not in parts:
        yield from map(Path, glob.iglob(str(pattern)))  # noqa: PTH207 - a pattern may be absolute
        return
    at = parts.index("**")
    for base in glob.iglob(str(Path(*parts[:at]))):  # noqa: PTH207
        for folder, subfolders, _ in os.walk(base, followlinks=True):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            if next(n_folders) > _MAX_FOLDERS:
                raise InputError(
                    f"the pattern {plain(pattern)} leads through more than {_MAX_FOLDERS} folders: begin it with the "
                    "folder that holds the images"
                )
            yield from _expand(Path(glob.escape(folder), *(parts[at + 1 :] or ("*",))), n_folders)


def check_image_size(width: int, height: int, what: object, error: type[FormatError | InputError]) -> None:
    """Raise `error` for an image that would take all memory."""
    if width * height > MAX_PIXELS:
        raise error(f"expected at most {MAX_PIXELS} pixels; {plain(what)} has {width} x {height}: scale it down first")


def to_rgb(pixels: NDArray[Any]) -> Image:
    """Grey, RGB or RGBA pixels of 8 or 16 bits as (H, W, 3) uint8 RGB; alpha is dropped, not blended.

    Args:
        pixels: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or uint16; any strides.

    Raises:
        InputError: another shape or dtype, no pixels, or more than `MAX_PIXELS`.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"expected an image of uint8 (or uint16) values; got {pixels.dtype}: scale it to 0..255 first")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise InputError(f"expected an image (H, W, 3) in RGB, or (H, W), or (H, W, 4); got shape {pixels.shape}")
    if pixels.size == 0:
        raise InputError(f"expected an image with at least one pixel; got shape {pixels.shape}")
    check_image_size(pixels.shape[1], pixels.shape[0], "the array", InputError)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, :3])


def mirror_image(image: Image) -> Image:
    """The image with left and right exchanged."""
    # Forty times as fast as NumPy's reversed copy; OpenCV is there wherever faces are detected.
    flipped: Image = _opencv().flip(image, 1)
    return flipped


def read_image(path: Path) -> Image:
    """The upright image (H, W, 3) in RGB, 8 bits, without alpha.

    Raises:
        MissingFileError: there is no such file.
        FormatError: the file is no image, is cut off, or holds more than `MAX_PIXELS`.
        SourceError: the file may not be read.
    """
    cv2 = _opencv()
    check_regular(path, "still image", limit=_MAX_BYTES)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"the image {plain(path)} cannot be read: {error.strerror}") from error
    try:
        _check_header(data, path)
        # OpenCV knows EXIF orientation, 16 bits and palettes.
        decoded: Any = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise FormatError(f"the image {plain(path)} cannot be decoded: {plain(error)}") from error
    if decoded is None:
        raise FormatError(f"{plain(path)} is no image that can be decoded: it is cut off or damaged")
    rgb: Image = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return rgb


def _check_header(data: bytes, path: Path) -> None:
    """Refuse what is too large by its header: OpenCV decodes up to 2^30 pixels."""
    with require("PIL", "read images"):
        from PIL import Image as Pillow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Pillow.open(io.BytesIO(data)) as header:
                width, height = header.size
        except Pillow.DecompressionBombError as error:
            raise FormatError(f"expected at most {MAX_PIXELS} pixels; {plain(path)} has many more") from error
        except Exception as error:  # Pillow's plugins raise whatever a damaged header makes them raise.
            raise FormatError(
                f"{plain(path)} is no image that can be decoded: it is empty, cut off or of another format"
            ) from error
    check_image_size(width, height, path, FormatError)


def _opencv() -> Any:
    """OpenCV, loaded when it is needed: listing images needs no extra."""
    with require("cv2", "read images"):
        import cv2
    return cv2


class ImagesReader(FrameReader):
    """Image files one after the other, each independent of the others.

    A file that cannot be decoded is an error if none can; otherwise it is a frame without a face and a warning.

    Args:
        paths: the files, in order.
        fps: images per second; 30 by default.

    Raises:
        InputError: there is no file, or `fps` is not above 0.
        MissingFileError: one of the files does not exist.
        FormatError: one of them is no regular file.
    """

    mode: Literal["video", "image"] = "image"

    def __init__(self, paths: Sequence[Path], *, fps: float | None = None) -> None:
        _opencv()
        self._paths = list(paths)
        self._fps = check_number("fps", _DEFAULT_FPS if fps is None else fps, above=0)
        self._unreadable: list[Path] = []
        if not self._paths:
            raise InputError("expected at least one image; got none")
        for path in self._paths:
            check_regular(path, "still image")

    @property
    @override
    def n_frames(self) -> int | None:
        return len(self._paths)

    @property
    @override
    def fps(self) -> float | None:
        return self._fps if len(self._paths) > 1 else None

    @property
    @override
    def warnings(self) -> tuple[str, ...]:
        if not self._unreadable:
            return ()
        names = ", ".join(plain(path.name, 60) for path in self._unreadable[:_MAX_NAMES])
        more = ", ..." if len(self._unreadable) > _MAX_NAMES else ""
        return (f"{len(self._unreadable)} images could not be read and count as frames without a face: {names}{more}",)

    @override
    def __iter__(self) -> Generator[TimedImage, None, None]:
        self._unreadable = []
        for index, path in enumerate(self._paths):
            yield index / self._fps, self._read(path)

    def _read(self, path: Path) -> Image | None:
        try:
            return read_image(path)
        except FormatError:
            self._unreadable.append(path)
            if len(self._unreadable) == len(self._paths):
                raise
            return None
