"""Taking the pictures of many people in several processes, each person kept in a file so that a killed run goes on."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mp2flame.data import FlameParams
from mp2flame.files import write_atomic
from mp2flame.head import FlameHead, load_head
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.synthesis.appearance import Painter, random_palette
from mp2flame.synthesis.expressions import Drawer
from mp2flame.synthesis.photograph import Person, photograph
from mp2flame.synthesis.studio import Studio, tinted

__all__ = ["Session", "read_person", "take_people"]

_DRESS: Final = 1
"""Second word of the seed of a person's colours; their face and views have none."""


@dataclass(frozen=True, eq=False)
class Session:
    """What all people's pictures share."""

    head_source: str
    """What `load_head` takes: each process loads the head for itself."""
    landmarker: Path
    shapes: FlameParams
    """ARKit's 52 shapes on the head."""
    embedding: LandmarkEmbedding | None
    """Where the landmarks lie, to paint a head that brings no colours by."""
    frames: int
    """Pictures of each person, besides the one at rest."""
    seed: int
    folder: Path
    """Where the people are kept."""

    def file(self, number: int) -> Path:
        """Where a person is kept."""
        return self.folder / f"person-{number:05d}.npz"

    def dress(self, head: FlameHead, plain: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        """Vertex colours (V, 3) of a person."""
        rng = np.random.default_rng([self.seed, number, _DRESS])
        if head.vertex_colors is not None or self.embedding is None:
            return tinted(plain, rng)
        return Painter(head, self.embedding).paint(random_palette(rng))


def read_person(path: Path) -> Person | None:
    """A person that was kept; None if there is none or the file was cut off."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Person.from_arrays(dict(arrays))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


class _Photographer:
    """One process's head, drawer and studio."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._head = load_head(session.head_source)
        self._drawer = Drawer(self._head, session.shapes)
        self._studio = Studio(self._head, session.landmarker)

    def take(self, number: int, wanted: NDArray[np.float64] | None) -> None:
        session = self._session
        with threadpool_limits(1):
            person = photograph(
                self._studio,
                self._head,
                self._drawer,
                number=number,
                frames=session.frames,
                seed=session.seed,
                colors=session.dress(self._head, self._studio.colors, number),
                wanted=wanted,
            )
        packed = io.BytesIO()
        np.savez(packed, **person.arrays())  # type: ignore[arg-type]
        write_atomic(session.file(number), packed.getvalue())

    def close(self) -> None:
        self._studio.close()


_working: list[_Photographer] = []


def _begin(session: Session) -> None:
    # Ctrl-C is the parent's; here it would print a traceback for each process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Without a graphics card the picture is drawn on the cores, one of which is this process's.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    _working[:] = [_Photographer(session)]


def _work(number: int, wanted: NDArray[np.float64] | None) -> None:
    _working[0].take(number, wanted)


def take_people(
    session: Session,
    numbers: Sequence[int],
    *,
    workers: int,
    wanted: NDArray[np.float64] | None = None,
    on_person: Callable[[], None] = lambda: None,
) -> None:
    """Photograph people and keep each in a file; the same whatever `workers` is. Who is there already is passed over.

    Args:
        session: what they share.
        numbers: which people.
        workers: processes; 1 is this one.
        wanted: (52,) how much more often than usual each shape shall come.
        on_person: called after each.
    """
    missing = [number for number in numbers if read_person(session.file(number)) is None]
    for _ in range(len(numbers) - len(missing)):
        on_person()
    if missing:
        for _ in _taken(session, missing, workers, wanted):
            on_person()


def _taken(
    session: Session, numbers: Sequence[int], workers: int, wanted: NDArray[np.float64] | None
) -> Iterator[None]:
    if workers == 1:
        photographer = _Photographer(session)
        try:
            for number in numbers:
                photographer.take(number, wanted)
                yield
        finally:
            photographer.close()
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, initializer=_begin, initargs=(session,)) as pool:
        yield from pool.imap(partial(_work, wanted=wanted), numbers)
        # Closed in order, the processes leave their windows in order too.
        pool.close()
        pool.join()
