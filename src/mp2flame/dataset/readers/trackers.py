"""Results of flame-head-tracker, VHAP, IMAvatar and PointAvatar."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.dataset.readers.images import stacked, trailing_number, with_pictures, with_suffix
from mp2flame.errors import FormatError
from mp2flame.formats import load_params
from mp2flame.formats.foreign import numbered_files

__all__ = ["read_head_tracker_folder", "read_imavatar", "read_nerf_export", "read_vhap_track"]

Float32 = NDArray[np.float32]

# What is read of a flame-head-tracker file, and how wide it is; the pictures inside are never touched.
_HEAD_TRACKER: Final = {"exp": None, "jaw_pose": 3, "eye_pose": 6, "blendshape_scores": 52}


def read_head_tracker_folder(folder: Path) -> Iterator[TrackedSequence]:
    """flame-head-tracker's folder for a video: `{frame}.npz` with the scores of each frame, numbers from 0.

    Raises:
        FormatError: a file is truncated, or lacks something.
    """
    files = numbered_files(folder)
    columns: dict[str, list[Float32]] = {name: [] for name in _HEAD_TRACKER}
    for path in files:
        for name, row in _head_tracker_file(path).items():
            columns[name].append(row)
    widths = {len(row) for row in columns["exp"]}
    if len(widths) > 1:
        raise FormatError(f"{folder}: expected the same number of coefficients in every file; got {sorted(widths)}")
    whole = {name: np.stack(rows) for name, rows in columns.items()}
    frame = np.array([int(path.stem) for path in files])
    truth = np.concatenate([whole["exp"], whole["jaw_pose"], whole["eye_pose"]], axis=1)
    yield TrackedSequence(
        subject=folder.name,
        name=folder.name,
        source=f"flame-head-tracker {folder}",
        params=FlameParams(
            time=frame / 30,
            found=np.isfinite(truth).all(axis=1),
            expression=whole["exp"],
            jaw_pose=whole["jaw_pose"],
            leye_pose=whole["eye_pose"][:, :3],
            reye_pose=whole["eye_pose"][:, 3:],
        ),
        frame=frame,
        seen={"scores": whole["blendshape_scores"]},
    )


def _head_tracker_file(path: Path) -> dict[str, Float32]:
    """The few small members that are needed; NumPy's archive reads a member only when it is asked for."""
    rows = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name, width in _HEAD_TRACKER.items():
                value = np.asarray(archive[name])
                if value.ndim != 2 or len(value) != 1 or width not in (None, value.shape[1]):
                    raise FormatError(f"{path}: {name} must have shape (1, {width or 'E'}); got {value.shape}")
                rows[name] = value[0].astype(np.float32)
    except KeyError as error:
        raise FormatError(
            f"{path} lacks {error.args[0].split()[0]}: expected a file of flame-head-tracker 4 (older ones have `pose`)"
        ) from error
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise FormatError(f"{path} is truncated or no .npz file: {error}") from error
    return rows


def read_vhap_track(path: Path, pictures: Path | None) -> Iterator[TrackedSequence]:
    """VHAP's `tracked_flame_params_*.npz`, or the folder with it; of several the last tracking wins.

    Raises:
        FormatError: it is damaged, or there is not one picture for each frame.
        MissingFileError: there are no pictures.
    """
    params = load_params(path)
    subject = (path if path.is_dir() else path.parent).name
    yield with_pictures(params, subject=subject, source=f"VHAP {path}", near=path, pictures=pictures)


def read_nerf_export(folder: Path) -> Iterator[TrackedSequence]:
    """VHAP's NeRF export: `transforms.json` names a picture and a parameter file for each frame and camera.

    Of several cameras the one with the most frames, and of those the first, is taken.

    Raises:
        FormatError: the JSON or a parameter file is damaged.
    """
    path = folder / "transforms.json"
    try:
        frames = json.loads(path.read_bytes())["frames"]
        entries = [
            (int(f.get("camera_index", 0)), int(f["timestep_index"]), f["file_path"], f["flame_param_path"])
            for f in frames
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path}: expected VHAP's transforms.json with flame_param_path; got {error!r}") from error
    cameras = [camera for camera, *_ in entries]
    if not cameras:
        raise FormatError(f"{path} lists no frames")
    chosen = max(sorted(set(cameras)), key=cameras.count)
    ours = sorted((step, picture, params) for camera, step, picture, params in entries if camera == chosen)
    parts = [load_params(folder / params) for _, _, params in ours]
    yield stacked(
        parts,
        subject=folder.name,
        name=f"camera {chosen}",
        source=f"VHAP export {folder}",
        frame=[step for step, _, _ in ours],
        pictures=[folder / picture for _, picture, _ in ours],
    )


def read_imavatar(path: Path) -> Iterator[TrackedSequence]:
    """IMAvatar's and PointAvatar's `flame_params.json`; its pictures are named in it without their suffix.

    Raises:
        FormatError: it is damaged.
        MissingFileError: none of its pictures exists.
    """
    params = load_params(path)
    entries = json.loads(path.read_bytes())["frames"]
    names = [str(entry.get("file_path", "")) for entry in entries]
    numbers = [trailing_number(name) for name in names]
    first = min(numbers)
    # load_params lays frames out by their numbers, with gaps.
    rows = [number - first for number in numbers] if len(set(numbers)) == len(numbers) else list(range(len(names)))
    yield stacked(
        [params[row] for row in rows],
        subject=path.parent.name,
        name=path.stem,
        source=f"IMAvatar {path}",
        frame=numbers,
        pictures=[with_suffix(path.parent / name) for name in names],
    )
