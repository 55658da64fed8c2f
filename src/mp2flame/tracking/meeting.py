"""Getting to know a person: from rest frames, else from frames whose faces are found along with it, and from the skin.

Letters: N frames with a face, S' identity coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.geometry.skinned_points import n_active_expression
from mp2flame.tracking.chart import Chart, Reference
from mp2flame.tracking.equations import Scene
from mp2flame.tracking.model import Study
from mp2flame.tracking.person import Evidence, Person, View, first_lens, know_person
from mp2flame.tracking.sequence import Moments, Path, hear_skin, solve_path, start_rows
from mp2flame.tracking.skin import Skin
from mp2flame.tracking.state import Layout
from mp2flame.tracking.takes import Take

__all__ = ["Meeting"]

Float64 = NDArray[np.float64]

_ROUNDS: Final = 2
"""Of finding faces and the person in turns, where there is no rest."""
_SMALLEST: Final = 48
"""Pixels across a face's picture below which it shows no marks."""
_HEARD: Final = 16
"""Frames of a video from whose skin a person is told, those with the head turned most differently."""


class Meeting:
    """One person in some videos.

    Args:
        study: the head.
        takes: the videos.
        joint: the joint that turns the head.
        focal: focal length in pixels; None estimates it for each video.
        ipd: metres between the person's eyes; None if it is not known.
    """

    def __init__(
        self, study: Study, takes: Sequence[Take], *, joint: int, focal: float | None, ipd: float | None = None
    ) -> None:
        self.layout = Layout(n_active_expression(study.head), joint)
        self._head, self._response, self._index = study.head, study.response, study.embedding.landmark_index
        self._points, self._usual = study.points, study.usual_points
        self._takes, self._focal_known, self._ipd = takes, focal is not None, ipd
        self._lenses = tuple(first_lens(take.size, focal) for take in takes)
        self._shown = [view for take in takes for view in self._views(take)]
        self.person = self._known()
        for _ in range(_ROUNDS if any(not view.at_rest for view in self._shown) else 0):
            self._shown = [view if view.at_rest else self._with_face(view) for view in self._shown]
            self.person = self._known()

    def _known(self, before: Person | None = None, evidence: Sequence[Evidence] = ()) -> Person:
        return know_person(
            self._points,
            self.layout,
            self._response,
            self._shown,
            self._lenses,
            focal_known=self._focal_known,
            ipd=self._ipd,
            before=before,
            evidence=evidence,
        )

    def _views(self, take: Take) -> list[View]:
        """The face at rest, once; or some frames of the person's shot, as if they were at rest for the time being."""
        if take.rest is not None:
            seen, reported = take.at_rest(self._index)
        else:
            assert take.keyframes is not None
            seen, reported = take.landmarks(take.keyframes, self._index), take.reported(take.keyframes)
        start = start_rows(self._usual, self.layout, self._lenses[take.number], seen, reported)
        return [View(x, row, take.number, take.rest is not None) for x, row in zip(seen, start, strict=True)]

    def _with_face(self, view: View) -> View:
        """The view with the face that it seems to show."""
        scene = self.scene(view.video)
        # What is missed of this person is not known yet, so errors are those of anybody.
        anybody = self.person.identity @ scene.response.identity_response
        scene = replace(scene, own=anybody, response=replace(scene.response, relative=scene.response.absolute))
        turn = rotations.matrix(self.layout.turn(view.row[None]))
        path = solve_path(scene, view.landmarks[None], turn, Moments(np.zeros(1), np.zeros(1, dtype=np.int64)))
        return replace(view, row=path.rows[0])

    def scene(self, video: int) -> Scene:
        """What is known of one of the videos."""
        points, response = self._points.with_fixed(self.person.identity), self._response.scaled(self.person.size)
        return Scene(points, self.layout, response, self.person.own[video], self.person.lenses[video])

    def seen(self, take: Take) -> NDArray[np.floating]:
        """(N, K, 3) normalised, the landmarks of a take's frames that count."""
        return take.landmarks(take.rows, self._index)

    def skin(self, take: Take, path: Path, *, fine: bool) -> Skin | None:
        """Where the marks on the skin went in a take's frames, `fine` if exactly; None where no pictures were kept."""
        at = self._reference_frame(take, path)
        glimpse = take.glimpse(int(take.rows[at]))
        if glimpse is None or min(glimpse.grey.shape) < _SMALLEST:
            return None
        row = path.rows[at]
        if take.rest is not None:
            # The face is known to be at rest; the head's stand was found along with the person.
            row = np.concatenate([np.zeros(self.layout.n_face), self.person.pose(self._view_of(take))])
        landmarks = take.landmarks(take.rows[at : at + 1], slice(None))[0]
        lens = self.person.lenses[take.number]
        chart = Chart(self._head, self.person.identity, self.layout, lens, Reference(glimpse, landmarks, row))
        if not len(chart):
            return None
        return Skin(chart, chart.match(path.rows, lambda i: take.glimpse(int(take.rows[i])), fine=fine))

    def _reference_frame(self, take: Take, path: Path) -> int:
        """The frame most like the whole rest; where there is none, the frame whose face is nearest to one."""
        if take.rest is not None:
            seen = take.landmarks(take.rest, self._index)
            away = np.abs(seen - np.median(seen, axis=0)).mean(axis=(1, 2))
            return int(np.searchsorted(take.rows, take.rest[int(away.argmin())]))
        face = path.rows[:, : self.layout.n_face] / self.layout.face_deviation
        away = (face**2).sum(axis=1) / self.layout.n_face + (self.layout.turn(path.rows) ** 2).sum(axis=1)
        return int(np.where(take.moments.shot == take.main, away, np.inf).argmin())

    def _view_of(self, take: Take) -> int:
        """The number of a take's first view, which is its only one where there is a rest."""
        return next(number for number, view in enumerate(self._shown) if view.video == take.number)

    def hear(self, skins: Sequence[Skin | None], paths: Sequence[Path]) -> None:
        """Know the person better by what the skin did in each take."""
        evidence = []
        for take, skin, path in zip(self._takes, skins, paths, strict=True):
            # Where there was no rest, the chart's own face is a guess, and says little of who somebody is.
            if skin is None or take.rest is None:
                continue
            # After a cut it may be somebody else.
            own = np.flatnonzero(take.moments.shot == take.main)
            rows = own[_turned_most(self.layout.turn(path.rows[own]), _HEARD)]
            seen = self.seen(take)[rows]
            matrix, right = hear_skin(self.scene(take.number), seen, path[rows], skin[rows])
            evidence.append(Evidence(self._view_of(take), take.number, matrix, right))
        if evidence:
            self.person = self._known(self.person, evidence)


def _turned_most(turns: Float64, count: int) -> NDArray[np.intp]:
    """Numbers of the rotations (N, 3) that differ most from each other, the first ones found from one to the next."""
    chosen = [0]
    apart = np.linalg.norm(turns - turns[0], axis=1)
    while len(chosen) < min(count, len(turns)):
        chosen.append(int(apart.argmax()))
        apart = np.minimum(apart, np.linalg.norm(turns - turns[chosen[-1]], axis=1))
        apart[chosen] = -1.0
    return np.sort(np.array(chosen, dtype=np.intp))
