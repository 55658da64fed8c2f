"""From what a user writes as SOURCE to a source."""

from __future__ import annotations

import glob
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.sources.base import Source
from mp2flame.sources.images import IMAGE_SUFFIXES, list_images, match_images

if TYPE_CHECKING:
    from mp2flame.sources.base import FrameReader


VIDEO_SUFFIXES: Final = frozenset(
    {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv"}
    | {".3gp", ".ogv", ".gif", ".y4m", ".mxf"}
)

STREAMS: Final = {
    "livelink": "mp2flame.streams.livelink:LiveLinkSource",
    "ifacialmocap": "mp2flame.streams.ifacialmocap:IFacialMocapSource",
    "vmc": "mp2flame.streams.vmc:VmcSource",
    "ws": "mp2flame.streams.websocket:WebSocketSource",
    "wss": "mp2flame.streams.websocket:WebSocketSource",
}
"""URL scheme to "module:Class"; each class has `from_url(spec, **options)`."""

FILES: Final = {
    ".csv": "mp2flame.sources.tables:LiveLinkCsvSource",
    ".json": "mp2flame.sources.tables:BlendshapeJsonSource",
    ".jsonl": "mp2flame.formats.recording:RecordingSource",
}
"""Suffix of a file without pixels to "module:Class", likewise."""

_POSSIBLE: Final = (
    "possible are a webcam's index (0), a video (.mp4, .mov, .mkv, .webm, ...), a picture (.jpg, .png, ...), a folder "
    "or glob of pictures, a recording (.jsonl), Live Link Face's .csv, BEAT's or LAM's .json, and the streams "
    + ", ".join(f"{scheme}://" for scheme in STREAMS)
)
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def open_source(
    spec: str | Path,
    *,
    landmarker: str | Path | None = None,
    mirror: bool = False,
    fps: float | None = None,
    order: str | None = None,
    **options: Any,
) -> Source:
    """Open a source of observations; nothing is read from it and no face looked for before it is iterated.

    Args:
        spec: digits are a webcam's index; `scheme://...` is a stream; else a file, folder or glob of pictures.
        landmarker: MediaPipe's `face_landmarker.task`; by default the variable `MP2FLAME_LANDMARKER`, then the
            one that was fetched, then it is fetched. Only for pixels.
        mirror: the camera's picture is mirrored: left and right are exchanged. Only for pixels.
        fps: pictures per second, for several picture files (30 by default) and for files that state no times.
        order: the order of the blendshapes in files that do not name them.
        options: what else the source of that kind understands.

    Raises:
        InputError: nothing that can be a source, or an option that does not belong to it.
        MissingFileError: the file or folder does not exist.
        MissingExtraError: reading it needs a package that is not installed.
        FormatError: the file is not what its name says.
        FetchError: the landmarker is not there and cannot be fetched.
    """
    text = str(spec).strip()
    if not text:
        raise InputError(f"expected a source; got an empty name: {_POSSIBLE}")
    scheme = _SCHEME.match(text)
    if isinstance(spec, str) and scheme is not None:
        return _open_named(STREAMS.get(scheme[1].lower()), text, mirror=mirror, fps=fps, order=order, **options)
    suffix = Path(text).suffix.lower()
    if suffix in FILES and not Path(text).is_dir():
        if not Path(text).is_file():
            raise MissingFileError(f"no file {text}")
        return _open_named(FILES[suffix], text, mirror=mirror, fps=fps, order=order, **options)
    _refuse({"order": order, **options}, "pixels")
    # Before a landmarker is fetched and MediaPipe loaded, the file should be there.
    if isinstance(spec, str) and text.isascii() and text.isdecimal():
        _refuse({"fps": fps}, "a webcam, which has its own times")
        reader = _webcam(int(text))
    else:
        reader = _pixels(Path(text), fps)
    return _detected(reader, landmarker, mirror=mirror)


def _open_named(target: str | None, text: str, **options: Any) -> Source:
    """The source that a table names as "module:Class", made by its `from_url`."""
    if target is None:
        raise InputError(f"no source is known for {text!r}: {_POSSIBLE}")
    module, _, name = target.partition(":")
    kind = getattr(importlib.import_module(module), name)
    given = {key: value for key, value in options.items() if value is not None and value is not False}
    try:
        source: Source = kind.from_url(text, **given)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        option = str(error).rpartition(" ")[2]
        raise InputError(f"the option {option} is not for {text}: leave it out") from error
    return source


def _refuse(options: dict[str, Any], who: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"the option {name} is not for {who}; got {name}={value!r}: leave it out")


def _pixels(path: Path, fps: float | None) -> FrameReader:
    """A reader for a folder, a glob, a picture or a video."""
    path = path.expanduser()
    suffix = path.suffix.lower()
    if path.is_dir():
        return _images(list_images(path), fps)
    if not path.exists():
        if glob.has_magic(str(path)):
            return _images(match_images(str(path)), fps)
        known = suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES
        raise MissingFileError(f"no file or folder {path}" + ("" if known else f"; {_POSSIBLE}"))
    if suffix in IMAGE_SUFFIXES:
        return _images([path], fps)
    _refuse({"fps": fps}, "a video, which has its own times")
    return _video(path, known=suffix in VIDEO_SUFFIXES)


def _images(paths: Sequence[Path], fps: float | None) -> FrameReader:
    from mp2flame.sources.images import ImagesReader

    return ImagesReader(paths, fps=fps)


def _video(path: Path, *, known: bool) -> FrameReader:
    from mp2flame.sources.video import VideoReader

    try:
        return VideoReader(path)
    except FormatError as error:
        if known:
            raise
        # Any other suffix may still be a video.
        raise InputError(f"{path} is nothing that can be a source: {_POSSIBLE}") from error


def _webcam(index: int) -> FrameReader:
    from mp2flame.sources.webcam import WebcamReader

    return WebcamReader(index)


def _detected(reader: FrameReader, landmarker: str | Path | None, *, mirror: bool) -> Source:
    from mp2flame.downloads import landmarker_path
    from mp2flame.sources.detection import DetectedSource
    from mp2flame.sources.detector import FaceDetector

    detector = FaceDetector(landmarker_path(None if landmarker is None else Path(landmarker)), mode=reader.mode)
    return DetectedSource(reader, detector, mirror=mirror)
