"""Parameters in other layouts: flame-head-tracker, IMAvatar, BEAT2 (EMAGE), folders of frames, plain names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import POSES, VECTORS, FlameParams
from mp2flame.errors import FormatError, plain
from mp2flame.files import read_bounded
from mp2flame.formats.npz import Arrays, constant, frame_times, load_arrays, rows
from mp2flame.formats.vhap import OFFSETS, read_vhap

_IMAGES: Final = frozenset(
    {"img", "img_aligned", "img_rendered", "shape_rendered", "mesh_rendered", "parsing", "parsing_aligned", "tex"}
)
_LAST_FRAME: Final = 1_080_000
"""A larger number in a file's name is no frame number; 10 hours at 30 frames per second."""
_LARGEST_JSON: Final = 1 << 28
# SMPL-X joints 22, 23 and 24 in 55 axis-angle triplets.
_SMPLX: Final = {"jaw_pose": 66, "leye_pose": 69, "reye_pose": 72}


def read_named(arrays: Arrays, *, where: str, frame_rate: float) -> FlameParams:
    """Parameters under the field names of `FlameParams`: `expression` (T, E), poses (T, 3), `eye_pose` (T, 6).

    Raises:
        FormatError: an array has the wrong shape, or is not finite where a face was found.
    """
    n = len(rows(arrays, "expression", None, where=where))
    found = rows(arrays, "found", 0, n=n, where=where, kind="b") if "found" in arrays else np.ones(n, dtype=np.bool_)
    poses = {name: rows(arrays, name, 3, n=n, where=where, found=found) for name in VECTORS if name in arrays}
    if "eye_pose" in arrays:
        eyes = rows(arrays, "eye_pose", 6, n=n, where=where, found=found)
        poses |= {"leye_pose": eyes[:, :3], "reye_pose": eyes[:, 3:]}
    return FlameParams(
        time=frame_times(arrays, n, where=where, frame_rate=frame_rate),
        found=found,
        expression=rows(arrays, "expression", None, n=n, where=where, found=found),
        shape=constant(arrays, "shape", where=where),
        **poses,
    )


def read_emage(arrays: Arrays, *, where: str, frame_rate: float) -> FlameParams:
    """The face of a BEAT2 or EMAGE sequence: expression, jaw and eyes out of SMPL-X `poses` (T, 165), and `betas`.

    Its expression space is FLAME 2020's. The body, and with it the head's place in space, is left out: SMPL-X turns
    the head by a chain of joints that FLAME does not have.

    Raises:
        FormatError: an array has the wrong shape or is not finite.
    """
    expression = rows(arrays, "expressions", None, where=where)
    found = np.ones(len(expression), dtype=np.bool_)
    poses = rows(arrays, "poses", 165, n=len(expression), where=where, found=found)
    rate = np.asarray(arrays.get("mocap_frame_rate", frame_rate))
    if rate.ndim != 0 or rate.dtype.kind not in "fiu" or not (np.isfinite(rate) and rate > 0):
        raise FormatError(f"{where}: mocap_frame_rate must be above 0; got {rate!r:.60}")
    return FlameParams(
        time=np.arange(len(expression)) / float(rate),
        found=found,
        expression=rows(arrays, "expressions", None, where=where, found=found),
        shape=constant(arrays, "betas", where=where),
        **{name: poses[:, start : start + 3] for name, start in _SMPLX.items()},
    )


def read_head_tracker(arrays: Arrays, *, where: str, frame_rate: float) -> FlameParams:  # noqa: ARG001 - one frame
    """One frame of flame-head-tracker 4: every array has a leading axis of 1.

    Its head does not turn: `head_pose` is zero and the motion is in the camera, which is left out here.

    Raises:
        FormatError: an array is missing, has the wrong shape or is not finite.
    """
    found = np.ones(1, dtype=np.bool_)
    eyes = rows(arrays, "eye_pose", 6, n=1, where=where, found=found)
    names = {"jaw_pose": "jaw_pose", "neck_pose": "neck_pose", "head_pose": "global_orient"}
    poses = {
        field: rows(arrays, name, 3, n=1, where=where, found=found)
        for name, field in names.items()
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


def numbered_files(folder: Path) -> list[Path]:
    """The files `0.npz`, `00001.npz`, ... of a folder by rising number."""
    numbered = (path for path in folder.glob("*.npz") if path.stem.isascii() and path.stem.isdecimal())
    return sorted((path for path in numbered if len(path.stem) < 20), key=lambda path: int(path.stem))


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
        arrays = load_arrays(path, skip=_IMAGES | OFFSETS)
        read = read_head_tracker if "exp" in arrays else read_vhap
        params = read(arrays, where=str(path), frame_rate=frame_rate)
        if len(params) != 1:
            raise FormatError(f"{path}: expected one frame; got {len(params)}")
        if int(path.stem) in frames:
            raise FormatError(f"{path}: expected one file for each frame; got frame {int(path.stem)} twice")
        frames[int(path.stem)] = params
    return _join(frames, where=str(folder), frame_rate=frame_rate)


def read_flame_json(path: Path, *, frame_rate: float) -> FlameParams:
    """IMAvatar's and PointAvatar's `flame_params.json`: 50 coefficients and the full pose of 15 for each frame.

    The pose is global rotation, neck, jaw, left and right eye. The camera (`world_mat`, for a head scaled by 4) is
    left out. Numbers in `file_path` are frame numbers; the first one is at 0 seconds.

    Raises:
        FormatError: no such JSON, or a frame with the wrong widths or numbers that are not finite.
    """
    try:
        document = json.loads(read_bounded(path, "parameter file", limit=_LARGEST_JSON))
        entries = [(entry.get("file_path"), _numbers(entry)) for entry in document["frames"]]
        shape = constant({"shape_params": np.array(document["shape_params"])}, "shape_params", where=str(path))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise FormatError(
            f"{path}: expected IMAvatar's flame_params.json with frames and shape_params; got {plain(repr(error))}"
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
    return _join(frames, where=str(path), frame_rate=frame_rate)


def _numbers(entry: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    return {name: np.array(entry[name])[None] for name in ("expression", "pose")}


def _frame_number(name: object) -> int | None:
    match = re.search(r"(\d{1,7})(\.\w+)?$", name, re.ASCII) if isinstance(name, str) else None
    return int(match[1]) if match else None


def _json_frame(arrays: dict[str, NDArray[Any]], shape: NDArray[np.float32] | None, *, where: str) -> FlameParams:
    found = np.ones(1, dtype=np.bool_)
    pose = rows(arrays, "pose", 15, n=1, where=where, found=found)
    return FlameParams(
        time=np.zeros(1),
        found=found,
        expression=rows(arrays, "expression", None, n=1, where=where, found=found),
        shape=shape,
        **{name: pose[:, 3 * i : 3 * i + 3] for i, name in enumerate(POSES)},
    )


def _join(frames: Mapping[int, FlameParams], *, where: str, frame_rate: float) -> FlameParams:
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
    matrix = np.full((n, widths.pop() + 3 * len(VECTORS)), np.nan, dtype=np.float32)
    for number, params in frames.items():
        matrix[number] = params.to_rows(VECTORS)[0]
    shape = frames[min(frames)].shape
    return FlameParams.from_rows(matrix, VECTORS, time=np.arange(n) / frame_rate, found=found, shape=shape)
