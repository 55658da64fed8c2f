"""Heads from files of any kind: FLAME's own, and ours (see `mp2flame.head.model`)."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import numpy as np

from mp2flame.blendshapes import ARKIT
from mp2flame.errors import FormatError, plain
from mp2flame.head.arrays import check_arrays
from mp2flame.head.model import FORMAT, FORMAT_VERSION, FlameHead
from mp2flame.head.readers import RawHead, read_head
from mp2flame.head.versions import name_version
from mp2flame.validation import check_header


def _builtin() -> Path:
    return Path(str(resources.files("mp2flame.head"))) / "assets" / "builtin_head.safetensors"


def _declared_split(raw: RawHead, source: str) -> int | None:
    """The S that a file's metadata states, after checking that the metadata is ours and consistent."""
    metadata = raw.metadata
    if "format" in metadata or "format_version" in metadata:
        header = {"format": FORMAT, "format_version": FORMAT_VERSION, **metadata}
        check_header(header, expected=FORMAT, newest=FORMAT_VERSION, source=source)
    names = metadata.get("blendshape_names", "")
    if names and re.findall(r"\w+", names) != list(ARKIT):
        raise FormatError(
            f"{source}: expected blendshape_names to be ARKit's 52 in Apple's order; got {plain(names, 60)}"
        )
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


def describe(head: FlameHead) -> dict[str, str | int | bool | None]:
    """What a person wants to know of a head, by name."""
    size = np.ptp(head.v_template, axis=0)
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
        "vertex colors": head.vertex_colors is not None,
        "regions": head.region is not None,
        "ARKit shapes": head.arrays.blendshapes is not None,
        "licence": head.metadata.get("licence"),
        "provenance": head.metadata.get("provenance"),
    }
