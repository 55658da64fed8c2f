"""Which tool wrote an input, decided by its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from mp2flame.dataset.readers import flame_head_tracker, imavatar, vhap
from mp2flame.dataset.readers.arrays import FOUR_ARRAYS, read_four_arrays, read_named_npz
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.dataset.readers.metrical_tracker import read_checkpoints
from mp2flame.dataset.readers.recording import read_own_recording, read_tracked_person
from mp2flame.dataset.readers.speech import read_speech
from mp2flame.errors import FormatError, MissingFileError
from mp2flame.files import npz_names
from mp2flame.formats.foreign import numbered_files
from mp2flame.formats.tracked_person import PERSON_FILE

EXPECTED: Final = (
    "flame-head-tracker's folder, VHAP's tracked_flame_params_*.npz or NeRF export, IMAvatar's or PointAvatar's "
    "flame_params.json, a folder of .frame files, the four data_*.npy arrays, an .npz with scores and expression, "
    "BEAT's or LAM's .json with EMAGE's .npz as JSON=NPZ, what mp2flame track wrote, or a recording (.jsonl)"
)


def read_input(spec: str | Path, *, order: str | None = None, fps: float | None = None) -> Iterator[TrackedSequence]:
    """The sequences of one input.

    Args:
        spec: a file or folder, or two as `PARAMS=IMAGES` (or `JSON=NPZ`).
        order: of blendshapes in a JSON that does not name them.
        fps: frames per second of files that hold no times; None for 30.

    Raises:
        MissingFileError: it does not exist.
        FormatError: no tool that is known wrote it, or it is damaged.
    """
    path, second = _paths(spec)
    if not path.exists():
        raise MissingFileError(f"no input {path}")
    sequences = _read_folder(path, second, order) if path.is_dir() else _read_file(path, second, order)
    for sequence in sequences:
        yield sequence.at_rate(fps)


def _paths(spec: str | Path) -> tuple[Path, Path | None]:
    if isinstance(spec, Path) or Path(spec).exists() or "=" not in spec:
        return Path(spec), None
    first, _, second = spec.partition("=")
    return Path(first), Path(second)


def _read_file(path: Path, second: Path | None, order: str | None) -> Iterator[TrackedSequence]:
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return read_own_recording(path)
    if suffix == ".json":
        return imavatar.read_imavatar(path) if second is None else read_speech(path, second, order=order)
    if suffix == ".npz":
        names = npz_names(path, "tracker's .npz")
        if {"scores", "expression"} <= names:
            return read_named_npz(path)
        if "expr" in names:
            return vhap.read_vhap_track(path, second)
        held = ", ".join(sorted(names)) or "nothing"
        raise FormatError(f"{path} is of no known tool: it holds {held}; expected {EXPECTED}")
    raise FormatError(f"{path} is of no known tool; expected {EXPECTED}")


def _read_folder(path: Path, second: Path | None, order: str | None) -> Iterator[TrackedSequence]:
    return _known_folder(path, second) or _read_many(path, order)


def _known_folder(path: Path, images: Path | None = None) -> Iterator[TrackedSequence] | None:
    """The sequences of a folder that a tool wrote; None for any other folder."""
    frames = next((folder for folder in (path, path / "checkpoint") if any(folder.glob("*.frame"))), path)
    numbered = numbered_files(path)
    tools: tuple[tuple[bool, Callable[[], Iterator[TrackedSequence]]], ...] = (
        ((path / PERSON_FILE).is_file(), lambda: read_tracked_person(path)),
        (all((path / name).is_file() for name in FOUR_ARRAYS), lambda: read_four_arrays(path)),
        ((path / "transforms.json").is_file(), lambda: vhap.read_nerf_export(path)),
        ((path / imavatar.FILE).is_file(), lambda: imavatar.read_imavatar(path / imavatar.FILE)),
        (any(path.glob(f"{vhap.TRACK}*.npz")), lambda: vhap.read_vhap_track(path, images)),
        (any(frames.glob("*.frame")), lambda: read_checkpoints(frames, images)),
        (
            bool(numbered) and flame_head_tracker.MARK in npz_names(numbered[0], "tracker's .npz"),
            lambda: flame_head_tracker.read_head_tracker_folder(path),
        ),
    )
    return next((read() for is_tool, read in tools if is_tool), None)


def _read_many(path: Path, order: str | None) -> Iterator[TrackedSequence]:
    """A folder of inputs: every known one in it, in the order of their names; folders of images are passed over."""
    pairs = [(file, file.with_suffix(".npz")) for file in sorted(path.glob("*.json"))]
    inputs = [read_speech(scores, params, order=order) for scores, params in pairs if params.is_file()]
    inputs += [read_own_recording(file) for file in sorted(path.glob("*.jsonl"))]
    folders = [_known_folder(folder) for folder in sorted(path.iterdir()) if folder.is_dir()]
    inputs += [folder for folder in folders if folder is not None]
    if not inputs:
        missing = [name for name in FOUR_ARRAYS if not (path / name).is_file()]
        if len(missing) < len(FOUR_ARRAYS):
            raise MissingFileError(f"{path} lacks {', '.join(missing)} of the four arrays")
        raise FormatError(f"{path} holds nothing that is known; expected {EXPECTED}")
    for sequences in inputs:
        yield from sequences
