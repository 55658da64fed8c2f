"""Which FLAME a file is.

FLAME's releases share their topology but not their bases: coefficients of one mean nothing to another. The releases
carry no version inside, so a version is known by the sha256 of the official file, or declared by whoever converts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mp2flame.errors import InputError

FLAME_VERTICES: Final = 5023

OFFICIAL_FILES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "efcd14cc4a69f3a3d9af8ded80146b5b6b50df3bd74cf69108213b144eba725b": "FLAME 2020",
        "8fb1af0db1abb51053ead8fd1f2624a63d01c9602f4a4fb4ea23bd2c82017fa0": "FLAME 2023",
        "e75a0990728ba038c7da2a420ae4396f7ddd7781366c13026066c5b24f127623": "FLAME 2023 Open",
    }
)
"""sha256 of the official generic pickles to the release, as several independent projects pin them."""

# The longest name first: each is contained in the next.
_FILE_NAMES = (
    ("flame2023_open", "FLAME 2023 Open"),
    ("flame2023open", "FLAME 2023 Open"),
    ("flame2023_no_jaw", "FLAME 2023 no-jaw"),
    ("flame2023", "FLAME 2023"),
    ("flame2020", "FLAME 2020"),
    ("flame2019", "FLAME 2019"),
)


def _guess(path: Path) -> str | None:
    """The release that the names of a file and its folder suggest, nearest name first."""
    for part in (path.name, path.parent.name):
        for pattern, release in _FILE_NAMES:
            if pattern in part.lower():
                return f"{release} by its {'file' if part == path.name else 'folder'} name"
    return None


def name_version(
    path: Path,
    n_vertices: int,
    *,
    sha256: str | None,
    declared: str | None,
    stated: str | None,
    clue: str | None = None,
) -> str:
    """The version of a head, in this order: the official file's hash, the caller's word, the file's word, unknown.

    Args:
        path: where the head comes from; its name is only a hint.
        n_vertices: V.
        sha256: hash of the file that the head was first read from.
        declared: what the file's own metadata says.
        stated: what the caller says.
        clue: a release that the file's contents suggest.

    Raises:
        InputError: the caller contradicts the hash of an official file.
    """
    official = OFFICIAL_FILES.get(sha256 or "")
    if official is not None:
        if stated not in (None, official):
            raise InputError(
                f"{path}: expected version {official!r}, which this file is by its sha256; got {stated!r}. "
                "Leave the version out"
            )
        return official
    if stated or declared:
        return str(stated or declared)
    if n_vertices != FLAME_VERTICES:
        return f"other ({n_vertices} vertices)"
    hint = f"{clue} by its contents" if clue else _guess(path)
    return f"FLAME-sized head ({FLAME_VERTICES} vertices), version unknown" + (f"; {hint}" if hint else "")
