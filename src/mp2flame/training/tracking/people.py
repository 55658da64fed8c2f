"""All videos of one person: watched, the person told from them, every frame solved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mp2flame import rotations
from mp2flame.errors import InputError
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.mapping import Mapping, check_head
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.signals import N_LANDMARKS, FlameParams, Observation
from mp2flame.training.tracking.equations import Lens, Scene
from mp2flame.training.tracking.footage import Footage, find_rest
from mp2flame.training.tracking.layout import Layout, face_rows, identity_width, moving_expression
from mp2flame.training.tracking.person import Person, View, know_person, usual_focal
from mp2flame.training.tracking.posing import Points
from mp2flame.training.tracking.preparation import Study
from mp2flame.training.tracking.sequence import Moments, Path, solve_path, start_rows

__all__ = ["HeadPose", "Tracked", "track_person"]

Float64 = NDArray[np.float64]
HeadPose = Literal["global_orient", "neck_pose", "none"]

_KEYFRAMES: Final = 8
_ROUNDS: Final = 2
_STRANGER: Final = (0.06, 1.25)
"""By how much, and by what factor, the calmest tenth of a stranger's frames costs more than the person's own."""
_NO_REST: Final = (
    "no second of the video shows a calm face with its mouth shut: the face at rest was told from frames that move, "
    "which is less exact; begin with a second at rest"
)
_LEAST_BELIEVED: Final = 0.35
"""Share of the landmarks below which a frame says too little of the face."""


@dataclass(frozen=True, eq=False)
class Tracked:
    """One video, tracked."""

    params: FlameParams
    """N frames; `found` is False where there is no face, another person's, or too little of it. Translation is in the
    camera's frame: metres, x right, y up, z towards the viewer, the camera at the origin."""
    seen: Observation
    """N frames, what MediaPipe saw."""
    rest: NDArray[np.bool_]
    """(N,) the frames that were taken as the face at rest."""
    misfit: NDArray[np.float32]
    """(N,) root mean square miss in standard deviations of the error model; NaN where nothing was solved."""
    pixels: NDArray[np.float32]
    """(N,) root mean square distance between believed landmarks and the model, pixels; likewise."""
    believed: NDArray[np.float32]
    """(N,) share of the landmarks that were believed; 0 where nothing was solved."""
    lens: Lens
    """Of the camera, as given or estimated."""
    remarks: tuple[str, ...]
    """What a user should know."""


def track_person(
    study: Study,
    videos: Sequence[Footage],
    *,
    head_pose: HeadPose = "global_orient",
    focal: float | None = None,
    mapping: Mapping | None = None,
    on_frame: Callable[[], None] | None = None,
) -> list[Tracked]:
    """Track one person through videos that share the identity.

    Args:
        study: the head.
        videos: what was seen.
        head_pose: the joint that turns the head; `none` leaves it unturned in its own place.
        focal: focal length in pixels; None estimates it for each video.
        mapping: of this head; where it is given, faces are believed to be near what it says.
        on_frame: called for each frame that is solved.

    Raises:
        InputError: no video shows a face, or the focal length is not above 0.
        HeadMismatchError: the mapping is another head's.
    """
    head = study.head
    if mapping is not None:
        check_head(mapping, head_hash=head.hash, head_version=head.version, n_expression=head.n_expression)
    if focal is not None and not (np.isfinite(focal) and focal > 0):
        raise InputError(f"expected a focal length above 0 pixels; got {focal}")
    tracker = _Tracker(study, head_pose, focal, mapping)
    # Matrices of single frames are too small for threads, which would only wait for each other.
    with threadpool_limits(limits=1, user_api="blas"):
        return tracker.track(videos, on_frame)


@dataclass(frozen=True, eq=False)
class _Take:
    """One of the person's videos, and what of it the person is told from."""

    number: int
    video: Footage
    rest: NDArray[np.intp] | None
    """The frames at rest."""
    main: int
    """The number of the shot that shows the person."""

    @classmethod
    def of(cls, number: int, video: Footage) -> _Take:
        if video.seen.landmarks is None or not video.seen.found.any():
            raise InputError("expected videos with a face; MediaPipe finds none in one of them")
        rest = find_rest(video)
        return cls(number, video, rest, _main_shot(video, rest))


class _Tracker:
    """One head, ready to be tracked with."""

    def __init__(self, study: Study, head_pose: HeadPose, focal: float | None, mapping: Mapping | None) -> None:
        self._mapping = mapping
        self._head, self._focal, self._head_pose = study.head, focal, head_pose
        self._response, self._index = study.response, study.embedding.landmark_index
        self._layout = Layout(moving_expression(study.head), 1 if head_pose == "neck_pose" else 0)
        self._points = _face_points(study.head, study.embedding)

    def track(self, videos: Sequence[Footage], on_frame: Callable[[], None] | None) -> list[Tracked]:
        takes = [_Take.of(number, video) for number, video in enumerate(videos)]
        person = self._meet(takes)
        return [self._one(take, person, on_frame) for take in takes]

    def _lens(self, video: Footage) -> Lens:
        assert video.seen.image_size is not None
        size = int(video.seen.image_size[0]), int(video.seen.image_size[1])
        return Lens(self._focal or usual_focal(size), size)

    def _meet(self, takes: Sequence[_Take]) -> Person:
        """The person, from rest frames where there are any, else from frames whose faces are found along with it."""
        lenses = tuple(self._lens(take.video) for take in takes)
        shown = [view for take in takes for view in self._views(take, lenses[take.number])]

        def known(shown: Sequence[View]) -> Person:
            fixed = self._focal is not None
            return know_person(self._points, self._layout, self._response, shown, lenses, focal_known=fixed)

        person = known(shown)
        for _ in range(_ROUNDS if any(not view.at_rest for view in shown) else 0):
            shown = [view if view.at_rest else self._with_face(view, person) for view in shown]
            person = known(shown)
        return person

    def _views(self, take: _Take, lens: Lens) -> list[View]:
        """The face at rest, once; or some frames of the person's shot, as if they were at rest for the time being."""
        still = take.rest is not None
        rows = take.rest if take.rest is not None else _keyframes(take.video, take.main)
        seen, reported = self._landmarks(take.video, rows), _reported(take.video, rows)
        if still:
            seen, reported = np.median(seen, axis=0)[None], reported[len(rows) // 2][None]
        usual = self._points.baked(np.zeros(len(self._response.of_identity)))
        start = start_rows(usual, self._layout, lens, seen, reported)
        return [View(x, row, take.number, still) for x, row in zip(seen, start, strict=True)]

    def _with_face(self, view: View, person: Person) -> View:
        """The view with the face that it seems to show."""
        scene = self._scene(person, view.video)
        # What is missed of this person is not known yet, so errors are those of anybody.
        anybody = person.identity @ scene.response.of_identity
        scene = replace(scene, own=anybody, response=replace(scene.response, relative=scene.response.absolute))
        turn = rotations.matrix(self._layout.turn(view.row[None]))
        path = solve_path(scene, view.landmarks[None], turn, Moments(np.zeros(1), np.zeros(1, dtype=np.int64)))
        return replace(view, row=path.rows[0])

    def _scene(self, person: Person, video: int) -> Scene:
        points, response = self._points.baked(person.identity), self._response.for_size(person.size)
        return Scene(points, self._layout, response, person.own[video], person.lenses[video])

    def _landmarks(self, video: Footage, rows: NDArray[np.intp]) -> NDArray[np.floating]:
        assert video.seen.landmarks is not None
        chosen: NDArray[np.floating] = video.seen.landmarks[rows][:, self._index]
        return chosen

    def _one(self, take: _Take, person: Person, on_frame: Callable[[], None] | None) -> Tracked:
        video, remarks = take.video, list(take.video.remarks)
        rows = np.flatnonzero(video.seen.found)
        moments = Moments(video.seen.time[rows], video.shot[rows])
        seen, reported = self._landmarks(video, rows), _reported(video, rows)
        scene, hoped = self._scene(person, take.number), self._mapped(take, rows)
        path = solve_path(scene, seen, reported, moments, expected=hoped, on_frame=on_frame)
        if take.rest is None:
            remarks.append(_NO_REST)
        good = _own_shots(moments, path, self._layout, take.main, remarks)
        covered = good & (path.believed < _LEAST_BELIEVED)
        if covered.any():
            remarks.append(
                f"{int(covered.sum())} frames show too little of the face: it is covered or outside the picture; "
                "marked as without a face"
            )
        good &= ~covered
        if not good.any():
            raise InputError(
                f"expected frames that show a whole face; all {len(video.seen)} have too little of it in the picture"
            )
        still = np.zeros(len(video.seen), dtype=np.bool_)
        still[take.rest if take.rest is not None else slice(0)] = True
        params = self._params(video, rows[good], path.rows[good], person)
        return Tracked(
            params=params,
            seen=video.seen,
            rest=still & params.found,
            misfit=_placed(len(still), rows, path.misfit, np.nan),
            pixels=_placed(len(still), rows, path.pixels, np.nan),
            believed=_placed(len(still), rows, path.believed, 0.0),
            lens=person.lenses[take.number],
            remarks=tuple(remarks),
        )

    def _mapped(self, take: _Take, rows: NDArray[np.intp]) -> Float64 | None:
        """(N, E + 9) the faces that the mapping gives; None without one."""
        if self._mapping is None:
            return None
        mapping = self._mapping if take.rest is None else self._mapping.for_person(take.video.seen[take.rest])
        given = face_rows(mapping(take.video.seen[rows]))
        e, width = self._layout.n_expression, given.shape[1] - N_ROTATIONS
        faces = np.zeros((len(rows), self._layout.n_face))
        faces[:, : min(e, width)] = given[:, : min(e, width)]
        faces[:, e:] = given[:, width:]
        return faces

    def _params(self, video: Footage, rows: NDArray[np.intp], solved: Float64, person: Person) -> FlameParams:
        n, e = len(video.seen), self._layout.n_expression
        found = np.zeros(n, dtype=np.bool_)
        found[rows] = True
        values = np.full((n, self._layout.width), np.nan, dtype=np.float32)
        values[rows] = solved
        expression = np.where(found[:, None], np.float32(0), np.float32(np.nan)).repeat(self._head.n_expression, axis=1)
        expression[:, :e] = values[:, :e]
        poses = ("jaw_pose", "leye_pose", "reye_pose")
        fields = {name: values[:, e + 3 * i : e + 3 * i + 3] for i, name in enumerate(poses)}
        if self._head_pose != "none":
            fields |= {self._head_pose: values[:, e + 9 : e + 12], "translation": values[:, e + 12 :]}
        shape = np.zeros(self._head.n_shape, dtype=np.float32)
        shape[: len(person.identity)] = person.identity
        return FlameParams(time=video.seen.time, found=found, expression=expression, shape=shape, **fields)


def _face_points(head: FlameHead, embedding: LandmarkEmbedding) -> Points:
    """The landmarks, moved by the identity and expression coefficients that are estimated."""
    identity = np.arange(identity_width(head))
    expression = head.n_shape + np.arange(moving_expression(head))
    return Points.of_head(head, embedding).chosen(np.concatenate([identity, expression]))


def _placed(n: int, rows: NDArray[np.intp], values: Float64, absent: float) -> NDArray[np.float32]:
    placed = np.full(n, absent, dtype=np.float32)
    placed[rows] = values
    return placed


def _reported(video: Footage, rows: NDArray[np.intp]) -> Float64:
    assert video.seen.head_transform is not None
    return rotations.nearest_rotation(video.seen.head_transform[rows, :3, :3])


def _main_shot(video: Footage, rest: NDArray[np.intp] | None) -> int:
    """The number of the shot that shows the person: that of the rest, else the one with most frames with a face."""
    shots = video.shot[video.seen.found] if rest is None else video.shot[rest]
    return int(np.bincount(shots).argmax())


def _keyframes(video: Footage, shot: int) -> NDArray[np.intp]:
    """A few frames spread over a shot."""
    rows = np.flatnonzero(video.seen.found & (video.shot == shot))
    chosen: NDArray[np.intp] = rows[np.unique(np.linspace(0, len(rows) - 1, _KEYFRAMES).round().astype(int))]
    return chosen


def _own_shots(moments: Moments, path: Path, layout: Layout, main: int, remarks: list[str]) -> NDArray[np.bool_]:
    """(N,) which frames show the same person as the main shot; who else there is, is remarked on.

    Everybody's face can be made of somebody else's, but only by an expression that never goes away. So what counts is
    the cost of the calmest tenth of a shot's frames: its misfit, and how far the face is from rest.
    """
    face = path.rows[:, : layout.n_face] / layout.face_deviation
    cost = path.misfit**2 + (face**2).sum(axis=1) / (3 * N_LANDMARKS)
    calm = {number: np.percentile(cost[moments.shot == number], 10) for number in np.unique(moments.shot)}
    mine = np.ones(len(cost), dtype=np.bool_)
    for number, least in calm.items():
        if least > max(calm[main] + _STRANGER[0], calm[main] * _STRANGER[1]):
            rows = np.flatnonzero(moments.shot == number)
            mine[rows] = False
            remarks.append(
                f"from {moments.time[rows[0]]:.2f} to {moments.time[rows[-1]]:.2f} s the video shows another person: "
                "marked as without a face; cut it out and track it on its own"
            )
    return mine
