"""`mp2flame calibrate --person`: from a minute of one's own face to a small file that `drive` and `live` take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.table import Table

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.cli.console import err, out, progress
from mp2flame.errors import InputError
from mp2flame.files import check_writable

if TYPE_CHECKING:
    from mp2flame.data import Observation
    from mp2flame.mapping import Mapping, Person

__all__ = ["refine"]

_LIVE_SECONDS: Final = 60.0
_SHORT_SECONDS: Final = 30.0
_LATE_SECONDS: Final = 5.0
_WORTH_TELLING: Final = 0.05


def refine(
    video: str | Path,
    output: Path,
    *,
    mapping: str | None = None,
    landmarker: Path | None = None,
    mirror: bool = False,
) -> int:
    """Watch a person, write the person file, and print what was found.

    Args:
        video: a video, a recording, or a webcam's index, which is watched for a minute.
        output: the person file to write, ending in .safetensors.
        mapping: the mapping to tell the corrections for; they depend on how far scores go in the people that it was
            made from. The file serves any mapping.
        landmarker: MediaPipe's face_landmarker.task, where it is not to be fetched.
        mirror: the camera's picture is mirrored.

    Returns:
        The exit code 0.

    Raises:
        Mp2FlameError: there is no face, too little of it, or no rest; or a file cannot be read or written.
    """
    from mp2flame.calibration.person import make_person
    from mp2flame.mapping import default_mapping, load_mapping

    # Watching takes as long as the video: what would fail at its end fails now.
    if output.suffix != ".safetensors":
        raise InputError(f"expected an output that ends in .safetensors, such as me.person.safetensors; got {output}")
    check_writable(output)
    chosen: Mapping = default_mapping() if mapping in (None, "builtin") else load_mapping(str(mapping))
    person = make_person(_watch(str(video), landmarker, mirror=mirror))
    person.save(output)
    _tell(person, chosen)
    out.print(f"wrote {output}; use it with: mp2flame drive VIDEO --rest {output}, or live --rest", soft_wrap=True)
    return 0


def _watch(video: str, landmarker: Path | None, *, mirror: bool) -> Observation:
    from mp2flame.data import concatenate
    from mp2flame.sources import open_source

    seen: list[Observation] = []
    with (
        open_source(video, landmarker=landmarker, mirror=mirror) as source,
        progress("watching", source.n_frames) as bar,
    ):
        if source.live:
            err.print(
                "look straight for two seconds, face relaxed; then blink, smile, talk, move as you like: a minute"
            )
        for observation in source:
            seen.append(observation.without_picture())
            bar.advance()
            if source.live and float(observation.time[0] - seen[0].time[0]) >= _LIVE_SECONDS:
                break
    if not seen:
        raise InputError(f"{video} has no frames: film a minute of the face")
    return concatenate(seen)


def _tell(person: Person, mapping: Mapping) -> None:
    begin = float(person.rest.time[0])
    out.print(f"{person.seconds:.0f} seconds of a face; at rest from {begin:.1f} s on")
    logs = np.log(person.gains(mapping.reach))
    told = [i for i in np.argsort(-np.abs(logs)) if abs(logs[i]) > _WORTH_TELLING]
    if told:
        table = Table(title="Scores that are corrected", title_justify="left")
        table.add_column("score")
        table.add_column("times", justify="right")
        for i in told:
            table.add_row(MEDIAPIPE[i], f"{np.exp(logs[i]):.2f}")
        out.print(table)
    else:
        out.print("left and right agree and no score goes unusually far: only the rest is taken over")
    if mapping.reach is None:
        err.print("[yellow]note:[/] this mapping does not tell how far scores go in other people: left and right alone")
    if begin > _LATE_SECONDS:
        err.print(
            f"[yellow]note:[/] the rest was taken from {begin:.1f} s on, for the beginning is not as calm. If that is "
            "not your face at rest, film again, and begin with two seconds of looking straight, face relaxed"
        )
    if person.seconds < _SHORT_SECONDS:
        err.print(f"[yellow]note:[/] {person.seconds:.0f} seconds are little to go by; a minute tells more")
