"""Options that several commands share, as base classes of the commands, and the checks of files before the work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import tyro

from mp2flame.errors import InputError
from mp2flame.files import check_outputs, check_writable


def option(metavar: str, *aliases: str) -> Any:
    """The appearance of an option: what its value is called in the help, and other names of the option.

    The default value is shown unless it is None or empty.
    """
    return tyro.conf.arg(metavar=metavar, aliases=aliases or None, help_behavior_hint=_default)


def _default(value: str) -> str:
    if "MISSING" in value:
        return "(required)"
    return "" if value in ("None", "", "''", "()", "[]") else f"(default: {value})"


Flag: TypeAlias = Annotated[bool, tyro.conf.arg(help_behavior_hint="")]
"""An option without a value."""
OptionalFile: TypeAlias = Annotated[Path | None, option("FILE")]
HeadPose: TypeAlias = Annotated[Literal["global_orient", "neck_pose", "none"], tyro.conf.arg(metavar="JOINT")]


@dataclass(frozen=True, kw_only=True)
class LandmarkerOption:
    """Where MediaPipe's model is."""

    landmarker: OptionalFile = None
    """MediaPipe's face_landmarker.task; by default the one that was fetched."""


@dataclass(frozen=True, kw_only=True)
class ImageOptions(LandmarkerOption):
    """How images are read."""

    mirror: Flag = False
    """The images are mirrored, as most webcams show them."""


@dataclass(frozen=True, kw_only=True)
class MappingOptions:
    """Which mapping is used, and for whom."""

    mapping: Annotated[str, option("MAPPING")] = "builtin"
    """The mapping: a file or folder, builtin, builtin-scores, or the name of a fetched one."""
    head_pose: HeadPose = "global_orient"
    """The joint that takes the head's rotation: global_orient, neck_pose, or none."""
    allow_head_mismatch: Flag = False
    """Use the mapping although it was made for another head or does not name its head."""
    neutral: Annotated[str, option("NEUTRAL")] = "auto"
    """The person's neutral face: auto, none (the average person's), an image, video, recording or person file."""


@dataclass(frozen=True, kw_only=True)
class HeadOption:
    """Which head is driven."""

    head: Annotated[str, option("HEAD")] = "builtin"
    """The head: a FLAME file (.pkl, .npz, .safetensors) or builtin."""


def check_files(
    outputs: Iterable[Path], inputs: Iterable[str | Path | None] = (), *, suffixes: tuple[str, ...] = ()
) -> None:
    """Refuse, before any work is done, output files that cannot be written or that are inputs.

    Args:
        outputs: every file that the command writes.
        inputs: everything that it reads, files in folders too; None is passed over.
        suffixes: the endings that outputs may have, in lower case; () for any.

    Raises:
        InputError: an output has another ending, is a folder, or is an input or another output.
        MissingFileError: its folder does not exist.
        SinkError: its folder cannot be written to.
    """
    targets = list(outputs)
    for path in targets:
        if suffixes and path.suffix.lower() not in suffixes:
            raise InputError(f"expected an output that ends in {' or '.join(suffixes)}; got {path}")
    check_outputs(targets, read_paths(inputs))
    for path in targets:
        check_writable(path)


def read_paths(inputs: Iterable[str | Path | None]) -> Iterator[Path]:
    """Every file that is read: the inputs, and what is in those that are folders; None is passed over."""
    for path in (Path(name) for name in inputs if name):
        yield path
        with suppress(OSError):
            yield from path.iterdir() if path.is_dir() else ()
