"""Parameters of a head that move its skin as wanted: damped least squares, by Gauss-Newton where the jaw turns.

Letters: V vertices, M shapes, E expression coefficients, P = E + 9 parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.head import FlameHead
from mp2flame.mapping.linear import N_ROTATIONS

__all__ = ["Goal", "solve_parameters"]

Float64 = NDArray[np.float64]

_STEPS: Final = 4
_RIDGE: Final = 0.9
"""What a component pays for moving the face, as a share of what it moves and of what cannot be explained at all."""
_LONGEST: Final = 2.0
_LEAST_RIDGE: Final = 0.003
_LEAST_SIZE: Final = 1e-3
"""A component that moves less than this share of the largest one pays as if it moved so much: it is noise."""
_JAW_MM: Final = (60.0, 4.0)
"""Root mean square millimetres of the face that a radian of the jaw away from the source's turn costs: about an axis
about which the source's jaw does not turn, and about one about which it does."""
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
    base: NDArray[np.int64]
    """(M,) an earlier shape that is up as well, whose parameters are not part of this one's; -1 for none."""


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
        below = result[goal.base[index]] if goal.base[index] >= 0 else np.zeros(e + N_ROTATIONS)
        values = below.copy()
        values[e + 3 :] = np.clip(goal.eyes[index], -_EYE_LIMIT, _EYE_LIMIT)
        jaw = goal.jaw[index]
        turning = bool(np.abs(jaw).max() > _TURN)
        # The jaw first, alone: what it can do is not left to expressions that imitate it.
        for _ in range(_STEPS if turning and goal.base[index] < 0 else 0):
            directions = _directions(head, values, rows)[e:]
            left = (rest + wanted - _posed(head, values, rows)) * share
            turn = values[e : e + 3] + _jaw_step(directions * share, left, values[e : e + 3] - jaw, jaw)
            values[e : e + 3] = np.clip(turn, -np.array(_JAW_LIMIT), _JAW_LIMIT)
        directions = _directions(head, values, rows) if turning else still
        left = (rest + wanted - _posed(head, values, rows)) * share
        values[:e] += _limited(_expression_step(directions[:e] * share, left), directions, wanted)
        result[index] = values - below
    return result


def _posed(head: FlameHead, values: Float64, rows: NDArray[np.int64]) -> Float64:
    vertices: Float64 = head(FlameParams.from_rows(values[None]))[0][rows].astype(np.float64)
    return vertices


def _directions(head: FlameHead, values: Float64, rows: NDArray[np.int64]) -> Float64:
    """(E + 3, R, 3) metres that vertices move for one unit of each coefficient and of the jaw, at these values."""
    e = head.n_expression
    result = np.zeros((e + 3, len(rows), 3))
    for i in range(e + 3):
        size = 1.0 if i < e else _TURN
        pair = np.repeat(values[None], 2, axis=0)
        pair[:, i] += (size, -size)
        vertices = head(FlameParams.from_rows(pair))[:, rows].astype(np.float64)
        result[i] = (vertices[0] - vertices[1]) / (2 * size)
    return result


def _jaw_step(directions: Float64, left: Float64, away: Float64, jaw: Float64) -> Float64:
    """(3,) the damped Gauss-Newton step of the jaw, which is `away` from the source's."""
    flat = directions.reshape(3, -1) * 1000
    penalty = np.where(np.abs(jaw) > _TURN, _JAW_MM[1], _JAW_MM[0]) ** 2
    step: Float64 = np.linalg.solve(flat @ flat.T + np.diag(penalty), flat @ left.ravel() * 1000 - penalty * away)
    return step


def _expression_step(directions: Float64, left: Float64) -> Float64:
    """(E,) the coefficients that explain what is left, by damped least squares; vertices are linear in them.

    What hardly any damping could not explain says how far the wanted shape is from anything that this head does, and
    so how little to trust it: damping grows with it.
    """
    flat, error = directions.reshape(len(directions), -1) * 1000, left.ravel() * 1000
    size = np.sqrt((flat**2).sum(axis=1))
    cost = np.maximum(size, _LEAST_SIZE * max(float(size.max(initial=0.0)), 1e-9)) ** 2
    gram, pull = flat @ flat.T, flat @ error
    free = np.linalg.solve(gram + _LEAST_RIDGE**2 * np.diag(cost), pull)
    unexplained = np.linalg.norm(error - free @ flat) / max(float(np.linalg.norm(error)), 1e-9)
    ridge = max(_LEAST_RIDGE, _RIDGE * unexplained)
    step = np.linalg.solve(gram + ridge**2 * np.diag(cost), pull)
    # Damping chooses the direction; how far to go along it is for the shape to say.
    far: Float64 = step * np.clip((pull @ step) / max(float(step @ gram @ step), 1e-12), 1.0, _LONGEST)
    return far


def _limited(expression: Float64, directions: Float64, wanted: Float64) -> Float64:
    """Coefficients (E,) none of which moves a vertex much farther than the whole shape does."""
    reach = np.linalg.norm(directions[: len(expression)], axis=2).max(axis=1)
    limit = _EXCESS * np.linalg.norm(wanted, axis=1).max() / np.maximum(reach, 1e-9)
    result: Float64 = np.clip(expression, -limit, limit)
    return result
