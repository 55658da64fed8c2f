"""Parameters of a head that move its skin as wanted: damped least squares, by Gauss-Newton where the jaw turns.

Letters: V vertices, M shapes, E expression coefficients, P = E + 9 parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.head import FlameHead
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.training.surface import split

__all__ = ["Goal", "solve_parameters"]

Float64 = NDArray[np.float64]

_STEPS: Final = 4
_RIDGE_MM: Final = 0.02
"""What a component pays, in root mean square millimetres of the face, for moving it by one millimetre."""
_JAW_MM: Final = (60.0, 4.0)
"""What a radian of the jaw away from the source's costs, in the same measure: where the source's is still, and where
it turns. Faces that open their mouth by the lips must not do it by the jaw."""
_JAW_LIMIT: Final = (0.6, 0.3, 0.1)
_EYE_LIMIT: Final = 0.7
_EXCESS: Final = 3.0
"""How many times as far as the whole shape a single component may move the face."""
_TURN: Final = 0.02


@dataclass(frozen=True, eq=False)
class Goal:
    """What M shapes should do."""

    displacement: Float64
    """(M, V, 3) metres, from rest."""
    weight: Float64
    """(V,) how much each vertex counts; zero where nothing is known."""
    jaw: Float64
    """(M, 3) axis-angle of the source's jaw."""
    eyes: Float64
    """(M, 6) axis-angle of the source's eyes, left first."""


def solve_parameters(head: FlameHead, goal: Goal) -> Float64:
    """(M, E + 9) expression, jaw and eyes.

    The eyeballs are rigid, so that their turn is carried over as it is; expression and jaw explain the skin.
    """
    rows = np.flatnonzero(goal.weight > 0)
    share = np.sqrt(goal.weight[rows] / goal.weight.sum())[:, None]
    e = head.n_expression
    result = np.zeros((len(goal.jaw), e + N_ROTATIONS))
    rest = head.neutral_vertices[rows].astype(np.float64)
    still = _directions(head, np.zeros(e + N_ROTATIONS), rows)
    for index, wanted in enumerate(goal.displacement[:, rows]):
        values = np.zeros(e + N_ROTATIONS)
        values[e : e + 3] = goal.jaw[index]
        values[e + 3 :] = np.clip(goal.eyes[index], -_EYE_LIMIT, _EYE_LIMIT)
        turning = bool(np.abs(goal.jaw[index]).max() > _TURN)
        for _ in range(_STEPS if turning else 2):
            directions = _directions(head, values, rows) if turning else still
            left = (rest + wanted - _posed(head, values, rows)) * share
            away = values[: e + 3] - np.concatenate([np.zeros(e), goal.jaw[index]])
            values[: e + 3] += _step(directions * share, left, away, _JAW_MM[turning])
            values[:e] = _limited(values[:e], directions, wanted)
            values[e : e + 3] = np.clip(values[e : e + 3], -np.array(_JAW_LIMIT), _JAW_LIMIT)
        result[index] = values
    return result


def _posed(head: FlameHead, values: Float64, rows: NDArray[np.int64]) -> Float64:
    vertices: Float64 = head(split(values[None]))[0][rows].astype(np.float64)
    return vertices


def _directions(head: FlameHead, values: Float64, rows: NDArray[np.int64]) -> Float64:
    """(E + 3, R, 3) metres that vertices move for one unit of each coefficient and of the jaw, at these values."""
    e = head.n_expression
    result = np.zeros((e + 3, len(rows), 3))
    for i in range(e + 3):
        size = 1.0 if i < e else _TURN
        pair = np.repeat(values[None], 2, axis=0)
        pair[:, i] += (size, -size)
        vertices = head(split(pair))[:, rows].astype(np.float64)
        result[i] = (vertices[0] - vertices[1]) / (2 * size)
    return result


def _step(directions: Float64, left: Float64, away: Float64, jaw_mm: float) -> Float64:
    """(E + 3,) the damped least-squares step; `away` is how far the values are from where damping draws them."""
    e = len(directions) - 3
    flat = directions.reshape(e + 3, -1) * 1000
    size = np.sqrt((flat**2).sum(axis=1))[:e]
    floor = 1e-3 * max(float(size.max(initial=0.0)), 1e-9)
    penalty = np.concatenate([np.maximum(_RIDGE_MM * size, floor) ** 2, np.full(3, jaw_mm**2)])
    step: Float64 = np.linalg.solve(flat @ flat.T + np.diag(penalty), flat @ left.ravel() * 1000 - penalty * away)
    return step


def _limited(expression: Float64, directions: Float64, wanted: Float64) -> Float64:
    """Coefficients (E,) none of which moves a vertex much farther than the whole shape does."""
    reach = np.linalg.norm(directions[: len(expression)], axis=2).max(axis=1)
    limit = _EXCESS * np.linalg.norm(wanted, axis=1).max() / np.maximum(reach, 1e-9)
    result: Float64 = np.clip(expression, -limit, limit)
    return result
