"""The format of a parameter file: recognized by its content when it is read, chosen by its suffix when it is written.

The readers are imported when they are needed: `import mp2flame` must be fast.
"""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from mp2flame.data import FlameParams, HeadLike
from mp2flame.errors import FormatError, InputError
from mp2flame.files import check_regular
from mp2flame.formats.base import ParamsSink
from mp2flame.sinks.registry import file_sink_class
from mp2flame.validation import check_number

FRAME_FOLDER = "flame_param"
"""The name of VHAP's folder with one file for each frame."""
_OWN_SUFFIXES: Final = ("", ".npz", ".csv", ".json", ".jsonl")


def load_params(path: str | Path, *, frame_rate: float = 30.0) -> FlameParams:
    """FLAME parameters from a file or folder, its format recognized by its content.

    Reads this package's `.npz`, `.csv` and `.jsonl`; VHAP's `tracked_flame_params_*.npz` and GaussianAvatars'
    `flame_param.npz`; VHAP's `flame_param/` and flame-head-tracker's folders with a file for each frame; IMAvatar's
    and PointAvatar's `flame_params.json`; BEAT2's and EMAGE's `.npz`. In a folder of results the last tracking counts.
    Any other suffix is looked up among the entry points of the group `mp2flame.formats`.

    Args:
        path: the file or folder.
        frame_rate: frames per second of formats that hold no times.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is in no known format, truncated, or inconsistent.
        InputError: the frame rate is not above 0.
    """
    from mp2flame.formats import csv_table, foreign, recording

    path = Path(path)
    check_number("frame_rate", frame_rate, above=0)
    if path.suffix.lower() not in _OWN_SUFFIXES:
        for entry in entry_points(group="mp2flame.formats", name=path.suffix.lower()):
            params: FlameParams = entry.load().read(path, frame_rate=frame_rate)
            return params
    if path.is_dir():
        return _load_folder(path, frame_rate)
    check_regular(path, "parameter file")
    with path.open("rb") as file:
        start = file.read(512)
    if start[:2] == b"PK":
        return foreign.read_npz_params(path, frame_rate=frame_rate)
    if start.lstrip()[:1] == b"{":
        if recording.FORMAT.encode() in start:
            return recording.load_recorded_params(path)
        return foreign.read_flame_json(path, frame_rate=frame_rate)
    if not start or start[:1] == b"\x80" or b"\0" in start:
        raise FormatError(
            f"{path} is {'not' if start else 'empty, not'} a parameter file: expected .npz, .jsonl, .csv or "
            "flame_params.json (pickles and .frame files are not read, for they can run code)"
        )
    return csv_table.read_csv(path)


def _load_folder(folder: Path, frame_rate: float) -> FlameParams:
    from mp2flame.formats.foreign import numbered_files, read_frame_folder

    for frames in (folder, folder / FRAME_FOLDER):
        if numbered_files(frames) or (frames != folder and frames.is_dir()):
            return read_frame_folder(frames, frame_rate=frame_rate)
    tracked = sorted(folder.glob("tracked_flame_params*.npz"), key=_epoch)[-1:]
    for path in (*tracked, folder / "flame_param.npz", folder / "flame_params.json"):
        if path.is_file():
            return load_params(path, frame_rate=frame_rate)
    raise FormatError(
        f"{folder} holds no parameters: expected numbered .npz files, flame_param/, tracked_flame_params_*.npz, "
        "flame_param.npz or flame_params.json"
    )


def _epoch(path: Path) -> int:
    match = re.fullmatch(r"tracked_flame_params_?([0-9]{1,18})", path.stem)
    return int(match[1]) if match else -1


def save_params(params: FlameParams, path: str | Path, *, head: HeadLike | None = None) -> None:
    """Write parameters in the format that the suffix names: `.npz`, `.csv`, or a folder called `flame_param`.

    Args:
        params: the parameters.
        path: the final name.
        head: the head that they are for; None for FLAME. GaussianAvatars needs offsets for each of FLAME's 5023
            vertices, which are written as zeros unless the head has another number of them.

    Raises:
        InputError: no format of parameters has this suffix.
        MissingFileError: the folder around it does not exist.
        SinkError: it cannot be written; nothing is left under that name.
    """
    path = Path(path)
    # Sinks of videos are not imported only to be refused.
    sink_class = None if path.suffix.lower() in (".mp4", ".gif") else file_sink_class(path)
    if sink_class is None or not issubclass(sink_class, ParamsSink):
        raise InputError(
            f"expected a parameter file .npz or .csv, or a folder named {FRAME_FOLDER}; got {path.name}"
            + (" (a recording holds observations too: use a sink)" if path.suffix.lower() == ".jsonl" else "")
        )
    with sink_class(path, head=head) as sink:
        sink.append(params)
