"""Round eyeballs in place of the base mesh's coarse ones, which keep following them through every displacement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RINGS = (7.4, 8.2, 11.5, 15.0, 18.5, 20.6, 22.0, 27.0, 35.0, 46.0, 60.0, 75.0, 90.0, 112.0, 140.0)
"""Angles of the rings from the line of sight, degrees: pupil to 8, iris to 22, then the white."""
N_SEGMENTS = 20
EQUATOR = RINGS.index(90.0)


@dataclass(frozen=True)
class Eyeball:
    """The left eyeball as a sphere of rings around its line of sight."""

    helper: NDArray[np.intp]
    """The base mesh's vertices of the coarse eyeball."""
    rest: NDArray[np.float64]
    """Where those are in the template (H, 3)."""
    center: NDArray[np.float64]
    radius: float

    @classmethod
    def fit(cls, helper: NDArray[np.intp], template: NDArray[np.float64]) -> Eyeball:
        """The sphere through the coarse eyeball in the least-squares sense."""
        rest = template[helper]
        system = np.column_stack([2 * rest, np.ones(len(rest))])
        *center, offset = np.linalg.lstsq(system, (rest**2).sum(axis=1), rcond=None)[0]
        middle = np.array(center)
        return cls(helper, rest, middle, float(np.sqrt(offset + middle @ middle)))

    def points(self) -> NDArray[np.float64]:
        """The vertices (2 + rings * segments, 3): the front pole, the rings from front to back, the back pole."""
        polar = np.radians(RINGS)[:, None]
        turn = 2 * np.pi * np.arange(N_SEGMENTS)[None] / N_SEGMENTS
        ring = np.stack(np.broadcast_arrays(np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)))
        poles = np.array([[0.0, 0.0, 1.0]]), np.array([[0.0, 0.0, -1.0]])
        unit = np.concatenate([poles[0], ring.reshape(3, -1).T, poles[1]])
        return np.asarray(self.center + self.radius * unit)

    def carry(self, displacement: NDArray[np.float64]) -> NDArray[np.float64]:
        """How the vertices follow a displacement (19158, 3) of the base mesh: shifted and scaled, never distorted."""
        moved = displacement[self.helper]
        shift = moved.mean(axis=0)
        spread = self.rest - self.rest.mean(axis=0)
        growth = float((spread * (moved - shift)).sum() / (spread**2).sum())
        return np.asarray(shift + growth * (self.points() - self.rest.mean(axis=0)))

    def turn(self, displacement: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rotation (3, 3) of the coarse eyeball in a displacement (19158, 3), by Kabsch's method."""
        spread = self.rest - self.rest.mean(axis=0)
        moved = self.rest + displacement[self.helper]
        u, _, vt = np.linalg.svd(spread.T @ (moved - moved.mean(axis=0)))
        sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
        return np.asarray(vt.T @ sign @ u.T)

    @staticmethod
    def faces() -> NDArray[np.intp]:
        """The triangles (F, 3), outside to the viewer."""
        result: list[tuple[int, int, int]] = []
        back = 1 + len(RINGS) * N_SEGMENTS
        for k in range(N_SEGMENTS):
            after = (k + 1) % N_SEGMENTS
            result.append((0, 1 + k, 1 + after))
            for ring in range(len(RINGS) - 1):
                start = 1 + ring * N_SEGMENTS
                a, b, c, d = start + k, start + after, start + N_SEGMENTS + after, start + N_SEGMENTS + k
                result += [(a, d, c), (a, c, b)]
            last = back - N_SEGMENTS
            result.append((back, last + after, last + k))
        return np.array(result, dtype=np.intp)
