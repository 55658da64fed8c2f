"""A FLAME-sized head, ours against `smplx.lbs.lbs` on torch, with the same number of threads, interleaved.

    pip install ".[peers]"
    python benchmarks/bench_head.py

Two random heads of FLAME's size (5,023 vertices, 100 coefficients, 36 correctives): one with the skinning weights of a
real head, the built-in one's at every so many of its vertices (nine in ten belong to one or two joints), and one where
every joint moves every vertex, the worst case. Ours is the whole call with its checks, `head(params)`; smplx is called
as its users do, with expression in `betas`. "Basis alone" is the product of the coefficients with the basis, which no
method can avoid. Both take turns, with the same threads, after calls that are not counted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

THREADS = 2
# Read by BLAS and torch when they are loaded.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = str(THREADS)

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from mp2flame.data import FlameParams  # noqa: E402
from mp2flame.head import FlameHead, load_head  # noqa: E402
from mp2flame.head.arrays import check_arrays  # noqa: E402

_VERTICES = 5023
_COEFFICIENTS = 100
_WANTED = 3.0
_UNCOUNTED = 3
_COUNTED = 5
_POSES = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")


def real_weights() -> NDArray[np.float32]:
    """(5023, 5) skinning weights of the built-in head, at vertices spread evenly over its list."""
    weights = load_head("builtin").arrays.weights
    return weights[np.linspace(0, len(weights) - 1, _VERTICES).astype(np.int64)]


def dense_weights() -> NDArray[np.float64]:
    """(5023, 5) skinning weights without a zero."""
    return np.random.default_rng(1).dirichlet(np.full(5, 0.5), size=_VERTICES)


def random_head(weights: NDArray[Any]) -> FlameHead:
    """A head of FLAME's size with these skinning weights and expression components only."""
    rng = np.random.default_rng(0)
    arrays = {
        "v_template": rng.normal(scale=0.1, size=(_VERTICES, 3)),
        "f": rng.integers(0, _VERTICES, size=(9976, 3)),
        "shapedirs": rng.normal(scale=0.002, size=(_VERTICES, 3, _COEFFICIENTS)),
        "posedirs": rng.normal(scale=0.002, size=(_VERTICES, 3, 36)),
        "J_regressor": rng.dirichlet(np.full(_VERTICES, 0.01), size=5),
        "weights": weights,
        "kintree_table": np.array([[-1, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
    }
    return FlameHead(check_arrays(arrays, "random head", n_shape=0), "random")


def random_params(n: int) -> FlameParams:
    """Frames with every joint turned."""
    rng = np.random.default_rng(n)
    return FlameParams(
        time=np.zeros(n),
        found=np.ones(n, dtype=np.bool_),
        expression=rng.normal(size=(n, _COEFFICIENTS)).astype(np.float32),
        **{name: rng.normal(scale=0.2, size=(n, 3)).astype(np.float32) for name in _POSES},
    )


def smplx_call(head: FlameHead, params: FlameParams) -> Callable[[], NDArray[np.float32]]:
    """The same frames through `smplx.lbs.lbs`, its tensors made beforehand."""
    import torch
    from smplx.lbs import lbs

    torch.set_num_threads(THREADS)
    arrays = head.arrays
    poses = np.concatenate([getattr(params, name) for name in _POSES], axis=1)
    inputs = (params.expression, poses, arrays.v_template, arrays.shapedirs, arrays.posedirs.reshape(-1, 36).T)
    tensors = [torch.from_numpy(np.array(array)) for array in (*inputs, arrays.regressor)]
    weights = torch.from_numpy(np.array(arrays.weights))
    parents = torch.tensor(arrays.parents)

    def call() -> NDArray[np.float32]:
        with torch.no_grad():
            vertices: NDArray[np.float32] = lbs(*tensors, parents, weights)[0].numpy()
        return vertices

    return call


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median and best seconds of each call, taking turns so that a busy moment meets all of them.

    The first calls of a turn are not counted: the other's threads still spin, waiting for work that does not come.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            for repeat in range(_UNCOUNTED + _COUNTED):
                started = time.perf_counter()
                call()
                if repeat >= _UNCOUNTED:
                    seconds[name].append(time.perf_counter() - started)
    return {name: (float(np.median(taken)), min(taken)) for name, taken in seconds.items()}


def compare(head: FlameHead, n: int, rounds: int) -> float:
    """Print milliseconds a frame and ratios for batches of `n`; the ratio of the medians."""
    params = random_params(n)
    peer = smplx_call(head, params)
    worst = float(np.abs(head(params) - peer()).max())
    coefficients = np.random.default_rng(0).normal(size=(n, _COEFFICIENTS + 36)).astype(np.float32)
    calls: dict[str, Callable[[], object]] = {
        "smplx": peer,
        "ours": lambda: head(params),
        "basis alone": lambda: coefficients @ head.arrays.basis.directions,
    }
    taken = measure(calls, rounds)
    print(f"batch {n}, {THREADS} threads, largest difference {worst * 1000:.6f} mm")
    for name, (median, best) in taken.items():
        print(f"  {name:12} {median / n * 1000:8.4f} ms a frame (best {best / n * 1000:.4f})")
    ratio, best_ratio = (taken["smplx"][i] / taken["ours"][i] for i in (0, 1))
    print(f"  smplx / ours {ratio:8.2f} (best against best {best_ratio:.2f}); wanted at least {_WANTED}")
    return ratio


def main() -> int:
    """Print milliseconds a frame and ratios for batches of 1 and 64; 0 where every median is fast enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    ratios = []
    for name, weights in (("a real head's weights", real_weights()), ("every weight above zero", dense_weights())):
        print(name)
        head = random_head(weights)
        ratios += [compare(head, n, rounds) for n in (1, 64)]
    return 0 if min(ratios) >= _WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
