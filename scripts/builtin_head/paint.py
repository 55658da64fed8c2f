"""Colors of the vertices: skin, lips, brows, lashes, hair, eyes, teeth, tongue, mouth; darker in the shade."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scripts.builtin_head.eyeball import N_SEGMENTS, RINGS
from scripts.builtin_head.hair import BROW_ENDS, brow_distance, hair_cover
from scripts.builtin_head.mesh import REGIONS
from scripts.builtin_head.occlusion import openness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scripts.builtin_head.mesh import Mesh

_SKIN = (214, 165, 138)
_BLUSH = (204, 120, 104)
_LIP = (178, 92, 88)
_HAIR = (58, 42, 34)
_BROW = (62, 44, 36)
_LASH = (38, 28, 26)
_MOUTH = (92, 30, 30)
_TEETH = (236, 229, 214)
_TONGUE = (190, 98, 98)
_WHITE = (226, 221, 217)
_VEIN = (206, 168, 160)
_IRIS_IN, _IRIS, _IRIS_OUT = (122, 88, 54), (92, 64, 42), (40, 28, 22)
_PUPIL = (10, 8, 8)


def paint(mesh: Mesh) -> NDArray[np.uint8]:
    """RGB (V, 3) of every vertex, the same on both sides."""
    colors = _skin(mesh)
    for name, color in (("mouth cavity", _MOUTH), ("teeth", _TEETH), ("tongue", _TONGUE), ("lashes", _LASH)):
        colors[mesh.region == REGIONS[name]] = color
    # skin's shadows are reddish
    colors *= _shade(mesh)[:, None] ** np.array([0.85, 1.05, 1.1])
    for side in ("left", "right"):
        colors[mesh.eye(side)] = _eye()
    colors = (colors + colors[mesh.mirror]) / 2
    return np.clip(np.round(colors), 0, 255).astype(np.uint8)


def _shade(mesh: Mesh) -> NDArray[np.float64]:
    """How light each vertex is (V,): by the open sky around it, inside the mouth by how deep it lies.

    What a closed mouth hides must not stay dark when it opens, so teeth and tongue go by their place alone.
    """
    sky = openness(mesh.template, mesh.faces, mesh.mirror)
    x, z = np.abs(mesh.template[:, 0]), mesh.template[:, 2]
    inside = (0.95 - 0.65 * _bump(z, 0.068, 0.098)) * (1 - 0.5 * _bump(-x, -0.024, -0.017))
    mouth = np.isin(mesh.region, [REGIONS["teeth"], REGIONS["tongue"]])
    return np.where(mouth, inside, np.clip(0.45 + 0.61 * sky, 0.35, 1))


def _mix(colors: NDArray[np.float64], color: tuple[int, int, int], share: NDArray[np.float64]) -> NDArray[np.float64]:
    part = np.clip(share, 0, 1)[:, None]
    return colors * (1 - part) + part * np.array(color, dtype=np.float64)


def _bump(distance: NDArray[np.float64], inner: float, outer: float) -> NDArray[np.float64]:
    """1 up to `inner`, 0 from `outer`, smooth between."""
    share = np.clip((outer - distance) / (outer - inner), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def _skin(mesh: Mesh) -> NDArray[np.float64]:
    points = mesh.template
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    colors = np.tile(np.array(_SKIN, dtype=np.float64), (len(points), 1))
    front = _bump(-z, -0.075, -0.055)
    cheek = _bump(np.hypot((x - 0.043) / 1.1, y - 0.003), 0.006, 0.030) * front
    nose = _bump(np.hypot(x, (y - 0.002) / 1.1), 0.008, 0.022) * _bump(-z, -0.105, -0.092)
    colors = _mix(colors, _BLUSH, 0.30 * cheek + 0.28 * nose)
    lips = _bump(1 - mesh.marks["lips"], 0.25, 0.95)
    colors = _mix(colors, _LIP, 0.8 * lips)
    colors = _mix(colors, _LASH, 0.8 * mesh.marks["lid"])
    colors = _mix(colors, _BROW, 0.92 * _brow(mesh))
    eye = (mesh.eyeball.center - mesh.origin) / 10
    return _mix(colors, _HAIR, 0.94 * hair_cover(y - eye[1], z - eye[2]) * (1 - mesh.marks["ears"]))


def _brow(mesh: Mesh) -> NDArray[np.float64]:
    points = mesh.template
    eye = points[mesh.eye("left")].mean(axis=0)
    reach = brow_distance(np.abs(points[:, 0]), points[:, 1] - eye[1])
    thin = 1 - 0.25 * _bump(np.abs(points[:, 0]), BROW_ENDS[0], BROW_ENDS[0] + 0.008)
    return _bump(reach, 0.40, 1.25) * thin * (points[:, 2] > 0.04)


def _eye() -> NDArray[np.float64]:
    stops = np.array([0.0, 7.4, 8.4, 14.0, 19.0, 21.0, 23.5, 34.0, 90.0, 180.0])
    shades = np.array(
        [_PUPIL, _PUPIL, _IRIS_IN, _IRIS, _IRIS_OUT, _IRIS_OUT, _WHITE, _WHITE, _VEIN, _VEIN], dtype=float
    )
    angles = np.array([0.0, *np.repeat(RINGS, N_SEGMENTS), 180.0])
    return np.stack([np.interp(angles, stops, shades[:, channel]) for channel in range(3)], axis=1)
