"""Whether a motionless second shows the neutral face, by how well identity alone explains it.

Somebody who smiles for a second is motionless, too, and so is a face in the middle of a word. But no identity opens the
jaw: a neutral frame has a lower cost than others if each is explained as somebody's neutral face. The level of the
cost depends on light and skin, so frames of the same video are compared.

Letters: M frames, K landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mp2flame.parallel import in_threads
from mp2flame.tracking.identity import IdentityConfig, IdentityView, estimate_identity, initial_camera
from mp2flame.tracking.model import TrackerModel
from mp2flame.tracking.solver import initial_states
from mp2flame.tracking.state import StateLayout
from mp2flame.tracking.video import PersonVideo

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class NeutralConfig:
    """How neutral frames are verified."""

    certain_cost: float = 24.0
    """Renders of a neutral head cost 12 to 21, of other faces 28 to 102: below this nothing is compared."""
    better_cost_ratio: float = 0.95
    """Neutral frames are rejected if another moment costs less than this fraction of them."""
    max_candidates: int = 24
    """Moments that are compared."""
    min_distance_s: float = 0.2
    """Between candidates."""
    n_keyframes: int = 8
    """Candidates from which the identity is estimated where there are no neutral frames."""
    identity: IdentityConfig = field(default_factory=lambda: IdentityConfig(max_steps=6))


class NeutralVerifier:
    """Verifies the neutral frames of videos.

    Args:
        model: the head.
        layout: of the states.
        focal: focal length, pixels; None estimates it.
        config: thresholds.
    """

    def __init__(
        self, model: TrackerModel, layout: StateLayout, focal: float | None, config: NeutralConfig = NeutralConfig()
    ) -> None:
        self._model, self._layout, self._focal, self._config = model, layout, focal, config

    def verify(self, video: PersonVideo) -> PersonVideo:
        """The video without its neutral frames if they are not neutral, and with keyframes where it has none."""
        config, index, cost = self._config, self._model.embedding.landmark_index, np.inf
        if video.neutral is not None:
            cost = float(self._costs(video, *video.neutral_view(index))[0])
            if cost < config.certain_cost:
                return video
        frames = self._candidates(video)
        detections = video.detections
        costs = self._costs(video, detections.landmarks(frames, index), detections.head_rotations(frames))
        if config.better_cost_ratio * cost <= costs.min():
            return video
        best = np.sort(np.argsort(costs, kind="stable")[: config.n_keyframes])
        return replace(video, neutral=None, neutral_rejected=video.neutral is not None, keyframes=frames[best])

    def _costs(self, video: PersonVideo, landmarks: NDArray[np.floating], head_rotations: Float64) -> Float64:
        """(M,) the costs of landmarks (M, K, 3) and rotations (M, 3, 3) as neutral faces."""
        model, camera = self._model, initial_camera(video.detections.size, self._focal, self._config.identity)
        states = initial_states(model.mean_points, self._layout, camera, landmarks, head_rotations)

        def cost(i: int) -> float:
            view = IdentityView(landmarks[i], states[i])
            known = self._focal is not None
            return estimate_identity(
                model, self._layout, [view], [camera], focal_known=known, config=self._config.identity
            ).cost

        return np.array(list(in_threads(cost, range(len(states)))))

    def _candidates(self, video: PersonVideo) -> NDArray[np.intp]:
        """Frames of the person's shot, from its beginning to its end."""
        frames = video.frames[video.shot == video.main_shot]
        time = video.detections.observation.time[frames]
        duration = time[-1] - time[0]
        count = int(np.clip(duration / self._config.min_distance_s, 1, self._config.max_candidates))
        moments = np.linspace(time[0], time[-1], count + 1)
        return np.asarray(frames[np.unique(np.abs(time[None] - moments[:, None]).argmin(axis=1))])
