"""What the page's record button makes: a recording and the pictures beside it, turned into any format afterwards.

While it records, every frame goes into a `.jsonl` that survives a crash, and its picture into a film on the side. Only
when a format is asked for is the recording played through the sink that `drive` writes this format with, so that no
slow format can make a live recording lose frames.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import Frame, HeadLike
from mp2flame.errors import InputError, MissingExtraError, Mp2FlameError, SinkError
from mp2flame.formats.recording import read_recording
from mp2flame.head import FlameHead
from mp2flame.sinks import open_sink
from mp2flame.sinks.base import Sink

if TYPE_CHECKING:
    from mp2flame.sinks.encoders import Mp4Encoder

__all__ = ["FORMATS", "Take", "export"]

FORMATS: Final = (".mp4", ".gif", ".npz", ".csv", ".jsonl", "flame_param")
"""What a take can be downloaded as: everything that `drive` writes. The folder `flame_param` comes as a .zip."""

Picture = NDArray[np.uint8]


class Take(Sink):
    """Records every frame. What goes wrong is kept in `error`, and does not end the session that it records.

    Args:
        path: the recording, `.jsonl`; the pictures are kept beside it.
        head: the head that is driven.

    Raises:
        SinkError: the recording cannot be made.
    """

    name = "recording"
    needs_image: bool = True
    policy: Literal["every", "latest"] = "every"

    def __init__(self, path: Path, *, head: HeadLike) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.error: Exception | None = None
        self.n_frames = 0
        self.seconds = 0.0
        self.pictures = path.with_suffix(".pictures.mp4")
        self.has_picture = bytearray()
        """For each frame, whether it has a picture in the film on the side."""
        self._recording = open_sink(path, head=head, landmarks=False)
        self._encoder: Mp4Encoder | None = None
        self._size = (0, 0)
        self._start = 0.0

    def write(self, frame: Frame) -> None:
        """Append a frame; times count from the first."""
        if self.error is not None:
            return
        observation, params = frame.observation, frame.params
        try:
            if self.n_frames == 0:
                self._start = float(observation.time[0])
            shifted = observation.time - self._start
            self._recording.write(
                Frame(replace(observation, time=shifted, picture=None), replace(params, time=shifted))
            )
            self.has_picture.append(self._add_picture(observation.picture, float(shifted[0])))
            self.n_frames += 1
            self.seconds = float(shifted[0])
        except (Mp2FlameError, OSError, ValueError) as error:
            self.error = error
            self._let_go()

    def _add_picture(self, picture: Picture | None, moment: float) -> bool:
        if picture is None or min(picture.shape[:2]) < 2:
            return False
        if self._encoder is None:
            try:
                from mp2flame.sinks.encoders import Mp4Encoder
            except MissingExtraError:
                return False
            self._size = picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2
            self._encoder = Mp4Encoder(self.pictures, self._size, full_color=True)
        self._encoder.add(_framed(picture, self._size), moment)
        return True

    def close(self) -> None:
        """Finish both files; safe to call twice. What cannot be finished is told in `error`."""
        try:
            self._recording.close()
            if self._encoder is not None:
                self._encoder.close()
                self._encoder = None
        except (Mp2FlameError, OSError, ValueError) as error:
            self.error = self.error or error
            self._let_go()

    def abort(self) -> None:
        """Finish as far as possible."""
        self.close()

    def _let_go(self) -> None:
        self._recording.abort()
        if self._encoder is not None:
            self._encoder.abort()
            self._encoder = None
            self.has_picture.clear()
            # A film without its end cannot be read, and the disk may be full.
            with suppress(OSError):
                self.pictures.unlink(missing_ok=True)


def _framed(picture: Picture, size: tuple[int, int]) -> Picture:
    """The picture cut, or set on black, to one size: a film has one size, a session's sources may differ."""
    width, height = size
    if picture.shape[:2] == (height, width):
        return picture
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    rows, columns = min(height, picture.shape[0]), min(width, picture.shape[1])
    canvas[:rows, :columns] = picture[:rows, :columns]
    return canvas


def export(
    take: Take,
    kind: str,
    *,
    head: FlameHead,
    on_frame: Callable[[int], None] = lambda _: None,
) -> Path:
    """The take as a file of another format, beside its recording.

    Args:
        take: a closed take.
        kind: one of `FORMATS`.
        head: poses the frames for films.
        on_frame: is told how many frames are done.

    Raises:
        InputError: no such format, or the take has no frames.
        MissingExtraError: the format needs a package that is not installed.
        SinkError: it cannot be written.
    """
    if kind not in FORMATS:
        raise InputError(f"expected a format among {', '.join(FORMATS)}; got {kind!r}")
    if take.n_frames == 0:
        raise InputError("the recording has no frames: record again while a camera, a film or the sliders play")
    if kind == ".jsonl":
        return take.path
    if kind == "flame_param":
        target = take.path.with_suffix("") / kind
        target.parent.mkdir(exist_ok=True)
    else:
        target = take.path.with_suffix(kind)
    with ExitStack() as stack:
        sink = stack.enter_context(open_sink(target, head=head))
        pictures = _pictures(take) if sink.needs_image else iter(())
        for done, (observation, params) in enumerate(read_recording(take.path)):
            assert params is not None
            if sink.needs_image and done < len(take.has_picture) and take.has_picture[done]:
                observation = replace(observation, picture=next(pictures, None))  # noqa: PLW2901 - the same frame
            sink.write(Frame(observation, params, head(params)[0] if sink.needs_vertices else None))
            on_frame(done + 1)
    if kind != "flame_param":
        return target
    try:
        return Path(shutil.make_archive(str(target.parent), "zip", target.parent, kind))
    except OSError as error:
        raise SinkError(f"cannot pack {target}: {error}") from error
    finally:
        shutil.rmtree(target.parent, ignore_errors=True)


def _pictures(take: Take) -> Iterator[Picture]:
    if not take.pictures.is_file():
        return
    from mp2flame.sources.video import VideoReader

    for _, picture in VideoReader(take.pictures):
        if picture is not None:
            yield picture
