"""The contract of every term of the tracking objective."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mp2flame.tracking.objective import NormalEquations, Term

Float64 = NDArray[np.float64]


def check_term(term: Term, states: Float64, *, step: float = 1e-6, rtol: float = 1e-4) -> None:
    """The gradient is that of the cost, the Hessian is symmetric and positive, and `linearize` adds to what is there.

    Args:
        term: any.
        states: (N, D) where it is linearised.
        step: of finite differences.
        rtol: of the largest entry.
    """
    n, d = states.shape
    equations = NormalEquations.zeros(n, d)
    term.linearize(states, equations)
    finite = np.zeros((n, d))
    for index in np.ndindex(n, d):
        change = np.zeros((n, d))
        change[index] = step
        finite[index] = (term.cost(states + change) - term.cost(states - change)) / (2 * step)
    scale = max(np.abs(finite).max(), 1e-9)
    np.testing.assert_allclose(equations.gradient, finite, atol=rtol * scale)
    np.testing.assert_allclose(equations.blocks, equations.blocks.swapaxes(1, 2), atol=1e-9 * equations.blocks.max())
    assert np.linalg.eigvalsh(equations.blocks).min() > -1e-9 * max(equations.blocks.max(), 1.0)
    assert (equations.coupling >= 0).all()
    again = NormalEquations(*(array.copy() for array in (equations.blocks, equations.gradient, equations.coupling)))
    term.linearize(states, again)
    for name in ("blocks", "gradient", "coupling"):
        np.testing.assert_allclose(getattr(again, name), 2 * getattr(equations, name), rtol=1e-9, atol=1e-12)
    downhill = term.cost(states - 1e-9 / scale * equations.gradient / scale)
    assert downhill <= term.cost(states) * (1 + 1e-12)
