"""Faces to photograph: weights of the named shapes in the combinations that faces make.

Letters: N frames, 52 blendshapes in ARKit's order.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT

__all__ = ["NARROW", "calm", "sample_weights"]

_PLACE: Final = {name: index for index, name in enumerate(ARKIT)}

# (stems, chance that one of them is up, chance that it is up on one side only).
_GROUPS: Final[tuple[tuple[tuple[str, ...], float, float], ...]] = (
    (("mouthSmile", "mouthFrown", "mouthStretch", "mouthDimple", "mouthPress"), 0.50, 0.20),
    (
        ("mouthPucker", "mouthFunnel", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
        0.35,
        0.0,
    ),
    (("mouthUpperUp", "mouthLowerDown"), 0.25, 0.15),
    (("jawOpen",), 0.45, 0.0),
    (("mouthLeft", "mouthRight", "jawLeft", "jawRight", "jawForward"), 0.20, 0.0),
    (("browDown", "browInnerUp", "browOuterUp"), 0.50, 0.10),
    (("eyeBlink",), 0.30, 0.12),
    (("eyeSquint", "eyeWide"), 0.25, 0.10),
    (("cheekPuff", "cheekSquint", "noseSneer"), 0.20, 0.15),
)
_AT_REST: Final = 0.06
NARROW: Final = 0.35
"""What is left of an open jaw behind lips that close: lips reach over no more than parted teeth. Of a jaw that opens
wide behind closed lips scores tell nothing, and such faces teach a regression to doubt every open jaw."""
_MOST_OFTEN: Final = 0.7
_FEW: Final = 0.4
"""Share of calm faces in which one thing or two happen and no more."""
_STRENGTH: Final = 1.5
"""Largest strength of a calm face; each has one of its own, and all are equally frequent."""
_GAZE_AND_LIDS: Final = np.array([name.startswith("eye") for name in ARKIT])

Float64 = NDArray[np.float64]


def _by_stem(wanted: Float64, stems: tuple[str, ...]) -> Float64:
    """How much each stem of a group is wanted: the mean of its sides."""
    return np.array([np.mean([wanted[_PLACE[name]] for name in _sides(stem)]) for stem in stems])


def _sides(stem: str) -> list[str]:
    return [name for name in (stem, f"{stem}Left", f"{stem}Right") if name in _PLACE]


def _strength(stems: tuple[str, ...], rng: np.random.Generator) -> float:
    """How far a group goes up: every strength happens; lids close fully half of the time, as blinks do."""
    if stems == ("eyeBlink",) and rng.random() < 0.5:
        return float(rng.uniform(0.85, 1.0))
    return float(rng.beta(1.0, 1.2))


def _raise_group(
    row: NDArray[np.float32], stems: tuple[str, ...], one_sided: float, wanted: Float64, rng: np.random.Generator
) -> None:
    names = _sides(stems[rng.choice(len(stems), p=wanted / wanted.sum())])
    strength = _strength(stems, rng)
    # jawLeft and mouthLeft end in a side too, but are directions and stand alone.
    if len(names) == 2 and rng.random() < one_sided:
        names = [names[rng.integers(2)]]
    for name in names:
        row[_PLACE[name]] = np.clip(strength * (1 + 0.12 * rng.standard_normal()), 0, 1)


def _gaze(row: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Both eyes look the same way; horizontal reach is larger than vertical."""
    left, up = np.clip(rng.normal(scale=(0.45, 0.35)), -1, 1)
    to_left, to_right = ("eyeLookOutLeft", "eyeLookInRight"), ("eyeLookInLeft", "eyeLookOutRight")
    for name in to_left if left > 0 else to_right:
        row[_PLACE[name]] = abs(left)
    for side in ("Left", "Right"):
        row[_PLACE[f"eyeLook{'Up' if up > 0 else 'Down'}{side}"]] = abs(up)


def _keep_few(row: Float64, rng: np.random.Generator) -> None:
    """One or two of the shapes that are up stay up, with both of their sides."""
    up = np.flatnonzero((row > 0) & ~_GAZE_AND_LIDS)
    stems = [ARKIT[place].removesuffix("Left").removesuffix("Right") for place in up]
    if len(set(stems)) > 1:
        kept = rng.choice(sorted(set(stems)), size=rng.integers(1, 3), replace=False)
        row[up[~np.isin(stems, kept)]] = 0


def sample_weights(n: int, rng: np.random.Generator, wanted: NDArray[np.floating] | None = None) -> NDArray[np.float32]:
    """Random faces as weights (n, 52) in ARKit's order, 0..1.

    Groups of muscles that work together are drawn together: one of the smiles, frowns and stretches, mostly on both
    sides; lips; jaw; brows; lids; gaze of both eyes together. mouthClose comes only with a jaw that is a little open,
    as ARKit defines it. A few faces are at rest.

    Args:
        n: how many.
        rng: draws them.
        wanted: (52,) positive; how much more often than usual each shape shall come. None is as usual.
    """
    more = np.ones(len(ARKIT)) if wanted is None else wanted.astype(np.float64)
    groups = [(stems, chance, one_sided, _by_stem(more, stems)) for stems, chance, one_sided in _GROUPS]
    rows = np.zeros((n, len(ARKIT)), dtype=np.float32)
    for row in rows:
        if rng.random() < _AT_REST:
            continue
        for stems, chance, one_sided, each in groups:
            if rng.random() < min(chance * each.mean(), _MOST_OFTEN):
                _raise_group(row, stems, one_sided, each, rng)
        if rng.random() < 0.7:
            _gaze(row, rng)
        if row[_PLACE["jawOpen"]] > 0 and rng.random() < 0.1:
            row[_PLACE["jawOpen"]] *= NARROW
            row[_PLACE["mouthClose"]] = row[_PLACE["jawOpen"]] * rng.uniform(0.3, 1.0)
    return rows


def calm(weights: NDArray[np.floating], rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Faces as films have them: mostly between rest and a lively face, and often with few shapes at once.

    Where every face is lively a regression never learns what a face does not do, and reads motion into what lights,
    turns and MediaPipe's noise do to a calm one. Lids and gaze stay: a calm face blinks and looks round, too.

    Args:
        weights: (N, 52) of lively faces.
        rng: draws.

    Returns:
        (N, 52) weights, and (N, 1) how strong each face is, for what else is in it.
    """
    strength = rng.uniform(0, _STRENGTH, size=(len(weights), 1))
    result = weights.astype(np.float64)
    for number in np.flatnonzero(rng.random(len(result)) < _FEW):
        _keep_few(result[number], rng)
    result[:, ~_GAZE_AND_LIDS] *= strength
    return result, strength
