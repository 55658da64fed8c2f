"""Whether a face is at rest, told by how well identity alone explains what is seen of it.

Somebody who smiles for a second is calm, too, and so is a face in the middle of a word. But nobody's identity opens the
jaw: a frame that is at rest is likelier than one that is not, if both are taken for somebody's rest.
How likely a real face is at all depends on light and skin, so only frames of the same video are compared.

Letters: M frames, K landmarks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.geometry.skinned_points import n_active_expression
from mp2flame.parallel import in_threads
from mp2flame.tracking.model import Study
from mp2flame.tracking.person import View, first_lens, know_person
from mp2flame.tracking.sequence import start_rows
from mp2flame.tracking.state import Layout
from mp2flame.tracking.takes import Take

__all__ = ["Repose"]

Float64 = NDArray[np.float64]

_CERTAIN: Final = 24.0
"""Renders of a head at rest cost 12 to 21, of a face that is not at rest 28 to 102: nothing is compared below this."""
_LIKELIER: Final = 0.95
"""A moment that costs less than this share of the rest's makes that no rest."""
_TRIED: Final = 24
"""Moments of a video that are compared."""
_APART: Final = 0.2
"""Seconds between them, at least."""
_KEYFRAMES: Final = 8
"""Moments from which a person without a rest is told."""
_STEPS: Final = 6


class Repose:
    """Judges rests of one head.

    Args:
        study: the head.
        joint: the joint that turns it.
        focal: focal length in pixels; None estimates it.
    """

    def __init__(self, study: Study, *, joint: int, focal: float | None) -> None:
        self._layout = Layout(n_active_expression(study.head), joint)
        self._response, self._index, self._focal = study.response, study.embedding.landmark_index, focal
        self._points, self._usual = study.points, study.usual_points

    def settled(self, take: Take) -> Take:
        """The take without its rest if that is none, and with keyframes where it has no rest."""
        cost = np.inf
        if take.rest is not None:
            seen, reported = take.at_rest(self._index)
            cost = float(self._costs(take, seen, reported)[0])
            if cost < _CERTAIN:
                return take
        rows = _spread_out(take)
        costs = self._costs(take, take.landmarks(rows, self._index), take.reported(rows))
        if _LIKELIER * cost <= costs.min():
            return take
        likeliest = np.sort(np.argsort(costs, kind="stable")[:_KEYFRAMES])
        return replace(take, rest=None, refused=take.rest is not None, keyframes=rows[likeliest])

    def _costs(self, take: Take, seen: NDArray[np.floating], reported: Float64) -> Float64:
        """(M,) how unlikely landmarks (M, K, 3) and rotations (M, 3, 3) of a take are as somebody's rest."""
        lens = first_lens(take.size, self._focal)
        rows = start_rows(self._usual, self._layout, lens, seen, reported)

        def cost(number: int) -> float:
            view = View(seen[number], rows[number])
            known = self._focal is not None
            points, response = self._points, self._response
            return know_person(points, self._layout, response, [view], [lens], focal_known=known, steps=_STEPS).unlikely

        return np.array(list(in_threads(cost, range(len(seen)))))


def _spread_out(take: Take) -> NDArray[np.intp]:
    """Some frames of the person's shot, from its beginning to its end."""
    rows = take.rows[take.moments.shot == take.main]
    time = take.video.seen.time[rows]
    count = int(np.clip((time[-1] - time[0]) / _APART, 1, _TRIED))
    wanted = np.linspace(time[0], time[-1], count + 1)
    chosen: NDArray[np.intp] = rows[np.unique(np.abs(time[None] - wanted[:, None]).argmin(axis=1))]
    return chosen
