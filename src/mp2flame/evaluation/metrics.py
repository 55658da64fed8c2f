"""Errors of predicted against true parameters, measured on the head: distances, openings, angles, jitter.

Letters: N frames, E expression coefficients, P = E + 9 parameters (`FlameParams.to_rows`), V vertices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.data import FlameParams
from mp2flame.dataset.table import FrameTable
from mp2flame.errors import InputError
from mp2flame.geometry.face_regions import head_apertures, head_regions
from mp2flame.geometry.symmetry import Symmetry

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

Float32 = NDArray[np.float32]

_CHUNK = 64
_WORST_FRAMES = 12
_SAME_SECONDS = 1 / 3
"""Frames of a video that are less than this apart show about the same face."""
_BLINK = 0.5
"""A lid that is closed by more than this share of its neutral opening is in a blink."""
_NEUTRAL = "neutral "
"""Names the error of no expression at all in the sums."""


@dataclass(frozen=True)
class FrameError:
    """One frame and its error."""

    subject: str
    sequence: str
    number: int
    mm: float
    """Mean distance of the face's vertices."""
    truth: Float32 = field(repr=False, compare=False)
    """(P,)"""
    result: Float32 = field(repr=False, compare=False)
    """(P,)"""
    video_time: float | None = field(default=None, repr=False, compare=False)
    """Seconds from the start of the video that the frame is of; None for an unrelated frame."""

    def is_near(self, other: FrameError) -> bool:
        """Whether the two are frames of one video, less than a third of a second apart."""
        if self.video_time is None or other.video_time is None:
            return False
        same = (self.subject, self.sequence) == (other.subject, other.sequence)
        return same and abs(self.video_time - other.video_time) < _SAME_SECONDS

    def as_json(self) -> dict[str, str | int | float]:
        """Subject, sequence, frame and error."""
        return {"subject": self.subject, "sequence": self.sequence, "frame": self.number, "mm": round(self.mm, 4)}


@dataclass
class ErrorSums:
    """Sums of errors over frames; `figures()` are the means. Lengths in millimeters, angles in degrees."""

    frames: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    worst: list[FrameError] = field(default_factory=list)

    def count(self, name: str, values: NDArray[np.floating] | NDArray[np.bool_]) -> None:
        """Add values of an error to its mean."""
        self.sums[name] = self.sums.get(name, 0.0) + float(values.sum(dtype=np.float64))
        self.counts[name] = self.counts.get(name, 0) + values.size

    def keep_worst(self, frames: Iterable[FrameError]) -> None:
        """Remember the frames with the largest errors; of those of one moment of a video only the worst."""
        kept: list[FrameError] = []
        for frame in sorted([*self.worst, *frames], key=lambda frame: -frame.mm):
            if not any(frame.is_near(other) for other in kept):
                kept.append(frame)
        self.worst = kept[:_WORST_FRAMES]

    def mean(self, name: str) -> float | None:
        """The mean of an error; None where nothing was counted, such as blinks of people who never blink."""
        return self.sums[name] / self.counts[name] if self.counts.get(name) else None

    def figures(self) -> dict[str, float]:
        """Every mean by name; those of regions, jaw and gaze also relative to no expression at all.

        Relative figures have the name alone (`face`, `jaw`), the others have their unit (`face mm`, `jaw degrees`).
        A relative figure of 1 is no better than a neutral face; there is none where the truth is neutral.
        """
        result: dict[str, float] = {"frames": float(self.frames)}
        for name in self.sums:
            mean = self.mean(name)
            if mean is not None and not name.startswith(_NEUTRAL):
                result[name] = mean
        for name in [name for name in result if _NEUTRAL + name in self.sums]:
            neutral = self.mean(_NEUTRAL + name)
            if neutral:
                result[name.rpartition(" ")[0]] = result[name] / neutral
        return result


def rounded(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures rounded for people and files."""
    return {name: round(value, 4) for name, value in figures.items()}


class MeshEvaluator:
    """Measures parameters on one head, on the mean identity, the head not turned.

    Args:
        head: the head that truth and results are for.

    Raises:
        InputError: the head has no face that regions can be found on.
    """

    def __init__(self, head: FlameHead) -> None:
        self.head = head
        self._regions = head_regions(head)
        self._apertures = head_apertures(head)
        self._neutral = head(FlameParams.neutral(n_expression=head.n_expression))[0]
        self._open_lids = self._apertures.lid_gaps(self._neutral[None])[0]
        self._face = np.flatnonzero(self._regions["face"])

    def add(self, errors: ErrorSums, table: FrameTable, result: FlameParams) -> None:
        """Add the errors of the results for the table's frames; frames without a face or truth are left out.

        Raises:
            InputError: another number of results than frames.
        """
        if len(table) != len(result):
            raise InputError(f"expected a result for each of {len(table)} frames; got {len(result)}")
        both = np.flatnonzero(table.usable & result.found)
        truth, predicted = (self._rows(rows)[both] for rows in (table.parameters, result.to_rows()))
        # Frames that follow each other in a video, for second differences in time.
        follows = np.zeros(len(both), dtype=np.bool_)
        if table.video:
            sequence, frame = table.sequence[both], table.frame[both]
            follows[1:] = (np.diff(frame) == 1) & (sequence[1:] == sequence[:-1])
        before = np.zeros((0, len(self._face), 3), dtype=np.float32)
        for start, off in self._count(errors, truth, predicted):
            distance = np.linalg.norm(off, axis=2).mean(axis=1) * 1000
            errors.keep_worst(
                FrameError(
                    subject=table.subject,
                    sequence=str(table.sequence[both[row]]),
                    number=int(table.frame[both[row]]),
                    mm=float(distance[row - start]),
                    truth=truth[row],
                    result=predicted[row],
                    video_time=float(table.time[both[row]]) if table.video else None,
                )
                for row in start + np.argsort(-distance, kind="stable")[:_WORST_FRAMES]
            )
            recent = np.concatenate([before, off])
            linked = follows[start - len(before) : start + len(off)]
            last = np.flatnonzero(linked[2:] & linked[1:-1]) + 2
            shaking = recent[last] - 2 * recent[last - 1] + recent[last - 2]
            errors.count("jitter mm", np.linalg.norm(shaking, axis=2).mean(axis=1) * 1000)
            before = recent[-2:]

    def add_asymmetry(self, errors: ErrorSums, result: FlameParams, mirrored: FlameParams, symmetry: Symmetry) -> None:
        """Add how far the results of mirrored frames are from the mirrored results, over the face.

        Args:
            errors: to add to.
            result: results of the frames.
            mirrored: results of the mirrored frames.
            symmetry: of the head.
        """
        both = result.found & mirrored.found
        expected = (self._rows(result.to_rows())[both] @ symmetry.matrix).astype(np.float32)
        rows = self._rows(mirrored.to_rows())[both]
        for start in range(0, len(rows), _CHUNK):
            meshes = [self.head(FlameParams.from_rows(part[start : start + _CHUNK])) for part in (rows, expected)]
            difference = (meshes[0] - meshes[1])[:, self._face]
            errors.count("asymmetry mm", np.linalg.norm(difference, axis=2).mean(axis=1) * 1000)

    def compare(self, predicted: FlameParams, truth: FlameParams) -> ErrorSums:
        """The errors of predicted parameters, frame by frame, over the frames with a face in both.

        Besides what `add` measures, without jitter: the angle between the rotations of the head (`global_orient`).

        Raises:
            InputError: the two do not have the same number of frames, or no frame has a face in both.
        """
        if len(predicted) != len(truth):
            raise InputError(f"expected as many predicted frames as true ones; got {len(predicted)} and {len(truth)}")
        both = np.flatnonzero(predicted.found & truth.found)
        if not len(both):
            raise InputError("expected frames with a face to compare; there is none")
        errors = ErrorSums()
        for _ in self._count(errors, *(self._rows(params.to_rows())[both] for params in (truth, predicted))):
            pass
        errors.count("head degrees", angle_between(predicted.global_orient[both], truth.global_orient[both]))
        return errors

    def _rows(self, rows: Float32) -> Float32:
        """Parameters with their expression padded by zeros to the head's E coefficients."""
        return FlameParams.from_rows(
            rows, n_expression=self.head.n_expression, found=np.zeros(len(rows), bool)
        ).to_rows()

    def _count(self, errors: ErrorSums, truth: Float32, predicted: Float32) -> Iterator[tuple[int, Float32]]:
        """Add all errors that single frames have; yields chunks of the face's displacement (n, V, 3), meters."""
        errors.frames += len(truth)
        for start in range(0, len(truth), _CHUNK):
            parts = truth[start : start + _CHUNK], predicted[start : start + _CHUNK]
            true, mesh = (self.head(FlameParams.from_rows(part)) for part in parts)
            self._count_meshes(errors, true, mesh)
            yield start, (mesh - true)[:, self._face]
        angles, error = (np.degrees(rows[:, self.head.n_expression :]) for rows in (truth, predicted - truth))
        for prefix, degrees in (("", error), (_NEUTRAL, angles)):
            errors.count(f"{prefix}jaw degrees", np.abs(degrees[:, 0]))
            errors.count(f"{prefix}gaze degrees", np.linalg.norm(degrees[:, 3:].reshape(-1, 2, 3), axis=2))

    def _count_meshes(self, errors: ErrorSums, true: Float32, mesh: Float32) -> None:
        distance, neutral = (np.linalg.norm(other - true, axis=2) * 1000 for other in (mesh, self._neutral))
        for name, mask in self._regions.items():
            errors.count(f"{name} mm", distance[:, mask].mean(axis=1))
            errors.count(f"{_NEUTRAL}{name} mm", neutral[:, mask].mean(axis=1))
        lips, lids = self._apertures.lip_gap, self._apertures.lid_gaps
        errors.count("lip gap mm", np.abs(lips(mesh) - lips(true)) * 1000)
        errors.count("lid gap mm", np.abs(lids(mesh) - lids(true)) * 1000)
        closed = lids(true) < _BLINK * self._open_lids
        errors.count("blink recall", (lids(mesh) < _BLINK * self._open_lids)[closed])


def compare(head: FlameHead, predicted: FlameParams, truth: FlameParams) -> dict[str, float]:
    """The figures of predicted parameters, see `MeshEvaluator.compare` and `ErrorSums.figures`."""
    return MeshEvaluator(head).compare(predicted, truth).figures()


def angle_between(first: Float32, second: Float32) -> NDArray[np.float64]:
    """Angles (N,) in degrees between rotations given as axis-angle (N, 3)."""
    difference = rotations.compose(rotations.inverse(first), second)
    angles: NDArray[np.float64] = np.degrees(np.linalg.norm(difference, axis=1))
    return angles
