"""All frames of one video, solved together.

Letters: N frames with a face, K landmarks, D unknowns of a frame, E expression coefficients.

Gauss-Newton on the maximum a posteriori: every frame's landmarks under the learned error model, a prior on its face,
and ties to its neighbours in time. The prior is normal with the covariance that faces have, times a scale that each
frame has of its own: calm frames are believed to be calm, lively ones lively. The scale is integrated out by
expectation-maximisation, which makes the prior a Student t (Liu and Rubin 1995, "ML estimation of the t distribution
using EM"). Where a mapping for the head is at hand, the prior is about what it gives, and narrower. Landmarks that
miss by much more than they ever do are not believed (iteratively reweighted least squares). Marks on the skin, where
they were looked for, count along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.geometry.skinned_points import SkinnedPoints
from mp2flame.landmark_model.error_model import Information
from mp2flame.tracking.equations import Lens, Scene, Sight, face_equations, face_misses
from mp2flame.tracking.skin import Skin, skin_equations, skin_evidence
from mp2flame.tracking.smoothing import solve_chain, tied
from mp2flame.tracking.state import Layout

__all__ = ["Moments", "Path", "hear_skin", "solve_path", "start_rows"]

Float64 = NDArray[np.float64]

_STEPS: Final = 3
_FURTHER_STEPS: Final = 1
"""From a solution; marks are looked for again before the next."""
_DOUBT_AFTER: Final = 2
"""Steps before misses are looked at: far from the solution all of them are large."""
_WINDOW, _OVERLAP = 450, 30
"""Frames solved together, and how many of the neighbouring windows' are solved along with them."""
_FREEDOM: Final = 3.0
"""Degrees of freedom of the prior's Student t."""
_MAPPED: Final = 0.35
"""How far a face may be from what a mapping gives, where there is one, in deviations of lively faces."""
_WALK: Final = (0.1, 0.02, 0.035, 0.05, 0.01)
"""How much unknowns change in a thirtieth of a second: expression, jaw, eyes, the head's rotation, its translation."""
_VERGENCE: Final = 0.04
"""How far the eyes' turns may differ, radians: they converge a little, and squint seldom."""
_LOOSE: Final = 1e-6
_OFF: Final = 4.5
"""Deviations by which a landmark misses that is not believed."""
_DOUBTED: Final = 0.02


@dataclass(frozen=True, eq=False)
class Moments:
    """When frames were seen."""

    time: Float64
    """(N,) seconds."""
    shot: NDArray[np.int64]
    """(N,) numbers; frames of different shots are not tied to each other."""


@dataclass(frozen=True, eq=False)
class Path:
    """The solution."""

    rows: Float64
    """(N, D) unknowns."""
    misfit: Float64
    """(N,) root mean square miss in standard deviations of the error model; about 1 or less where all is well."""
    pixels: Float64
    """(N,) root mean square distance of believed landmarks from where the model puts them, pixels."""
    trust: Float64
    """(N, K) 0..1 how much each landmark was believed."""

    @property
    def believed(self) -> Float64:
        """(N,) share of the landmarks that were believed."""
        share: Float64 = (self.trust > 0.5).mean(axis=1)
        return share

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> Path:
        return Path(self.rows[rows], self.misfit[rows], self.pixels[rows], self.trust[rows])


def start_rows(
    points: SkinnedPoints, layout: Layout, lens: Lens, seen: NDArray[np.floating], reported: Float64
) -> Float64:
    """Rows (N, D) to start from: a face at rest, turned as MediaPipe reports, as far away as it is large.

    Args:
        points: a person's landmarks.
        layout: of the rows.
        lens: of the camera.
        seen: (N, K, 3) normalised landmarks.
        reported: (N, 3, 3) rotations.
    """
    rows = np.zeros((len(seen), layout.width))
    rows[:, layout.n_face : layout.n_face + 3] = rotations.from_matrix(reported)
    still = points.pose(rows[:, : layout.n_expression], layout.poses(rows), np.zeros((len(seen), 3)))
    tangents = Sight.through(lens, seen).tangents[..., :2]
    spread = [np.sqrt(((x - x.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2))) for x in (still[..., :2], tangents)]
    depth = spread[0] / np.maximum(spread[1], 1e-9)
    place = np.concatenate([tangents.mean(axis=1) * depth[:, None], -depth[:, None]], axis=1)
    rows[:, -3:] = place - still.mean(axis=1)
    return rows


def solve_path(
    scene: Scene,
    seen: NDArray[np.floating],
    reported: Float64,
    moments: Moments,
    *,
    expected: Float64 | None = None,
    skin: Skin | None = None,
    start: Path | None = None,
    on_frame: Callable[[], None] | None = None,
) -> Path:
    """Solve the frames of one video that show one person's face.

    Args:
        scene: what is known.
        seen: (N, K, 3) normalised landmarks.
        reported: (N, 3, 3) the head's rotations as MediaPipe gives them, to start from.
        moments: when they were seen.
        expected: (N, E + 9) faces that a mapping gives, the prior's middle; None is the face at rest.
        skin: where marks on the skin were found, if they were looked for.
        start: a solution to go on from, whose doubts in landmarks are kept; None starts at rest.
        on_frame: called once for each frame that is done.
    """
    n, width = len(seen), scene.layout.width
    path = Path(np.zeros((n, width)), np.zeros(n), np.zeros(n), np.zeros(seen.shape[:2]))
    for begin, stop in _windows(n):
        first, last = max(0, begin - _OVERLAP), min(n, stop + _OVERLAP)
        part = slice(first, last)
        kept = slice(begin - first, stop - first)
        lens, layout = scene.lens, scene.layout
        rows = start_rows(scene.points, layout, lens, seen[part], reported[part]) if start is None else start.rows[part]
        frames = _Frames(
            rows,
            Sight.through(lens, seen[part], _inside(seen[part]) if start is None else start.trust[part]),
            _ties(scene.layout, moments.time[part], moments.shot[part]),
            None if expected is None else expected[part],
            None if skin is None else skin[part],
        )
        solved = _solve(scene, frames, settled=start is not None)
        for name in ("rows", "misfit", "pixels", "trust"):
            getattr(path, name)[begin:stop] = getattr(solved, name)[kept]
        for _ in range(stop - begin if on_frame is not None else 0):
            assert on_frame is not None
            on_frame()
    return path


def _windows(n: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n, _WINDOW):
        yield start, min(start + _WINDOW, n)


@dataclass(frozen=True, eq=False)
class _Frames:
    """Frames that are solved together."""

    start: Float64
    """(N, D)"""
    sight: Sight
    ties: Float64
    """(N - 1, D)"""
    expected: Float64 | None
    """(N, E + 9)"""
    skin: Skin | None


def _solve(scene: Scene, frames: _Frames, *, settled: bool) -> Path:
    layout, sight, rows, expected = scene.layout, frames.sight, frames.start.copy(), frames.expected
    middle = np.zeros((len(rows), layout.n_face)) if expected is None else expected
    if not settled:
        rows[:, : layout.n_face] = middle
    scale = np.full(len(rows), 1.0 if expected is None else _MAPPED**-2.0)
    for step in range(_FURTHER_STEPS if settled else _STEPS):
        if not settled and step >= _DOUBT_AFTER:
            sight = _doubted(scene, rows, frames.sight)
        matrix, right = _alone(scene, rows, sight, frames.skin)
        _believe(matrix, right, rows[:, : layout.n_face] - middle, layout, scale)
        rows = rows + solve_chain(*tied(matrix, right, rows, frames.ties), frames.ties)
        if expected is None:
            scale = _scales(matrix, rows, layout)
    return _judged(scene, rows, sight if settled else _doubted(scene, rows, frames.sight))


def _alone(scene: Scene, rows: Float64, sight: Sight, skin: Skin | None) -> tuple[Float64, Float64]:
    """Normal equations of each frame on its own: what is seen, and that both eyes look the same way."""
    matrix, right = face_equations(scene, rows, sight)
    if skin is not None:
        by_skin = skin_equations(skin, rows)
        matrix, right = matrix + by_skin[0], right + by_skin[1]
    _pair_eyes(matrix, right, rows, scene.layout)
    return matrix, right


def hear_skin(scene: Scene, seen: NDArray[np.floating], path: Path, skin: Skin) -> tuple[Float64, Float64]:
    """What some frames' skin says of the person; see `skin_evidence`.

    Args:
        scene: what is known.
        seen: (N, K, 3) normalised landmarks.
        path: how the frames were solved.
        skin: of these frames.
    """
    rows, sight = path.rows, Sight.through(scene.lens, seen, path.trust)
    matrix, right = _alone(scene, rows, sight, None)
    _believe(matrix, right, rows[:, : scene.layout.n_face], scene.layout, np.ones(len(rows)))
    return skin_evidence(skin, rows, matrix, right)


def _believe(matrix: Float64, right: Float64, away: Float64, layout: Layout, scale: Float64) -> None:
    """Add the prior to normal equations in place, for faces (N, E + 9) away from its middle, times (N,) scales."""
    n = layout.n_face
    face, pose = np.arange(n), np.arange(n, layout.width)
    prior = scale[:, None] * layout.face_deviation**-2.0
    matrix[:, face, face] += prior
    right[:, :n] += prior * away
    matrix[:, pose, pose] += _LOOSE


def _pair_eyes(matrix: Float64, right: Float64, rows: Float64, layout: Layout) -> None:
    """Add to normal equations in place that both eyes look the same way."""
    left, other = layout.eyes
    tie = _VERGENCE**-2.0
    apart = tie * (rows[:, left] - rows[:, other])
    for own, across, sign in ((left, other, 1), (other, left, -1)):
        matrix[:, own, own] += tie
        matrix[:, own, across] -= tie
        right[:, own] += sign * apart


def _scales(matrix: Float64, rows: Float64, layout: Layout) -> Float64:
    """(N,) the prior's scale that each frame's face asks for; `matrix` holds the prior already."""
    n, weight = layout.n_face, layout.face_deviation**-2.0
    # Half of the uncertainty that frames would have alone: their neighbours know the rest.
    alone = np.diagonal(np.linalg.inv(matrix), axis1=1, axis2=2)[:, :n]
    energy = (rows[:, :n] ** 2 + 0.5 * alone) @ weight
    return (n + _FREEDOM) / (energy + _FREEDOM)


def _ties(layout: Layout, time: Float64, shot: NDArray[np.int64]) -> Float64:
    """(N - 1, D) inverse variance of changes between neighbours."""
    walk = np.repeat(_WALK, [layout.n_expression, 3, 6, 3, 3])
    # Pauses tie loosely; frames at one and the same time would be tied without end.
    thirtieths = np.maximum(30 * np.diff(time), 0.1)
    result: Float64 = (np.diff(shot) == 0)[:, None] / (walk**2 * thirtieths[:, None])
    return result


def _inside(seen: NDArray[np.floating]) -> Float64:
    """(N, K) 1 in the picture, 0 beside it: what MediaPipe does not see it makes up."""
    x, y = seen[..., 0], seen[..., 1]
    inside: Float64 = ((x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)).astype(np.float64)
    return inside


def _doubted(scene: Scene, rows: Float64, sight: Sight) -> Sight:
    """The same frames with landmarks that miss by too much nearly without trust."""
    left = face_misses(scene, rows, sight).reshape(len(rows), -1, 3)[..., :2]
    deviation = scene.response.relative.deviation.reshape(-1, 3)[:, :2]
    off = np.sqrt(((left / deviation) ** 2).mean(axis=2))
    return Sight(sight.tangents, sight.trust * np.where(off > _OFF, _DOUBTED, 1.0))


def _judged(scene: Scene, rows: Float64, sight: Sight) -> Path:
    left = face_misses(scene, rows, sight)
    misfit = np.sqrt(Information(scene.response.relative).square(left) / left.shape[1])
    aside = left.reshape(len(rows), -1, 3)[..., :2]
    depth = -(scene.points.pose(rows[:, : scene.layout.n_expression], scene.layout.poses(rows), rows[:, -3:])[..., 2])
    square = ((aside * scene.lens.focal / depth[..., None]) ** 2).sum(axis=2)
    trusted = sight.trust > 0.5
    count = np.maximum(trusted.sum(axis=1), 1)
    pixels = np.sqrt((square * trusted).sum(axis=1) / count)
    return Path(rows, misfit, pixels, sight.trust)
