"""Files as trackers write them, small and with random numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

N_FRAMES = 6


def tool_truth(n: int = N_FRAMES, e: int = 100) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    names = {"expr": e, "jaw_pose": 3, "eyes_pose": 6, "neck_pose": 3, "rotation": 3, "translation": 3}
    values: dict[str, Any] = {
        name: rng.normal(0, 0.1, size=(n, width)).astype(np.float32) for name, width in names.items()
    }
    return {**values, "shape": np.zeros(300, np.float32)}


def tool_scores(n: int = N_FRAMES, seed: int = 1) -> np.ndarray:
    scores = np.random.default_rng(seed).random((n, 52)).astype(np.float32) / 2
    scores[:, [0, 51]] = 1e-4
    return scores


def blank_pictures(folder: Path, names: list[str]) -> None:
    from PIL import Image

    folder.mkdir(parents=True)
    for name in names:
        Image.fromarray(np.full((64, 48, 3), 120, np.uint8)).save(folder / name)


def head_tracker_folder(folder: Path, n: int = N_FRAMES, e: int = 100) -> Path:
    folder.mkdir(parents=True)
    truth, scores = tool_truth(n, e), tool_scores(n)
    for i in range(n):
        np.savez_compressed(
            folder / f"{2 * i}.npz",
            exp=truth["expr"][i : i + 1],
            jaw_pose=truth["jaw_pose"][i : i + 1],
            eye_pose=truth["eyes_pose"][i : i + 1],
            blendshape_scores=scores[i : i + 1],
            img=np.zeros((1, 64, 64, 3), np.uint8),
        )
    return folder


def four_arrays_folder(folder: Path, scores: np.ndarray, e: int = 50) -> Path:
    folder.mkdir(parents=True)
    truth = tool_truth(len(scores), e)
    np.save(folder / "data_blendshapes.npy", scores)
    np.save(folder / "data_exp.npy", truth["expr"])
    np.save(folder / "data_jaw_pose.npy", truth["jaw_pose"])
    np.save(folder / "data_eye_pose.npy", truth["eyes_pose"])
    return folder
