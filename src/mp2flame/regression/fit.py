"""From a data set to a mapping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame.dataset.store import Dataset
from mp2flame.dataset.table import FrameTable
from mp2flame.errors import InputError
from mp2flame.mapping import LinearMapping, StoredMapping
from mp2flame.mapping.landmark_mlp import LandmarkMapping, upright
from mp2flame.mapping.linear import FEATURES
from mp2flame.regression.context import KINDS, FitContext, Kind, pass_over
from mp2flame.regression.head_pose_offset import straight_metadata
from mp2flame.regression.mlp import LandmarkSamples, NetworkConfig, fit_landmarks
from mp2flame.regression.ridge import fit_pinv, fit_ridge

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

Float32 = NDArray[np.float32]


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
    """A mapping from a data set; the same seed on the same data gives the same bytes.

    Args:
        dataset: a data set, or its folder.
        kind: `pinv`, the field's method on absolute scores; `ridge`, on scores relative to the neutral face;
            `landmarks`, small networks on landmarks and scores relative to the neutral face.
        head: the head that the parameters are for. It gives the distance to minimize and the mirror of the parameters;
            without it parameters weigh by their spread and no mirrored faces are added.
        seed: of everything random.
        features: element-wise features of the scores, for `ridge`.
        network: sizes of the networks, for `landmarks`.
        cluster: read the data on the Ray that this process is connected to.
        log: called with sentences that a user should know, such as what was left out.

    Raises:
        InputError: too few usable frames, no neutral frames where they are needed, or another head's parameters.
    """
    if kind not in KINDS:
        raise InputError(f"expected a kind among {', '.join(KINDS)}; got {kind!r}")
    data = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    context = FitContext(data, head, log)
    frames = pass_over(data, features if kind == "ridge" else ("scores",), kind, cluster=cluster)
    for reason, count in sorted(frames.left_out.items()):
        log(f"left out: {count} {reason}")
    if kind != "pinv" and not frames.samples:
        raise InputError(
            f"kind {kind} needs usable frames of a subject with a neutral frame; there is none: mark neutral frames "
            "(mp2flame dataset build --estimate-neutral), or fit with --kind pinv"
        )
    mapping: LinearMapping | LandmarkMapping
    if kind == "pinv":
        mapping = fit_pinv(context, frames)
    elif kind == "ridge":
        mapping = fit_ridge(context, frames, seed=seed)
    else:
        samples = _landmark_samples(data, frames.samples)
        metadata = context.describe(
            len(samples.scores), "networks on landmarks and scores relative to the neutral face"
        )
        loss = context.loss(samples.parameters.std(axis=0))
        mapping = fit_landmarks(samples, loss, context.symmetry, config=network, seed=seed, metadata=metadata)
    return replace(mapping, metadata={**mapping.metadata, **straight_metadata(data)})


def _landmark_samples(data: Dataset, tables: list[FrameTable]) -> LandmarkSamples:
    neutral = []
    for table in tables:
        own = data.neutral(table.subject, ["scores", "landmarks", "head_transform"])
        if own is None:
            raise InputError(f"subject {table.subject} has no neutral frame with landmarks and head transform")
        neutral.append(own)
    return LandmarkSamples(
        points=np.concatenate([_upright(table) for table in tables]),
        scores=np.concatenate([table.columns["scores"] for table in tables]),
        parameters=np.concatenate([table.parameters for table in tables]),
        subject=np.repeat(np.arange(len(tables)), [len(table) for table in tables]),
        neutral_points=np.stack([np.median(_upright(own), axis=0) for own in neutral]).astype(np.float32),
        neutral_scores=np.stack([np.median(own.columns["scores"], axis=0) for own in neutral]).astype(np.float32),
        neutral_transforms=np.stack([own.columns["head_transform"][0].reshape(4, 4) for own in neutral]),
        transforms=np.concatenate([table.columns["head_transform"] for table in tables]).reshape(-1, 4, 4),
    )


def _upright(table: FrameTable) -> Float32:
    size = None if table.image_size is None else np.array(table.image_size)
    return upright(table.columns["landmarks"].reshape(len(table), -1, 3), size)
