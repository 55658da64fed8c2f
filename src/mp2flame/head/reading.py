"""The arrays of a head file, whatever its kind; the kind is told by the content, not by the name."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import FormatError, MissingFileError
from mp2flame.head import pickles
from mp2flame.head.arrays import OPTIONAL_KEYS, REQUIRED_KEYS

__all__ = ["RawHead", "read_head"]

Array = NDArray[Any]

_KEYS = (*REQUIRED_KEYS, *OPTIONAL_KEYS)
# Ten times an official file: a compressed file that unpacks to more is no head.
_MAX_MEMBER = 512 * 1024**2
_GET_FLAME = "FLAME files come from https://flame.is.tue.mpg.de, after signing in"
# Written only by FLAME 2023 Open, which says how its expression components were made.
_OPEN_KEY = "supr_expression_metadata"


@dataclass(frozen=True)
class RawHead:
    """What a head file holds, not yet checked."""

    arrays: Mapping[str, Array]
    metadata: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    """Hash of the file; None for .safetensors, which remembers the hash of what it was made from."""
    clue: str | None = None
    """A release of FLAME that the contents suggest."""


def _open_error(path: Path) -> FormatError | MissingFileError | None:
    if path.is_dir():
        inside = ", ".join(sorted(item.name for item in path.iterdir() if item.suffix in (".pkl", ".npz"))[:5])
        return FormatError(
            f"{path}: expected a head file; got a folder. Name the file in it" + (f": {inside}" if inside else "")
        )
    if not path.exists():
        return MissingFileError(f'{path}: no such head file. {_GET_FLAME}; "builtin" is the head that needs no file')
    return None


_FOREIGN: Mapping[str, tuple[bytes, ...]] = {
    "a Git LFS pointer, which only names the real file: run 'git lfs pull'": (b"version https://git-lfs",),
    f"a web page, saved in place of the file. {_GET_FLAME}": (b"<!doctype", b"<html", b"<?xml", b"<head"),
    "a gzip file: unpack it first": (b"\x1f\x8b",),
    "a single .npy array: a head is an .npz of several": (b"\x93numpy",),
}


def _foreign(path: Path, head: bytes) -> str | None:
    """What a file is that is certainly no head, judged by its first bytes."""
    if not head:
        return "an empty file: the download or copy did not finish"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for kind, beginnings in _FOREIGN.items():
        if text.startswith(beginnings):
            return kind
    if path.suffix.lower() in (".obj", ".ply", ".stl", ".glb", ".fbx"):
        return "a plain mesh, which has no expression or joints"
    return None


def _header_size(head: bytes) -> int | None:
    """The size of a .safetensors header, or None where the file is no such file."""
    if len(head) < 9 or head[8:9] != b"{" or head[4:8] != b"\0\0\0\0":
        return None
    return int(struct.unpack("<Q", head[:8])[0])


def _read_safetensors(path: Path) -> RawHead:
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys() if key in _KEYS}  # noqa: SIM118 - no mapping
            return RawHead(arrays, dict(file.metadata() or {}))
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise FormatError(
            f"{path}: expected a whole .safetensors head; it is truncated or damaged ({error}). Convert it again"
        ) from error


def _read_pickle(path: Path, data: bytes) -> RawHead:
    content = pickles.read_pickle(data, str(path))
    if not isinstance(content, dict):
        raise FormatError(f"{path}: expected a pickled dictionary of arrays; got {type(content).__name__}")
    arrays = {key: pickles.array(content[key], f"{path}: {key}") for key in _KEYS if content.get(key) is not None}
    return RawHead(arrays, clue="FLAME 2023 Open" if _OPEN_KEY in content else None)


def _read_member(archive: zipfile.ZipFile, key: str, source: str) -> Array:
    info = archive.getinfo(f"{key}.npy")
    if info.file_size > _MAX_MEMBER:
        raise FormatError(f"{source}: {key} unpacks to {info.file_size} bytes, more than a head's array can have")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(member)
        if dtype.hasobject:
            # A scipy matrix that numpy.savez has pickled.
            return pickles.array(pickles.read_pickle(member.read(), source), f"{source}: {key}")
        if int(np.prod(shape, dtype=object)) * dtype.itemsize > info.file_size:
            raise FormatError(f"{source}: {key} is shorter than it says")
    with archive.open(info) as member:
        array: Array = np.lib.format.read_array(member, allow_pickle=False)
        return array


def _read_npz(path: Path) -> RawHead:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "v_template.npy" not in names and not any(name.endswith(".npy") for name in names):
                pickled = [name for name in sorted(names) if name.endswith(".pkl")]
                inside = f"a zip archive with {pickled[0]} in it: unpack it first" if pickled else "a zip archive"
                raise FormatError(f"{path}: expected a head file (.npz, .pkl, .safetensors); got {inside}")
            return RawHead({key: _read_member(archive, key, str(path)) for key in _KEYS if f"{key}.npy" in names})
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, MemoryError, NotImplementedError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path}: expected a whole .npz; it is truncated or damaged ({error})") from error


def read_head(path: Path) -> RawHead:
    """Read the arrays of a FLAME `.pkl`, an `.npz` or a `.safetensors`.

    Raises:
        MissingFileError: there is no such file.
        UnsafePickleError: a pickle names more than plain data; nothing of it was run.
        FormatError: a folder, or a file that is empty, foreign, truncated or damaged.
    """
    problem = _open_error(path)
    if problem is not None:
        raise problem
    try:
        with path.open("rb") as file:
            head = file.read(512)
            if _foreign(path, head) is None and _header_size(head) is None:
                data = head + file.read()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror})") from error
    foreign = _foreign(path, head)
    if foreign is not None:
        raise FormatError(f"{path}: expected a head file (.pkl, .npz, .safetensors); got {foreign}")
    if _header_size(head) is not None:
        return _read_safetensors(path)
    if head.startswith(b"PK"):
        raw = _read_npz(path)
    elif head.startswith(b"\x80") or path.suffix.lower() in (".pkl", ".pickle"):
        raw = _read_pickle(path, data)
    else:
        raise FormatError(
            f"{path}: expected a head file (.pkl, .npz, .safetensors); got an unknown kind that begins {head[:8]!r}"
        )
    return RawHead(raw.arrays, raw.metadata, hashlib.sha256(data).hexdigest(), raw.clue)
