"""How good a mapping is on frames whose truth is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.data import FlameParams, Observation
from mp2flame.dataset.table import FrameTable
from mp2flame.errors import InputError
from mp2flame.geometry.face_regions import REGIONS, head_apertures, head_regions
from mp2flame.geometry.symmetry import Symmetry
from mp2flame.mapping.linear import N_ROTATIONS

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = [
    "Figures",
    "Frame",
    "Measures",
    "RegionFigure",
    "Ruler",
    "angle_between",
    "compare",
    "face_only",
    "mirrored",
    "told",
    "widened",
]

Float32 = NDArray[np.float32]

_CHUNK = 64
_KEPT_FRAMES = 12
# Frames of a sequence that are less than this apart show about the same face.
_APART = 10
# Closed more than half counts as a blink.
_BLINK = 0.5


@dataclass(frozen=True)
class Frame:
    """One frame and how far it is off."""

    subject: str
    sequence: str
    number: int
    mm: float
    """Mean distance of the face's vertices."""
    truth: NDArray[np.float32] = field(repr=False, compare=False)
    """(E + 9,)"""
    result: NDArray[np.float32] = field(repr=False, compare=False)
    """(E + 9,)"""

    def is_near(self, other: Frame) -> bool:
        """Whether the two are within a third of a second of each other, at thirty frames a second."""
        same = (self.subject, self.sequence) == (other.subject, other.sequence)
        return same and abs(self.number - other.number) < _APART

    def told(self) -> dict[str, str | int | float]:
        """Without the arrays, for JSON."""
        return {"subject": self.subject, "sequence": self.sequence, "frame": self.number, "mm": round(self.mm, 4)}


@dataclass
class Measures:
    """Sums over frames; `figures()` are the means. Lengths in millimetres, angles in degrees."""

    frames: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    worst: list[Frame] = field(default_factory=list)

    def count(self, name: str, values: NDArray[np.floating] | NDArray[np.bool_]) -> None:
        """Take values of a measure into its mean."""
        self.sums[name] = self.sums.get(name, 0.0) + float(values.sum(dtype=np.float64))
        self.counts[name] = self.counts.get(name, 0) + values.size

    def keep_worst(self, frames: Iterable[Frame]) -> None:
        """Remember the frames that are farthest off; of those that follow each other closely, the worst alone."""
        kept: list[Frame] = []
        for frame in sorted([*self.worst, *frames], key=lambda frame: -frame.mm):
            if not any(frame.is_near(other) for other in kept):
                kept.append(frame)
        self.worst = kept[:_KEPT_FRAMES]

    def mean(self, name: str) -> float | None:
        """The mean of a measure; None where nothing was counted, such as blinks of people who never blink."""
        return self.sums[name] / self.counts[name] if self.counts.get(name) else None

    def figures(self) -> dict[str, float]:
        """Every measure by name, with each region also relative to no expression."""
        result: dict[str, float] = {"frames": float(self.frames)}
        for name in self.sums:
            mean = self.mean(name)
            if mean is not None and not name.startswith("still "):
                result[name] = mean
        for region in REGIONS:
            still = self.mean(f"still {region} mm")
            if still:
                result[region] = result[f"{region} mm"] / still
        return result


def mirrored(seen: Observation, landmarks: NDArray[np.intp] | None) -> Observation:
    """What would have been seen in a mirrored picture of a mirrored person.

    Args:
        seen: the frames; the head transform is left out.
        landmarks: (478,) which landmark each one changes places with; needed where `seen` has landmarks.
    """
    changed: dict[str, Float32 | None] = {"scores": seen.scores[:, mirror_permutation(MEDIAPIPE)]}
    if seen.landmarks is not None and landmarks is not None:
        moved = seen.landmarks[:, landmarks] * np.array([-1, 1, 1], np.float32) + np.array([1, 0, 0], np.float32)
        changed["landmarks"] = moved
    else:
        changed["landmarks"] = None
    return replace(seen, head_transform=None, **changed)  # type: ignore[arg-type]


class Ruler:
    """Measures mappings' results on one head.

    Args:
        head: the head that truth and results are for.

    Raises:
        InputError: the head has no face that regions can be found on.
    """

    def __init__(self, head: FlameHead) -> None:
        self.head = head
        self._regions = head_regions(head)
        self._gaps = head_apertures(head, self._regions)
        self._neutral = head(FlameParams.neutral(n_expression=head.n_expression))[0]
        self._open_lids = self._gaps.lid_gaps(self._neutral[None])[0]
        self._face = np.flatnonzero(self._regions["face"])

    def add(self, measures: Measures, rows: FrameTable, result: FlameParams) -> None:
        """Count in the results for `rows`, of one subject; frames without a face or truth are left out.

        Raises:
            InputError: another number of results than rows.
        """
        if len(rows) != len(result):
            raise InputError(f"expected a result for each of {len(rows)} frames; got {len(result)}")
        both = np.flatnonzero(rows.usable & result.found)
        truth, got = (widened(values, self.head.n_expression)[both] for values in (rows.parameters, result.to_rows()))
        measures.frames += len(both)
        follows = _follows(rows, both)
        before = np.zeros((0, len(self._face), 3), dtype=np.float32)
        for start in range(0, len(both), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            meshes = self.head(FlameParams.from_rows(truth[chunk])), self.head(FlameParams.from_rows(got[chunk]))
            self._count(measures, *meshes)
            off = (meshes[1] - meshes[0])[:, self._face]
            distance = np.linalg.norm(off, axis=2).mean(axis=1) * 1000
            worst = np.argsort(-distance, kind="stable")[:_KEPT_FRAMES]
            measures.keep_worst(
                Frame(
                    rows.subject,
                    str(rows.sequence[both[start + i]]),
                    int(rows.frame[both[start + i]]),
                    float(distance[i]),
                    truth[start + i],
                    got[start + i],
                )
                for i in worst
            )
            lead = start - len(before)
            _count_jitter(measures, np.concatenate([before, off]), follows[lead : start + len(off)])
            before = off[-2:]
        error = np.degrees(got - truth)[:, self.head.n_expression :]
        measures.count("jaw degrees", np.abs(error[:, 0]))
        measures.count("gaze degrees", np.linalg.norm(error[:, 3:6], axis=1))

    def _count(self, measures: Measures, true: Float32, got: Float32) -> None:
        error = np.linalg.norm(got - true, axis=2) * 1000
        still = np.linalg.norm(self._neutral - true, axis=2) * 1000
        for name, mask in self._regions.items():
            measures.count(f"{name} mm", error[:, mask].mean(axis=1))
            measures.count(f"still {name} mm", still[:, mask].mean(axis=1))
        measures.count("lip gap mm", np.abs(self._gaps.lip_gap(got) - self._gaps.lip_gap(true)) * 1000)
        lids = self._gaps.lid_gaps(true), self._gaps.lid_gaps(got)
        measures.count("lid gap mm", np.abs(lids[1] - lids[0]) * 1000)
        shut = lids[0] < _BLINK * self._open_lids
        measures.count("blink recall", (lids[1] < _BLINK * self._open_lids)[shut])

    def add_asymmetry(self, measures: Measures, straight: FlameParams, other: FlameParams, symmetry: Symmetry) -> None:
        """Count in how far the result of the mirrored frames is from the mirrored result, over the face.

        Args:
            measures: to count in.
            straight: results of the frames.
            other: results of the mirrored frames.
            symmetry: of the head.
        """
        both = straight.found & other.found
        width = self.head.n_expression
        expected = (widened(straight.to_rows()[both], width) @ symmetry.matrix).astype(np.float32)
        got = widened(other.to_rows()[both], width)
        for start in range(0, len(got), _CHUNK):
            rows = slice(start, start + _CHUNK)
            difference = self.head(FlameParams.from_rows(got[rows])) - self.head(FlameParams.from_rows(expected[rows]))
            measures.count("asymmetry mm", np.linalg.norm(difference[:, self._face], axis=2).mean(axis=1) * 1000)


def widened(joined: Float32, n_expression: int) -> Float32:
    """Joined rows with their expression padded by zeros to E coefficients.

    Raises:
        InputError: they have more than E.
    """
    extra = n_expression + N_ROTATIONS - joined.shape[1]
    if extra < 0:
        raise InputError(
            f"expected at most {n_expression} expression coefficients, as the head has; "
            f"got {joined.shape[1] - N_ROTATIONS}: give the head that they were made for"
        )
    return np.insert(joined, [joined.shape[1] - N_ROTATIONS] * extra, 0, axis=1) if extra else joined


def _follows(rows: FrameTable, both: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(n,) whether each frame is the next one after the frame before it."""
    follows = np.zeros(len(both), dtype=np.bool_)
    follows[1:] = (np.diff(rows.frame[both]) == 1) & (rows.sequence[both][1:] == rows.sequence[both][:-1])
    return follows


def _count_jitter(measures: Measures, off: Float32, follows: NDArray[np.bool_]) -> None:
    """Count second differences in time of what the result adds to the truth: trembling that the face does not do.

    Args:
        measures: to count in.
        off: (m, V, 3) metres that results are off, frame by frame.
        follows: (m,) whether each frame is the next one after the frame before it.
    """
    last = np.flatnonzero(follows[2:] & follows[1:-1]) + 2
    shaking = off[last] - 2 * off[last - 1] + off[last - 2]
    measures.count("jitter mm", np.linalg.norm(shaking, axis=2).mean(axis=1) * 1000)


def told(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures rounded for people and files."""
    return {name: round(value, 4) for name, value in figures.items()}


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
