"""Which shapes the regression still gets wrong, so that the next round shows more of them.

Letters: N frames, E expression coefficients, 52 blendshapes in ARKit's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from mp2flame.mapping.linear import expand_features
from mp2flame.regression.mesh_loss import head_loss
from mp2flame.synthesis.photograph import Person

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["blame", "wanted_shapes"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_STRENGTH: Final = 1e-3
_FEATURES: Final = ("scores", "signed_root", "square")
_LEAST, _MOST = 0.8, 1.4
"""How much rarer and more frequent than usual a shape may become: little, for how often faces come is half of what a
regression learns."""


def wanted_shapes(head: FlameHead, people: Sequence[Person]) -> Float64:
    """(52,) how much more often than usual each shape shall come, mean about 1.

    A ridge on rest-relative scores is fitted to one half of the people and judged on the other, and the other way
    round. What a face's error exceeds the error by that it has where it was fitted on itself is what more pictures can
    mend; the rest of it is what scores do not tell, such as a jaw that opens behind closed lips, and more of that would
    teach a regression to doubt what it sees. What each shape adds to that excess (see `blame`), relative to the mean of
    all, is how much more of it is wanted; the square root tempers it.

    Args:
        head: the head.
        people: those photographed so far, at least two of them with pictures.
    """
    known = [person for person in people if len(person.values)]
    halves = [known[0::2], known[1::2]]
    if not halves[1]:
        return np.ones(known[0].weights.shape[1] if known else 52)
    metric = _metric(head, known[0].values.shape[1])
    pairs = [_pairs(half) for half in halves]
    matrices = [_ridge(x, y) for x, y in pairs]
    excess = []
    for (x, y), inside, outside in zip(pairs, matrices, matrices[::-1], strict=True):
        errors = [_distances(metric, (x @ matrix - y).astype(np.float32)) for matrix in (outside, inside)]
        excess.append(errors[0] - errors[1])
    share = blame(np.concatenate(excess), np.concatenate([p.weights for half in halves for p in half]))
    usual = share[share > 0].mean() if share.any() else 1.0
    return np.clip(np.sqrt(share / usual), _LEAST, _MOST)


def _ridge(x: Float64, y: Float64) -> Float64:
    gram = x.T @ x
    penalty = _STRENGTH * np.trace(gram) / len(gram)
    matrix: Float64 = np.linalg.solve(gram + penalty * np.eye(len(gram)), x.T @ y)
    return matrix


def blame(errors: Float64, weights: Float32) -> Float64:
    """(52,) what each shape at weight 1 adds to a frame's error, never below zero (non-negative least squares).

    Args:
        errors: (N,) of frames that were not fitted on.
        weights: (N, 52) the shapes in them.
    """
    with_base = np.concatenate([weights.astype(np.float64), np.ones((len(weights), 1))], axis=1)
    added: Float64 = nnls(with_base, errors)[0][:-1]
    return added


def _pairs(people: Sequence[Person]) -> tuple[Float64, Float64]:
    """Features of rest-relative scores, and the truth."""
    relative = np.concatenate([person.seen["scores"][1:] - person.seen["scores"][0] for person in people])
    truth = np.concatenate([person.values for person in people])
    return expand_features(relative, _FEATURES).astype(np.float64), truth.astype(np.float64)


def _metric(head: FlameHead, width: int) -> Float32:
    """(E' + 9, P, 3) of a head of which only the first E' coefficients are used."""
    directions = head_loss(head).directions
    return np.concatenate([directions[: width - 9], directions[-9:]])


def _distances(directions: Float32, difference: Float32) -> Float64:
    """(N,) millimetres."""
    moved = (difference @ directions.reshape(len(directions), -1)).reshape(len(difference), -1, 3)
    distances: Float64 = np.linalg.norm(moved, axis=2).mean(axis=1).astype(np.float64)
    return distances
