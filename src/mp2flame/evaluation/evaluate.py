"""Mappings side by side on people whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.data import FlameParams, Observation
from mp2flame.dataset.store import Dataset
from mp2flame.dataset.table import PARAMETERS
from mp2flame.errors import InputError
from mp2flame.evaluation.metrics import ErrorSums, MeshEvaluator, rounded
from mp2flame.geometry.landmark_mirror import LANDMARK_MIRROR
from mp2flame.geometry.symmetry import head_symmetry
from mp2flame.mapping import BlendshapeMapping, LinearMapping, StoredMapping, check_compatible
from mp2flame.parallel import one_blas_thread

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

NO_EXPRESSION = "no expression"
_OBSERVED = ("scores", "landmarks", "head_transform")
_Stored = TypeVar("_Stored", bound=StoredMapping)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Errors of every mapping, and what they were measured on."""

    measures: Mapping[str, ErrorSums]
    """By the mapping's name; `no expression` is the face that never moves."""
    subjects: tuple[str, ...]
    """On whom."""
    head: FlameHead
    without_neutral: int
    """Subjects without a neutral frame: mappings used the average person's."""

    def as_json(self) -> dict[str, Any]:
        """Everything but images, for files."""
        return {
            "format": "mp2flame-evaluation",
            "format_version": 1,
            "head_version": self.head.version,
            "head_hash": self.head.hash,
            "subjects": list(self.subjects),
            "subjects_without_rest": self.without_neutral,
            "mappings": {
                name: {"figures": rounded(errors.figures()), "worst": [frame.as_json() for frame in errors.worst]}
                for name, errors in self.measures.items()
            },
        }


def evaluate(
    mappings: Mapping[str, BlendshapeMapping],
    dataset: Dataset | str | Path,
    head: FlameHead,
    *,
    subjects: Sequence[str] | None = None,
    allow_head_mismatch: bool = False,
) -> Evaluation:
    """Measure mappings on a data set's frames, which should be of people that none of them was fitted on.

    Every mapping that compares with a neutral face gets the subject's neutral frames; one fitted on absolute scores
    alone is used as it is, as the field does. Results and truth are put on the mean identity, the head not turned.

    Args:
        mappings: by name.
        dataset: a data set, or its folder.
        head: the head that the truth is for.
        subjects: whom to measure on; None for everybody.
        allow_head_mismatch: measure mappings that were made for another head, or do not say for which, too.

    Raises:
        InputError: a mapping needs what the data does not have, or was made for another head.
    """
    data = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    if NO_EXPRESSION in mappings:
        raise InputError(f"{NO_EXPRESSION!r} is the name of the face that never moves; name the mapping otherwise")
    data.check_head(head)
    for mapping in mappings.values():
        check_compatible(mapping, head, allow_mismatch=allow_head_mismatch)
    chosen = tuple(data.subjects if subjects is None else subjects)
    columns = [name for name in _OBSERVED if data.has_column(name)]
    evaluator, symmetry = MeshEvaluator(head), head_symmetry(head)
    measures = {name: ErrorSums() for name in (*mappings, NO_EXPRESSION)}
    without_neutral = 0
    # The products are small: BLAS threads would only wait for each other.
    with one_blas_thread():
        for subject in chosen:
            own = data.neutral(subject, columns)
            without_neutral += own is None
            neutral = None if own is None else own.observation()
            mirrored_neutral = None if neutral is None else mirror_observation(neutral)
            for table in data.batches([*columns, *PARAMETERS], subjects=[subject]):
                still = FlameParams.neutral(len(table), n_expression=head.n_expression)
                evaluator.add(measures[NO_EXPRESSION], table, replace(still, found=table.found))
                observation = table.observation()
                for name, mapping in mappings.items():
                    result = _for_person(mapping, neutral)(observation)
                    evaluator.add(measures[name], table, result)
                    if symmetry is not None:
                        opposite = _for_person(mapping, mirrored_neutral)(mirror_observation(observation))
                        evaluator.add_asymmetry(measures[name], result, opposite, symmetry)
    return Evaluation(measures, chosen, head, without_neutral)


def _for_person(mapping: BlendshapeMapping, neutral: Observation | None) -> BlendshapeMapping:
    if neutral is None or (isinstance(mapping, LinearMapping) and not mapping.uses_neutral):
        return mapping
    return mapping.for_person(neutral)


def mirror_observation(observation: Observation) -> Observation:
    """What would be observed in a mirrored image of a mirrored person; the head transform is left out."""
    landmarks = observation.landmarks
    if landmarks is not None:
        landmarks = landmarks[:, LANDMARK_MIRROR] * np.array([-1, 1, 1], np.float32) + np.array([1, 0, 0], np.float32)
    scores = observation.scores[:, mirror_permutation(MEDIAPIPE)]
    return replace(observation, scores=scores, landmarks=landmarks, head_transform=None)


def with_metrics(mapping: _Stored, evaluation: Evaluation, name: str) -> _Stored:
    """The mapping with the figures measured for it in its metadata, for its file."""
    figures = rounded(evaluation.measures[name].figures())
    summary = {"subjects": len(evaluation.subjects), "head_hash": evaluation.head.hash, "figures": figures}
    metadata = {**mapping.metadata, "metrics": json.dumps(summary, sort_keys=True)}
    return replace(mapping, metadata=metadata)  # type: ignore[type-var]
