"""The arrays of a head file, whatever its kind; the kind is recognized by the content, not by the name."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from mp2flame.errors import FormatError, MissingFileError, plain
from mp2flame.files import check_regular, file_sha256, read_bounded, read_npz, read_safetensors
from mp2flame.head.arrays import OPTIONAL_KEYS, REQUIRED_KEYS
from mp2flame.head.safe_pickle import arrays, read_pickle

_KEYS: Final = (*REQUIRED_KEYS, *OPTIONAL_KEYS)
# Ten times an official file, packed or unpacked: what is larger is no head.
_MAX_BYTES: Final = 512 << 20
_GET_FLAME: Final = "FLAME files come from https://flame.is.tue.mpg.de, after signing in"
# Written only by FLAME 2023 Open, which says how its expression components were made.
_OPEN_KEY: Final = "supr_expression_metadata"

_FOREIGN: Final[Mapping[str, tuple[bytes, ...]]] = {
    "a Git LFS pointer, which only names the real file: run 'git lfs pull'": (b"version https://git-lfs",),
    f"a web page, saved in place of the file. {_GET_FLAME}": (b"<!doctype", b"<html", b"<?xml", b"<head"),
    "a gzip file: unpack it first": (b"\x1f\x8b",),
    "a single .npy array: a head is an .npz of several": (b"\x93numpy",),
}


@dataclass(frozen=True)
class RawHead:
    """What a head file holds, not yet checked."""

    arrays: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    """Hash of the file; None for .safetensors, which remembers the hash of what it was made from."""
    clue: str | None = None
    """A release of FLAME that the contents suggest."""


def read_head(path: Path) -> RawHead:
    """Read the arrays of a FLAME `.pkl`, an `.npz` or a `.safetensors`.

    Raises:
        MissingFileError: there is no such file.
        UnsafePickleError: a pickle names more than plain data; nothing of it was run.
        FormatError: a folder, a pipe, or a file that is empty, foreign, too large, truncated or damaged.
    """
    try:
        check_regular(path, "head file")
    except FormatError as error:
        if not path.is_dir():
            raise
        inside = sorted(plain(item.name) for item in path.iterdir() if item.suffix in (".pkl", ".npz"))[:5]
        raise FormatError(f"{error}. Name the file in it{': ' if inside else ''}{', '.join(inside)}") from error
    except MissingFileError as error:
        raise MissingFileError(
            f'{path}: no such head file. {_GET_FLAME}; "builtin" is the head that needs no file'
        ) from error
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror})") from error
    foreign = _foreign(path, start)
    if foreign is not None:
        raise FormatError(f"{path}: expected a head file (.pkl, .npz, .safetensors); got {foreign}")
    check_regular(path, "head file", limit=_MAX_BYTES)
    if _is_safetensors(start):
        content, metadata = read_safetensors(path, "head file", limit=_MAX_BYTES, advice="convert it again", keys=_KEYS)
        return RawHead(content, metadata)
    if start.startswith(b"PK"):
        return RawHead(_read_npz(path), sha256=file_sha256(path))
    return _read_pickle(path)


def _foreign(path: Path, start: bytes) -> str | None:
    """What a file is that is certainly no head, judged by its first bytes."""
    if not start:
        return "an empty file: the download or copy did not finish"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for kind, beginnings in _FOREIGN.items():
        if text.startswith(beginnings):
            return kind
    suffix = path.suffix.lower()
    if suffix in (".obj", ".ply", ".stl", ".glb", ".fbx"):
        return "a plain mesh, which has no expression or joints"
    if not (_is_safetensors(start) or start.startswith((b"PK", b"\x80")) or suffix in (".pkl", ".pickle")):
        return f"an unknown kind that begins {start[:8]!r}"
    return None


def _is_safetensors(start: bytes) -> bool:
    return len(start) >= 9 and start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] < 1 << 32


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    def read_objects(key: str, data: bytes) -> NDArray[Any]:
        # A scipy matrix that numpy.savez has pickled.
        return arrays({key: read_pickle(data, f"{path}: {key}")}, str(path))[key]

    content = read_npz(path, "head file", limit=_MAX_BYTES, keys=_KEYS, read_objects=read_objects)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if not any(name.endswith(".npy") for name in names):
        pickled = next((f" with {plain(name)} in it: unpack it first" for name in names if name.endswith(".pkl")), "")
        raise FormatError(f"{path}: expected a head file (.npz, .pkl, .safetensors); got a zip archive{pickled}")
    return content


def _read_pickle(path: Path) -> RawHead:
    data = read_bounded(path, "head file", limit=_MAX_BYTES)
    content = read_pickle(data, str(path))
    if not isinstance(content, dict):
        raise FormatError(f"{path}: expected a pickled dictionary of arrays; got {type(content).__name__}")
    wanted = {key: content[key] for key in _KEYS if content.get(key) is not None}
    clue = "FLAME 2023 Open" if _OPEN_KEY in content else None
    return RawHead(arrays(wanted, str(path)), sha256=hashlib.sha256(data).hexdigest(), clue=clue)
