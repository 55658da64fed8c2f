"""Every source keeps the same promises: files, cameras, players and network streams."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.data import Frame, Observation, concatenate
from mp2flame.errors import SourceError
from mp2flame.sinks import Sink, open_sink
from mp2flame.sources import Source, open_source
from mp2flame.sources.detection import DetectedSource
from mp2flame.sources.images import ImagesReader
from mp2flame.sources.player import play_in_real_time
from mp2flame.sources.video import VideoReader
from mp2flame.sources.webcam import WebcamReader
from tests.helpers.streams import Reader, eventually, face, free_port, nobody, nothing_left_behind, pose, surface
from tests.helpers.video import noise, write_film

_N = 6
_NO_FACE = 2


class _BrightnessDetector:
    """A detector without a model: brightness is the score, and black images show no face."""

    def __init__(self) -> None:
        self.padded = 0

    def detect(self, image: NDArray[Any], time: float, *, keep_image: bool = False) -> Observation:
        self.padded += not image.flags.c_contiguous
        level = float(image.mean()) / 255
        kept = image if keep_image else None
        if level < 0.01:
            return Observation.missing(time, picture=kept)
        scores = np.full((1, 52), level, dtype=np.float32)
        return Observation(time=[time], found=[True], scores=scores, picture=kept)

    def reset(self) -> None:
        """Nothing is remembered."""


def _images(size: int = 96) -> list[NDArray[np.uint8]]:
    images = noise(_N, size)
    images[_NO_FACE][:] = 0
    return images


def _video(folder: Path, _: ExitStack) -> Source:
    return DetectedSource(VideoReader(write_film(folder / "film.mp4", _images())), _BrightnessDetector())


def _image_files(folder: Path, _: ExitStack) -> Source:
    from PIL import Image

    for index, image in enumerate(_images()):
        Image.fromarray(image).save(folder / f"frame{index}.png")
    return DetectedSource(ImagesReader(sorted(folder.glob("*.png")), fps=25.0), _BrightnessDetector())


def _recording(folder: Path, _: ExitStack) -> Source:
    with open_sink(folder / "recording.jsonl", head=surface()) as sink:
        for index in range(_N):
            sink.write(_frame(index))
    return open_source(folder / "recording.jsonl")


def _csv(folder: Path, _: ExitStack) -> Source:
    header = ["Timecode", "BlendshapeCount", *(name[0].upper() + name[1:] for name in ARKIT)]
    rows = [[f"10:20:30:{index:02d}.000", "52", *(["0.25"] * 52)] for index in range(_N)]
    rows[_NO_FACE] = [rows[_NO_FACE][0], "0"]
    (folder / "take.csv").write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n", encoding="utf-8")
    return open_source(folder / "take.csv")


def _json(folder: Path, _: ExitStack) -> Source:
    names = sorted(name for name in ARKIT if name != "tongueOut")
    frames = [{"weights": [0.5] * 51, "time": index / 60, "rotation": []} for index in range(_N)]
    (folder / "take.json").write_text(json.dumps({"names": names, "frames": frames}), encoding="utf-8")
    return open_source(folder / "take.json")


class _Camera:
    """A webcam that delivers an image every 10 ms, with padded rows as some drivers do."""

    def __init__(self) -> None:
        self._images = [np.pad(image, ((0, 0), (0, 5), (0, 0)))[:, :-5] for image in _images(30)]
        self._taken = 0
        self._pause = threading.Event()

    def grab(self) -> bool:
        self._pause.wait(0.01)
        self._taken += 1
        return True

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        return True, self._images[self._taken % _N]

    def release(self) -> None:
        """Nothing is held."""


def _webcam(_: Path, __: ExitStack) -> Source:
    return DetectedSource(WebcamReader(0, open_capture=lambda _: _Camera()), _BrightnessDetector())


def _played(make: Callable[[Path, ExitStack], Source]) -> Callable[[Path, ExitStack], Source]:
    return lambda folder, stack: play_in_real_time(make(folder, stack))[0]


def _frame(index: int) -> Frame:
    if index % _N == _NO_FACE:
        return Frame(*nobody(index / 50))
    observation = face(index, index / 50)
    return Frame(observation, pose(index, observation))


def _send_forever(sink: Sink, stack: ExitStack) -> None:
    """Send frames from another thread, fifty a second, until the test is over."""
    stop = threading.Event()

    def send() -> None:
        index = 0
        while not stop.wait(0.02):
            sink.write(_frame(index))
            index += 1

    sender = threading.Thread(target=send)
    sender.start()
    stack.callback(sink.close)
    stack.callback(sender.join)
    stack.callback(stop.set)


def _udp(scheme: str) -> Callable[[Path, ExitStack], Source]:
    def make(_: Path, stack: ExitStack) -> Source:
        pytest.importorskip("pythonosc", reason="needs the stream extra")
        port = free_port()
        source = open_source(f"{scheme}://127.0.0.1:{port}")
        _send_forever(open_sink(f"{scheme}://127.0.0.1:{port}", head=surface()), stack)
        return source

    return make


def _phone(_: Path, stack: ExitStack) -> Source:
    phone = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    phone.bind(("127.0.0.1", 0))
    phone.settimeout(0.02)
    stop = threading.Event()

    def answer() -> None:
        target = None
        while not stop.is_set():
            with suppress(TimeoutError):
                target = phone.recvfrom(1000)[1]
            if target is not None:
                phone.sendto(b"jawOpen&50|trackingStatus&1|=head#0,10,0|", target)

    thread = threading.Thread(target=answer)
    thread.start()
    stack.callback(thread.join)
    stack.callback(stop.set)
    return open_source(f"ifacialmocap://127.0.0.1:{phone.getsockname()[1]}?listen={free_port()}")


def _websocket(settings: str) -> Callable[[Path, ExitStack], Source]:
    def make(_: Path, stack: ExitStack) -> Source:
        pytest.importorskip("websockets", reason="needs the stream extra")
        port = free_port(socket.SOCK_STREAM)
        _send_forever(open_sink(f"ws://127.0.0.1:{port}{settings}", head=surface()), stack)
        return open_source(f"ws://127.0.0.1:{port}")

    return make


@dataclass(frozen=True)
class _Case:
    make: Callable[[Path, ExitStack], Source]
    live: bool
    has_images: bool = False


CASES = {
    "video": _Case(_video, live=False, has_images=True),
    "images": _Case(_image_files, live=False, has_images=True),
    "recording": _Case(_recording, live=False),
    "csv": _Case(_csv, live=False),
    "json": _Case(_json, live=False),
    "webcam": _Case(_webcam, live=True, has_images=True),
    "played video": _Case(_played(_video), live=True, has_images=True),
    "played recording": _Case(_played(_recording), live=True),
    "livelink": _Case(_udp("livelink"), live=True),
    "vmc": _Case(_udp("vmc"), live=True),
    "ifacialmocap": _Case(_phone, live=True),
    "ws": _Case(_websocket(""), live=True),
    "ws json": _Case(_websocket("?format=json"), live=True),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> _Case:
    return CASES[request.param]


@pytest.fixture
def source(case: _Case, tmp_path: Path) -> Iterator[Source]:
    with nothing_left_behind(), ExitStack() as stack:
        source = stack.enter_context(case.make(tmp_path, stack))
        yield source


def test_single_frames_in_rising_time_from_zero(source: Source) -> None:
    frames = list(islice(source, _N))
    assert len(frames) == _N
    assert all(len(frame) == 1 for frame in frames)
    times = [float(frame.time[0]) for frame in frames]
    assert times[0] == pytest.approx(0.0, abs=1e-6)
    assert (np.diff(times) > 0).all()


def test_scores_are_in_range_with_a_face_and_nan_without(source: Source) -> None:
    for frame in islice(source, _N):
        if frame.found[0]:
            assert ((frame.scores >= 0) & (frame.scores <= 1)).all()
        else:
            assert np.isnan(frame.scores).all()


def test_metadata_before_and_after_reading(source: Source, case: _Case) -> None:
    assert source.live is case.live
    for _ in range(2):
        assert source.n_frames in ((None,) if case.live else (None, _N))
        assert source.fps is None or source.fps > 0
        assert all(isinstance(sentence, str) for sentence in source.warnings)
        next(iter(source))


def test_a_closed_source_cannot_be_iterated(source: Source) -> None:
    for frame in source:
        assert len(frame) == 1
        break
    source.close()
    source.close()
    with pytest.raises(SourceError, match="closed: open it again"):
        iter(source)


def test_closing_from_another_thread_ends_the_iteration(source: Source) -> None:
    reader = Reader(source)
    assert eventually(lambda: reader.frames)
    source.close()
    assert reader.ended(5.0)
    assert reader.error is None


def test_a_dropped_iteration_can_be_followed_by_another(source: Source, case: _Case) -> None:
    first = next(iter(source))
    second = next(iter(source))
    if not case.live:
        np.testing.assert_array_equal(first.scores, second.scores)


def test_a_file_reads_the_same_again(source: Source, case: _Case) -> None:
    if case.live:
        pytest.skip("a live source goes on")
    first, second = concatenate(source), concatenate(source)
    assert len(first) == _N
    for name in ("time", "found", "scores"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_images_are_kept_only_if_asked_for(source: Source, case: _Case) -> None:
    assert all(frame.picture is None for frame in islice(source, 3))
    source.keep_image = True
    kept = [frame.picture for frame in islice(source, 3)]
    assert all((image is not None) == case.has_images for image in kept)


def test_images_have_no_padded_rows(source: Source) -> None:
    if not isinstance(source, DetectedSource):
        pytest.skip("it has no images")
    detector = source.detector
    assert isinstance(detector, _BrightnessDetector)
    list(islice(source, _N))
    assert detector.padded == 0
