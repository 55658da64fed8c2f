"""One of a person's videos, ready to be solved: the frames with a face, the rest among them, whose shot is whose.

Letters: N frames with a face, K landmarks, D unknowns of a frame, E expression coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.data import N_LANDMARKS
from mp2flame.errors import InputError
from mp2flame.mapping import BlendshapeMapping
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.tracking.album import Glimpse
from mp2flame.tracking.sequence import Moments, Path
from mp2flame.tracking.state import Layout, face_rows
from mp2flame.tracking.video import Footage, find_rest

__all__ = ["Take", "own_shots"]

Float64 = NDArray[np.float64]

_STRANGER: Final = (0.06, 1.25)
"""By how much, and by what factor, the calmest tenth of a stranger's frames costs more than the person's own."""


@dataclass(frozen=True, eq=False)
class Take:
    """One video of a person."""

    number: int
    """Which of the person's videos."""
    video: Footage
    rest: NDArray[np.intp] | None
    """The frames at rest; None where none is."""
    main: int
    """The number of the shot that shows the person: that of the calm second, else the one with most faces."""
    rows: NDArray[np.intp]
    """(N,) the frames with a face."""
    moments: Moments
    """When those were."""
    keyframes: NDArray[np.intp] | None = None
    """The frames from which the person is told where there is no rest."""
    refused: bool = False
    """There was a calm second, but it shows no rest."""

    @classmethod
    def of(cls, number: int, video: Footage) -> Take:
        """The take of a video.

        Raises:
            InputError: it has no face.
        """
        if video.seen.landmarks is None or not video.seen.found.any():
            raise InputError("expected videos with a face; MediaPipe finds none in one of them")
        rest = find_rest(video)
        shots = video.shot[video.seen.found] if rest is None else video.shot[rest]
        rows = np.flatnonzero(video.seen.found)
        moments = Moments(video.seen.time[rows], video.shot[rows])
        return cls(number, video, rest, int(np.bincount(shots).argmax()), rows, moments)

    @property
    def size(self) -> tuple[int, int]:
        """Of its pictures, width and height in pixels."""
        assert self.video.seen.image_size is not None
        return int(self.video.seen.image_size[0]), int(self.video.seen.image_size[1])

    def landmarks(self, frames: NDArray[np.intp], which: slice | NDArray[np.integer]) -> NDArray[np.floating]:
        """(frames, K, 3) normalised, some of MediaPipe's."""
        assert self.video.seen.landmarks is not None
        chosen: NDArray[np.floating] = self.video.seen.landmarks[frames][:, which]
        return chosen

    def reported(self, frames: NDArray[np.intp]) -> Float64:
        """(frames, 3, 3) the head's rotations as MediaPipe gives them."""
        assert self.video.seen.head_transform is not None
        return rotations.nearest_rotation(self.video.seen.head_transform[frames, :3, :3])

    def glimpse(self, frame: int) -> Glimpse | None:
        """The face in a frame; None where no picture was kept."""
        return self.video.album.glimpse(frame) if len(self.video.album) else None

    def at_rest(self, which: slice | NDArray[np.integer]) -> tuple[NDArray[np.floating], Float64]:
        """(1, K, 3) and (1, 3, 3) landmarks and rotation of the rest, as they are for most of it."""
        assert self.rest is not None
        seen = np.median(self.landmarks(self.rest, which), axis=0)[None]
        return seen, self.reported(self.rest)[len(self.rest) // 2][None]

    def mapped(self, mapping: BlendshapeMapping | None, layout: Layout) -> Float64 | None:
        """(N, E + 9) the faces that a mapping gives; None without one."""
        if mapping is None:
            return None
        own = mapping if self.rest is None else mapping.for_person(self.video.seen[self.rest])
        given = face_rows(own(self.video.seen[self.rows]))
        e, width = layout.n_expression, given.shape[1] - N_ROTATIONS
        faces = np.zeros((len(self.rows), layout.n_face))
        faces[:, : min(e, width)] = given[:, : min(e, width)]
        faces[:, e:] = given[:, width:]
        return faces


def own_shots(take: Take, path: Path, layout: Layout, warnings: list[str]) -> NDArray[np.bool_]:
    """(N,) which frames show the same person as the main shot; who else there is, is remarked on.

    Everybody's face can be made of somebody else's, but only by an expression that never goes away. So what counts is
    the cost of the calmest tenth of a shot's frames: its misfit, and how far the face is from rest.
    """
    moments = take.moments
    face = path.rows[:, : layout.n_face] / layout.face_deviation
    cost = path.misfit**2 + (face**2).sum(axis=1) / (3 * N_LANDMARKS)
    calm = {number: np.percentile(cost[moments.shot == number], 10) for number in np.unique(moments.shot)}
    mine = np.ones(len(cost), dtype=np.bool_)
    for number, least in calm.items():
        if least > max(calm[take.main] + _STRANGER[0], calm[take.main] * _STRANGER[1]):
            rows = np.flatnonzero(moments.shot == number)
            mine[rows] = False
            warnings.append(
                f"from {moments.time[rows[0]]:.2f} to {moments.time[rows[-1]]:.2f} s the video shows another person: "
                "marked as without a face; cut it out and track it on its own"
            )
    return mine
