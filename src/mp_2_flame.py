"""Drop-in module for code written against `mp_2_flame.py` of PeizhiYan/mediapipe-blendshapes-to-flame.

    from mp_2_flame import MP_2_FLAME, compute_head_pose_from_mp_landmarks_3d

    mp2flame = MP_2_FLAME(mappings_path="./mappings")
    exp, pose, eye_pose = mp2flame.convert(blendshape_scores=scores)

Same calls, shapes, dtypes and values (up to rounding) for both layouts of a mapping folder: with `bs2jaw.npy` the
second result is the jaw pose (N, 3), with the older `bs2pose.npy` it is head rotation and jaw pose (N, 6).

What differs from the original, and why:

- `convert` makes one matrix product where the original makes three.
- With `bs2pose.npy` the head rotation is zero in every row, as scores hold no head rotation. The original set the first
  row only to zero (`pose[0, :3] = 0`).
- Scores of another width, or with NaN or infinity, raise `mp2flame.errors.InputError` instead of passing through.
- Matrices are checked when they are loaded, and pickled objects in them are refused.
- `compute_head_pose_from_mp_landmarks_3d` takes the middle of the image, (width/2, height/2), as principal point; the
  original had the two swapped. Its object points are those of a head; the original passed the detected points
  themselves, cut to whole pixels. It therefore needs no z of the landmarks.
- Landmarks normalized to 0..1 are accepted as well as pixels.

The package `mp2flame` offers the same with a person's neutral face, other heads and filters: see its README.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.errors import InputError, MissingExtraError
from mp2flame.mapping.npy_folder import read_npy_folder

__all__ = ["MP_2_FLAME", "compute_head_pose_from_mp_landmarks_3d"]


class MP_2_FLAME:  # noqa: N801 - the name that programs were written against
    """Convert MediaPipe's 52 blendshape scores to FLAME coefficients.

    Args:
        mappings_path: a folder with `bs2exp.npy`, `bs2eye.npy`, and `bs2jaw.npy` or `bs2pose.npy`.

    Attributes:
        bs2exp: (52, 50) or (52, 100) as in the folder.
        bs2jaw: (52, 3); only where the folder has it.
        bs2pose: (52, 6); only where the folder has it and no `bs2jaw`.
        bs2eye: (52, 6).

    Raises:
        mp2flame.errors.MissingFileError: the folder, or one of its files, does not exist.
        mp2flame.errors.FormatError: a file is damaged, or of another shape.
    """

    def __init__(self, mappings_path: str | Path) -> None:
        matrices = read_npy_folder(mappings_path)
        for name, matrix in matrices.items():
            setattr(self, name, matrix)
        blocks = list(matrices.values())
        if "bs2pose" in matrices:
            jaw = matrices["bs2pose"].copy()
            jaw[:, :3] = 0
            blocks[1] = jaw
        self._fused = np.concatenate(blocks, axis=1)
        self._dtypes = [block.dtype for block in blocks]
        ends = np.cumsum([block.shape[1] for block in blocks]).tolist()
        # Made once: building them for every frame would take as long as using them.
        self._parts = tuple((..., slice(start, stop)) for start, stop in zip([0, *ends], ends, strict=False))
        self._uniform = len(set(self._dtypes)) == 1

    def convert(self, blendshape_scores: ArrayLike) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Expression, jaw (or head and jaw) and eyes of each row of scores.

        Args:
            blendshape_scores: (N, 52) scores in MediaPipe's order; (52,) gives results without N.

        Returns:
            exp (N, 50 or 100); pose (N, 3) jaw, or (N, 6) head rotation (zero) and jaw; eye_pose (N, 6), left eye
            first. Axis-angle in radians. Dtypes as of `scores @ matrix`. The three are parts of one array and do not
            overlap; `numpy.ascontiguousarray` makes one of its own for code that needs it.

        Raises:
            mp2flame.errors.InputError: the last axis is not 52 wide, or a score is NaN or infinite.
        """
        if type(blendshape_scores) is np.ndarray and blendshape_scores.shape == (1, 52) and self._uniform:
            values = blendshape_scores.dot(self._fused)
            # A score that is not finite makes every value of its row not finite.
            if math.isfinite(values.item(0)):
                exp, pose, eye = self._parts
                return values[exp], values[pose], values[eye]
        return self._convert_any(blendshape_scores)

    def _convert_any(self, blendshape_scores: ArrayLike) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        scores = _as_numbers("blendshape_scores", blendshape_scores)
        if scores.ndim == 0 or scores.shape[-1] != 52:
            raise InputError(f"expected blendshape_scores (N, 52) in MediaPipe's order; got {scores.shape}")
        with np.errstate(invalid="ignore"):  # infinity less infinity; refused below
            values = scores @ self._fused
        finite = np.isfinite(values[..., 0])
        if not finite.all():
            row = int(np.argmin(finite))
            raise InputError(f"expected finite blendshape_scores; row {row} holds NaN or infinity: leave it out")
        exp, pose, eye = (
            values[part].astype(np.result_type(scores.dtype, dtype), copy=False)
            for part, dtype in zip(self._parts, self._dtypes, strict=True)
        )
        return exp, pose, eye


def _as_numbers(name: str, value: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected {name} as an array of numbers; got {type(value).__name__}") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"expected {name} as an array of numbers; got {array.dtype}")
    return array


@cache
def _model() -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Landmark numbers (K,) and where they are on the built-in head (K, 3), in the axes of OpenCV's camera."""
    table = np.loadtxt(str(files("mp2flame.mapping") / "assets" / "head_pose_model.csv"), delimiter=",", skiprows=3)
    return table[:, 0].astype(np.intp), np.ascontiguousarray(table[:, 1:])


def compute_head_pose_from_mp_landmarks_3d(
    face_landmarks: ArrayLike, img_h: int, img_w: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation and translation of the head, by perspective-n-point from MediaPipe's landmarks.

    As in the original, the camera is taken to have a focal length of `img_w` pixels (a horizontal opening angle of 53
    degrees) and no distortion. The model is a set of landmarks on the built-in head, those that expressions move
    least. See the top of this module for what differs from the original.

    Args:
        face_landmarks: (478, 3) or (468, 3), x and y in pixels (or normalized to 0..1); z is not used.
        img_h: height of the image in pixels.
        img_w: width of the image in pixels.

    Returns:
        rotation_vec (3, 1), axis-angle in radians, and translation_vec (3, 1), meters, that take points of the head to
        OpenCV's camera: x right in the image, y down, z away from the camera. The head's own axes are the same for a
        face that looks straight into the camera, whose rotation is therefore zero; its origin is midway between the
        eyes. An adult's distance is right as far as the focal length and the size of the head are.

    Raises:
        mp2flame.errors.InputError: the landmarks have another shape or are not finite, or the size is not positive.
        mp2flame.errors.MissingExtraError: OpenCV is not installed.
    """
    landmarks = _as_numbers("face_landmarks", face_landmarks).astype(np.float64)
    if landmarks.ndim != 2 or landmarks.shape[0] not in (468, 478) or landmarks.shape[1] not in (2, 3):
        raise InputError(f"expected face_landmarks (478, 3); got {landmarks.shape}")
    if not (img_h > 0 and img_w > 0):
        raise InputError(f"expected img_h and img_w of an image in pixels; got {img_h} and {img_w}")
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("cv2", "track", "find the head's pose") from error
    numbers, points = _model()
    image_points = landmarks[numbers, :2]
    if not np.isfinite(image_points).all():
        raise InputError("expected finite face_landmarks; got NaN or infinity")
    if np.ptp(image_points, axis=0).max() <= 2:  # No detected face is two pixels wide: these are normalized.
        image_points = image_points * (img_w, img_h)
    image_points = np.ascontiguousarray(image_points)
    camera = np.array([[img_w, 0, img_w / 2], [0, img_w, img_h / 2], [0, 0, 1]], dtype=np.float64)
    found, rotation, translation = cv2.solvePnP(points, image_points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    if not found:
        raise InputError("expected landmarks of a face; no head pose explains these points")
    rotation, translation = cv2.solvePnPRefineLM(points, image_points, camera, None, rotation, translation)
    return rotation.reshape(3, 1), translation.reshape(3, 1)
