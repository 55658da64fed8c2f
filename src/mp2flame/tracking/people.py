"""All videos of one person: watched, the person told from them, every frame solved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mp2flame.data import FlameParams, Observation
from mp2flame.errors import InputError
from mp2flame.head import FlameHead
from mp2flame.mapping import BlendshapeMapping, check_compatible
from mp2flame.tracking.equations import Lens
from mp2flame.tracking.meeting import Meeting
from mp2flame.tracking.model import Study
from mp2flame.tracking.repose import Repose
from mp2flame.tracking.sequence import Path, solve_path
from mp2flame.tracking.skin import Skin
from mp2flame.tracking.state import Layout
from mp2flame.tracking.takes import Take, own_shots
from mp2flame.tracking.video import Footage

__all__ = ["HeadPose", "Tracked", "check_ipd", "track_person"]

Float64 = NDArray[np.float64]
HeadPose = Literal["global_orient", "neck_pose", "none"]

_IPD: Final = (0.04, 0.085)
"""Metres: children of a few years to adults with wide faces."""
_SKIN_ROUNDS: Final = 4
"""Of looking for marks on the skin and solving again; the last one looks closely."""
_HEARD_ROUNDS: Final = 2
"""After so many of them more is known of the person; what further ones would add, they have said before."""
_NO_REST: Final = (
    "no second of the video shows a calm face with its mouth shut: the face at rest was told from frames that move, "
    "which is less exact; begin with a second at rest"
)
_REFUSED: Final = (
    "the face is calm for a second, but other moments look more like its rest: the face at rest was told from those, "
    "which is less exact; begin with a second at rest, mouth shut, looking at the camera"
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
    warnings: tuple[str, ...]
    """What a user should know."""


def track_person(
    study: Study,
    videos: Sequence[Footage],
    *,
    head_pose: HeadPose = "global_orient",
    focal: float | None = None,
    ipd: float | None = None,
    mapping: BlendshapeMapping | None = None,
    on_frame: Callable[[], None] | None = None,
) -> list[Tracked]:
    """Track one person through videos that share the identity.

    Args:
        study: the head.
        videos: what was seen.
        head_pose: the joint that turns the head; `none` leaves it unturned in its own place.
        focal: focal length in pixels; None estimates it for each video.
        ipd: metres between the person's pupils, looking far; None leaves the head's size to the prior.
        mapping: of this head; where it is given, faces are believed to be near what it says.
        on_frame: called for each frame that is solved.

    Raises:
        InputError: no video shows a face, the focal length is not above 0, or the eyes are no person's.
        HeadMismatchError: the mapping is another head's.
    """
    head = study.head
    if mapping is not None:
        check_compatible(mapping, head)
    if focal is not None and not (np.isfinite(focal) and focal > 0):
        raise InputError(f"expected a focal length above 0 pixels; got {focal}")
    check_ipd(ipd)
    # Matrices of single frames are too small for threads, which would only wait for each other.
    with threadpool_limits(limits=1, user_api="blas"):
        joint = 1 if head_pose == "neck_pose" else 0
        repose = Repose(study, joint=joint, focal=focal)
        takes = [repose.settled(Take.of(number, video)) for number, video in enumerate(videos)]
        meeting = Meeting(study, takes, joint=joint, focal=focal, ipd=ipd)
        results = _solved(meeting, takes, mapping, on_frame)
        return [_tracked(head, meeting, result, head_pose) for result in results]


def check_ipd(ipd: float | None) -> None:
    """Refuse a distance between pupils, in metres, that no person has.

    Raises:
        InputError: it is not one.
    """
    if ipd is not None and not _IPD[0] <= ipd <= _IPD[1]:
        least, most = (1000 * limit for limit in _IPD)
        raise InputError(f"expected {least:g} to {most:g} mm between a person's pupils; got {1000 * ipd:g} mm")


@dataclass(frozen=True, eq=False)
class _Result:
    """A take, solved."""

    take: Take
    path: Path
    own: NDArray[np.bool_]
    """(N,) which of its frames show enough of this person."""
    warnings: list[str]


def _solved(
    meeting: Meeting, takes: Sequence[Take], mapping: BlendshapeMapping | None, on_frame: Callable[[], None] | None
) -> list[_Result]:
    """By landmarks first; then by the skin's marks too, which in turn tell more of the person."""
    hoped = [take.mapped(mapping, meeting.layout) for take in takes]

    def solve(skins: Sequence[Skin | None], before: Sequence[Path | None]) -> list[Path]:
        return [
            solve_path(
                meeting.scene(take.number),
                meeting.seen(take),
                take.reported(take.rows),
                take.moments,
                expected=expected,
                skin=skin,
                start=start,
                on_frame=on_frame if start is None else None,
            )
            for take, expected, skin, start in zip(takes, hoped, skins, before, strict=True)
        ]

    nothing = [None] * len(takes)
    paths = solve(nothing, nothing)
    # Strangers and covered faces are told by what landmarks alone say.
    results = [_result(take, path, meeting.layout) for take, path in zip(takes, paths, strict=True)]
    for number in range(_SKIN_ROUNDS):
        last = number + 1 == _SKIN_ROUNDS
        skins = [meeting.skin(take, path, fine=last) for take, path in zip(takes, paths, strict=True)]
        if all(skin is None for skin in skins):
            break
        paths = solve(skins, paths)
        if number < _HEARD_ROUNDS:
            meeting.hear(skins, paths)
    return [replace(result, path=path) for result, path in zip(results, paths, strict=True)]


def _result(take: Take, path: Path, layout: Layout) -> _Result:
    warnings = list(take.video.warnings)
    if take.rest is None:
        warnings.append(_REFUSED if take.refused else _NO_REST)
    own = own_shots(take, path, layout, warnings)
    covered = own & (path.believed < _LEAST_BELIEVED)
    if covered.any():
        warnings.append(
            f"{int(covered.sum())} frames show too little of the face: it is covered or outside the picture; "
            "marked as without a face"
        )
    own &= ~covered
    if not own.any():
        frames = len(take.video.seen)
        raise InputError(f"expected frames that show a whole face; all {frames} have too little of it in the picture")
    return _Result(take, path, own, warnings)


def _tracked(head: FlameHead, meeting: Meeting, result: _Result, head_pose: HeadPose) -> Tracked:
    take, path, n = result.take, result.path, len(result.take.video.seen)
    still = np.zeros(n, dtype=np.bool_)
    still[take.rest if take.rest is not None else slice(0)] = True
    rows = np.full((n, meeting.layout.width), np.nan, dtype=np.float32)
    rows[take.rows[result.own]] = path.rows[result.own]
    params = _params(rows, take.video.seen, meeting, head, head_pose)
    return Tracked(
        params=params,
        seen=take.video.seen,
        rest=still & params.found,
        misfit=_placed(n, take.rows, path.misfit, np.nan),
        pixels=_placed(n, take.rows, path.pixels, np.nan),
        believed=_placed(n, take.rows, path.believed, 0.0),
        lens=meeting.person.lenses[take.number],
        warnings=tuple(result.warnings),
    )


def _params(
    rows: NDArray[np.float32], seen: Observation, meeting: Meeting, head: FlameHead, head_pose: HeadPose
) -> FlameParams:
    """Rows (N, D) that are NaN where there is no face, as parameters."""
    layout, identity = meeting.layout, meeting.person.identity
    e, found = layout.n_expression, np.isfinite(rows[:, 0])
    expression = np.where(found[:, None], np.float32(0), np.float32(np.nan)).repeat(head.n_expression, axis=1)
    expression[:, :e] = rows[:, :e]
    poses = ("jaw_pose", "leye_pose", "reye_pose")
    fields = {name: rows[:, e + 3 * i : e + 3 * i + 3] for i, name in enumerate(poses)}
    if head_pose != "none":
        fields |= {head_pose: rows[:, e + 9 : e + 12], "translation": rows[:, e + 12 :]}
    shape = np.zeros(head.n_shape, dtype=np.float32)
    shape[: len(identity)] = identity
    return FlameParams(time=seen.time, found=found, expression=expression, shape=shape, **fields)


def _placed(n: int, rows: NDArray[np.intp], values: Float64, absent: float) -> NDArray[np.float32]:
    placed = np.full(n, absent, dtype=np.float32)
    placed[rows] = values
    return placed
