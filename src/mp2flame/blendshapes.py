"""Names, orders and mirror pairs of the face blendshapes.

Blendshapes travel by name. A bare vector has a meaning only together with its order:

    mediapipe      `_neutral`, then 51 names in alphabetical order       (52)
    arkit          Apple's documentation, Live Link Face packets         (52; 51 without tongueOut)
    livelink-csv   Live Link Face's CSV: arkit with two pairs swapped    (52; 51 without tongueOut)
    lam            MediaPipe without `_neutral`, then tongueOut          (52)
    beat           MediaPipe without `_neutral` (BEAT, EMAGE)            (51)

Left and right are the subject's sides in every order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.errors import InputError
from mp2flame.validation import check_array

# Apple's ARFaceAnchor.BlendShapeLocation in the order of its documentation; every other list follows from this one.
ARKIT: Final[tuple[str, ...]] = (
    *(f"eye{part}Left" for part in ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")),
    *(f"eye{part}Right" for part in ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")),
    *("jawForward", "jawLeft", "jawRight", "jawOpen"),
    *("mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight"),
    *(f"mouth{part}{side}" for part in ("Smile", "Frown", "Dimple", "Stretch") for side in ("Left", "Right")),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *(f"mouth{part}{side}" for part in ("Press", "LowerDown", "UpperUp") for side in ("Left", "Right")),
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut"),
)

# MediaPipe's model has no tongueOut and sorts the rest behind its (meaningless) `_neutral`.
MEDIAPIPE: Final[tuple[str, ...]] = ("_neutral", *sorted(name for name in ARKIT if name != "tongueOut"))


def _swapped(names: Sequence[str], *pairs: tuple[str, str]) -> tuple[str, ...]:
    exchange = dict(pairs) | {b: a for a, b in pairs}
    return tuple(exchange.get(name, name) for name in names)


ORDERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "mediapipe": MEDIAPIPE,
        "arkit": ARKIT,
        "livelink-csv": _swapped(ARKIT, ("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")),
        "lam": (*MEDIAPIPE[1:], "tongueOut"),
        "beat": MEDIAPIPE[1:],
    }
)

_BY_FOLDED: Final[Mapping[str, str]] = MappingProxyType({name.lower(): name for name in (*ARKIT, "_neutral")})


def canonical_name(name: str) -> str | None:
    """The ARKit spelling of a blendshape's name, or None for a name that is no blendshape.

    Accepts other casings (`EyeBlinkLeft`) and the suffixes `_L` and `_R` (`eyeBlink_L`).
    """
    spelled = re.sub(r"_([LR])$", lambda side: {"L": "Left", "R": "Right"}[side[1]], name.strip())
    return _BY_FOLDED.get(spelled.lower())


def order_names(order: str, width: int) -> tuple[str, ...]:
    """The names of a bare vector of `width` numbers in a stated order.

    Raises:
        InputError: the order is unknown, or a vector of this order is never that wide.
    """
    if order not in ORDERS:
        raise InputError(f"expected a blendshape order among {', '.join(ORDERS)}; got {order!r}")
    names = ORDERS[order]
    if width == 51 and names[-1] == "tongueOut" and order != "lam":
        names = names[:-1]
    if width != len(names):
        raise InputError(
            f"a vector in {order!r} order has {len(names)} blendshapes, got {width}; "
            f"state the order it is really in ({', '.join(ORDERS)})"
        )
    return names


def reorder(
    values: ArrayLike, source: Sequence[str], target: Sequence[str], *, missing: float = 0.0
) -> NDArray[np.float32]:
    """Move the last axis of `values` (..., len(source)) to (..., len(target)) by name.

    Names that only the source has are dropped; names that only the target has become `missing`.

    Raises:
        InputError: the last axis does not have one entry for each source name, or a source name comes twice.
    """
    array = check_array("scores", values, None, np.float32)
    if array.ndim == 0 or array.shape[-1] != len(source):
        raise InputError(f"expected values (..., {len(source)}), one for each name; got {array.shape}")
    targets, sources = _shared_indices(tuple(source), tuple(target))
    result = np.full((*array.shape[:-1], len(target)), missing, dtype=np.float32)
    result[..., targets] = array[..., sources]
    return result


@lru_cache(maxsize=32)
def _shared_indices(source: tuple[str, ...], target: tuple[str, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The positions in `target`, and those in `source`, of the names that both have."""
    index_of = {name: index for index, name in enumerate(source)}
    if len(index_of) != len(source):
        twice = sorted({name for name in source if source.count(name) > 1})
        raise InputError(f"expected distinct blendshape names; got {', '.join(twice)} more than once")
    pairs = np.array([(index, index_of[name]) for index, name in enumerate(target) if name in index_of], dtype=np.intp)
    targets, sources = pairs.reshape(-1, 2).T
    return targets, sources


def to_mediapipe(values: ArrayLike, *, order: str) -> NDArray[np.float32]:
    """Scores (..., 51 or 52) of a stated order as (..., 52) in MediaPipe's order.

    Args:
        values: the scores, blendshapes on the last axis.
        order: `mediapipe`, `arkit`, `livelink-csv`, `lam` or `beat`. There is no default: vectors of different
            orders have the same width, and a wrong guess moves every channel without any sign.

    Raises:
        InputError: unknown order, or a width that this order does not have.
    """
    array = check_array("scores", values, None, np.float32)
    width = array.shape[-1] if array.ndim else 0
    return reorder(array, order_names(order, width), MEDIAPIPE)


def mirror_name(name: str) -> str:
    """The blendshape on the other side: `eyeBlinkLeft` to `eyeBlinkRight`; unpaired names are their own mirror."""
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name[: -len(side)] + other
    return name


def mirror_permutation(names: Sequence[str]) -> NDArray[np.intp]:
    """Indices (len(names),) such that `scores[..., permutation]` are the scores of the mirrored face.

    Raises:
        InputError: a name's other side is not among the names.
    """
    index_of = {name: index for index, name in enumerate(names)}
    unpaired = [name for name in names if mirror_name(name) not in index_of]
    if unpaired:
        raise InputError(f"expected both sides of every pair; the other side of {', '.join(unpaired)} is absent")
    return np.array([index_of[mirror_name(name)] for name in names], dtype=np.intp)
