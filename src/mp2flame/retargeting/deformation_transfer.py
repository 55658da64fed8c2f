"""Deformation transfer, which asks of one surface what a shape did to another.

Sumner and Popovic 2004, "Deformation transfer for triangle meshes", solved as the Poisson problem that it equals
(Botsch, Sumner, Pauly and Gross 2006, "Deformation transfer for detail-preserving surface editing").

A shape of the source turns, stretches and shears each of its triangles; the same is asked of the triangles of the
surface that was registered to the target, and the vertices that fit best in the least-squares sense are the answer.

Letters: S vertices, F triangles, M shapes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

__all__ = ["transfer_deformations"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_STILL: Final = 0.02
"""A vertex that moves less than this share of the farthest one's way holds the surface in place, ..."""
_HOLD: Final = 1.0
"""... with this weight against the average vertex' share of the gradients."""
_DRIFT: Final = 1e-4
"""The others are held by this much, towards the source's own movement."""


def transfer_deformations(source: Float64, moved: Float64, triangles: Int64, registered: Float64) -> Float64:
    """What moves the registered surface as the source was moved.

    Args:
        source: (S, 3) the source at rest, metres.
        moved: (M, S, 3) the source in each of its shapes.
        triangles: (F, 3).
        registered: (S, 3) the source's vertices after registration.

    Returns:
        (M, S, 3) displacements of the registered vertices, metres.
    """
    gradients = np.linalg.inv(_frames(source[triangles]))
    operator, area = _gradient(registered, triangles)
    weight = np.repeat(area / area.mean(), 3)
    weighted = operator.multiply(weight[:, None]).T.tocsr()
    laplacian = (weighted @ operator).tocsc()
    unit = laplacian.diagonal().mean()
    scale = np.linalg.norm(np.ptp(registered, axis=0)) / np.linalg.norm(np.ptp(source, axis=0))
    result = np.zeros_like(moved)
    for index, shape in enumerate(moved):
        way = shape - source
        far = np.linalg.norm(way, axis=1)
        hold = unit * np.where(far <= _STILL * far.max(), _HOLD, _DRIFT)
        turns = _frames(shape[triangles]) @ gradients - np.eye(3)
        # Row 3 f + a of the operator gives the derivative along axis a, which column a of each turn should be.
        wanted = turns.swapaxes(1, 2) - _across(turns, registered[triangles])
        right = weighted @ wanted.reshape(-1, 3) + hold[:, None] * (scale * way)
        left = (laplacian + sparse.diags(hold)).tocsc()
        factor = splu(left, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        result[index] = factor.solve(right)
    return result


def _frames(corners: Float64) -> Float64:
    """(F, 3, 3) the two sides and the scaled normal of triangles (F, 3, 3), as columns."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(first, second)
    across /= np.sqrt(np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-20))
    return np.stack([first, second, across], axis=2)


def _normals(corners: Float64) -> Float64:
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    result: Float64 = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-20)
    return result


def _across(turns: Float64, corners: Float64) -> Float64:
    """(F, 3, 3) the part of gradients (transposed turns) along the triangles' normals, which no surface can have."""
    normal = _normals(corners)
    along = np.einsum("fij,fj->fi", turns, normal)
    result: Float64 = normal[:, :, None] * along[:, None, :]
    return result


def _gradient(vertices: Float64, triangles: Int64) -> tuple[sparse.csr_matrix, Float64]:
    """The operator (3 F, S) that gives a function's gradient in each triangle, and the triangles' areas (F,)."""
    corners = vertices[triangles]
    normal = _normals(corners)
    double = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    double = np.maximum(double, 1e-12)
    opposite = np.stack([corners[:, (k + 2) % 3] - corners[:, (k + 1) % 3] for k in range(3)], axis=1)
    values = np.cross(normal[:, None], opposite) / double[:, None, None]
    rows = np.arange(len(triangles))[:, None, None] * 3 + np.arange(3)
    rows, columns = np.broadcast_arrays(rows, triangles[:, :, None])
    shape = (3 * len(triangles), len(vertices))
    return sparse.csr_matrix((values.ravel(), (rows.ravel(), columns.ravel())), shape=shape), double / 2
