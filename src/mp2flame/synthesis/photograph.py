"""Photographs of a head as many people, and what MediaPipe says of each: training data with known truth.

Letters: N frames, E expression coefficients, S identity coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation
from mp2flame.dataset.table import FrameTable
from mp2flame.head import FlameHead
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.synthesis.expressions import Drawer
from mp2flame.synthesis.studio import FRONTAL, Studio, View, random_view

__all__ = ["IDENTITY_SPREAD", "Person", "photograph", "random_setting"]

Float32 = NDArray[np.float32]

IDENTITY_SPREAD: Final = 0.8
"""Standard deviation of identity coefficients; below 1, so that nobody is a caricature."""
_TILT: Final = 6.0
"""Standard deviation of a head's tilt, degrees."""


@dataclass(frozen=True, eq=False)
class Person:
    """One person's pictures, those in which MediaPipe found the face; none if it did not find the face at rest."""

    number: int
    taken: int
    """Pictures taken, those without a face included."""
    weights: Float32
    """(N, 52) the named shapes that each face was drawn with."""
    values: Float32
    """(N, E + 9) what the face did: expression, jaw, left eye, right eye."""
    seen: dict[str, Float32]
    """`scores` (N + 1, 52), `landmarks` (N + 1, 1434), `head_transform` (N + 1, 16); the first is at rest."""

    def rows(self) -> FrameTable:
        """As rows of a data set, the rest frame first."""
        n, e = len(self.values), self.values.shape[1] - N_ROTATIONS
        truth = np.concatenate([np.zeros_like(self.values[:1]), self.values])
        columns = {**self.seen, "expression": truth[:, :e], "jaw": truth[:, e : e + 3], "eyes": truth[:, e + 3 :]}
        # The camera goes round; the head itself never turns.
        columns |= {name: np.zeros((n + 1, 3), dtype=np.float32) for name in ("neck", "global")}
        return FrameTable(
            subject=f"{self.number:05d}",
            sequence=np.full(n + 1, "renders", dtype=object),
            frame=np.arange(n + 1),
            time=np.arange(n + 1) / 30,
            found=np.ones(n + 1, dtype=np.bool_),
            neutral=np.arange(n + 1) == 0,
            columns=columns,
            image_size=(512, 512),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As named arrays for a file."""
        numbers = {"number": np.array(self.number), "taken": np.array(self.taken)}
        return {**numbers, "weights": self.weights, "values": self.values, **self.seen}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Person:
        """What `arrays` gave."""
        known = dict(arrays)
        numbers = {name: int(known.pop(name)) for name in ("number", "taken")}
        return cls(**numbers, weights=known.pop("weights"), values=known.pop("values"), seen=known)


def random_setting(rng: np.random.Generator) -> View:
    """A view as webcams have them, with the head tilted a little before some wall."""
    wall = rng.uniform(20, 240) + rng.normal(scale=12, size=3)
    red, green, blue = np.clip(wall, 0, 255).astype(int).tolist()
    return replace(random_view(rng), roll=float(rng.normal(scale=_TILT)), background=(red, green, blue))


def photograph(
    studio: Studio,
    head: FlameHead,
    drawer: Drawer,
    *,
    number: int,
    frames: int,
    seed: int,
    colors: NDArray[np.uint8],
    wanted: NDArray[np.float64] | None = None,
) -> Person:
    """Photograph one person: at rest from the front, then in random faces.

    Args:
        studio: with this head.
        head: the head.
        drawer: draws its faces.
        number: which person; with `seed` it decides everything about them.
        frames: pictures besides the one at rest.
        seed: of the whole calibration.
        colors: (V, 3) RGB of this person.
        wanted: (52,) how much more often than usual each shape shall come; None is as usual.
    """
    rng = np.random.default_rng([seed, number])
    person = head.with_shape(rng.normal(scale=IDENTITY_SPREAD, size=head.n_shape).astype(np.float32))
    faces = drawer.draw(person, frames, rng, wanted)
    settings = [random_setting(rng) for _ in range(frames)]
    studio.seat(person, colors)
    rest = studio.look(person(FlameParams.neutral(n_expression=drawer.n_expression))[0], FRONTAL)
    if not rest.found[0]:
        return _person(number, 1, faces.weights[:0], faces.values[:0], [])
    vertices = person(faces.params)
    seen = [studio.look(vertices[i], settings[i]) for i in range(frames)]
    kept = np.array([bool(one.found[0]) for one in seen])
    found = [one for one in seen if one.found[0]]
    return _person(number, frames + 1, faces.weights[kept], faces.values[kept], [rest, *found])


def _person(number: int, taken: int, weights: Float32, values: Float32, seen: list[Observation]) -> Person:
    columns: dict[str, Float32] = {}
    for name, width in (("scores", 52), ("landmarks", 1434), ("head_transform", 16)):
        rows = [np.zeros((0, width), dtype=np.float32)]
        rows += [np.asarray(getattr(one, name)).reshape(1, width) for one in seen]
        columns[name] = np.concatenate(rows)
    return Person(number, taken, weights, values, columns)
