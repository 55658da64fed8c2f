"""The parameters of a head that move its skin towards targets: damped least squares; Gauss-Newton for the jaw.

Letters: V vertices, R of them with a weight, M shapes, E expression coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.geometry.symmetry import vertex_jacobian
from mp2flame.head import FlameHead
from mp2flame.mapping.linear import N_ROTATIONS

Float64 = NDArray[np.float64]

_STEPS: Final = 4
_RIDGE: Final = 0.9
"""Tikhonov weight: this times the relative residual of a nearly unregularized fit, times the component's motion."""
_MIN_RIDGE: Final = 0.003
_MAX_LENGTHENING: Final = 2.0
"""Damping shortens a step; it is lengthened again by up to this factor to fit the target best along its direction."""
_MIN_SIZE: Final = 1e-3
"""A component that moves the face by less than this fraction of the strongest one is damped as if it did not."""
_JAW_MM: Final = (60.0, 4.0)
"""Penalty on the jaw's difference from the source's jaw, in root mean square millimeters of the face for each radian:
about an axis about which the source's jaw does not turn, and about one about which it does."""
_JAW_LIMIT: Final = (0.6, 0.3, 0.1)
_EYE_LIMIT: Final = 0.7
_MAX_REACH: Final = 3.0
"""A single component moves no vertex farther than this times the largest movement of the whole shape."""
_TURN: Final = 0.02
"""Radians, of finite differences, and from which a jaw counts as turned."""


@dataclass(frozen=True, eq=False)
class Targets:
    """What M shapes should do."""

    displacement: Float64
    """(M, V, 3) meters, from the neutral face."""
    weight: Float64
    """(V,) weight of each vertex; zero where nothing is known."""
    jaw: Float64
    """(M, 3) axis-angle of the source's jaw."""
    eyes: Float64
    """(M, 6) axis-angle of the source's eyes, left first."""
    base: NDArray[np.int64]
    """(M,) an earlier shape that is active as well, whose parameters are not part of this one's; -1 for none."""


def fit_coefficients(head: FlameHead, targets: Targets) -> Float64:
    """(M, E + 9) expression, jaw and eyes.

    Eyeballs are rigid, so their turn is taken over as it is; expression and jaw are fitted to the skin.
    """
    rows = np.flatnonzero(targets.weight > 0)
    weight = np.sqrt(targets.weight[rows] / targets.weight.sum())[:, None]
    e = head.n_expression
    neutral = np.zeros(e + N_ROTATIONS)
    rest = head.neutral_vertices[rows].astype(np.float64)
    result = np.zeros((len(targets.jaw), e + N_ROTATIONS))
    neutral_jacobian = _jacobian(head, neutral, rows)
    for index, displacement in enumerate(targets.displacement[:, rows]):
        base = result[targets.base[index]] if targets.base[index] >= 0 else neutral
        values, jaw = base.copy(), targets.jaw[index]
        values[e + 3 :] = np.clip(targets.eyes[index], -_EYE_LIMIT, _EYE_LIMIT)
        turning = bool(np.abs(jaw).max() > _TURN)
        # The jaw is fitted first and alone, so that expressions do not imitate it.
        for _ in range(_STEPS if turning and targets.base[index] < 0 else 0):
            jacobian = _jacobian(head, values, rows)[e:]
            residual = (rest + displacement - _posed(head, values, rows)) * weight
            turn = values[e : e + 3] + _jaw_step(jacobian * weight, residual, values[e : e + 3] - jaw, jaw)
            values[e : e + 3] = np.clip(turn, -np.array(_JAW_LIMIT), _JAW_LIMIT)
        jacobian = (_jacobian(head, values, rows) if turning else neutral_jacobian)[:e]
        residual = (rest + displacement - _posed(head, values, rows)) * weight
        reach = np.linalg.norm(jacobian, axis=2).max(axis=1)
        limit = _MAX_REACH * np.linalg.norm(displacement, axis=1).max() / np.maximum(reach, 1e-9)
        values[:e] += np.clip(_expression_step(jacobian * weight, residual), -limit, limit)
        result[index] = values - base
    return result


def _posed(head: FlameHead, values: Float64, rows: NDArray[np.int64]) -> Float64:
    vertices: Float64 = head(FlameParams.from_rows(values[None]))[0][rows].astype(np.float64)
    return vertices


def _jacobian(head: FlameHead, values: Float64, rows: NDArray[np.int64]) -> Float64:
    """(E + 3, R, 3) meters that vertices move for one unit of each coefficient and of the jaw, at these values."""
    return vertex_jacobian(head, values, range(head.n_expression + 3), _TURN)[:, rows]


def _jaw_step(jacobian: Float64, residual: Float64, difference: Float64, jaw: Float64) -> Float64:
    """(3,) the damped Gauss-Newton step of the jaw, whose `difference` from the source's is penalized."""
    flat = jacobian.reshape(3, -1) * 1000
    penalty = np.where(np.abs(jaw) > _TURN, _JAW_MM[1], _JAW_MM[0]) ** 2
    right = flat @ residual.ravel() * 1000 - penalty * difference
    step: Float64 = np.linalg.solve(flat @ flat.T + np.diag(penalty), right)
    return step


def _expression_step(jacobian: Float64, residual: Float64) -> Float64:
    """(E,) the coefficients that explain the residual, by damped least squares; vertices are linear in them.

    What a nearly undamped fit leaves unexplained shows how far the target is from anything that this head does, and so
    how reliable it is: damping grows with it.
    """
    flat, error = jacobian.reshape(len(jacobian), -1) * 1000, residual.ravel() * 1000
    size = np.sqrt((flat**2).sum(axis=1))
    cost = np.maximum(size, _MIN_SIZE * max(float(size.max(initial=0.0)), 1e-9)) ** 2
    gram, gradient = flat @ flat.T, flat @ error
    free = np.linalg.solve(gram + _MIN_RIDGE**2 * np.diag(cost), gradient)
    unexplained = np.linalg.norm(error - free @ flat) / max(float(np.linalg.norm(error)), 1e-9)
    ridge = max(_MIN_RIDGE, _RIDGE * unexplained)
    step = np.linalg.solve(gram + ridge**2 * np.diag(cost), gradient)
    lengthening = np.clip((gradient @ step) / max(float(step @ gram @ step), 1e-12), 1.0, _MAX_LENGTHENING)
    result: Float64 = step * lengthening
    return result
