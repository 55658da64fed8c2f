"""Parameters of other programs: VHAP, flame-head-tracker, EMAGE, IMAvatar, and folders with a file for each frame."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from mp2flame.data import POSES, VECTORS, FlameParams
from mp2flame.errors import FormatError, plain
from mp2flame.files import LARGEST_JSON, read_bounded, read_npz
from mp2flame.formats import vhap
from mp2flame.formats.npz import Layout

HEAD_TRACKER: Final = Layout(
    expression="exp",
    vectors={
        "jaw_pose": ("jaw_pose", 3, 0),
        "neck_pose": ("neck_pose", 3, 0),
        "global_orient": ("head_pose", 3, 0),
        "leye_pose": ("eye_pose", 6, 0),
        "reye_pose": ("eye_pose", 6, 3),
    },
    # Landmark mode has no neck. A file without a jaw is of an older version, whose `pose` means something else.
    optional=frozenset({"neck_pose", "head_pose"}),
)
"""flame-head-tracker 4, one frame a file. The head does not turn: the motion is in the camera, which is left out."""

EMAGE: Final = Layout(
    expression="expressions",
    # SMPL-X joints 22, 23 and 24 in 55 axis-angle triplets.
    vectors={"jaw_pose": ("poses", 165, 66), "leye_pose": ("poses", 165, 69), "reye_pose": ("poses", 165, 72)},
    identity="betas",
    rate="mocap_frame_rate",
)
"""The face of a BEAT2 or EMAGE sequence, whose expression space is FLAME 2020's. The body, and with it the head's place
in space, is left out: SMPL-X turns the head by a chain of joints that FLAME does not have."""

NAMED: Final = Layout(
    expression="expression", vectors={name: (name, 3, 0) for name in VECTORS}, optional=frozenset(VECTORS)
)
"""The names of `FlameParams`."""

NAMED_EYES: Final = Layout(
    expression="expression",
    vectors={**NAMED.vectors, "leye_pose": ("eye_pose", 6, 0), "reye_pose": ("eye_pose", 6, 3)},
    optional=NAMED.optional,
)
"""The names of `FlameParams`, with both eyes in one array."""

IMAVATAR: Final = Layout(
    expression="expression",
    vectors={name: ("pose", 15, 3 * index) for index, name in enumerate(POSES)},
    identity="shape_params",
)
"""A frame of IMAvatar's and PointAvatar's `flame_params.json`. The camera (`world_mat`, for a head scaled by 4) is left
out."""

_IMAGES: Final = frozenset(
    {"img", "img_aligned", "img_rendered", "shape_rendered", "mesh_rendered", "parsing", "parsing_aligned", "tex"}
)
_LAST_FRAME: Final = 1_080_000
"""A larger number in a file's name is no frame number; 10 hours at 30 frames per second."""


def read_npz_params(path: Path, *, frame_rate: float) -> FlameParams:
    """The parameters of an `.npz` in any known layout, this package's own among them.

    Raises:
        FormatError: it is damaged, or its arrays are in no known layout or do not fit each other.
    """
    arrays = read_npz(path, "parameter file", skip=vhap.OFFSETS | _IMAGES)
    named = NAMED_EYES if "eye_pose" in arrays else NAMED
    for layout in (vhap.LAYOUT, HEAD_TRACKER, EMAGE, named):
        if layout.expression in arrays:
            return layout.read(arrays, where=str(path), frame_rate=frame_rate)
    raise FormatError(
        f"{path} holds no FLAME parameters: expected expr (VHAP), exp (flame-head-tracker), expressions (EMAGE) or "
        f"expression among its arrays; got {plain(', '.join(sorted(arrays)) or 'none')}"
    )


def numbered_files(folder: Path) -> list[Path]:
    """The files `0.npz`, `00001.npz`, ... of a folder by rising number."""
    numbered = (path for path in folder.glob("*.npz") if re.fullmatch("[0-9]{1,18}", path.stem))
    return sorted(numbered, key=lambda path: int(path.stem))


def read_frame_folder(folder: Path, *, frame_rate: float) -> FlameParams:
    """A folder of `{frame}.npz`, as VHAP and flame-head-tracker write them; the numbers count frames from 0.

    Frames without a file come as rows with `found` False.

    Raises:
        FormatError: there is no such file, one of them is damaged, or their widths differ.
    """
    frames: dict[int, FlameParams] = {}
    for path in numbered_files(folder):
        params = read_npz_params(path, frame_rate=frame_rate)
        if len(params) != 1:
            raise FormatError(f"{path}: expected one frame; got {len(params)}")
        if int(path.stem) in frames:
            raise FormatError(f"{path}: expected one file for each frame; got frame {int(path.stem)} twice")
        frames[int(path.stem)] = params
    if not frames:
        raise FormatError(f"{folder}: expected numbered files such as 00000.npz; got none")
    return _join(frames, where=str(folder), frame_rate=frame_rate)


def read_flame_json(path: Path, *, frame_rate: float) -> FlameParams:
    """IMAvatar's and PointAvatar's `flame_params.json`.

    Numbers in `file_path` are frame numbers; the first one is at 0 seconds.

    Raises:
        FormatError: no such JSON, or a frame with the wrong widths or numbers that are not finite.
    """
    content = read_bounded(path, "parameter file", limit=LARGEST_JSON)
    try:
        document = json.loads(content)
        shape = np.array(document["shape_params"])
        entries = [(_frame_number(entry.get("file_path")), entry) for entry in document["frames"]]
        arrays = [{name: np.array(entry[name])[None] for name in ("expression", "pose")} for _, entry in entries]
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise FormatError(
            f"{path}: expected IMAvatar's flame_params.json with frames and shape_params; got {plain(repr(error))}"
        ) from error
    if not entries:
        raise FormatError(f"{path}: expected at least one frame; got none")
    numbers = [number for number, _ in entries if number is not None]
    if len(set(numbers)) != len(entries):
        numbers = list(range(len(entries)))
    frames = {
        number - min(numbers): IMAVATAR.read({**frame, "shape_params": shape}, where=f"{path}, frame {number}")
        for number, frame in zip(numbers, arrays, strict=True)
    }
    return _join(frames, where=str(path), frame_rate=frame_rate)


def _frame_number(name: object) -> int | None:
    match = re.search(r"([0-9]{1,7})(\.\w+)?$", name) if isinstance(name, str) else None
    return int(match[1]) if match else None


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
