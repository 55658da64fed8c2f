"""The pieces that a head's mesh falls into: skin, eyeballs, lashes, teeth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

__all__ = ["mesh_pieces"]


def mesh_pieces(faces: NDArray[np.integer], n_vertices: int) -> NDArray[np.int64]:
    """(V,) the number of the connected piece that each vertex belongs to; `faces` is (F, 3)."""
    ends = faces.astype(np.int64).ravel(), np.roll(faces.astype(np.int64), 1, axis=1).ravel()
    edges = coo_matrix((np.ones(faces.size), ends), shape=(n_vertices, n_vertices))
    labels = connected_components(edges, directed=False)[1]
    return np.asarray(labels, dtype=np.int64)
