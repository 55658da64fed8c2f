"""Random heads in FLAME's layout, small enough for slow comparisons."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.head import FlameHead, load_head

Arrays = dict[str, NDArray[Any]]

POSES = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")


def random_arrays(seed: int = 0, *, n_vertices: int = 60, width: int = 20) -> Arrays:
    """A head of random numbers: meters, weights that sum to one, joints inside the cloud."""
    rng = np.random.default_rng(seed)
    return {
        "v_template": rng.normal(scale=0.1, size=(n_vertices, 3)).astype(np.float32),
        "f": rng.integers(0, n_vertices, size=(2 * n_vertices, 3)).astype(np.uint32),
        "shapedirs": rng.normal(scale=0.003, size=(n_vertices, 3, width)).astype(np.float32),
        "posedirs": rng.normal(scale=0.003, size=(n_vertices, 3, 36)).astype(np.float32),
        "J_regressor": rng.dirichlet(np.full(n_vertices, 0.1), size=5).astype(np.float32),
        "weights": rng.dirichlet(np.full(5, 0.5), size=n_vertices).astype(np.float32),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.uint32),
    }


def load_arrays(folder: Path, arrays: Arrays, name: str = "head.npz", **options: Any) -> FlameHead:
    """Load these arrays through a file, as a user would."""
    path = folder / name
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes no plain dictionary
    return load_head(path, **options)


def save_pickle(folder: Path, content: Any, name: str = "head.pkl") -> Path:
    """Write `content` as Python 2 would have pickled it."""
    path = folder / name
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def random_params(n: int, n_expression: int, seed: int = 0, *, angle: float = 0.4) -> FlameParams:
    """`n` frames with every field filled; angles of about `angle` radians."""
    rng = np.random.default_rng(seed)
    fields = {name: rng.normal(scale=angle, size=(n, 3)).astype(np.float32) for name in POSES}
    return FlameParams(
        time=np.arange(n) / 30,
        found=np.ones(n, dtype=np.bool_),
        expression=rng.normal(size=(n, n_expression)).astype(np.float32),
        translation=rng.normal(scale=0.2, size=(n, 3)).astype(np.float32),
        **fields,
    )


def pose_of(params: FlameParams, frame: int) -> NDArray[np.float32]:
    """(5, 3) every joint's axis-angle in one frame."""
    return np.stack([getattr(params, name)[frame] for name in POSES])


def small_head(n_vertices: int = 3, **properties: Any) -> HeadStub:
    """A head of one triangle and any number of vertices, most of them at the origin."""
    vertices = np.zeros((n_vertices, 3), dtype=np.float32)
    vertices[:3] = [[-0.1, -0.1, 0], [0.1, -0.1, 0], [0, 0.1, 0]]
    return HeadStub(faces=np.array([[0, 1, 2]], dtype=np.uint32), neutral_vertices=vertices, **properties)


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadStub:
    """The properties of a head that sinks use, without a model behind them."""

    faces: NDArray[np.uint32]
    neutral_vertices: NDArray[np.float32]
    vertex_colors: NDArray[np.uint8] | None = None
    version: str = "unknown"
    hash: str = ""
    n_expression: int = 50
