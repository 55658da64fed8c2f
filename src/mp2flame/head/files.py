"""Heads from files and to files.

A head in our format is one `.safetensors`: FLAME's arrays by FLAME's names (`v_template`, `f`, `shapedirs`, `posedirs`,
`J_regressor`, `weights`, `kintree_table`; float32, or float16 for the three bases), the optional `vertex_colors`,
`region`, `mirror` and `blendshape_*`, and string metadata: `format` "mp2flame-head", `format_version`, `version`,
`n_shape`, `n_expression`, `source_sha256` and whatever the source said of licence and provenance.
"""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.errors import FormatError, InputError
from mp2flame.files import write_atomic
from mp2flame.head.arrays import BLENDSHAPE_KEYS, check_arrays
from mp2flame.head.model import FlameHead
from mp2flame.head.reading import RawHead, read_head
from mp2flame.head.versions import name_version

__all__ = ["describe", "load_head", "save_head"]

_FORMAT = "mp2flame-head"
_FORMAT_VERSION = "1"


def _builtin() -> Path:
    return Path(str(resources.files("mp2flame.head"))) / "assets" / "builtin_head.safetensors"


def _declared_split(raw: RawHead, source: str) -> int | None:
    """The S that a file's metadata states, after checking that the metadata is ours and consistent."""
    metadata = raw.metadata
    said = metadata.get("format", _FORMAT), metadata.get("format_version", _FORMAT_VERSION)
    if said != (_FORMAT, _FORMAT_VERSION):
        raise FormatError(
            f"{source}: expected format {_FORMAT!r}, version {_FORMAT_VERSION}; got {said[0]!r}, version {said[1]}: "
            "another kind of file, or one of a newer mp2flame"
        )
    names = metadata.get("blendshape_names", "")
    if names and re.findall(r"\w+", names) != list(ARKIT):
        raise FormatError(f"{source}: expected blendshape_names to be ARKit's 52 in Apple's order; got {names:.60}...")
    if "n_shape" not in metadata:
        return None
    try:
        n_shape, n_expression = int(metadata["n_shape"]), int(metadata.get("n_expression", "-1"))
    except ValueError as error:
        raise FormatError(f"{source}: n_shape and n_expression must be whole numbers ({error})") from error
    width = raw.arrays["shapedirs"].shape[-1] if "shapedirs" in raw.arrays else 0
    if width and n_expression not in (-1, width - n_shape):
        raise FormatError(
            f"{source}: metadata says {n_shape} identity and {n_expression} expression components, but shapedirs has "
            f"{width}: damaged file, convert it again"
        )
    return n_shape


def load_head(source: str | Path, *, version: str | None = None, n_shape: int | None = None) -> FlameHead:
    """Load a head.

    Args:
        source: "builtin" for the head that comes with the package, or a FLAME `.pkl`, an `.npz` or a `.safetensors`
            (told by content). A pickle is read without running anything it carries.
        version: which FLAME the file is, where neither its hash nor its metadata tells; for example "FLAME 2023".
        n_shape: how many components of `shapedirs` are identity. By default what the file's metadata says; else 300 of
            400, and 10 of 20.

    Raises:
        MissingFileError: there is no such file.
        UnsafePickleError: a pickle names more than plain data; nothing of it was run.
        FormatError: the file is foreign, truncated, damaged or no head.
        InputError: `version` contradicts the hash of an official file.
    """
    path = _builtin() if source == "builtin" else Path(source)
    raw = read_head(path)
    declared = _declared_split(raw, str(path))
    arrays = check_arrays(raw.arrays, str(path), declared if n_shape is None else n_shape)
    sha256 = raw.sha256 or raw.metadata.get("source_sha256")
    named = name_version(
        path,
        len(arrays.v_template),
        sha256=sha256,
        declared=raw.metadata.get("version"),
        stated=version,
        clue=raw.clue,
    )
    return FlameHead(arrays, named, source_sha256=sha256, metadata=dict(raw.metadata))


def _tensors(head: FlameHead) -> dict[str, NDArray[Any]]:
    arrays = head.arrays
    tensors: dict[str, NDArray[Any]] = {
        "v_template": arrays.v_template,
        "f": arrays.faces,
        "shapedirs": arrays.shapedirs,
        "posedirs": arrays.posedirs,
        "J_regressor": arrays.regressor,
        "weights": arrays.weights,
        "kintree_table": np.array([arrays.parents, range(len(arrays.parents))], dtype=np.int64),
    }
    for name in ("vertex_colors", "region", "mirror"):
        value = getattr(arrays, name)
        if value is not None:
            tensors[name] = value
    for name, value in (arrays.blendshapes or {}).items():
        tensors[BLENDSHAPE_KEYS[name]] = value
    return tensors


def save_head(head: FlameHead, path: str | Path) -> None:
    """Write a head as `.safetensors`: safe to share, and several times faster to load than a pickle.

    The file is written beside its place and moved there when it is whole.

    Raises:
        InputError: the name does not end in `.safetensors`, or an identity is baked into the head.
        SinkError: the file cannot be written.
    """
    from safetensors.numpy import save

    target = Path(path)
    if target.suffix.lower() != ".safetensors":
        raise InputError(f"expected a file name that ends in .safetensors; got {target.name!r}")
    if head.shape is not None and head.shape.any():
        raise InputError(
            "expected a head at the mean identity; got one with an identity baked in: save the head itself"
        )
    metadata = {
        **head.metadata,
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "version": head.version,
        "n_shape": str(head.n_shape),
        "n_expression": str(head.n_expression),
    }
    if head.arrays.blendshapes is not None:
        metadata["blendshape_names"] = json.dumps(list(ARKIT))
    if head.source_sha256 is not None:
        metadata["source_sha256"] = head.source_sha256
    write_atomic(target, save(_tensors(head), metadata))


def describe(head: FlameHead) -> dict[str, str | int | bool | None]:
    """What a person wants to know of a head, by name."""
    size = np.ptp(head.template, axis=0)
    return {
        "version": head.version,
        "hash": head.hash,
        "source_sha256": head.source_sha256,
        "vertices": head.n_vertices,
        "faces": len(head.faces),
        "joints": ", ".join(head.joint_names),
        "identity coefficients": head.n_shape,
        "expression coefficients": head.n_expression,
        "size": f"{size[0]:.3f} x {size[1]:.3f} x {size[2]:.3f} m",
        "vertex colours": head.vertex_colors is not None,
        "regions": head.region is not None,
        "ARKit shapes": head.arrays.blendshapes is not None,
        "licence": head.metadata.get("licence"),
        "provenance": head.metadata.get("provenance"),
    }
