"""Mappings side by side on people whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Mapping as Mapping_
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation
from mp2flame.dataset.store import Dataset
from mp2flame.dataset.table import FrameTable
from mp2flame.errors import InputError
from mp2flame.evaluation.metrics import Measures, Ruler, mirrored, told
from mp2flame.geometry.symmetry import Symmetry, head_symmetry
from mp2flame.mapping import BlendshapeMapping, LinearMapping, StoredMapping, check_compatible
from mp2flame.mapping.landmark_mlp import LandmarkMapping, upright
from mp2flame.parallel import one_blas_thread
from mp2flame.regression.context import check_head as check_data_head
from mp2flame.regression.mlp import front_view, landmark_mirror

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["NO_EXPRESSION", "Evaluation", "evaluate", "with_metrics"]

NO_EXPRESSION = "no expression"
_SEEN = ("scores", "landmarks", "head_transform")
_TRUTH = ("expression", "jaw", "eyes")
_Stored = TypeVar("_Stored", bound=StoredMapping)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Measures of every mapping, and what they were taken on."""

    measures: Mapping_[str, Measures]
    """By the mapping's name; `no expression` is the face that never moves."""
    subjects: tuple[str, ...]
    """On whom."""
    head: FlameHead
    without_neutral: int
    """Subjects without a rest frame: mappings used the average person's."""

    def as_json(self) -> dict[str, Any]:
        """Everything but pictures, for files."""
        return {
            "format": "mp2flame-evaluation",
            "format_version": 1,
            "head_version": self.head.version,
            "head_hash": self.head.hash,
            "subjects": list(self.subjects),
            "subjects_without_neutral": self.without_neutral,
            "mappings": {
                name: {"figures": told(measures.figures()), "worst": [frame.told() for frame in measures.worst]}
                for name, measures in self.measures.items()
            },
        }


def evaluate(
    mappings: Mapping_[str, BlendshapeMapping],
    dataset: Dataset | str | Path,
    head: FlameHead,
    *,
    subjects: Sequence[str] | None = None,
    allow_head_mismatch: bool = False,
) -> Evaluation:
    """Measure mappings on a data set's frames, which should be of people that none of them was fitted on.

    Every mapping that knows a rest gets the subject's rest frames; one fitted on absolute scores alone is used as it
    is, as the field does. Results and truth are put on the mean identity, the head not turned.

    Args:
        mappings: by name.
        dataset: a data set, or its folder.
        head: the head that the truth is for.
        subjects: whom to measure on; None for everybody.
        allow_head_mismatch: measure mappings that were made for another head too.

    Raises:
        InputError: a mapping needs what the data does not have, or was made for another head.
    """
    data = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    if NO_EXPRESSION in mappings:
        raise InputError(f"{NO_EXPRESSION!r} is the name of the face that never moves; name the mapping otherwise")
    check_data_head(data, head)
    for mapping in mappings.values():
        check_compatible(mapping, head, allow_mismatch=allow_head_mismatch)
    chosen = tuple(data.subjects if subjects is None else subjects)
    columns = [name for name in _SEEN if data.has_column(name)]
    ruler, symmetry = Ruler(head), head_symmetry(head)
    swap = _landmark_swap(data, chosen) if "landmarks" in columns else None
    mirror = None if symmetry is None else _Mirror(symmetry, swap)
    measures = {name: Measures() for name in (*mappings, NO_EXPRESSION)}
    without_neutral = 0
    # The products are small: more threads than one would spin in each other's way on a busy machine.
    with one_blas_thread():
        for subject in chosen:
            neutral = data.neutral(subject, columns)
            without_neutral += neutral is None
            for rows in data.batches([*columns, *_TRUTH], subjects=[subject]):
                _still(ruler, measures[NO_EXPRESSION], rows, head.n_expression)
                for name, mapping in mappings.items():
                    _one(ruler, measures[name], mapping, rows=rows, neutral=neutral, mirror=mirror)
    return Evaluation(measures, chosen, head, without_neutral)


def _still(ruler: Ruler, measures: Measures, rows: FrameTable, n_expression: int) -> None:
    still = FlameParams.neutral(len(rows), n_expression=n_expression)
    ruler.add(measures, rows, replace(still, found=rows.found))


@dataclass(frozen=True, eq=False)
class _Mirror:
    """What it takes to show a mapping a mirrored face and to mirror what it says."""

    symmetry: Symmetry
    landmarks: NDArray[np.intp] | None


def _one(
    ruler: Ruler,
    measures: Measures,
    mapping: BlendshapeMapping,
    *,
    rows: FrameTable,
    neutral: FrameTable | None,
    mirror: _Mirror | None,
) -> None:
    seen, still = rows.observation(), None if neutral is None else neutral.observation()
    result = _for_person(mapping, still)(seen)
    ruler.add(measures, rows, result)
    if mirror is None or (isinstance(mapping, LandmarkMapping) and mirror.landmarks is None):
        return
    other = _for_person(mapping, None if still is None else mirrored(still, mirror.landmarks))
    ruler.add_asymmetry(measures, result, other(mirrored(seen, mirror.landmarks)), mirror.symmetry)


def _for_person(mapping: BlendshapeMapping, neutral: Observation | None) -> BlendshapeMapping:
    if neutral is None or (isinstance(mapping, LinearMapping) and not mapping.uses_neutral):
        return mapping
    return mapping.for_person(neutral)


def _landmark_swap(data: Dataset, subjects: tuple[str, ...]) -> NDArray[np.intp] | None:
    """Which landmarks change places in a mirrored face, from the rest frames; None where there are none to tell."""
    rests = [data.neutral(subject, ["landmarks", "head_transform"]) for subject in subjects]
    known = [neutral for neutral in rests if neutral is not None]
    if not known or not data.has_column("head_transform"):
        return None
    views = []
    for neutral in known:
        size = None if neutral.image_size is None else np.array(neutral.image_size)
        points = upright(neutral.columns["landmarks"].reshape(len(neutral), -1, 3), size)
        views.append(front_view(points, neutral.columns["head_transform"].reshape(-1, 4, 4)))
    try:
        return landmark_mirror(np.concatenate(views))
    except InputError:
        return None


def with_metrics(mapping: _Stored, evaluation: Evaluation, name: str) -> _Stored:
    """The mapping with the figures measured for it in its metadata, for its file."""
    figures = told(evaluation.measures[name].figures())
    summary = {"subjects": len(evaluation.subjects), "head_hash": evaluation.head.hash, "figures": figures}
    metadata = {**mapping.metadata, "metrics": json.dumps(summary, sort_keys=True)}
    return replace(mapping, metadata=metadata)  # type: ignore[type-var]
