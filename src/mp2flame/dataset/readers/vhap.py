"""VHAP's results: a track, and the export for NeRFs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mp2flame.dataset.readers.base import TrackedSequence, sequence_of_frames, subject_of, with_images
from mp2flame.errors import FormatError, plain
from mp2flame.files import LARGEST_JSON, read_bounded
from mp2flame.formats import load_params

TRACK = "tracked_flame_params"


def read_vhap_track(path: Path, images: Path | None) -> Iterator[TrackedSequence]:
    """VHAP's `tracked_flame_params_*.npz`, or the folder with it; of several the last tracking wins.

    Raises:
        FormatError: it is damaged, or there is not one image for each frame.
        MissingFileError: there are no images.
    """
    params = load_params(path)
    yield with_images(params, subject=subject_of(path, TRACK), source=f"VHAP {path}", near=path, images=images)


def read_nerf_export(folder: Path) -> Iterator[TrackedSequence]:
    """VHAP's NeRF export: `transforms.json` names an image and a parameter file for each frame and camera.

    Of several cameras the one with the most frames, and of those the first, is taken.

    Raises:
        FormatError: the JSON or a parameter file is damaged.
    """
    path = folder / "transforms.json"
    content = read_bounded(path, "list of frames", limit=LARGEST_JSON)
    try:
        frames = json.loads(content)["frames"]
        entries = [
            (int(f.get("camera_index", 0)), int(f["timestep_index"]), str(f["file_path"]), str(f["flame_param_path"]))
            for f in frames
        ]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise FormatError(
            f"{path}: expected VHAP's transforms.json with flame_param_path; got {plain(repr(error))}"
        ) from error
    cameras = [camera for camera, *_ in entries]
    if not cameras:
        raise FormatError(f"{path} lists no frames")
    chosen = max(sorted(set(cameras)), key=cameras.count)
    ours = sorted((step, image, params) for camera, step, image, params in entries if camera == chosen)
    yield sequence_of_frames(
        [load_params(folder / params) for _, _, params in ours],
        [step for step, _, _ in ours],
        [folder / image for _, image, _ in ours],
        subject=folder.name,
        name=f"camera {chosen}",
        source=f"VHAP export {folder}",
    )
