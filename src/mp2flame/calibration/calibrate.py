"""A mapping for any head, from pictures of that head alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.calibration.config import DEFAULT, Quality
from mp2flame.calibration.detectability import check_seen, plain_colors, shapes_of
from mp2flame.calibration.steering import wanted_shapes
from mp2flame.dataset.store import Dataset
from mp2flame.dataset.writer import DatasetWriter
from mp2flame.errors import InputError
from mp2flame.evaluation.evaluate import Evaluation, evaluate, with_metrics
from mp2flame.files import write_errors
from mp2flame.head import FlameHead, load_head
from mp2flame.mapping import StoredMapping
from mp2flame.regression.fit import fit
from mp2flame.synthesis.expressions import Drawer, live_coefficients
from mp2flame.synthesis.photograph import Person
from mp2flame.synthesis.shards import Session, read_person, take_people
from mp2flame.synthesis.straight import measure_straight

if TYPE_CHECKING:
    from mp2flame.regression.context import Kind

__all__ = ["Calibration", "calibrate"]

_EDITION: Final = 5
"""Goes up when pictures would come out otherwise, so that kept ones are not mixed with new ones."""

_KINDS: Final[dict[str, Kind]] = {"scores": "ridge", "landmarks": "landmarks"}


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a calibration made."""

    mappings: dict[str, StoredMapping]
    """By what they read: `scores` alone, or `landmarks` and scores."""
    evaluation: Evaluation
    """On people that nothing was fitted on."""


@dataclass(frozen=True, eq=False)
class _Studio:
    """What was found out about the head before the first picture counts."""

    head: FlameHead
    session: Session
    straight: NDArray[np.float64]


def calibrate(
    head_source: str | Path,
    landmarker: Path,
    folder: Path,
    *,
    kinds: Iterable[Literal["scores", "landmarks"]] = ("scores", "landmarks"),
    quality: Quality = DEFAULT,
    seed: int = 0,
    workers: int = 2,
    date: str = "",
    keep: bool = False,
    on_person: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Mappings for a head, from pictures of it as MediaPipe sees them: no data goes in.

    The head is photographed as many people in the faces that its 52 ARKit shapes and its coefficients make. Pictures
    are taken in rounds; shapes that a regression on the rounds before gets wrong come more often. Both kinds of `fit`
    are fitted, and measured on people held out.

    Args:
        head_source: what `load_head` takes.
        landmarker: MediaPipe's face landmarker file.
        folder: where pictures' figures are kept while it runs, so that a killed calibration goes on where it was when
            called again with the same head and settings; removed at the end.
        kinds: which mappings to fit.
        quality: how many pictures.
        seed: the same seed gives the same mappings, whatever the number of workers.
        workers: processes that take pictures.
        date: ISO 8601, for the mappings' metadata.
        keep: leave the folder.
        on_person: called after each of `quality.people + quality.held_out` people.
        say: told in sentences what happens.

    Raises:
        InputError: the head has no expression components, or MediaPipe finds no face in pictures of it (the error
            names a picture).
        MissingExtraError: PyVista, MediaPipe or PyArrow is not installed.
    """
    head = load_head(head_source)
    # What cannot work fails first.
    live_coefficients(head)
    chosen = [_KINDS[kind] for kind in kinds]
    place = folder / _key(head, landmarker, quality, seed)
    with write_errors(folder, "nothing was calibrated"):
        place.mkdir(parents=True, exist_ok=True)
    try:
        studio = _prepared(str(head_source), head, landmarker, quality, seed=seed, place=place, say=say)
    except InputError:
        _remove_empty(place, folder)
        raise
    spans = quality.by_round()
    wanted = None
    for number, span in enumerate(spans):
        # The held-out people's faces are drawn as usual, not as the rounds before wanted them.
        last = number == len(spans) - 1
        take_people(studio.session, span, workers=workers, wanted=None if last else wanted, on_person=on_person)
        if number < len(spans) - 2:
            wanted = wanted_shapes(head, _people(studio.session, range(span.stop)))
    data = _data_sets(studio, place, spans)
    say(f"fitting on {data[0].metadata['frames']} frames of {len(data[0].subjects)} people")
    networks = quality.networks_for(head)
    mappings = {
        name: _described(fit(data[0], kind=kind, head=head, seed=seed, network=networks, log=say), studio, date)
        for name, kind in _KINDS.items()
        if kind in chosen
    }
    evaluation = evaluate(mappings, data[1], head)
    if not keep:
        shutil.rmtree(place, ignore_errors=True)
        _remove_empty(folder)
    return Calibration({name: with_metrics(m, evaluation, name) for name, m in mappings.items()}, evaluation)


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _key(head: FlameHead, landmarker: Path, quality: Quality, seed: int) -> str:
    """A folder's name that is another for other pictures."""
    pictures = {name: value for name, value in asdict(quality).items() if name != "networks"}
    what = [_EDITION, head.hash, head.vertex_colors is not None, _sha256(landmarker), pictures, seed]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _prepared(
    source: str,
    head: FlameHead,
    landmarker: Path,
    quality: Quality,
    *,
    seed: int,
    place: Path,
    say: Callable[[str], None],
) -> _Studio:
    """Shapes, colours and straight ahead of a head that MediaPipe sees."""
    if head.vertex_colors is not None:
        check_seen(head, landmarker, None, place.parent)
    shapes, embedding = shapes_of(head, landmarker, say=say)
    colors = plain_colors(head, embedding)
    if colors is not None:
        check_seen(head, landmarker, colors, place.parent)
    Drawer(head, shapes)
    session = Session(source, landmarker, shapes, embedding, quality.frames, seed, place)
    return _Studio(head, session, measure_straight(head, landmarker, colors=colors))


def _people(session: Session, numbers: Iterable[int]) -> list[Person]:
    people = [read_person(session.file(number)) for number in numbers]
    return [person for person in people if person is not None]


def _data_sets(studio: _Studio, place: Path, spans: list[range]) -> tuple[Dataset, Dataset]:
    """What to fit on and what to measure on."""
    sets = []
    for name, numbers in (("fitted", range(spans[-1].start)), ("held-out", spans[-1])):
        people = _people(studio.session, numbers)
        seen, taken = sum(len(person.values) for person in people), sum(person.taken - 1 for person in people)
        if 2 * seen < taken or not seen:
            raise InputError(
                f"expected a head that MediaPipe can see ({studio.head.version}); it found the face in {seen} of "
                f"{taken} pictures only"
            )
        target = place / name
        shutil.rmtree(target, ignore_errors=True)
        with DatasetWriter(target, head_version=studio.head.version, head_hash=studio.head.hash) as writer:
            for person in people:
                if len(person.values):
                    writer.add(person.rows())
            writer.finish({"sources": [f"renders of the {studio.head.version} head"]})
        sets.append(Dataset(target))
    return sets[0], sets[1]


def _described(mapping: StoredMapping, studio: _Studio, date: str) -> StoredMapping:
    """The mapping with its licence, where it came from, and what its head calls straight ahead."""
    head = studio.head
    metadata = dict(mapping.metadata)
    metadata["licence"] = head.metadata.get("licence") or f"that of the head it is for ({head.version})"
    metadata["date"] = date
    metadata["provenance"] = (
        f"calibrated from renders of the {head.version} head alone (hash {head.hash}), as MediaPipe's face landmarker "
        f"(sha256 {_sha256(studio.session.landmarker)}) sees them: nothing else went in; seed {studio.session.seed}; "
        + metadata.get("provenance", "")
    )
    metadata["straight"] = json.dumps([round(float(angle), 5) for angle in studio.straight])
    return replace(mapping, metadata=metadata)  # type: ignore[type-var]
