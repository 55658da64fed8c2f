"""The landmarks mapping: small neural networks on landmarks and scores relative to neutral, in NumPy alone.

A frame's landmarks are aligned to the person's neutral landmarks by the best similarity, which turns the head to the
front and removes distance and image position. The differences and the scores relative to neutral are whitened by one
matrix and given to a few small networks, whose outputs are averaged. What their output leaves unexplained of the
landmarks corrects it (`mp2flame.mapping.residual_correction`). Training is in `mp2flame.regression`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import N_LANDMARKS, N_SCORES, FlameParams, Observation
from mp2flame.errors import InputError
from mp2flame.files import Arrays
from mp2flame.mapping.base import StoredMapping, check_keys, check_weights, read_only_metadata
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.mapping.neutral import median_scores
from mp2flame.mapping.person import Person, neutral_of
from mp2flame.mapping.residual_correction import N_VIEW, ResidualCorrection, eye_distance, view_features
from mp2flame.rotations import nearest_rotation

Float32 = NDArray[np.float32]

N_INPUTS: Final = 3 * N_LANDMARKS + N_SCORES
"""Inputs of the whitening matrix: landmarks relative to neutral, then scores relative to neutral."""

_LAYER = "layer_"
_CORRECTION = "correction_"
_CORRECTION_FIELDS: Final = tuple(field.name for field in fields(ResidualCorrection))
_CHUNK = 4096
_JAW_OPEN = MEDIAPIPE.index("jawOpen")
_CLOSED_JAW: Final = float(np.radians(2.5))
_JAW_PER_SCORE: Final = float(np.radians(60.0))
"""Radians of jaw opening at a score jawOpen of 0, and for each unit of it: with them, 90 to 95 percent of rendered
people have their jaw less open than the limit, at every score."""
_MIDDLE: Final = np.array([0.5, 0.5, 0.0], np.float32)


def upright(landmarks: Float32, image_size: NDArray[np.int64] | None) -> Float32:
    """Landmarks (N, 478, 3) of an image as points with square axes: x right, y up, z towards the camera.

    The unit is the image's width. An image of unknown size counts as square.
    """
    ratio = 1.0 if image_size is None else float(image_size[1]) / float(image_size[0])
    return (landmarks - _MIDDLE) * np.array([1.0, -ratio, -1.0], np.float32)


def align(points: Float32, target: Float32, weights: Float32) -> Float32:
    """`points` (N, P, 3), turned, scaled and moved onto `target` (P, 3) by the best similarity, minus `target`.

    Weighted Procrustes alignment (Umeyama 1991's scale).

    Args:
        points: any finite positions.
        target: centered so that its weighted mean is zero.
        weights: (P,) non-negative with sum 1.

    Returns:
        (N, P, 3) the remaining differences.
    """
    # The target's weighted mean is zero, so the points' own mean drops out of the covariance.
    covariance = (weights[:, None] * target).T @ points
    turn = nearest_rotation(covariance)
    mean = weights @ points
    spread = (points * points).reshape(len(points), -1) @ weights.repeat(3) - (mean * mean).sum(axis=1)
    scale = (turn * covariance).sum(axis=(1, 2)) / np.maximum(spread, 1e-20)
    turn = (turn.transpose(0, 2, 1) * scale[:, None, None]).astype(np.float32)
    result: Float32 = points @ turn
    result -= mean[:, None] @ turn + target
    return result


def silu(values: Float32) -> Float32:
    """The networks' activation x / (1 + exp(-x)), the sigmoid-weighted linear unit (Elfwing et al. 2018)."""
    # Below -80 the result is zero in float32 anyway, and exp would overflow.
    result: Float32 = values / (1 + np.exp(-np.maximum(values, np.float32(-80))))
    return result


@dataclass(frozen=True, kw_only=True, eq=False)
class LandmarkMapping(StoredMapping):
    """Networks on whitened landmarks and scores relative to neutral; the neutral face maps to zero.

    Raises:
        InputError: a shape is wrong or a value is not finite.
    """

    kind = "landmarks"
    array_names = MappingProxyType(
        {name: name for name in ("alignment_weights", "default_landmarks", "default_scores", "whitening")}
        | {"neutral_landmarks": "rest_landmarks", "neutral_scores": "rest_scores", "neutral_view": "neutral_view"}
    )

    alignment_weights: Float32
    """(478,) how much each landmark counts in the alignment; sum 1."""
    default_landmarks: Float32
    """(478, 3) the average person's neutral face, facing the camera, weighted mean zero."""
    default_scores: Float32
    """(52,) the average person's neutral scores."""
    whitening: Float32
    """(1486, K) from landmarks and scores relative to neutral to the networks' inputs."""
    layers: tuple[tuple[Float32, Float32], ...]
    """Weights (M, in, out) and biases (M, 1, out) of M networks; the last out is E + 9."""
    neutral_landmarks: Float32 | None = None
    """(478, 3) the person's own neutral face, aligned to `default_landmarks`; set by `for_person`."""
    neutral_scores: Float32 | None = None
    """(52,) the person's own neutral scores; set by `for_person`."""
    neutral_view: Float32 | None = None
    """(13,) view features of the person's own neutral frames; set by `for_person` where they have head transforms."""
    correction: ResidualCorrection | None = None
    """Corrects the networks' output in frames with a head transform; None leaves the output as it is."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What is known about the mapping, by the keys of `mp2flame.mapping.base.METADATA_KEYS`; read-only."""

    def __post_init__(self) -> None:
        fixed: dict[str, tuple[int, ...]] = {
            "alignment_weights": (N_LANDMARKS,),
            "default_landmarks": (N_LANDMARKS, 3),
            "default_scores": (N_SCORES,),
            "whitening": (N_INPUTS, np.shape(self.whitening)[-1] if np.ndim(self.whitening) else 0),
            "neutral_landmarks": (N_LANDMARKS, 3),
            "neutral_scores": (N_SCORES,),
            "neutral_view": (N_VIEW,),
        }
        for name, shape in fixed.items():
            value = getattr(self, name)
            if value is not None or not name.startswith("neutral_"):
                vars(self)[name] = check_weights(f"LandmarkMapping.{name}", value, shape)
        vars(self).update(layers=self._checked_layers(), metadata=read_only_metadata(self.metadata))
        if (self.neutral_landmarks is None) != (self.neutral_scores is None):
            raise InputError("LandmarkMapping needs both neutral_landmarks and neutral_scores, or neither; got one")
        if self.alignment_weights.min() < 0 or abs(float(self.alignment_weights.sum()) - 1) > 1e-3:
            raise InputError("LandmarkMapping.alignment_weights must be non-negative with sum 1")

    def _checked_layers(self) -> tuple[tuple[Float32, Float32], ...]:
        if not self.layers:
            raise InputError("LandmarkMapping needs at least one layer; got none")
        members, width = len(np.atleast_1d(self.layers[0][0])), np.shape(self.whitening)[1]
        checked = []
        for number, (weight, bias) in enumerate(self.layers):
            out = np.shape(weight)[-1] if np.ndim(weight) else 0
            matrix = check_weights(f"{_LAYER}{number}_weight", weight, (members, width, out))
            checked.append((matrix, check_weights(f"{_LAYER}{number}_bias", bias, (members, 1, out))))
            width = out
        if width <= N_ROTATIONS:
            raise InputError(f"the last layer must give E + {N_ROTATIONS} numbers; got {width}")
        return tuple(checked)

    @property
    @override
    def n_expression(self) -> int:
        return int(self.layers[-1][0].shape[2]) - N_ROTATIONS

    @override
    def __call__(self, observation: Observation) -> FlameParams:
        found = np.flatnonzero(observation.found)
        values = np.full((len(observation), self.n_expression + N_ROTATIONS), np.nan, dtype=np.float32)
        for start in range(0, len(found), _CHUNK):
            if observation.landmarks is None:
                raise InputError(
                    "this mapping reads landmarks and the observation has none, as from a recording of scores alone: "
                    "use a mapping of scores (kind linear)"
                )
            rows = found[start : start + _CHUNK]
            points = upright(observation.landmarks[rows], observation.image_size)
            moved = self._displacement(points)
            estimate = self.network(self._whitened(moved, observation.scores[rows]))
            if self.correction is not None and observation.head_transform is not None:
                estimate = self._corrected(self.correction, estimate, moved, observation.head_transform[rows])
            if self.neutral_landmarks is None:
                self._limit_jaw(estimate, observation.scores[rows])
            values[rows] = estimate
        return FlameParams.from_rows(values, time=observation.time, found=observation.found)

    def inputs(self, points: Float32, scores: Float32) -> Float32:
        """The networks' inputs (N, K) of upright points (N, 478, 3) and scores (N, 52)."""
        return self._whitened(self._displacement(points), scores)

    def _displacement(self, points: Float32) -> Float32:
        """(N, 1434) the aligned points minus the neutral landmarks."""
        return align(points, self._neutral(), self.alignment_weights).reshape(len(points), -1)

    def _neutral(self) -> Float32:
        return self.default_landmarks if self.neutral_landmarks is None else self.neutral_landmarks

    def _whitened(self, moved: Float32, scores: Float32) -> Float32:
        base = self.default_scores if self.neutral_scores is None else self.neutral_scores
        inputs: Float32 = moved @ self.whitening[: 3 * N_LANDMARKS]
        inputs += (scores - base) @ self.whitening[3 * N_LANDMARKS :]
        return inputs

    def _limit_jaw(self, values: Float32, scores: Float32) -> None:
        """Open the jaw in values (N, E + 9) no further than the score jawOpen allows.

        Without the person's neutral landmarks, a long face looks like one whose mouth is open; the score does not.
        """
        largest = _CLOSED_JAW + _JAW_PER_SCORE * scores[:, _JAW_OPEN]
        jaw = values[:, self.n_expression]
        np.minimum(jaw, largest, out=jaw)

    def _corrected(
        self, correction: ResidualCorrection, estimate: Float32, moved: Float32, transforms: Float32
    ) -> Float32:
        neutral_view = correction.default_view if self.neutral_view is None else self.neutral_view
        unit = np.float32(eye_distance(self._neutral()))
        return correction(estimate, moved / unit, view_features(transforms) - neutral_view)

    def network(self, inputs: Float32) -> Float32:
        """The networks' mean output (N, E + 9) for whitened inputs (N, K), before the correction."""
        values = inputs[None]
        for weight, bias in self.layers[:-1]:
            values = silu(values @ weight + bias)
        weight, bias = self.layers[-1]
        result: Float32 = (values @ weight + bias).mean(axis=0)
        return result

    @override
    def for_person(self, person: Person | Observation) -> LandmarkMapping:
        neutral = neutral_of(person)
        if neutral.landmarks is None:
            raise InputError(
                "this mapping reads landmarks and the neutral frames have none: record them with landmarks"
            )
        points = upright(neutral.landmarks[neutral.found], neutral.image_size)
        moved = align(points, self.default_landmarks, self.alignment_weights)
        own = np.median(moved, axis=0) + self.default_landmarks
        own -= self.alignment_weights @ own
        view = None
        if neutral.head_transform is not None:
            view = view_features(neutral.head_transform[neutral.found]).mean(axis=0)
        return replace(
            self,
            neutral_landmarks=own.astype(np.float32),
            neutral_scores=median_scores(neutral),
            neutral_view=view,
        )

    @override
    def arrays(self) -> Arrays:
        arrays = super().arrays()
        for number, (weight, bias) in enumerate(self.layers):
            arrays |= {f"{_LAYER}{number}_weight": weight, f"{_LAYER}{number}_bias": bias}
        if self.correction is not None:
            arrays |= {f"{_CORRECTION}{name}": getattr(self.correction, name) for name in _CORRECTION_FIELDS}
        return arrays

    @classmethod
    @override
    def array_fields(cls, arrays: Arrays) -> dict[str, Any]:
        count = max(sum(name.startswith(_LAYER) for name in arrays) // 2, 1)
        names = [(f"{_LAYER}{number}_weight", f"{_LAYER}{number}_bias") for number in range(count)]
        check_keys("its arrays", set(arrays), {name for pair in names for name in pair}, set(arrays))
        layers = tuple((arrays[weight], arrays[bias]) for weight, bias in names)
        parts = {f"{_CORRECTION}{name}" for name in _CORRECTION_FIELDS}
        nested = {*parts, *(name for pair in names for name in pair)}
        plain = {name: array for name, array in arrays.items() if name not in nested}
        correction = None
        if parts & set(arrays):
            check_keys("its arrays of the correction", parts & set(arrays), parts)
            correction = ResidualCorrection(**{name: arrays[f"{_CORRECTION}{name}"] for name in _CORRECTION_FIELDS})
        return {**super().array_fields(plain), "layers": layers, "correction": correction}
