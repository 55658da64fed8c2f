"""What was tracked, as files: every format that drives write, films, residuals, and a folder that fits learn from.

A person's folder holds `person.json` and, for each video, `<video>.jsonl` (the recording), `<video>.residuals.csv` and
whatever else was asked for. It appears under its name when all of it is there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation
from mp2flame.errors import InputError
from mp2flame.files import AtomicFolder, check_outputs, check_writable, write_atomic
from mp2flame.formats.tracked_person import OVERLAY, PERSON_FILE, RESIDUALS, TrackedVideo, person_json
from mp2flame.head import FlameHead
from mp2flame.sinks import open_sink, write_frames
from mp2flame.sinks.base import Sink
from mp2flame.tracking.people import Tracked

_SUFFIXES: Final = (".npz", ".jsonl", ".csv", ".mp4", ".gif")
_BAD: Final = 2.5
"""A frame that misses by this many times the video's median misfit should not be learned from."""
_COVERED: Final = 0.8
"""Nor one of which less than this share of the landmarks was believed."""


def check_targets(targets: Sequence[Path]) -> None:
    """Refuse files that can never be written, before any work is done.

    Raises:
        InputError: no format has this suffix, or a file is named twice.
        MissingFileError: the folder does not exist.
    """
    check_outputs(targets)
    for target in targets:
        check_writable(target)
        if target.suffix.lower() not in _SUFFIXES:
            raise InputError(f"expected an output {', '.join(_SUFFIXES)}, {OVERLAY} or {RESIDUALS}; got {target.name}")


def good_frames(tracked: Tracked) -> NDArray[np.bool_]:
    """(N,) the frames that are fit to be learned from."""
    found = tracked.params.found
    limit = _BAD * float(np.median(tracked.misfit[found])) if found.any() else 0.0
    good: NDArray[np.bool_] = found.copy()
    good[found] = (tracked.misfit[found] <= limit) & (tracked.believed[found] >= _COVERED)
    return good


def save_files(
    tracked: Tracked,
    head: FlameHead,
    targets: Sequence[Path],
    pictures: Callable[[], Iterator[NDArray[np.uint8] | None]],
) -> None:
    """Write one video's result, the format of each file told by its name.

    Args:
        tracked: the result.
        head: the head that it is for.
        targets: what `open_sink` takes, and names that end in `.overlay.mp4`, `.residuals.csv`.
        pictures: gives the video's pictures, from the first; only called if there is a film among the targets.

    Raises:
        InputError: no format has this suffix.
        MissingFileError: the folder does not exist.
        SinkError: a file cannot be written.
    """
    person = head.with_shape(np.zeros(0) if tracked.params.shape is None else tracked.params.shape)
    middle = _middle(tracked)
    with ExitStack() as stack:
        sinks: list[Sink] = []
        for target in targets:
            if target.name.endswith(RESIDUALS):
                write_atomic(target, residual_table(tracked).encode("ascii"))
            elif target.name.endswith(OVERLAY):
                from mp2flame.sinks.overlay import OverlaySink

                sinks.append(stack.enter_context(OverlaySink(target, head=person, focal=tracked.lens.focal)))
            else:
                # A video stands still in front of the place where the head mostly is.
                options = {"origin": middle} if target.suffix.lower() in (".mp4", ".gif") else {}
                sinks.append(stack.enter_context(open_sink(target, head=person, **options)))
        images = pictures() if any(sink.needs_image for sink in sinks) else None
        write_frames(sinks, _frames(tracked, images), head=person)


def _middle(tracked: Tracked) -> NDArray[np.float32]:
    """(3,) metres, where the head mostly is."""
    middle: NDArray[np.float32] = np.median(tracked.params.translation[tracked.params.found], axis=0)
    return middle


def _frames(
    tracked: Tracked, pictures: Iterator[NDArray[np.uint8] | None] | None
) -> Iterator[tuple[Observation, FlameParams]]:
    for row in range(len(tracked.params)):
        seen, params = tracked.seen[row], tracked.params[row]
        if seen.found[0] and not params.found[0]:
            # Another person's face, or half of one: for who reads the file there is none.
            seen = Observation.missing(float(seen.time[0]), image_size=seen.image_size)
        picture = None if pictures is None else next(pictures, None)
        yield (seen if picture is None else replace(seen, picture=picture)), params


def residual_table(tracked: Tracked) -> str:
    """A CSV with one row for each frame: how well it fits, and whether it is fit to be learned from."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["frame", "time", "found", "rest", "misfit", "pixels", "believed", "good"])
    good, params = good_frames(tracked), tracked.params
    for i in range(len(params)):
        solved = bool(np.isfinite(tracked.misfit[i]))
        figures = [f"{float(x[i]):.4g}" if solved else "" for x in (tracked.misfit, tracked.pixels, tracked.believed)]
        flags = [int(params.found[i]), int(tracked.rest[i])]
        rows.writerow([i, f"{float(params.time[i]):.6f}", *flags, *figures, int(good[i])])
    return text.getvalue()


def save_person(
    folder: Path,
    tracked: dict[str, Tracked],
    head: FlameHead,
    *,
    suffixes: Sequence[str],
    pictures: Callable[[str], Iterator[NDArray[np.uint8] | None]],
    made_from: dict[str, Any],
) -> None:
    """Write a person's folder: all of it, or nothing under its name.

    Args:
        folder: to make.
        tracked: the results by video.
        head: the head that they are for.
        suffixes: of further files for each video, such as `.npz` or `.overlay.mp4`.
        pictures: gives a video's pictures, from the first.
        made_from: what to remember of videos and settings, for who resumes.

    Raises:
        InputError: the folder is there already, or no format has such a suffix.
        SinkError: it cannot be written.
    """
    part = AtomicFolder(folder)
    try:
        for name, result in tracked.items():
            targets = [part.temporary / f"{name}{suffix}" for suffix in dict.fromkeys([".jsonl", RESIDUALS, *suffixes])]
            save_files(result, head, targets, lambda name=name: pictures(name))  # type: ignore[misc]
        shape = next(iter(tracked.values())).params.shape
        assert shape is not None
        videos = {name: _figures(result) for name, result in tracked.items()}
        text = person_json(
            videos, head_version=head.version, head_hash=head.hash, shape=shape.tolist(), made_from=made_from
        )
        write_atomic(part.temporary / PERSON_FILE, text)
        part.publish()
    finally:
        part.discard()


def _figures(result: Tracked) -> TrackedVideo:
    params = result.params
    return TrackedVideo(
        frames=len(params),
        found=int(params.found.sum()),
        focal=result.lens.focal,
        image_size=result.lens.size,
        neutral_times=tuple(params.time[result.rest].tolist()),
        bad_times=tuple(params.time[params.found & ~good_frames(result)].tolist()),
        median_residual=float(np.nanmedian(result.misfit)),
        warnings=result.warnings,
    )
