"""Principal components of displacements whose sampled coefficients have unit variance, each its own mirror image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def principal(
    basis: NDArray[np.float64],
    samples: NDArray[np.float64],
    vertex_mirror: NDArray[np.intp],
    count: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Principal components of `samples @ basis` and of its mirror image, half and half.

    With every sample's mirror image counted too, the symmetric and the antisymmetric part of the displacements are
    uncorrelated, so they are analysed apart, and each component is exactly one or the other.

    Args:
        basis: displacements (B, V, 3).
        samples: weights (N, B).
        vertex_mirror: (V,).
        count: how many components to keep.

    Returns:
        The components (V, 3, count), largest first, one unit being one standard deviation of the samples, and the
        coefficients (B, count) of each element of the basis.
    """
    found: list[tuple[float, NDArray[np.float64], NDArray[np.float64]]] = []
    for sign in (1.0, -1.0):
        half = (basis + sign * basis[:, vertex_mirror] * [-1.0, 1.0, 1.0]) / 2
        left, size, right = np.linalg.svd(half.reshape(len(basis), -1), full_matrices=False)
        rank = int((size > 1e-7 * size[0]).sum())
        loading = left[:, :rank] * size[:rank]
        # the mirrored samples turn the antisymmetric part round, so its mean is zero whatever theirs is
        middle = samples.mean(axis=0) if sign > 0 else 0.0
        spread = (samples - middle) @ loading
        variance, axes = np.linalg.eigh(spread.T @ spread / len(samples))
        for k in np.flatnonzero(variance > 1e-10 * variance[-1]):
            direction = (axes[:, k] @ right[:rank]).reshape(basis.shape[1:])
            exact = (direction + sign * direction[vertex_mirror] * [-1.0, 1.0, 1.0]) / 2
            scale = np.sqrt(variance[k]) * np.sign(exact.flat[np.argmax(np.abs(exact))])
            found.append((float(variance[k]), exact * scale, loading @ axes[:, k] / scale))
    found.sort(key=lambda component: -component[0])
    return np.stack([part[1] for part in found[:count]], axis=-1), np.stack(
        [part[2] for part in found[:count]], axis=-1
    )
