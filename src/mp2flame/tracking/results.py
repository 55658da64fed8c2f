"""What was tracked, as files: every format that `drive` writes, overlay videos, residuals, and a person's folder.

The folder is described in `mp2flame.formats.tracked_person`. It appears under its name when it is complete.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation, replace_unchecked
from mp2flame.errors import InputError
from mp2flame.files import AtomicFolder, check_outputs, check_writable, write_atomic
from mp2flame.formats.tracked_person import OVERLAY, PERSON_FILE, RESIDUALS, TrackedVideo, person_json
from mp2flame.head import FlameHead
from mp2flame.sinks import open_sink, write_frames
from mp2flame.sinks.base import Sink
from mp2flame.sinks.overlay import OverlaySink
from mp2flame.tracking.track import TrackResult

Images = Callable[[], Iterator[NDArray[np.uint8] | None]]
"""Gives the images of a video once more, from the first; None for one that cannot be read."""

_SUFFIXES: Final = (".npz", ".jsonl", ".csv", ".mp4", ".gif")
_MAX_RESIDUAL_RATIO: Final = 2.5
"""Of a frame that is fit to learn from, against the median residual of its video."""
_MIN_INLIER_RATIO: Final = 0.8
"""Of a frame that is fit to learn from."""


def check_targets(targets: Sequence[Path], inputs: Sequence[Path] = (), *, folder: bool = False) -> None:
    """Refuse files, or a folder of people, that cannot be written, before any work is done.

    Raises:
        InputError: no format has this suffix, a file is named twice, or is an input.
        MissingFileError: the folder around it does not exist.
        SinkError: that folder cannot be written to.
    """
    check_outputs(targets, inputs)
    for target in targets:
        if not folder and target.suffix.lower() not in _SUFFIXES:
            raise InputError(f"expected an output {', '.join(_SUFFIXES)}, {OVERLAY} or {RESIDUALS}; got {target.name}")
        check_writable(target, folder=folder)


def good_frames(result: TrackResult) -> NDArray[np.bool_]:
    """(N,) the frames that are fit to learn from."""
    found = result.params.found
    limit = _MAX_RESIDUAL_RATIO * float(np.median(result.residual[found])) if found.any() else 0.0
    good: NDArray[np.bool_] = found.copy()
    good[found] = (result.residual[found] <= limit) & (result.inlier_ratio[found] >= _MIN_INLIER_RATIO)
    return good


def save_files(result: TrackResult, head: FlameHead, targets: Sequence[Path], images: Images) -> None:
    """Write one video's result, in the format that each file's name asks for.

    Args:
        result: of the video.
        head: that was tracked with.
        targets: what `open_sink` takes, and names that end in `.overlay.mp4` or `.residuals.csv`.
        images: of the video; only called if a target needs them.

    Raises:
        InputError: no format has this suffix.
        MissingFileError: the folder does not exist.
        SinkError: a file cannot be written.
    """
    params = result.params
    person = head.with_shape(np.zeros(0) if params.shape is None else params.shape)
    # A rendered video looks at the place where the head mostly is.
    center = np.median(params.translation[params.found], axis=0)
    with ExitStack() as stack:
        sinks: list[Sink] = []
        for target in targets:
            if target.name.endswith(RESIDUALS):
                write_atomic(target, residual_table(result).encode("ascii"))
            elif target.name.endswith(OVERLAY):
                overlay = OverlaySink(target, head=person, focal=result.camera.focal)
                sinks.append(stack.enter_context(overlay))
            else:
                options = {"origin": center} if target.suffix.lower() in (".mp4", ".gif") else {}
                sinks.append(stack.enter_context(open_sink(target, head=person, **options)))
        shown = images() if any(sink.needs_image for sink in sinks) else None
        write_frames(sinks, _frames(result, shown), head=person)


def _frames(
    result: TrackResult, images: Iterator[NDArray[np.uint8] | None] | None
) -> Iterator[tuple[Observation, FlameParams]]:
    for observation, params in zip(result.observation, result.params, strict=True):
        image = None if images is None else next(images, None)
        # Another person's face, or half of one, is none for who reads the file.
        hidden = observation.found[0] and not params.found[0]
        missing = Observation.missing(observation.time[0], image_size=observation.image_size)
        yield replace_unchecked(missing if hidden else observation, picture=image), params


def residual_table(result: TrackResult) -> str:
    """A CSV with one row for each frame: how well it fits, and whether it is fit to learn from."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["frame", "time", "found", "rest", "misfit", "pixels", "believed", "good"])
    good, params = good_frames(result), result.params
    for i in range(len(params)):
        figures = (result.residual[i], result.pixels[i], result.inlier_ratio[i])
        texts = [f"{float(x):.4g}" for x in figures] if np.isfinite(result.residual[i]) else ["", "", ""]
        flags = [int(params.found[i]), int(result.neutral[i])]
        rows.writerow([i, f"{float(params.time[i]):.6f}", *flags, *texts, int(good[i])])
    return text.getvalue()


def save_person(
    folder: Path,
    results: dict[str, TrackResult],
    head: FlameHead,
    *,
    suffixes: Sequence[str],
    images: Callable[[str], Iterator[NDArray[np.uint8] | None]],
    made_from: dict[str, Any],
) -> None:
    """Write a person's folder: all of it, or nothing under its name.

    Args:
        folder: to make.
        results: by video.
        head: that was tracked with.
        suffixes: of further files for each video, such as `.npz` or `.overlay.mp4`.
        images: gives a video's images, from the first.
        made_from: videos and options, by which a later run recognizes that the folder is finished.

    Raises:
        InputError: the folder is there already, or no format has such a suffix.
        SinkError: it cannot be written.
    """
    shape = next(iter(results.values())).params.shape
    assert shape is not None
    with AtomicFolder(folder) as temporary:
        for name, result in results.items():
            targets = [temporary / f"{name}{suffix}" for suffix in dict.fromkeys([".jsonl", RESIDUALS, *suffixes])]
            save_files(result, head, targets, lambda name=name: images(name))  # type: ignore[misc]
        videos = {name: _summary(result) for name, result in results.items()}
        document = person_json(
            videos, head_version=head.version, head_hash=head.hash, shape=shape.tolist(), made_from=made_from
        )
        write_atomic(temporary / PERSON_FILE, document)


def _summary(result: TrackResult) -> TrackedVideo:
    params = result.params
    return TrackedVideo(
        frames=len(params),
        found=int(params.found.sum()),
        focal=result.camera.focal,
        image_size=result.camera.size,
        neutral_times=tuple(params.time[result.neutral].tolist()),
        bad_times=tuple(params.time[params.found & ~good_frames(result)].tolist()),
        median_residual=float(np.nanmedian(result.residual)),
        warnings=result.warnings,
    )
