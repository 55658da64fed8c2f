"""Opens a source by what a user writes as SOURCE."""

from __future__ import annotations

import glob
import inspect
import re
import stat
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final

from mp2flame.errors import FormatError, InputError, MissingFileError, SourceError, plain
from mp2flame.files import check_regular
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
"""URL scheme to "module:Class"; each class has `from_url(url, **options)`."""

FILES: Final = {
    ".csv": "mp2flame.sources.tables:BlendshapeCsvSource",
    ".json": "mp2flame.sources.tables:BlendshapeJsonSource",
    ".jsonl": "mp2flame.formats.recording:RecordingSource",
}
"""Suffix of a file without images to "module:Class"; each class is called with the path and options."""

ENTRY_POINTS: Final = "mp2flame.sources"
"""Group of entry points of other packages. Their names are schemes (`osc`) or suffixes (`.xyz`), their values as in
`STREAMS` and `FILES`; names that are in these tables have no effect."""

_POSSIBLE: Final = (
    "possible are a webcam's index (0), a video (.mp4, .mov, .mkv, .webm, ...), an image (.jpg, .png, ...), a folder "
    "or glob of images, a recording (.jsonl), Live Link Face's .csv, BEAT's or LAM's .json, and the streams "
    + ", ".join(f"{scheme}://" for scheme in STREAMS)
)
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def open_source(
    spec: str | Path | int,
    *,
    landmarker: str | Path | None = None,
    mirror: bool = False,
    fps: float | None = None,
    order: str | None = None,
    **options: object,
) -> Source:
    """Open a source of observations; no frame is read and no face detected before it is iterated.

    Args:
        spec: a number is a webcam's index; `scheme://...` is a stream; else a file, folder or glob of images.
        landmarker: MediaPipe's `face_landmarker.task`; by default the variable `MP2FLAME_LANDMARKER`, then the
            downloaded one, which is downloaded if necessary. Only for images.
        mirror: the camera's image is mirrored: left and right are exchanged. Only for images.
        fps: images per second, for several image files (30 by default) and for files that state no times.
        order: the order of the blendshapes in files that do not name them.
        options: further options of that kind of source, such as `angles="degrees"` for Live Link Face's .csv.

    Raises:
        InputError: this cannot be a source, or an option does not apply to it.
        MissingFileError: the file or folder does not exist.
        MissingExtraError: a package that it needs is not installed.
        FormatError: the file is not what its name says.
        SourceError: the file may not be read, or a stream cannot be opened.
        FetchError: the landmarker is not there and cannot be downloaded.
    """
    text = str(spec)
    if not text.strip():
        raise InputError(f"expected a source; got an empty name: {_POSSIBLE}")
    given = {"fps": fps, "order": order, **options}
    scheme = _SCHEME.match(text) if isinstance(spec, str) else None
    if scheme is not None:
        target = STREAMS.get(scheme[1].lower()) or _third_party(scheme[1].lower())
        if target is None:
            raise InputError(f"no source is known for {plain(repr(text))}: {_POSSIBLE}")
        return _construct(resolve_name(target).from_url, text, mirror=mirror, **given)
    path = _locate(Path(text))
    suffix = path.suffix.lower()
    kind = _file_type(path)
    target = FILES.get(suffix)
    if target is None and suffix not in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
        target = _third_party(suffix)
    if target is not None and kind != stat.S_IFDIR:
        check_regular(path, f"{suffix} file")
        return _construct(resolve_name(target), path, mirror=mirror, **given)
    _refuse({"order": order, **options}, "images")
    # A file should be there before a landmarker is downloaded and MediaPipe is loaded.
    if not isinstance(spec, Path) and text.isascii() and text.isdecimal():
        _refuse({"fps": fps}, "a webcam, which has its own times")
        from mp2flame.sources.webcam import WebcamReader

        return _detect(WebcamReader(int(text)), landmarker, mirror=mirror)
    return _detect(_open_images(path, kind, fps), landmarker, mirror=mirror)


def _third_party(name: str) -> str | None:
    found = entry_points(group=ENTRY_POINTS, name=name) if name else ()
    return next((entry.value for entry in found), None)


def _construct(make: Any, spec: str | Path, **options: object) -> Source:
    """Call `make` with the options that were given, if it has them all."""
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    parameters = inspect.signature(make).parameters
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        _refuse({name: value for name, value in given.items() if name not in parameters}, plain(spec))
    source: Source = make(spec, **given)
    return source


def _refuse(options: dict[str, object], source: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(
                f"the option {name} does not apply to {source}; got {name}={plain(repr(value))}: remove it"
            )


def _locate(path: Path) -> Path:
    """The path with `~` expanded, unless a file has that very name."""
    if str(path).startswith("~") and _file_type(path) is None:
        # There may be no such user.
        with suppress(RuntimeError):
            return path.expanduser()
    return path


def _file_type(path: Path) -> int | None:
    """The type bits of a file, or None where there is nothing."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(f"cannot open {plain(path)}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{plain(path)} cannot be the name of a file: {error}") from error


def _open_images(path: Path, kind: int | None, fps: float | None) -> FrameReader:
    """A reader for a folder, a glob, an image or a video."""
    from mp2flame.sources.images import ImagesReader

    suffix = path.suffix.lower()
    if kind == stat.S_IFDIR:
        return ImagesReader(list_images(path), fps=fps)
    if kind is None and glob.has_magic(str(path)):
        return ImagesReader(match_images(str(path)), fps=fps)
    if kind is None:
        known = suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES
        raise MissingFileError(f"no file or folder {plain(path)}" + ("" if known else f"; {_POSSIBLE}"))
    if suffix in IMAGE_SUFFIXES:
        return ImagesReader([path], fps=fps)
    _refuse({"fps": fps}, "a video, which has its own times")
    from mp2flame.sources.video import VideoReader

    try:
        return VideoReader(path)
    except FormatError as error:
        if suffix in VIDEO_SUFFIXES:
            raise
        # A file with any other suffix may still be a video.
        raise InputError(f"{plain(path)} is not a source ({error}); {_POSSIBLE}") from error


def _detect(reader: FrameReader, landmarker: str | Path | None, *, mirror: bool) -> Source:
    from mp2flame.downloads import landmarker_path
    from mp2flame.sources.detection import DetectedSource
    from mp2flame.sources.detector import FaceDetector

    detector = FaceDetector(landmarker_path(None if landmarker is None else Path(landmarker)), mode=reader.mode)
    return DetectedSource(reader, detector, mirror=mirror)
