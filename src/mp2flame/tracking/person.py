"""Who somebody is: identity, focal length, and how MediaPipe misses this very person, from a few frames.

Letters: M views, K landmarks, S' identity coefficients, F = 3K, W videos.

A view is a frame whose expression is known: at rest, or tracked before. The unknowns are found by Gauss-Newton as the
maximum a posteriori: identity coefficients are normal with unit variance, the logarithm of a focal length is normal
about that of a usual camera, rotation and place of the head are free in each view but for how people face a camera.
Views of one person share what MediaPipe misses of that person, so M of them together count as one. What then remains
of the misses is kept: it is taken off every other frame of the video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.geometry.skinned_points import SkinnedPoints
from mp2flame.landmark_model.error_model import Information, LandmarkErrorModel
from mp2flame.tracking.equations import Lens, Sight, miss_derivatives, misses, uprights, views
from mp2flame.tracking.state import Layout

__all__ = ["Evidence", "Person", "View", "first_lens", "know_person"]

Float64 = NDArray[np.float64]

_STEPS: Final = 12
_SETTLED: Final = 1e-5
_FOCAL_SPREAD: Final = 0.25
"""Standard deviation of the logarithm of the focal length about the usual one."""
_USUAL: Final = 1.4
"""Focal length of a usual camera in units of the picture's longer side: an opening angle of 39 degrees."""
_FACING: Final = np.array([0.05, 0.12, 0.05])
"""Standard deviation, radians, of how people at rest are turned to the camera: up or down, aside, leaning."""
_FREE: Final = 1e3
_SAME_SIZE: Final = 0.002
"""By how much of it the size may change with evidence, which is of proportions: no motion tells a small head that is
near from a large one that is far."""
_SAME_EYES: Final = 0.0003
"""Metres, standard deviation of a distance between the eyes that is given: opticians round it to half a millimetre."""
_LEFT_EYE, _RIGHT_EYE = 3, 4
"""FLAME's joints."""
_BELIEVED: Final = 0.3
"""How much the landmarks count here: pictures differ from the renders that their errors were learned from, in light and
skin, and what that changes is the same for a whole video."""


@dataclass(frozen=True, eq=False)
class View:
    """A frame from which a person is known."""

    landmarks: NDArray[np.floating]
    """(K, 3) normalised."""
    row: Float64
    """(D,) its unknowns: the face as it is known, rotation and translation where to start from."""
    video: int = 0
    """Which of the person's videos it is from."""
    at_rest: bool = True
    """The face is at rest, looking at the camera."""


@dataclass(frozen=True, eq=False)
class Person:
    """What is the same in all frames of a person."""

    identity: Float64
    """(S',) identity coefficients."""
    size: float
    """Of the head, relative to the mean identity's."""
    lenses: tuple[Lens, ...]
    """Of each video's camera."""
    own: Float64
    """(W, F) metres: what the response to view and face does not foretell of how MediaPipe misses this person."""
    unlikely: float
    """What it costs to believe in these views: squares of misses and unknowns in standard deviations."""
    unknowns: Float64
    """(S' + 6M + W,) what was solved for, where further evidence is linearised."""

    def pose(self, view: int) -> Float64:
        """(6,) the head's rotation and translation in a view."""
        start = len(self.identity) + 6 * view
        return self.unknowns[start : start + 6]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What else says who somebody is: normal equations about a `Person` for identity, a view's pose, a focal length."""

    view: int
    """The number of the view whose pose it is about."""
    video: int
    """The number of the video whose focal length it is about."""
    matrix: Float64
    """(S' + 7, S' + 7)"""
    right: Float64
    """(S' + 7,); `matrix · step = -right`."""


def first_lens(size: tuple[int, int], focal: float | None) -> Lens:
    """Where the search for a lens starts: the given focal length in pixels, else that of a usual camera."""
    return Lens(focal or _USUAL * max(size), size)


class _Problem:
    """Views of one person, linearised: columns identity (S'), then six of each view, then each video's log focal."""

    def __init__(
        self,
        points: SkinnedPoints,
        layout: Layout,
        response: LandmarkErrorModel,
        shown: Sequence[View],
        lenses: Sequence[Lens],
    ) -> None:
        self._points, self._layout, self._response, self._lenses = points, layout, response, tuple(lenses)
        self._rows = np.stack([view.row for view in shown])
        self._landmarks = np.stack([view.landmarks for view in shown])
        self.video = np.array([view.video for view in shown])
        self.s = len(response.identity_response)
        self.width = self.s + 6 * len(shown) + len(lenses)
        self.start = np.concatenate([np.zeros(self.s), self._rows[:, -6:].ravel(), np.zeros(len(lenses))])

    def lenses(self, values: Float64) -> tuple[Lens, ...]:
        """The lenses at these values."""
        change = np.exp(values[len(values) - len(self._lenses) :])
        return tuple(Lens(lens.focal * float(by), lens.size) for lens, by in zip(self._lenses, change, strict=True))

    def relative_size(self, identity: Float64) -> tuple[float, Float64]:
        """How large the head is where the mean identity's is 1, and (S',) how that grows."""
        points = self._points.select_coefficients(slice(0, self.s))
        usual = float(points.sizes(np.zeros((1, self.s)))[0][0])
        size, growth = points.sizes(identity[None])
        return float(size[0]) / usual, growth[0] / usual

    def between_eyes(self, identity: Float64) -> tuple[float, Float64]:
        """Metres between the eyes' centres, and (S',) how that grows."""
        points = self._points
        apart = points.joints[_LEFT_EYE] - points.joints[_RIGHT_EYE]
        moves = points.joint_directions[: self.s, _LEFT_EYE] - points.joint_directions[: self.s, _RIGHT_EYE]
        apart = apart + identity @ moves
        distance = float(np.linalg.norm(apart))
        return distance, moves @ apart / distance

    def linearise(self, values: Float64) -> tuple[Float64, Float64]:
        """Misses (M, F) that nothing explains, for a head of the usual size, and derivatives (M, columns, F)."""
        s, m = self.s, len(self._rows)
        identity, pose = values[:s], values[s : s + 6 * m].reshape(m, 6)
        rows = np.concatenate([self._rows[:, :-6], pose], axis=1)
        lenses = self.lenses(values)
        scenes = [Sight.through(lenses[v], x[None]) for v, x in zip(self.video, self._landmarks, strict=True)]
        tangents = np.concatenate([scene.tangents for scene in scenes])
        face = rows[:, : self._layout.n_expression]
        coefficients = np.concatenate([np.tile(identity, (m, 1)), face], axis=1)
        joint = (self._layout.joint,)
        posed = self._points.differentiate(coefficients, self._layout.poses(rows), pose[:, 3:], joint)
        turns = rotations.matrix(pose[:, :3])
        upright = uprights(turns).swapaxes(1, 2)
        moves = np.concatenate([posed.jacobian[:, :s], posed.jacobian[:, -6:]], axis=1)
        zoom = _zoom(posed.positions, tangents)[:, None]
        change = np.concatenate([miss_derivatives(moves, tangents).swapaxes(2, 3), zoom], axis=1) @ upright[:, None]
        size, growth = self.relative_size(identity)
        seen = (misses(posed.positions, tangents) @ upright).reshape(m, -1) / size
        change = change.reshape(m, s + 7, -1) / size
        change[:, :s] -= self._response.identity_response + growth[:, None] / size * seen[:, None]
        known = self._response.view_bias(views(turns)) + rows[:, : self._layout.n_face] @ self._response.face_response
        return seen - known - identity @ self._response.identity_response, change

    def columns(self, view: int, video: int) -> NDArray[np.intp]:
        """(S' + 7,) which of all unknowns a view of a video tells of."""
        pose = self.s + 6 * view + np.arange(6)
        return np.concatenate([np.arange(self.s), pose, [self.s + 6 * len(self._rows) + video]])

    def gathered(self, evidence: Sequence[Evidence]) -> tuple[Float64, Float64]:
        """The sum of all evidence over all unknowns, (width, width) and (width,)."""
        matrix, right = np.zeros((self.width, self.width)), np.zeros(self.width)
        for one in evidence:
            columns = self.columns(one.view, one.video)
            matrix[np.ix_(columns, columns)] += one.matrix
            right[columns] += one.right
        return matrix, right

    def seen(self, values: Float64, precision: Information) -> tuple[Float64, Float64]:
        """What all views say, as evidence about these values."""
        residual, change = self.linearise(values)
        told = zip(self.video, *precision.normal(change, residual), strict=True)
        return self.gathered([Evidence(i, int(video), matrix, right) for i, (video, matrix, right) in enumerate(told)])


def _zoom(positions: Float64, tangents: Float64) -> Float64:
    """(M, K, 3) how misses change with the logarithm of the focal length: a longer lens sees smaller angles."""
    depth = -positions[..., 2:]
    change = -tangents * depth
    change[..., 2] = -tangents[..., 2] * depth.mean(axis=1)
    change[..., 2] -= change[..., 2].mean(axis=1, keepdims=True)
    return change


def know_person(
    points: SkinnedPoints,
    layout: Layout,
    response: LandmarkErrorModel,
    shown: Sequence[View],
    lenses: Sequence[Lens],
    *,
    focal_known: bool,
    ipd: float | None = None,
    before: Person | None = None,
    evidence: Sequence[Evidence] = (),
    steps: int = _STEPS,
) -> Person:
    """Identity, lenses and own misses of a person.

    Args:
        points: the landmarks of the head's mean identity; identity (S'), then expression (E) moves them.
        layout: of the views' rows.
        response: what MediaPipe does with this head.
        shown: at least one view of each video.
        lenses: of each video; the search starts there.
        focal_known: keep the lenses as they are.
        ipd: metres between the eyes, which tells the size of the head.
        before: the person as known from the same views without the evidence.
        evidence: about `before`.
        steps: of Gauss-Newton, at most.
    """
    problem = _Problem(points, layout, response, shown, lenses)
    facing = [_FACING if view.at_rest else np.full(3, _FREE) for view in shown]
    poses = np.concatenate([np.concatenate([turn, np.full(3, _FREE)]) for turn in facing])
    focal = np.full(len(lenses), 1e-6 if focal_known else _FOCAL_SPREAD)
    weight = np.concatenate([np.ones(problem.s), poses, focal]) ** -2.0
    base = problem.start if before is None else before.unknowns
    more, push = problem.gathered(evidence)
    values, precision = base, Information(response.absolute)
    for _ in range(steps):
        matrix, right = problem.seen(values, precision)
        pull = _BELIEVED / len(shown) * right + weight * values + push + more @ (values - base)
        whole = _BELIEVED / len(shown) * matrix + np.diag(weight) + more
        held = _held(problem, values[: problem.s], ipd, before)
        if held is not None:
            off, growth, spread = held
            pull[: problem.s] += growth * off / spread**2
            whole[: problem.s, : problem.s] += np.outer(growth, growth) / spread**2
        step = np.linalg.solve(whole, -pull)
        values = values + step
        if np.abs(step).max() < _SETTLED:
            break
    identity = values[: problem.s]
    size = problem.relative_size(identity)[0]
    missed = problem.linearise(values)[0]
    unlikely = _BELIEVED * precision.square(missed).mean() + weight @ values**2
    left = missed + identity @ response.identity_response
    own = [size * left[problem.video == video].mean(axis=0) for video in range(len(lenses))]
    return Person(identity, size, problem.lenses(values), np.stack(own), float(unlikely), values)


def _held(
    problem: _Problem, identity: Float64, ipd: float | None, before: Person | None
) -> tuple[float, Float64, float] | None:
    """What holds the size, if anything: how far it is off, (S',) how that grows with identity, its deviation."""
    if ipd is not None:
        distance, growth = problem.between_eyes(identity)
        return distance - ipd, growth, _SAME_EYES
    if before is not None:
        size, growth = problem.relative_size(identity)
        return size - before.size, growth, _SAME_SIZE
    return None
