"""How far one face is from another on the head itself: by region in millimetres, jaw and gaze in degrees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.data import FlameParams
from mp2flame.errors import InputError
from mp2flame.geometry.face_regions import head_regions

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["Figures", "RegionFigure", "angle_between", "compare", "face_only"]

_CHUNK = 64


@dataclass(frozen=True)
class RegionFigure:
    """Distance of corresponding vertices, averaged over a region's vertices and over frames."""

    mm: float
    """Millimetres."""
    relative: float
    """Divided by the same for no expression at all; 1 is no better than a still face, NaN where the truth is still."""


@dataclass(frozen=True)
class Figures:
    """Errors of predicted against true parameters, over the frames with a face in both."""

    regions: Mapping[str, RegionFigure]
    """By region of the face."""
    jaw_degrees: float
    """Mean absolute error of the jaw's opening."""
    jaw_relative: float
    """The same divided by that of a closed jaw."""
    gaze_degrees: float
    """Mean norm of the left eye's axis-angle error."""
    gaze_relative: float
    """The same divided by that of eyes that look ahead."""
    head_degrees: float
    """Mean angle between predicted and true rotation of the head (`global_orient`)."""
    frames: int
    """How many frames were compared."""


def face_only(params: FlameParams) -> FlameParams:
    """Expression, jaw and eyes alone: head not turned, nobody's identity."""
    still = np.zeros((len(params), 3), dtype=np.float32)
    return replace(params, global_orient=still, neck_pose=still, translation=still, shape=None)


def angle_between(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Angles (N,) in degrees between rotations given as axis-angle (N, 3)."""
    difference = rotations.compose(rotations.inverse(first), second)
    angles: NDArray[np.float64] = np.degrees(np.linalg.norm(difference, axis=1))
    return angles


def compare(head: FlameHead, predicted: FlameParams, truth: FlameParams) -> Figures:
    """Errors on the mean identity, frame by frame.

    Args:
        head: the head that both belong to; its identity is not used.
        predicted: N frames.
        truth: the same N frames as they really were.

    Returns:
        Means over the frames with a face in both, absolute and relative to no expression at all.

    Raises:
        InputError: the two do not have the same number of frames, or no frame has a face in both.
    """
    if len(predicted) != len(truth):
        raise InputError(f"expected as many predicted frames as true ones; got {len(predicted)} and {len(truth)}")
    both = np.flatnonzero(predicted.found & truth.found)
    if not len(both):
        raise InputError("expected frames with a face to compare; there is none")
    predicted, truth = predicted[both], truth[both]
    distances = _region_distances(head, face_only(predicted), face_only(truth))
    jaw = np.degrees(
        [np.abs(predicted.jaw_pose[:, 0] - truth.jaw_pose[:, 0]).mean(), np.abs(truth.jaw_pose[:, 0]).mean()]
    )
    gaze = np.degrees(
        [
            np.linalg.norm(predicted.leye_pose - truth.leye_pose, axis=1).mean(),
            np.linalg.norm(truth.leye_pose, axis=1).mean(),
        ]
    )
    return Figures(
        regions={name: RegionFigure(1e3 * error, _ratio(error, still)) for name, (error, still) in distances.items()},
        jaw_degrees=float(jaw[0]),
        jaw_relative=_ratio(*jaw),
        gaze_degrees=float(gaze[0]),
        gaze_relative=_ratio(*gaze),
        head_degrees=float(angle_between(predicted.global_orient, truth.global_orient).mean()),
        frames=len(both),
    )


def _ratio(error: float, still: float) -> float:
    return float(error / still) if still > 0 else float("nan")


def _region_distances(head: FlameHead, predicted: FlameParams, truth: FlameParams) -> dict[str, tuple[float, float]]:
    """Mean distance to the truth in metres by region, of the prediction and of the neutral face."""
    regions = head_regions(head)
    neutral = head(FlameParams.neutral(n_expression=head.n_expression))
    sums = {name: np.zeros(2) for name in regions}
    for start in range(0, len(truth), _CHUNK):
        rows = slice(start, start + _CHUNK)
        true = head(truth[rows])
        errors = [np.linalg.norm(mesh - true, axis=2) for mesh in (head(predicted[rows]), neutral)]
        for name, mask in regions.items():
            sums[name] += [error[:, mask].mean(axis=1).sum() for error in errors]
    return {name: (float(total[0]) / len(truth), float(total[1]) / len(truth)) for name, total in sums.items()}
