"""From a data set to a mapping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from mp2flame.dataset.store import Dataset
from mp2flame.dataset.table import FrameTable
from mp2flame.errors import InputError
from mp2flame.mapping import FEATURES, LinearMapping, StoredMapping
from mp2flame.mapping.landmark_mlp import LandmarkMapping, upright
from mp2flame.regression.context import Setting
from mp2flame.regression.gather import KINDS, Gathered, Kind, gather
from mp2flame.regression.head_pose_offset import straight_metadata
from mp2flame.regression.linear_fit import pinv_matrix
from mp2flame.regression.mlp import LandmarkSample, NetworkConfig, fit_landmarks
from mp2flame.regression.moments import total_moments
from mp2flame.regression.ridge import fit_ridge

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["fit"]

Float32 = NDArray[np.float32]
_Fitted = TypeVar("_Fitted", LinearMapping, LandmarkMapping)


def fit(
    dataset: Dataset | str | Path,
    *,
    kind: Kind = "ridge",
    head: FlameHead | None = None,
    seed: int = 0,
    features: tuple[str, ...] = FEATURES,
    network: NetworkConfig | None = None,
    cluster: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> StoredMapping:
    """A mapping from a data set.

    Args:
        dataset: a data set, or its folder.
        kind: `pinv`, the field's method on absolute scores; `ridge`, on scores relative to rest; `landmarks`, small
            networks on landmarks and scores relative to rest.
        head: the head that the parameters are for. It gives the distance to fit by and the mirror of its parameters;
            without it parameters weigh by their spread and no mirrored faces are added.
        seed: the same seed on the same data gives the same bytes.
        features: element-wise features of the scores, for `ridge`.
        network: sizes of the networks, for `landmarks`.
        cluster: make the pass over the data on the Ray that this process is connected to.
        log: told in sentences what a user should know, such as what was left out.

    Raises:
        InputError: too few usable frames, no rest frames where they are needed, or another head's parameters.
    """
    if kind not in KINDS:
        raise InputError(f"expected a kind among {', '.join(KINDS)}; got {kind!r}")
    data = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    setting = Setting(data, head, log)
    chosen = features if kind == "ridge" else ("scores",)
    got = _gather(data, chosen, kind, cluster=cluster)
    for reason, count in sorted(got.skipped.items()):
        log(f"left out: {count} {reason}")
    if kind == "pinv":
        return _described(_fit_pinv(setting, got), straight_metadata(data))
    if not got.sample.parts():
        raise InputError(
            f"kind {kind} needs usable frames of a subject with a rest frame; there is none: mark rest frames "
            "(mp2flame dataset build --estimate-neutral), or fit with --kind pinv"
        )
    if kind == "landmarks":
        return _described(_fit_landmarks(setting, got, network, seed), straight_metadata(data))
    return _described(fit_ridge(setting, got, seed=seed), straight_metadata(data))


def _described(mapping: _Fitted, more: dict[str, str]) -> _Fitted:
    return replace(mapping, metadata={**mapping.metadata, **more})


def _gather(data: Dataset, features: tuple[str, ...], kind: Kind, *, cluster: bool) -> Gathered:
    if cluster:
        from mp2flame.dataset.cluster import gather_on_cluster

        return gather_on_cluster(data, features, kind=kind)
    return gather(data, data.subjects, features, kind=kind)


def _fit_pinv(setting: Setting, got: Gathered) -> LinearMapping:
    total = total_moments(got.folds)
    matrix = pinv_matrix(total).astype(np.float32)
    note = "pseudo-inverse of absolute scores, without intercept"
    return LinearMapping(matrix=matrix, metadata=setting.describe(total.count, note))


def _fit_landmarks(setting: Setting, got: Gathered, settings: NetworkConfig | None, seed: int) -> LandmarkMapping:
    sample = _landmark_sample(setting.data, got)
    metadata = setting.describe(len(sample.truth), "networks on landmarks and scores relative to rest")
    metric = setting.metric(sample.truth.std(axis=0))
    return fit_landmarks(sample, metric, setting.symmetry, settings=settings, seed=seed, metadata=metadata)


def _landmark_sample(data: Dataset, got: Gathered) -> LandmarkSample:
    parts = got.sample.parts()
    rests = []
    for part in parts:
        neutral = data.neutral(part.subject, ["scores", "landmarks", "head_transform"])
        if neutral is None:
            raise InputError(f"subject {part.subject} has no rest frame with landmarks and head transform")
        rests.append(neutral)
    return LandmarkSample(
        points=np.concatenate([_upright(part) for part in parts]),
        scores=np.concatenate([part.columns["scores"] for part in parts]),
        truth=np.concatenate([part.parameters for part in parts]),
        subject=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
        rest_points=np.stack([np.median(_upright(neutral), axis=0) for neutral in rests]).astype(np.float32),
        rest_scores=np.stack([np.median(neutral.columns["scores"], axis=0) for neutral in rests]).astype(np.float32),
        rest_transforms=np.stack([neutral.columns["head_transform"][0].reshape(4, 4) for neutral in rests]),
    )


def _upright(rows: FrameTable) -> Float32:
    size = None if rows.image_size is None else np.array(rows.image_size)
    return upright(rows.columns["landmarks"].reshape(len(rows), -1, 3), size)
