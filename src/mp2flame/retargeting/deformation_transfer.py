"""Deformation transfer: what a shape does to one surface, done to another.

Sumner and Popovic 2004, "Deformation transfer for triangle meshes", solved as the equivalent Poisson problem (Botsch,
Sumner, Pauly and Gross 2006, "Deformation transfer for detail-preserving surface editing"). A shape of the source
turns, stretches and shears each of its triangles; the vertices of the registered surface are moved so that its
triangles change alike, in the least-squares sense.

Letters: S vertices, F triangles, M shapes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from mp2flame.geometry.mesh import triangle_areas_and_normals

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_STILL: Final = 0.02
"""A vertex that moves less than this fraction of the largest movement is held in place,"""
_HOLD: Final = 1.0
"""with this weight, relative to the average vertex' weight of the gradients."""
_DRIFT: Final = 1e-4
"""The others are held with this weight at the source's own movement."""


def transfer_deformations(source: Float64, moved: Float64, triangles: Int64, registered: Float64) -> Float64:
    """The displacements of a registered surface that deform it as the source is deformed.

    Args:
        source: (S, 3) the neutral source, meters.
        moved: (M, S, 3) the source in each of its shapes.
        triangles: (F, 3).
        registered: (S, 3) the source's vertices after registration.

    Returns:
        (M, S, 3) displacements of the registered vertices, meters.
    """
    inverse = np.linalg.inv(_frames(source[triangles]))
    area, normal = triangle_areas_and_normals(registered[triangles])
    operator = _gradient(registered, triangles)
    weighted = operator.multiply(np.repeat(area / area.mean(), 3)[:, None]).T.tocsr()
    laplacian = (weighted @ operator).tocsc()
    unit = laplacian.diagonal().mean()
    scale = np.linalg.norm(np.ptp(registered, axis=0)) / np.linalg.norm(np.ptp(source, axis=0))
    result = np.zeros_like(moved)
    for index, shape in enumerate(moved):
        displacement = shape - source
        length = np.linalg.norm(displacement, axis=1)
        hold = unit * np.where(length <= _STILL * length.max(), _HOLD, _DRIFT)
        changes = _frames(shape[triangles]) @ inverse - np.eye(3)
        # Row 3 f + a of the operator gives the derivative along axis a, which is column a of each change; a surface has
        # no derivative along its normal.
        gradients = changes.swapaxes(1, 2) - normal[:, :, None] * (changes @ normal[:, :, None]).swapaxes(1, 2)
        right = weighted @ gradients.reshape(-1, 3) + hold[:, None] * (scale * displacement)
        left = (laplacian + sparse.diags(hold)).tocsc()
        factor = splu(left, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        result[index] = factor.solve(right)
    return result


def _frames(corners: Float64) -> Float64:
    """(F, 3, 3) two sides and the scaled normal of triangles (F, 3, 3), as columns."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    cross = np.cross(first, second)
    cross /= np.sqrt(np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-20))
    return np.stack([first, second, cross], axis=2)


def _gradient(vertices: Float64, triangles: Int64) -> sparse.csr_matrix:
    """The operator (3 F, S) that gives a function's gradient in each triangle."""
    corners = vertices[triangles]
    area, normal = triangle_areas_and_normals(corners)
    opposite = np.roll(corners, -2, axis=1) - np.roll(corners, -1, axis=1)
    values = np.cross(normal[:, None], opposite) / np.maximum(2 * area, 1e-12)[:, None, None]
    rows = np.arange(len(triangles))[:, None, None] * 3 + np.arange(3)
    rows, columns = np.broadcast_arrays(rows, triangles[:, :, None])
    shape = (3 * len(triangles), len(vertices))
    return sparse.csr_matrix((values.ravel(), (rows.ravel(), columns.ravel())), shape=shape)
