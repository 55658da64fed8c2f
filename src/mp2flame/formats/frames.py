"""One file, or one entry, for each frame: VHAP's export, flame-head-tracker's results, IMAvatar's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import FormatError
from mp2flame.formats.arrays import constant, load_arrays, rows
from mp2flame.formats.vhap import OFFSETS, read_vhap

__all__ = ["numbered_files", "read_flame_json", "read_frame_folder", "read_head_tracker"]

_PICTURES = frozenset(
    {"img", "img_aligned", "img_rendered", "shape_rendered", "mesh_rendered", "parsing", "parsing_aligned", "tex"}
)
# A gap this long is a file name that is no frame number; 10 hours at 30 frames per second.
_LAST_FRAME = 1_080_000


def numbered_files(folder: Path) -> list[Path]:
    """The files `0.npz`, `00001.npz`, ... of a folder by rising number."""
    return sorted((path for path in folder.glob("*.npz") if path.stem.isdecimal()), key=lambda path: int(path.stem))


def read_frame_folder(folder: Path, *, frame_rate: float) -> FlameParams:
    """A folder of `{frame}.npz` of VHAP's or flame-head-tracker's names; the numbers count frames from 0.

    Frames without a file come as rows with `found` False.

    Raises:
        FormatError: there is no such file, one of them is damaged, or their widths differ.
    """
    files = numbered_files(folder)
    if not files:
        raise FormatError(f"{folder}: expected numbered files such as 00000.npz; got none")
    frames: dict[int, FlameParams] = {}
    for path in files:
        arrays = load_arrays(path, skip=_PICTURES | OFFSETS)
        read = read_head_tracker if "exp" in arrays else read_vhap
        params = read(arrays, where=str(path), frame_rate=frame_rate)
        if len(params) != 1:
            raise FormatError(f"{path}: expected one frame; got {len(params)}")
        if int(path.stem) in frames:
            raise FormatError(f"{path}: expected one file for each frame; got frame {int(path.stem)} twice")
        frames[int(path.stem)] = params
    return _fill(frames, where=str(folder), frame_rate=frame_rate)


def read_head_tracker(arrays: Mapping[str, NDArray[Any]], *, where: str, frame_rate: float) -> FlameParams:  # noqa: ARG001 - one frame
    """One frame of flame-head-tracker 4: every array has a leading axis of 1.

    Its head does not turn: `head_pose` is zero and the motion is in the camera, which is left out here.

    Raises:
        FormatError: an array is missing, has the wrong shape or is not finite.
    """
    found = np.ones(1, dtype=np.bool_)
    eyes = rows(arrays, "eye_pose", 6, n=1, where=where, found=found)
    names = {"jaw_pose": "jaw_pose", "neck_pose": "neck_pose", "head_pose": "global_orient"}
    poses = {
        ours: rows(arrays, name, 3, n=1, where=where, found=found)
        for name, ours in names.items()
        # Landmark mode has no neck; a file without jaw is of an older version, whose `pose` means something else.
        if name in arrays or name == "jaw_pose"
    }
    return FlameParams(
        time=np.zeros(1),
        found=found,
        expression=rows(arrays, "exp", None, n=1, where=where, found=found),
        leye_pose=eyes[:, :3],
        reye_pose=eyes[:, 3:],
        shape=constant(arrays, "shape", where=where),
        **poses,
    )


def read_flame_json(path: Path, *, frame_rate: float) -> FlameParams:
    """IMAvatar's and PointAvatar's `flame_params.json`: 50 coefficients and the full pose of 15 for each frame.

    The pose is global rotation, neck, jaw, left and right eye. The camera (`world_mat`, for a head scaled by 4) is
    left out. Numbers in `file_path` are frame numbers; the first one is at 0 seconds.

    Raises:
        FormatError: no such JSON, or a frame with the wrong widths or numbers that are not finite.
    """
    try:
        document = json.loads(path.read_bytes())
        entries = [(entry.get("file_path"), _numbers(entry)) for entry in document["frames"]]
        shape = constant({"shape_params": np.array(document["shape_params"])}, "shape_params", where=str(path))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(
            f"{path}: expected IMAvatar's flame_params.json with frames and shape_params; got {error!r}"
        ) from error
    numbers = [_frame_number(name) for name, _ in entries]
    if None in numbers or len(set(numbers)) != len(numbers):
        numbers = list(range(len(entries)))
    first = min((number for number in numbers if number is not None), default=0)
    frames = {}
    for number, (_, arrays) in zip(numbers, entries, strict=True):
        assert number is not None
        frames[number - first] = _json_frame(arrays, shape, where=f"{path}, frame {number}")
    if not frames:
        raise FormatError(f"{path}: expected at least one frame; got none")
    return _fill(frames, where=str(path), frame_rate=frame_rate)


def _numbers(entry: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    return {name: np.array(entry[name])[None] for name in ("expression", "pose")}


def _frame_number(name: object) -> int | None:
    match = re.search(r"(\d{1,7})(\.\w+)?$", name) if isinstance(name, str) else None
    return int(match[1]) if match else None


def _json_frame(arrays: dict[str, NDArray[Any]], shape: NDArray[np.float32] | None, *, where: str) -> FlameParams:
    found = np.ones(1, dtype=np.bool_)
    pose = rows(arrays, "pose", 15, n=1, where=where, found=found)
    names = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")
    return FlameParams(
        time=np.zeros(1),
        found=found,
        expression=rows(arrays, "expression", None, n=1, where=where, found=found),
        shape=shape,
        **{name: pose[:, 3 * i : 3 * i + 3] for i, name in enumerate(names)},
    )


def _fill(frames: Mapping[int, FlameParams], *, where: str, frame_rate: float) -> FlameParams:
    """Single frames by number as one sequence; numbers that are absent become rows without a face."""
    last = max(frames)
    if last > _LAST_FRAME:
        raise FormatError(f"{where}: expected frame numbers up to {_LAST_FRAME}; got {last}")
    widths = {params.n_expression for params in frames.values()}
    if len(widths) > 1:
        raise FormatError(f"{where}: expected the same number of coefficients in every frame; got {sorted(widths)}")
    n = last + 1
    found = np.zeros(n, dtype=np.bool_)
    found[list(frames)] = True
    fields: dict[str, NDArray[np.float32]] = {}
    for name in ("expression", "jaw_pose", "neck_pose", "global_orient", "leye_pose", "reye_pose", "translation"):
        width = widths.copy().pop() if name == "expression" else 3
        fields[name] = np.full((n, width), np.nan, dtype=np.float32)
        for number, params in frames.items():
            fields[name][number] = getattr(params, name)[0]
    shape = frames[min(frames)].shape
    return FlameParams(time=np.arange(n) / frame_rate, found=found, shape=shape, **fields)
