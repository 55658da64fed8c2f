"""One call from names to outputs: what the command `mp2flame drive` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from numpy.typing import ArrayLike

from mp2flame.data import Frame, Observation, concatenate
from mp2flame.errors import InputError, MissingFileError
from mp2flame.files import check_outputs
from mp2flame.filters import Filter, default_filters
from mp2flame.formats import load_params
from mp2flame.head import FlameHead, load_head
from mp2flame.mapping import BlendshapeMapping, HeadPoseTarget, Person, load_mapping, load_person
from mp2flame.mapping.neutral import NeutralEstimate, estimate_neutral
from mp2flame.mapping.person import is_person_file
from mp2flame.pipeline.pipeline import Pipeline, Report
from mp2flame.sinks import Sink, open_sinks
from mp2flame.sources import Source, open_source
from mp2flame.sources.spool import SpooledSource

_REMEDY: Final = "give the person's own with --neutral FILE (an image, video or recording of the neutral face)"
_MOST_FRAMES: Final = 2000
"""Frames of a long video, evenly selected, from which the neutral is estimated."""


def drive(
    source: str | Path | int | Source,
    outputs: str | Path | Iterable[str | Path] = (),
    mapping: str | Path | BlendshapeMapping = "builtin",
    head: str | Path | FlameHead | None = "builtin",
    sinks: Sequence[Sink] = (),
    *,
    filters: Filter | Literal["default"] | None = "default",
    neutral: str | Path | Person | Observation | None = "auto",
    head_pose: HeadPoseTarget = "global_orient",
    identity: str | Path | ArrayLike | None = None,
    landmarker: str | Path | None = None,
    mirror: bool = False,
    fps: float | None = None,
    order: str | None = None,
    allow_head_mismatch: bool = False,
    on_frame: Callable[[Frame], None] | None = None,
    on_scan: Callable[[Observation], None] = lambda _: None,
) -> Report:
    """Drive a head from a source into outputs, until the source ends; what the command `mp2flame drive` does.

        mp2flame.drive("me.mp4", "out.mp4")
        mp2flame.drive(0, ["take.jsonl", "vmc://localhost:39539"], head="mine.pkl", mapping="mine.safetensors")

    Args:
        source: what `open_source` takes, or an open source, which the caller closes.
        outputs: files and addresses, as `open_sink` takes them.
        mapping: what `load_mapping` takes, or a mapping, which is used as it is.
        head: what `load_head` takes, or a head; None where nothing needs its vertices.
        sinks: open sinks besides the outputs; they are closed in every case.
        filters: parameters along time; `"default"` for `default_filters()`, None for none.
        neutral: the person's neutral face: `"auto"` estimates it, from all of a file, which is read before the first
            frame is mapped, or from the first second of a live source if it is neutral; `"none"` or None for an average
            person's, an image, video, recording or person file, frames of it, or a person.
        head_pose: the joint that takes the head's rotation, of a mapping that is given by name.
        identity: identity coefficients of the head, or a parameter file that holds them.
        landmarker: MediaPipe's face_landmarker.task; by default it is found or downloaded.
        mirror: the camera's image is mirrored.
        fps: frames per second of a folder of images.
        order: the order of blendshapes in files that do not name them.
        allow_head_mismatch: use the mapping although it was made for another head.
        on_frame: called after each frame, for progress.
        on_scan: called after each frame of a file that is read for its neutral face, for progress.

    Raises:
        InputError: an output is an input, or another output, or no format has its suffix.
        HeadMismatchError: the mapping was made for another head.
        SourceError, FormatError, SinkError: as `Pipeline.run` does.
    """
    if isinstance(outputs, BlendshapeMapping):
        raise InputError(
            "expected file names or addresses as outputs; got a mapping: give mapping, head, sinks by name"
        )
    outputs = [outputs] if isinstance(outputs, str | Path) else list(outputs)
    with ExitStack() as stack:
        undo = stack.enter_context(ExitStack())
        for sink in sinks:
            undo.callback(sink.abort)
        named = [item for item in (source, mapping, head, neutral, identity) if isinstance(item, str | Path)]
        check_outputs(outputs, named)
        loaded_head = load_head(head) if isinstance(head, str | Path) else head
        if identity is not None:
            if loaded_head is None:
                raise InputError("an identity needs a head; got head=None")
            loaded_head = loaded_head.with_shape(_identity(identity))
        if not isinstance(mapping, BlendshapeMapping):
            mapping = load_mapping(mapping, head_pose=head_pose)
        if not isinstance(source, Source):
            spec = str(source) if isinstance(source, int) else source
            opened = open_source(spec, landmarker=landmarker, mirror=mirror, fps=fps, order=order)
            source = stack.enter_context(opened)
        if isinstance(neutral, str | Path):
            neutral = load_neutral(neutral, landmarker=landmarker, mirror=mirror)
        opened_sinks = _opened(outputs, loaded_head)
        for sink in opened_sinks:
            undo.callback(sink.abort)
        warnings: tuple[str, ...] = ()
        started = time.perf_counter()
        estimated = neutral == "auto" and not source.live
        if estimated:
            source = stack.enter_context(SpooledSource(source))
            neutral, warnings = _estimated_neutral(source, on_scan)
        pipeline = Pipeline(
            source,
            mapping,
            loaded_head,
            [*opened_sinks, *sinks],
            filters=default_filters() if filters == "default" else filters,
            neutral=neutral,
            allow_head_mismatch=allow_head_mismatch,
            on_frame=on_frame,
        )
        scanning = time.perf_counter() - started
        undo.pop_all()
        report = pipeline.run()
        taken = report.neutral_taken or (estimated and neutral is not None and not warnings)
        seconds = report.seconds + scanning
        return replace(report, neutral_taken=taken, seconds=seconds, warnings=(*report.warnings, *warnings))


def _opened(outputs: Sequence[str | Path], head: FlameHead | None) -> list[Sink]:
    if head is not None:
        return open_sinks(outputs, head=head)
    if outputs:
        raise InputError("outputs need the head that is driven; got head=None")
    return []


def _estimated_neutral(
    source: SpooledSource, on_scan: Callable[[Observation], None]
) -> tuple[Observation | None, tuple[str, ...]]:
    """The neutral frames of a file, None where no frame has a face, and warnings about them."""
    kept: list[Observation] = []
    step = 1
    for number, observation in enumerate(source.scan()):
        on_scan(observation)
        if number % step == 0:
            kept.append(observation)
        if len(kept) > _MOST_FRAMES:
            kept, step = kept[::2], 2 * step
    faces = [observation for observation in kept if observation.found[0]]
    frames = concatenate(faces) if faces else None
    estimate = None if frames is None else estimate_neutral(frames)
    if frames is None:
        return None, ()
    if estimate is None:
        return None, (f"no frame shows a neutral face, so an average person's neutral was used; {_REMEDY}",)
    return frames[estimate.rows], () if estimate.certain else (_uncertain(frames, estimate),)


def _uncertain(frames: Observation, estimate: NeutralEstimate) -> str:
    time = frames.time[estimate.rows]
    return (
        f"no frame shows a clearly neutral face, so the person's neutral was estimated from the {len(time)} least "
        f"active frames, between {time[0]:.1f} s and {time[-1]:.1f} s; {_REMEDY}"
    )


def _identity(identity: str | Path | ArrayLike) -> ArrayLike:
    if not isinstance(identity, str | Path):
        return identity
    shape = load_params(identity).shape
    if shape is None:
        raise InputError(f"{identity} holds no identity coefficients: expected a parameter file with `shape`")
    return shape


def load_neutral(
    neutral: str | Path, *, landmarker: str | Path | None = None, mirror: bool = False
) -> Observation | Person | Literal["auto"] | None:
    """What `--neutral` names: "auto", None for "none", the frames of a file, or the person of a person file.

    Args:
        neutral: `"auto"`, `"none"`, or the path of an image, a video, a recording or a person file.
        landmarker: as of `open_source`.
        mirror: as of `open_source`.

    Raises:
        InputError: no face was found in the file.
        MissingFileError: there is no such file.
        FormatError: it is no person file, though it is named like one.
    """
    if neutral == "auto":
        return "auto"
    if neutral == "none":
        return None
    if not Path(neutral).exists():
        raise MissingFileError(
            f"no neutral file {neutral}: expected auto, none, or an image, video, recording or person file"
        )
    if is_person_file(neutral):
        return load_person(neutral)
    with open_source(neutral, landmarker=landmarker, mirror=mirror) as source:
        faces = [observation for observation in source if observation.found[0]]
    if not faces:
        raise InputError(
            f"no face was found in the neutral file {neutral}: choose one that shows the face from the front"
        )
    return concatenate(faces)
