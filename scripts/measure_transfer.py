"""How far transferred shapes are from the shapes that a head is known to have.

    python -m scripts.measure_transfer head.npz head_shapes.npz --landmarker face_landmarker.task

The second file is an `.npz` with `names` (M,) and, for each name, the parameters that make the shape at weight 1:
`expression` (M, E), `jaw_pose`, `leye_pose` and `reye_pose` (M, 3). Names may carry `_L` and `_R`; where ARKit has
one name for both sides, the two are added. Figures are of the face's vertices: how far the farthest goes in truth; the
root mean square error over the true movement's; the cosine between the two movements, 1 where both go the same way;
and how much larger or smaller the transferred movement is.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT, canonical_name
from mp2flame.data import FlameParams
from mp2flame.geometry.face_regions import head_regions
from mp2flame.head import FlameHead, load_head
from mp2flame.landmark_model.cache import cached_landmarks
from mp2flame.retargeting import Transfer, transfer_shapes
from mp2flame.retargeting.transfer import COMPOSED_ON

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """One shape against its truth."""

    farthest_mm: float
    """How far the vertex that moves most goes in truth."""
    error: float
    """Root mean square error over root mean square movement."""
    cosine: float
    """Between the two movements."""
    size: float
    """Transferred over true root mean square movement."""


def true_parameters(path: Path, n_expression: int) -> Float64:
    """(52, E + 9) in Apple's order; NaN where the file has no such shape."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    rows = np.concatenate([arrays[key] for key in ("expression", "jaw_pose", "leye_pose", "reye_pose")], axis=1)
    if rows.shape[1] != n_expression + 9:
        raise SystemExit(f"expected shapes of {n_expression} expression coefficients; got {rows.shape[1] - 9}")
    values = np.full((len(ARKIT), rows.shape[1]), np.nan)
    for name, row in zip(map(str, arrays["names"]), rows, strict=True):
        arkit = canonical_name(name) or re.sub("_[LR]$", "", name)
        index = ARKIT.index(arkit)
        values[index] = row + np.nan_to_num(values[index])
    return values


def compare(head: FlameHead, transfer: Transfer, truth: Float64) -> dict[str, Comparison]:
    """Each shape that has a truth, by name; a shape made on top of another is compared on top of it."""
    face = head_regions(head)["face"]
    own = np.concatenate(
        [getattr(transfer.shapes, key) for key in ("expression", "jaw_pose", "leye_pose", "reye_pose")], axis=1
    )
    table = {}
    for index, name in enumerate(ARKIT):
        if np.isnan(truth[index]).any():
            continue
        wanted, got = (_moved(head, values, index)[face] for values in (truth, own))
        size, made = np.linalg.norm(wanted), np.linalg.norm(got)
        table[name] = Comparison(
            farthest_mm=float(np.linalg.norm(wanted, axis=1).max() * 1000),
            error=float(np.linalg.norm(got - wanted) / size),
            cosine=float((got * wanted).sum() / max(size * made, 1e-12)),
            size=float(made / size),
        )
    return table


def _moved(head: FlameHead, values: Float64, index: int) -> Float64:
    below = COMPOSED_ON.get(ARKIT[index])
    start = np.zeros_like(values[0]) if below is None else values[ARKIT.index(below)]
    before, after = head(FlameParams.from_rows(np.stack([start, start + values[index]])))
    moved: Float64 = (after - before).astype(np.float64)
    return moved


def main() -> None:
    """Transfer, compare, print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("head", type=Path)
    parser.add_argument("shapes", type=Path)
    parser.add_argument("--landmarker", type=Path, required=True)
    options = parser.parse_args()
    head = load_head(options.head)
    transfer = transfer_shapes(head, cached_landmarks(head, options.landmarker))
    table = compare(head, transfer, true_parameters(options.shapes, head.n_expression))
    print("| shape | farthest, mm | error | cosine | size |\n|---|--:|--:|--:|--:|")
    for name, row in table.items():
        print(f"| {name} | {row.farthest_mm:.1f} | {row.error:.2f} | {row.cosine:.2f} | {row.size:.2f} |")
    rows = np.array([(row.error, row.cosine, row.size) for row in table.values()])
    print("median error {:.3f}, cosine {:.3f}, size {:.2f}".format(*np.median(rows, axis=0)))
    print("mean error {:.3f}, cosine {:.3f}, size {:.2f}".format(*rows.mean(axis=0)))
    print(f"not made: {', '.join(transfer.omitted) or 'none'}")


if __name__ == "__main__":
    main()
