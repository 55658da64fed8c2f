"""Videos made here with PyAV, read back: times, turns, odd sizes, damage."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from mp2flame.errors import FormatError, MissingFileError
from mp2flame.sources.base import RisingTimes
from mp2flame.sources.video import VideoReader
from tests.helpers.video import corners, noise, quarters, turn, write_film


def test_times_of_a_variable_rate_are_kept(tmp_path: Path) -> None:
    ticks = [40, 73, 107, 140, 500, 510, 1600]
    film = write_film(tmp_path / "vfr.mp4", [quarters(64, 96)] * len(ticks), ticks=ticks, time_base=Fraction(1, 1000))
    reader = VideoReader(film)
    times = [time for time, _ in reader]
    np.testing.assert_allclose(times, (np.array(ticks) - ticks[0]) / 1000, atol=1e-3)
    assert reader.warnings == ()


def test_colours_and_count(tmp_path: Path) -> None:
    film = write_film(tmp_path / "plain.mp4", [quarters(64, 96)] * 5)
    reader = VideoReader(film)
    assert (reader.n_frames, reader.fps, reader.live, reader.mode) == (5, 30.0, False, "video")
    frames = list(reader)
    assert len(frames) == 5
    for _, picture in frames:
        assert picture is not None
        assert picture.shape == (64, 96, 3)
        assert picture.dtype == np.uint8
        assert picture.flags.c_contiguous
        assert np.abs(picture.astype(int) - quarters(64, 96)).mean() < 4


@pytest.mark.parametrize(
    ("matrix", "shape", "expected"),
    [
        ((1, 0, 0, 1), (64, 96), ["red", "green", "blue", "white"]),
        ((0, 1, -1, 0), (96, 64), ["blue", "red", "white", "green"]),
        ((-1, 0, 0, -1), (64, 96), ["white", "blue", "green", "red"]),
        ((0, -1, 1, 0), (96, 64), ["green", "white", "red", "blue"]),
        ((-1, 0, 0, 1), (64, 96), ["green", "red", "white", "blue"]),
    ],
    ids=["upright", "clockwise", "upside down", "counter-clockwise", "flipped"],
)
def test_images_are_turned_as_the_file_says(
    tmp_path: Path, matrix: tuple[int, int, int, int], shape: tuple[int, int], expected: list[str]
) -> None:
    film = write_film(tmp_path / "turned.mp4", [quarters(64, 96)] * 2)
    turn(film, matrix)
    for _, picture in VideoReader(film):
        assert picture is not None
        assert picture.shape[:2] == shape
        assert corners(picture) == expected


def test_odd_sizes(tmp_path: Path) -> None:
    film = write_film(tmp_path / "odd.mkv", [quarters(241, 321)] * 3, codec="ffv1", pixels="bgr0")
    for _, picture in VideoReader(film):
        np.testing.assert_array_equal(picture, quarters(241, 321))


def test_one_pixel(tmp_path: Path) -> None:
    film = write_film(tmp_path / "dot.mkv", [np.full((1, 1, 3), 77, np.uint8)] * 2, codec="ffv1", pixels="bgr0")
    assert [(time, picture.tolist()) for time, picture in VideoReader(film) if picture is not None] == [
        (0.0, [[[77, 77, 77]]]),
        (pytest.approx(1 / 30, abs=1e-3), [[[77, 77, 77]]]),
    ]


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    film = write_film(tmp_path / "wide.mp4", [quarters(64, 96)] * 2, aspect=Fraction(4, 3))
    for _, picture in VideoReader(film):
        assert picture is not None
        assert picture.shape == (64, 128, 3)
        assert corners(picture) == ["red", "green", "blue", "white"]


def test_iterating_again_starts_at_the_first_frame(tmp_path: Path) -> None:
    reader = VideoReader(write_film(tmp_path / "again.mp4", noise(6)))
    first = list(reader)
    partly = iter(reader)
    next(partly)
    partly.close()
    second = list(reader)
    assert [time for time, _ in first] == [time for time, _ in second]
    for (_, one), (_, other) in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_truncated_end_keeps_what_was_read(tmp_path: Path, suffix: str) -> None:
    film = write_film(tmp_path / f"whole{suffix}", noise(60))
    whole = list(VideoReader(film))
    data = film.read_bytes()
    film.write_bytes(data[: len(data) * 6 // 10])
    reader = VideoReader(film)
    frames = list(reader)
    assert 20 < len(frames) < 50
    assert [time for time, _ in frames] == [time for time, _ in whole[: len(frames)]]
    warning = reader.warnings[-1]
    assert "of the 2.00 s that its header promises: it is cut off" in warning
    assert f"the {len(frames)} frames that are there were read" in warning


def test_damage_in_the_middle_is_skipped_and_counted(tmp_path: Path) -> None:
    film = write_film(tmp_path / "scratched.mp4", noise(40))
    data = bytearray(film.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = b"\x00\xff" * 1500
    film.write_bytes(data)
    reader = VideoReader(film)
    frames = list(reader)
    assert 30 <= len(frames) <= 40
    assert all(late > early for (early, _), (late, _) in pairwise(frames))
    assert any("damaged parts of the video were skipped" in warning for warning in reader.warnings)
    list(reader)
    assert sum("damaged parts" in warning for warning in reader.warnings) == 1


def test_an_index_that_is_cut_off_is_said(tmp_path: Path) -> None:
    # This kind has its index behind the pictures.
    film = write_film(tmp_path / "cut.mov", noise(10))
    film.write_bytes(film.read_bytes()[:-4000])
    with pytest.raises(FormatError, match=r"cut\.mov is not a video that can be read, or its index is cut off"):
        VideoReader(film)


def test_zero_frames(tmp_path: Path) -> None:
    film = tmp_path / "empty.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.start_encoding()
    with pytest.raises(FormatError, match=r"empty\.mp4"):
        list(VideoReader(film))


def test_frames_that_none_can_decode(tmp_path: Path) -> None:
    film = write_film(tmp_path / "noise.mp4", noise(5))
    data = bytearray(film.read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = b"\x00" * (len(data) - start)
    film.write_bytes(data)
    with pytest.raises(FormatError, match=r"noise\.mp4 holds no frames that can be read \(.+\)"):
        list(VideoReader(film))


def test_audio_only(tmp_path: Path) -> None:
    sound = tmp_path / "voice.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
    with pytest.raises(FormatError, match=r"expected a video with images; .*voice\.wav holds only audio"):
        VideoReader(sound)


def test_not_a_video(tmp_path: Path) -> None:
    text = tmp_path / "letter.mp4"
    text.write_text("Dear reader, this is not a film.")
    with pytest.raises(FormatError, match=r"letter\.mp4 is not a video"):
        VideoReader(text)
    text.write_bytes(b"")
    with pytest.raises(FormatError, match=r"letter\.mp4 is not a video"):
        VideoReader(text)


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.mp4"):
        VideoReader(tmp_path / "none.mp4")
    with pytest.raises(FormatError, match="got a folder"):
        VideoReader(tmp_path)


def test_a_playlist_opens_no_address(tmp_path: Path) -> None:
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/film.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(FormatError):
        list(VideoReader(playlist))


def test_times_always_rise() -> None:
    stated = [5.0, 5.033, 5.033, 5.02, 5.1, None, 5.2, 0.0, 0.04, 0.08]
    times = RisingTimes(0.04)
    got = [times(time) for time in stated]
    np.testing.assert_allclose(got, [0, 0.033, 0.034, 0.035, 0.1, 0.14, 0.2, 0.24, 0.28, 0.32], atol=1e-9)
    assert times.n_corrected == 4


def test_times_without_any_stated() -> None:
    times = RisingTimes(0.5)
    assert [times(None) for _ in range(3)] == [0.0, 0.5, 1.0]
