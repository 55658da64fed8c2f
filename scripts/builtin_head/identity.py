"""Who the head is: principal components of people made from the targets for age, sex, build, origin and face."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from scripts.builtin_head.components import principal
from scripts.builtin_head.mesh import REGIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scripts.builtin_head.mesh import Mesh
    from scripts.builtin_head.wheel import Wheel

N_SHAPE = 60
_N_SAMPLES = 3000
_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "ears", "chin", "cheek", "neck", "asym")
# Ends of target names that are the two directions of one trait.
_OPPOSITES = (
    ("incr", "decr"),
    ("up", "down"),
    ("in", "out"),
    ("forward", "backward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)
_SEXES, _AGES, _ORIGINS = ("female", "male"), ("child", "young", "old"), ("african", "asian", "caucasian")
_AMOUNTS = ("min", "average", "max")


def build(mesh: Mesh, wheel: Wheel) -> NDArray[np.float64]:
    """The identity components (V, 3, 60), meters for each unit, largest first."""
    names, samples = sample_people(wheel, _N_SAMPLES)
    basis = np.stack([mesh.carry(wheel.target(name)) for name in names])
    # where the body stands is no trait of a face
    skull = (mesh.region == REGIONS["face"]) | (mesh.template[:, 1] > 0.02)
    basis -= basis[:, skull].mean(axis=1, keepdims=True)
    return principal(basis, samples, mesh.mirror, N_SHAPE)[0]


def sample_people(wheel: Wheel, count: int) -> tuple[list[str], NDArray[np.float64]]:
    """Random people: names of targets (B,) and the weights (count, B) of each person.

    Traits of the face are spread evenly around none, half of them being absent in any one person; the two sides of a
    face mostly agree. Age, sex, build and origin mix as they do in MakeHuman: by products of shares.
    """
    rng = np.random.default_rng(2024)
    columns = _people(rng, count)
    for folder in _FOLDERS:
        for stem, (forth, back) in _traits(wheel.targets(folder)).items():
            if stem.startswith(("head/head-trans", "asym/asymm-")):
                continue
            value = _trait(rng, count, stem)
            for name, part in ((forth, value), (back, -value)):
                if name is not None:
                    _add_sides(columns, wheel, name, np.maximum(part, 0), rng)
    names = sorted(columns)
    return names, np.stack([columns[name] for name in names], axis=1)


def _traits(names: list[str]) -> dict[str, tuple[str, str | None]]:
    """Pairs of opposite targets by their common stem; of targets with sides only the left one is listed."""
    known = set(names)
    result: dict[str, tuple[str, str | None]] = {}
    for name in names:
        if re.search(r"/r-|-r$", name):
            continue
        result[name] = (name, None)
        for forth, back in _OPPOSITES:
            if re.search(rf"-{back}$", name) and re.sub(rf"-{back}$", f"-{forth}", name) in known:
                del result[name]
            elif re.search(rf"-{forth}$", name) and (other := re.sub(rf"-{forth}$", f"-{back}", name)) in known:
                result[name] = (name, other)
    return result


def _trait(rng: np.random.Generator, count: int, stem: str) -> NDArray[np.float64]:
    size = 0.35 if stem.startswith(("asym/", "neck/")) else 0.7
    value = size * (rng.random(count) + rng.random(count) - 1)
    return np.asarray(np.where(rng.random(count) < 0.5, value, 0.0))


def _add_sides(
    columns: dict[str, NDArray[np.float64]],
    wheel: Wheel,
    name: str,
    value: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    other = re.sub(r"/l-", "/r-", re.sub(r"-l$", "-r", name))
    if other == name or other not in wheel.targets(name.partition("/")[0]):
        columns[name] = value
        return
    uneven = 0.2 * (rng.random(len(value)) - 0.5)
    if name.startswith("asym/"):  # one side at a time, or there is no asymmetry
        left = rng.random(len(value)) < 0.5
        columns[name], columns[other] = value * left, value * ~left
        return
    columns[name], columns[other] = value * (1 + uneven), value * (1 - uneven)


def _people(rng: np.random.Generator, count: int) -> dict[str, NDArray[np.float64]]:
    man = rng.random(count)
    sexes = np.stack([1 - man, man])
    old = 0.9 * rng.random(count) * (rng.random(count) < 0.5)
    child = 0.6 * rng.random(count) * (old == 0) * (rng.random(count) < 0.4)
    ages = np.stack([child, 1 - old - child, old])
    shares = -np.log(1 - rng.random((3, count)))
    origins = shares / shares.sum(axis=0)
    muscle, weight = (_three_ways(1.4 * (rng.random(count) - 0.5)) for _ in range(2))
    result: dict[str, NDArray[np.float64]] = {}
    for s, sex in enumerate(_SEXES):
        for a, age in enumerate(_AGES):
            person = sexes[s] * ages[a]
            for o, origin in enumerate(_ORIGINS):
                result[f"macrodetails/{origin}-{sex}-{age}"] = person * origins[o]
            for m, strong in enumerate(_AMOUNTS):
                for w, heavy in enumerate(_AMOUNTS):
                    name = f"macrodetails/universal-{sex}-{age}-{strong}muscle-{heavy}weight"
                    result[name] = person * muscle[m] * weight[w]
    return result


def _three_ways(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares (3, N) of least, average and most for a value in -1..1."""
    return np.stack([np.maximum(-value, 0), 1 - np.abs(value), np.maximum(value, 0)])
