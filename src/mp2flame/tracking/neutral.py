"""Whether a motionless second shows the neutral face, by how well identity alone explains it.

Somebody who smiles for a second is motionless, too, and so is a face in the middle of a word. But no identity opens the
jaw: a neutral frame has a lower cost than others if each is explained as somebody's neutral face. The level of the
cost depends on light and skin, so frames of the same video are compared.

Letters: M frames, K landmarks.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mp2flame.parallel import in_threads
from mp2flame.tracking.identity import IdentityView, estimate_identity
from mp2flame.tracking.model import Setup
from mp2flame.tracking.video import PersonVideo

Float64 = NDArray[np.float64]


class NeutralVerifier:
    """Verifies the neutral frames of videos."""

    def __init__(self, setup: Setup) -> None:
        self._setup, self._config = setup, setup.config.frames
        self._index = setup.model.embedding.landmark_index

    def verify(self, video: PersonVideo) -> PersonVideo:
        """The video without its neutral frames if they are not neutral, and with keyframes where it has none."""
        cost = np.inf
        if video.neutral is not None:
            cost = float(self._costs(video, *video.neutral_view(self._index))[0])
            if cost < self._config.neutral_cost:
                return video
        frames = self._candidates(video)
        costs = self._costs(video, *video.detections.at(frames, self._index))
        if self._config.better_cost_ratio * cost <= costs.min():
            return video
        best = np.sort(np.argsort(costs, kind="stable")[: self._config.n_keyframes])
        return replace(video, neutral=None, neutral_rejected=video.neutral is not None, keyframes=frames[best])

    def _costs(self, video: PersonVideo, landmarks: NDArray[np.floating], head_rotations: Float64) -> Float64:
        """(M,) the costs of landmarks (M, K, 3) and rotations (M, 3, 3) as neutral faces."""
        camera = self._setup.camera(video.detections.size)
        states = self._setup.initial_states(camera, landmarks, head_rotations)

        def cost(i: int) -> float:
            view = IdentityView(landmarks[i], states[i])
            return estimate_identity(self._setup, [view], [camera], max_steps=self._config.candidate_steps).cost

        return np.array(list(in_threads(cost, range(len(states)))))

    def _candidates(self, video: PersonVideo) -> NDArray[np.intp]:
        """Frames of the person's shot, from its beginning to its end."""
        frames = video.frames[video.shot == video.main_shot]
        time = video.detections.observation.time[frames]
        duration = time[-1] - time[0]
        count = int(np.clip(duration / self._config.candidate_distance_s, 1, self._config.max_candidates))
        moments = np.linspace(time[0], time[-1], count + 1)
        return np.asarray(frames[np.unique(np.abs(time[None] - moments[:, None]).argmin(axis=1))])
