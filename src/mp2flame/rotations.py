"""Axis-angle rotations, batched, safe near zero and at half turns.

Shapes: `(..., 3)` axis-angle in radians, `(..., 3, 3)` rotation matrices acting on column vectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.errors import InputError

_Float = NDArray[np.float64]

_IDENTITY = np.eye(3)
# (3, 9) from a vector to its cross-product matrix, row by row: row k is the matrix of axis k.
_CROSS = np.cross(np.eye(3)[:, None], np.eye(3)).transpose(0, 2, 1).reshape(3, 9)


def matrix(axis_angle: ArrayLike) -> _Float:
    """Rotation matrices (..., 3, 3) of axis-angle vectors (..., 3), in float64.

    Rodrigues' formula `R = I + a K + b K²`, with K the cross-product matrix of the vector v, `K² = v vᵀ - |v|² I`,
    `a = sin(t)/t` and `b = (1 - cos(t))/t²`, written as half the square of `sin(t/2)/(t/2)`, which does not cancel
    near zero.

    Raises:
        InputError: the last axis is not 3 long.
    """
    vector = np.asarray(axis_angle, dtype=np.float64)
    if vector.ndim == 0 or vector.shape[-1] != 3:
        raise InputError(f"expected axis-angle vectors (..., 3) in radians; got {vector.shape}")
    squared = (vector * vector).sum(axis=-1)[..., None, None]
    # Dividing by a number that is never zero; the sine of this one is the number itself.
    angle = np.maximum(np.sqrt(squared), 1e-150)
    half = 0.5 * angle
    b = 0.5 * (np.sin(half) / half) ** 2
    result: _Float = (vector.reshape(-1, 3) @ _CROSS).reshape(*vector.shape, 3)
    result *= np.sin(angle) / angle
    result += b * (vector[..., :, None] * vector[..., None, :])
    result += (1 - b * squared) * _IDENTITY
    return result


def _products(m: _Float) -> _Float:
    """Four times the products (..., 4, 4) of a unit quaternion's components, less one on the diagonal; linear in m."""
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    products = np.zeros((*m.shape[:-2], 4, 4))
    products[..., 0, 0] = trace
    for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
        products[..., i + 1, i + 1] = 2 * m[..., i, i] - trace
        products[..., 0, i + 1] = products[..., i + 1, 0] = m[..., k, j] - m[..., j, k]
        products[..., j + 1, k + 1] = products[..., k + 1, j + 1] = m[..., j, k] + m[..., k, j]
    return products


# (9, 16) the same as one matrix product.
_PRODUCTS = _products(np.eye(9).reshape(9, 3, 3)).reshape(9, 16)
# (16, 9) and back.
_FROM_PRODUCTS = np.linalg.pinv(_PRODUCTS)


def _quaternion(rotation: _Float) -> _Float:
    """Unit quaternions (..., 4), w first and not negative, by Shepperd's choice of the largest component."""
    products = (rotation.reshape(-1, 9) @ _PRODUCTS).reshape(-1, 4, 4) + np.eye(4)
    largest = products.diagonal(axis1=1, axis2=2).argmax(axis=1)
    row: _Float = products[np.arange(len(products)), largest]
    row /= np.sqrt((row * row).sum(axis=1, keepdims=True))
    row[row[:, 0] < 0] *= -1
    return row.reshape(*rotation.shape[:-2], 4)


def from_matrix(rotation: ArrayLike) -> _Float:
    """Axis-angle vectors (..., 3) of rotation matrices (..., 3, 3), angles in 0..pi, in float64.

    Goes through the unit quaternion, which stays accurate both near zero and near half turns.

    Raises:
        InputError: the last axes are not (3, 3).
    """
    m = np.asarray(rotation, dtype=np.float64)
    if m.shape[-2:] != (3, 3):
        raise InputError(f"expected rotation matrices (..., 3, 3); got {m.shape}")
    return _axis_angle(_quaternion(m))


def _axis_angle(quaternion: _Float) -> _Float:
    """Axis-angle vectors (..., 3) of unit quaternions (..., 4), w first and not negative."""
    vector = quaternion[..., 1:]
    sine = np.sqrt((vector * vector).sum(axis=-1, keepdims=True))
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    scale = np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 2.0)
    result: _Float = vector * scale
    return result


def nearest_axis_angle(linear: ArrayLike) -> _Float:
    """Axis-angle vectors (..., 3) of `nearest_rotation`."""
    return _axis_angle(_nearest_quaternion(linear))


def compose(first: ArrayLike, second: ArrayLike) -> _Float:
    """Axis-angle of the rotation that applies `second`, then `first` (the matrix product first · second)."""
    return from_matrix(matrix(first) @ matrix(second))


def inverse(axis_angle: ArrayLike) -> _Float:
    """Axis-angle (..., 3) of the opposite rotation."""
    return -np.asarray(axis_angle, dtype=np.float64)


def nearest_rotation(linear: ArrayLike) -> _Float:
    """The rotations (..., 3, 3) nearest to 3 x 3 matrices in the Frobenius norm (orthogonal Procrustes).

    Of all rotations they have the largest trace of their transpose times the matrix (Wahba's problem).
    """
    quaternion = _nearest_quaternion(linear)
    products = 4 * quaternion[..., :, None] * quaternion[..., None, :] - np.eye(4)
    result: _Float = (products.reshape(-1, 16) @ _FROM_PRODUCTS).reshape(*quaternion.shape[:-1], 3, 3)
    return result


def _nearest_quaternion(linear: ArrayLike) -> _Float:
    """Unit quaternions (..., 4), w first and not negative, of the rotations nearest to matrices (..., 3, 3).

    The eigenvector with the largest eigenvalue of a matrix that is linear in the given one (Davenport's method, as in
    Bar-Itzhack 2000, "New method for extracting the quaternion from a rotation matrix").
    """
    m = np.asarray(linear, dtype=np.float64)
    products = (m.reshape(-1, 9) @ _PRODUCTS).reshape(*m.shape[:-2], 4, 4)
    quaternion: _Float = np.linalg.eigh(products)[1][..., -1]
    return np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
