"""A mapping for sources that already speak ARKit: each score adds its shape's parameters."""

from __future__ import annotations

import json

import numpy as np

from mp2flame.blendshapes import ARKIT, MEDIAPIPE
from mp2flame.head import FlameHead
from mp2flame.mapping import LinearMapping
from mp2flame.retargeting.correspondence import source_head
from mp2flame.retargeting.transfer import Transfer

__all__ = ["arkit_mapping"]


def arkit_mapping(head: FlameHead, transfer: Transfer, *, date: str = "") -> LinearMapping:
    """The parameters of ARKit's shapes as a mapping: zero scores give the head at rest.

    `tongueOut` is not among the scores that a mapping reads, and shapes that were not made do nothing.

    Args:
        head: the head that the shapes were carried over to.
        transfer: what `transfer_shapes` gave for it.
        date: ISO 8601, for the file's metadata.
    """
    joined = transfer.shapes.to_rows()
    matrix = np.zeros((len(MEDIAPIPE), joined.shape[1]), dtype=np.float32)
    for row, name in zip(joined, ARKIT, strict=True):
        if name in MEDIAPIPE:
            matrix[MEDIAPIPE.index(name)] = row
    explained = {name: round(float(transfer.explained[ARKIT.index(name)]), 3) for name in transfer.made}
    metadata = {
        "head_version": head.version,
        "head_hash": head.hash,
        "training_subjects": "0",
        "training_frames": "0",
        "metrics": json.dumps({"explained": explained}, sort_keys=True),
        "licence": head.metadata.get("licence") or "the head's own",
        "date": date,
        "provenance": (
            "ARKit's shapes of the built-in head (CC0-1.0, "
            f"hash {source_head().hash[:12]}), carried over by deformation transfer; no pictures of people and no "
            f"training data; not made: {', '.join(transfer.not_made) or 'none'}"
        ),
    }
    return LinearMapping(matrix=matrix, metadata=metadata)
