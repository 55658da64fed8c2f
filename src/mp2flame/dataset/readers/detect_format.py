"""Which tool wrote an input, told by looking at the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mp2flame.dataset.readers.arrays import FOUR_ARRAYS, read_four_arrays, read_named_npz
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.dataset.readers.metrical_tracker import read_checkpoints
from mp2flame.dataset.readers.paired import read_own_recording, read_speech
from mp2flame.dataset.readers.tracked import is_tracked_person, read_tracked_person
from mp2flame.dataset.readers.trackers import (
    read_head_tracker_folder,
    read_imavatar,
    read_nerf_export,
    read_vhap_track,
)
from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.files import npz_names
from mp2flame.formats.foreign import numbered_files
from mp2flame.formats.tracked_person import PERSON_FILE

__all__ = ["EXPECTED", "read_input"]

EXPECTED = (
    "flame-head-tracker's folder, VHAP's tracked_flame_params_*.npz or NeRF export, IMAvatar's or PointAvatar's "
    "flame_params.json, a folder of .frame files, the four data_*.npy arrays, an .npz with scores and expression, "
    "BEAT's or LAM's .json with EMAGE's .npz as JSON=NPZ, what mp2flame track wrote, or a recording (.jsonl)"
)


def read_input(spec: str | Path, *, order: str | None = None) -> Iterator[TrackedSequence]:
    """The sequences of one input.

    Args:
        spec: a file or folder, or two as `PARAMS=PICTURES` (or `JSON=NPZ`).
        order: of blendshapes in a JSON that does not name them.

    Raises:
        MissingFileError: it does not exist.
        FormatError: no tool that is known wrote it, or it is damaged.
    """
    path, second = _paths(spec)
    if not path.exists():
        raise MissingFileError(f"no input {path}")
    if path.is_dir():
        yield from _read_folder(path, second, order)
    else:
        yield from _read_file(path, second, order)


def _paths(spec: str | Path) -> tuple[Path, Path | None]:
    if isinstance(spec, Path) or Path(spec).exists() or "=" not in spec:
        return Path(spec), None
    first, _, second = spec.partition("=")
    return Path(first), Path(second)


def _read_file(path: Path, second: Path | None, order: str | None) -> Iterator[TrackedSequence]:
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        yield from read_own_recording(path)
    elif suffix == ".json" and second is not None:
        yield from read_speech(path, second, order=order)
    elif suffix == ".json":
        yield from read_imavatar(path)
    elif suffix == ".npz":
        names = npz_names(path, "parameter file")
        if {"scores", "expression"} <= names:
            yield from read_named_npz(path)
        elif "expr" in names:
            yield from read_vhap_track(path, second)
        else:
            held = ", ".join(sorted(names)) or "nothing"
            raise FormatError(f"{path} is of no known tool: it holds {held}; {_wanted()}")
    else:
        raise FormatError(f"{path} is of no known tool; {_wanted()}")


def _wanted() -> str:
    return f"expected {EXPECTED}"


def _read_folder(path: Path, second: Path | None, order: str | None) -> Iterator[TrackedSequence]:
    if is_tracked_person(path):
        yield from read_tracked_person(path)
    elif all((path / name).is_file() for name in FOUR_ARRAYS):
        yield from read_four_arrays(path)
    elif (path / "transforms.json").is_file():
        yield from read_nerf_export(path)
    elif (path / "flame_params.json").is_file():
        yield from read_imavatar(path / "flame_params.json")
    elif any(path.glob("tracked_flame_params*.npz")):
        yield from read_vhap_track(path, second)
    elif any(path.glob("*.frame")):
        yield from read_checkpoints(path, second)
    elif any((path / "checkpoint").glob("*.frame")):
        yield from read_checkpoints(path / "checkpoint", second)
    elif numbered_files(path) and "blendshape_scores" in npz_names(numbered_files(path)[0], "parameter file"):
        yield from read_head_tracker_folder(path)
    else:
        yield from _read_many(path, order)


def _read_many(path: Path, order: str | None) -> Iterator[TrackedSequence]:
    """A folder of inputs: every one in it that is known, in the order of their names."""
    pairs = [(file, file.with_suffix(".npz")) for file in sorted(path.glob("*.json"))]
    pairs = [(scores, params) for scores, params in pairs if params.is_file()]
    recordings = sorted(path.glob("*.jsonl"))
    known = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _is_known(folder)]
    if not (pairs or recordings or known):
        missing = [name for name in FOUR_ARRAYS if not (path / name).is_file()]
        if len(missing) < len(FOUR_ARRAYS):
            raise MissingFileError(f"{path} lacks {', '.join(missing)} of the four arrays")
        raise FormatError(f"{path} holds nothing that is known; {_wanted()}")
    for scores, params in pairs:
        yield from read_speech(scores, params, order=order)
    for file in recordings:
        yield from read_own_recording(file)
    for folder in known:
        yield from _read_folder(folder, None, order)


def _is_known(folder: Path) -> bool:
    """Whether a folder in a folder of inputs is one of them; folders of pictures beside them are not."""
    marks = (PERSON_FILE, "transforms.json", "flame_params.json", *FOUR_ARRAYS[:1])
    if any((folder / mark).is_file() for mark in marks) or any(folder.glob("tracked_flame_params*.npz")):
        return True
    numbered = numbered_files(folder)
    try:
        return bool(numbered) and "blendshape_scores" in npz_names(numbered[0], "parameter file")
    except (FormatError, InputError):
        return False
