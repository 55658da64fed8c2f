"""`MP_2_FLAME.convert` against three separate products, in one run: `python benchmarks/bench_convert.py`.

Prints, for each layout and dtype, the time of a frame (N = 1) and of a large batch (N = 100,000) as a ratio to the
three products that the original makes. The ceilings are 0.6 and 1.0.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp_2_flame import MP_2_FLAME

_CASES = (("jaw", 100, np.float64), ("jaw", 100, np.float32), ("pose", 50, np.float64), ("pose", 50, np.float32))


def _folder(path: Path, layout: str, n: int, dtype: Any) -> list[NDArray[Any]]:
    rng = np.random.default_rng(0)
    widths = {"bs2exp": n, f"bs2{layout}": 3 if layout == "jaw" else 6, "bs2eye": 6}
    matrices = [rng.normal(size=(52, width)).astype(dtype) for width in widths.values()]
    path.mkdir()
    for name, matrix in zip(widths, matrices, strict=True):
        np.save(path / f"{name}.npy", matrix)
    return matrices


def _seconds(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def compare(
    folder: Path, matrices: list[NDArray[Any]], n_rows: int, *, repeats: int, rounds: int
) -> tuple[float, float]:
    """Seconds of the three products, and those of `convert` relative to them: best of interleaved rounds."""
    converter = MP_2_FLAME(mappings_path=folder)
    scores = np.random.default_rng(1).uniform(size=(n_rows, 52)).astype(np.float32)
    expression, jaw, eye = matrices

    def separate() -> object:
        return scores @ expression, scores @ jaw, scores @ eye

    def fused() -> object:
        return converter.convert(blendshape_scores=scores)

    pairs = [(_seconds(separate, repeats), _seconds(fused, repeats)) for _ in range(rounds)]
    three, one = (min(times) for times in zip(*pairs, strict=True))
    return three, one / three


def main() -> None:
    """Measure and print."""
    print("scores float32; time of three products, and of convert relative to it")
    for layout, n, dtype in _CASES:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "mappings"
            matrices = _folder(folder, layout, n, dtype)
            single, single_ratio = compare(folder, matrices, 1, repeats=500, rounds=60)
            batch, batch_ratio = compare(folder, matrices, 100_000, repeats=1, rounds=15)
        name = f"bs2{layout}, {n} coefficients, {np.dtype(dtype).name}"
        print(f"{name:36} N=1 {1e6 * single:5.2f} us, ratio {single_ratio:.2f} (ceiling 0.60)", end="   ")
        print(f"N=100,000 {1e3 * batch:6.1f} ms, ratio {batch_ratio:.2f} (ceiling 1.00)")


if __name__ == "__main__":
    main()
