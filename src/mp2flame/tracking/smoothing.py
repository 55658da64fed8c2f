"""Frames tied to their neighbours in time: one forward and one backward pass through a block-tridiagonal system.

Letters: N frames, D unknowns of a frame.

The tie is a random walk: between neighbours each unknown may change by a normal deviate whose variance grows with the
time between them. Its maximum a posteriori path is that of a Rauch-Tung-Striebel smoother (1965, "Maximum likelihood
estimates of linear dynamic systems"); written as normal equations it is block-tridiagonal, and block elimination (the
Thomas algorithm) solves it in time that grows with N.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

__all__ = ["solve_chain", "tied"]

Float64 = NDArray[np.float64]


def tied(matrix: Float64, right: Float64, rows: Float64, ties: Float64) -> tuple[Float64, Float64]:
    """Normal equations with what the ties add on the diagonal blocks.

    Args:
        matrix: (N, D, D) of each frame on its own.
        right: (N, D).
        rows: (N, D) where they were linearised.
        ties: (N - 1, D) inverse variance of each unknown's change to the next frame; zero where frames are not tied.
    """
    matrix, right = matrix.copy(), right.copy()
    pull = ties * np.diff(rows, axis=0)
    right[:-1] -= pull
    right[1:] += pull
    diagonal = np.arange(rows.shape[1])
    matrix[:-1, diagonal, diagonal] += ties
    matrix[1:, diagonal, diagonal] += ties
    return matrix, right


def solve_chain(matrix: Float64, right: Float64, ties: Float64) -> Float64:
    """The steps (N, D) that solve the tied equations: blocks `matrix`, with `-ties` beside them, times steps = -right.

    Args:
        matrix: (N, D, D) symmetric positive definite blocks of the diagonal, as `tied` gives them.
        right: (N, D).
        ties: (N - 1, D).
    """
    n = len(matrix)
    factors: list[Any] = []
    sides = -right
    for i in range(n):
        block = matrix[i]
        if i and ties[i - 1].any():
            tie = ties[i - 1]
            back = cho_solve(factors[-1], np.column_stack([np.diag(tie), sides[i - 1]]), check_finite=False)
            block = block - tie[:, None] * back[:, :-1]
            sides[i] += tie * back[:, -1]
        factors.append(cho_factor(block, check_finite=False))
    steps = np.zeros_like(sides)
    for i in range(n - 1, -1, -1):
        side = sides[i] + ties[i] * steps[i + 1] if i < n - 1 else sides[i]
        steps[i] = cho_solve(factors[i], side, check_finite=False)
    return steps
