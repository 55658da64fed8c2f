"""Which files in a folder are pictures, and in which order a person would put them."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Final

from mp2flame.errors import MissingFileError

__all__ = ["IMAGE_SUFFIXES", "natural_order", "pictures_in", "pictures_like"]

IMAGE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2"}
)


def natural_order(path: Path) -> tuple[list[tuple[int, str, str]], str]:
    """A sorting key that puts `frame2` before `frame10` and does not look at case."""
    parts = re.split(r"(\d+)", str(path).casefold())
    # Numbers sort by their length without leading zeros, then by their digits: no number is too long to compare.
    key = [(len(part.lstrip("0")) + 1, part.lstrip("0"), part) if part.isdecimal() else (0, part, "") for part in parts]
    return key, str(path)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder (not of folders in it) in natural order; hidden files are left out.

    Raises:
        MissingFileError: there is none.
    """
    found = [path for path in folder.iterdir() if _is_picture(path)]
    if not found:
        raise MissingFileError(f"the folder {folder} holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return sorted(found, key=natural_order)


def pictures_like(pattern: str) -> list[Path]:
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
