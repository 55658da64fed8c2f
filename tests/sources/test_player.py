"""Files in their own pace: never faster, times rising through loops and jumps, every button doing what it says."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mp2flame.data import Observation
from mp2flame.errors import SourceError
from mp2flame.sources.base import FrameReader, TimedImage
from mp2flame.sources.player import Player, SourcePlayer, play_in_real_time
from tests.helpers.fakes import ListSource, LiveSource, observation
from tests.helpers.streams import eventually


def _indices(seen: list[Observation]) -> list[int]:
    return [round(float(frame.scores[0, 0]) * 1000) for frame in seen]


def _times(seen: list[Observation]) -> list[float]:
    return [float(frame.time[0]) for frame in seen]


def _play(n: int = 6, fps: float = 50.0, *, loop: bool = True) -> tuple[SourcePlayer, Player]:
    """A player for which nothing is too late, however busy this machine is."""
    player = Player(loop=loop, tolerance=60.0)
    return SourcePlayer(ListSource([observation(i, fps=fps) for i in range(n)]), player), player


def test_it_is_not_faster_than_the_file() -> None:
    source, _ = _play(n=11)
    started = time.perf_counter()
    with source:
        seen = list(islice(source, 11))
    assert time.perf_counter() - started >= 0.19
    np.testing.assert_allclose(_times(seen), np.arange(11) / 50, atol=1e-9)


def test_times_rise_evenly_through_a_loop() -> None:
    source, player = _play(n=4)
    with source:
        seen = list(islice(source, 10))
    assert _indices(seen) == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    np.testing.assert_allclose(np.diff(_times(seen)), 1 / 50, atol=1e-9)
    assert player.duration == pytest.approx(4 / 50)


def test_a_file_that_does_not_loop_waits_at_its_end_and_plays_again() -> None:
    source, player = _play(n=3, loop=False)
    with source:
        walk = iter(source)
        assert _indices(list(islice(walk, 3))) == [0, 1, 2]
        threading.Timer(0.3, player.play).start()
        started = time.perf_counter()
        again = next(walk)
        assert time.perf_counter() - started > 0.25
        assert _indices([again]) == [0]


def test_pause_holds_and_play_goes_on_where_it_was() -> None:
    source, player = _play(n=100)
    with source:
        walk = iter(source)
        list(islice(walk, 5))
        player.pause()
        threading.Timer(0.3, player.play).start()
        started = time.perf_counter()
        seen = list(islice(walk, 4))
        assert time.perf_counter() - started > 0.3
    assert _indices(seen) == [5, 6, 7, 8]
    assert player.skipped == 0


def test_scrubbing_while_paused_shows_one_frame() -> None:
    source, player = _play(n=100)
    seen: list[Observation] = []
    with source:
        reading = threading.Thread(target=lambda: seen.extend(source))
        reading.start()
        assert eventually(lambda: seen)
        player.pause()
        player.seek(1.5)
        assert eventually(lambda: _indices(seen[-1:]) == [75])
        assert player.position == pytest.approx(1.5)
        before = len(seen)
        player.seek(0.5)
        assert eventually(lambda: len(seen) > before)
        player.seek(1.0)
        assert eventually(lambda: len(seen) > before + 1)
        assert _indices(seen[before:]) == [25, 50]
        source.close()
        reading.join(timeout=5)
    assert not reading.is_alive()
    assert (np.diff(_times(seen)) > 0).all()


def test_a_jump_past_the_end_starts_over() -> None:
    source, player = _play(n=5)
    with source:
        walk = iter(source)
        next(walk)
        player.seek(99.0)
        assert _indices([next(walk)]) == [0]


def test_closing_wakes_a_paused_player() -> None:
    source, player = _play(n=100)
    reading = threading.Thread(target=lambda: list(source))
    reading.start()
    player.pause()
    source.close()
    reading.join(timeout=5)
    assert not reading.is_alive()
    with pytest.raises(SourceError, match="open it again"):
        iter(source)


def test_an_empty_file_does_not_spin() -> None:
    begun = 0

    class Empty(ListSource):
        def __iter__(self) -> Iterator[Observation]:
            nonlocal begun
            begun += 1
            return super().__iter__()

    source = SourcePlayer(Empty([]), Player())
    reading = threading.Thread(target=lambda: list(source))
    reading.start()
    started = time.perf_counter()
    assert eventually(lambda: begun >= 3)
    assert time.perf_counter() - started > 0.3
    source.close()
    reading.join(timeout=5)
    assert not reading.is_alive()


class _Pictures(FrameReader):
    """Fifty pictures a second, whose first pixel is their number."""

    def __init__(self, n: int) -> None:
        self.n = n

    @property
    def n_frames(self) -> int | None:
        return self.n

    @property
    def fps(self) -> float | None:
        return 50.0

    def __iter__(self) -> Generator[TimedImage, None, None]:
        for index in range(self.n):
            yield index / 50, np.full((4, 4, 3), index, dtype=np.uint8)


class _SlowDetector:
    """Takes its time, and puts the picture's number into the scores."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def detect(self, picture: np.ndarray, time: float, *, keep_image: bool = False) -> Observation:
        threading.Event().wait(self.seconds)
        frame = observation(int(picture[0, 0, 0]))
        return Observation(time=np.array([time]), found=frame.found, scores=frame.scores)

    def reset(self) -> None:
        """Nothing is kept."""


def test_images_that_come_too_late_are_left_out_so_that_the_pace_is_kept() -> None:
    from mp2flame.sources.detection import DetectedSource

    source, player = play_in_real_time(DetectedSource(_Pictures(50), _SlowDetector(0.05)))
    assert player is not None
    assert player.duration == pytest.approx(1.0)
    assert source.live
    started = time.perf_counter()
    seen: list[Observation] = []
    with source:
        for frame in source:
            seen.append(frame)
            if time.perf_counter() - started > 0.9:
                break
    # 20 ms frames through a 50 ms detector: about two of three are left out, and the film is where it should be.
    assert player.skipped > 10
    assert float(seen[-1].time[0]) == pytest.approx(time.perf_counter() - started, abs=0.25)
    assert (np.diff(_indices(seen)) > 0).all()


def test_a_live_source_is_left_as_it_is() -> None:
    source = LiveSource([observation(0)])
    assert play_in_real_time(source) == (source, None)


def _film(path: Path, times: list[float]) -> Path:
    """A film of these times, whose pictures grow brighter."""
    av = pytest.importorskip("av", reason="the track extra is not installed")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "12", "bf": "2"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, moment in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 4 * index, dtype=np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(moment * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("kind", ["even", "varying", "late"])
def test_a_video_begun_in_the_middle_shows_what_it_shows_there(tmp_path: Path, kind: str) -> None:
    steps = np.full(50, 0.04) if kind != "varying" else np.random.default_rng(0).integers(20, 90, 50) / 1000
    times = np.concatenate([[0.0], np.cumsum(steps)]) + (0.5 if kind == "late" else 0.0)
    from mp2flame.sources.video import VideoReader

    reader = VideoReader(_film(tmp_path / "film.mp4", times.tolist()))
    whole = list(reader)
    for start in (0.0, 0.02, 0.4, 0.0, 1.0, float(whole[-1][0]), 0.0):
        part = list(reader.begin_at(start))
        expected = [item for item in whole if item[0] >= start - 1e-6]
        np.testing.assert_allclose([t for t, _ in part], [t for t, _ in expected], atol=1e-4)
        for (_, ours), (_, theirs) in zip(part, expected, strict=True):
            assert ours is not None
            assert theirs is not None
            np.testing.assert_array_equal(ours, theirs)
    assert list(reader.begin_at(99.0)) == []


def test_a_video_that_is_played_again_is_opened_once_and_let_go_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import av

    from mp2flame.sources.video import VideoReader

    reader = VideoReader(_film(tmp_path / "film.mp4", [n / 25 for n in range(20)]))
    opened: list[Any] = []
    open_file = av.open

    def noted(*words: Any, **options: Any) -> Any:
        opened.append(open_file(*words, **options))
        return opened[-1]

    monkeypatch.setattr(av, "open", noted)
    for start in (0.0, 0.3, 0.0):
        assert list(reader.begin_at(start))
    half = reader.begin_at(0.0)
    next(half)
    half.close()
    assert len(list(reader.begin_at(0.0))) == 20
    assert len(opened) == 1
    reader.close()
    with pytest.raises(AssertionError, match="not open"):
        next(opened[0].demux())
