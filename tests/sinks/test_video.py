"""Videos: what is where, when, in which colors, for images of every size."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("pyvista", reason="needs the extra render")
pytest.importorskip("av", reason="needs the extra track")
import av
from PIL import Image

from mp2flame import rotations
from mp2flame.data import FlameParams, Frame, Observation
from mp2flame.errors import InputError, SinkError
from mp2flame.render import MeshRenderer
from mp2flame.sinks.encoders import Encoder, GifEncoder, Mp4Encoder
from mp2flame.sinks.video import VideoSink, head_distance
from tests.helpers.heads import HeadStub
from tests.helpers.video import corners, quarters

Pixels = NDArray[np.uint8]


def _ball() -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """An egg as large as a head, its middle 15 cm above the joint that it turns about."""
    around, along = 24, 16
    a, b = np.meshgrid(np.arange(around) * 2 * np.pi / around, np.linspace(0, np.pi, along))
    points = np.stack([np.sin(b) * np.cos(a) * 0.09, np.cos(b) * 0.14 + 0.15, np.sin(b) * np.sin(a) * 0.11], axis=-1)
    index = np.arange(around * along).reshape(along, around)
    here, right = index[:-1], np.roll(index, -1, axis=1)[:-1]
    below, across = index[1:], np.roll(index, -1, axis=1)[1:]
    squares = [np.stack([here, right, below], axis=-1), np.stack([right, across, below], axis=-1)]
    faces = np.concatenate([square.reshape(-1, 3) for square in squares]).astype(np.uint32)
    return points.reshape(-1, 3).astype(np.float32), faces


_VERTICES, _FACES = _ball()
_GREEN = np.tile(np.array([20, 160, 40], dtype=np.uint8), (len(_VERTICES), 1))
_HEAD = HeadStub(faces=_FACES, neutral_vertices=_VERTICES, vertex_colors=_GREEN)
_BACKGROUND = np.array([236, 238, 241])


def _seen(time: float, image: Pixels | None = None, *, found: bool = True) -> tuple[Observation, FlameParams]:
    flags = np.array([found])
    observation = Observation(
        time=np.array([time]), found=flags, scores=np.zeros((1, 52), dtype=np.float32), picture=image
    )
    return observation, FlameParams(time=observation.time, found=flags, expression=np.zeros((1, 5), dtype=np.float32))


def _video(path: Path, times: list[float], image: Pixels | None = None, height: int | None = None) -> Path:
    with VideoSink(path, head=_HEAD, height=height) as sink:
        for time in times:
            sink.write(Frame(*_seen(time, image), _VERTICES))
    return path


def _read(path: Path) -> tuple[list[Pixels], list[Fraction]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    images = [frame.to_ndarray(format="rgb24") for frame in frames]
    return images, [frame.pts * frame.time_base for frame in frames]


def test_image_left_head_right(tmp_path: Path) -> None:
    path = _video(tmp_path / "video.mp4", [0.0, 0.04, 0.08], quarters(240, 320), height=240)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (320 + 240, 240)
    images, _ = _read(path)
    assert len(images) == 3
    left, right = images[1][:, :320], images[1][:, 320:]
    assert corners(left) == ["red", "green", "blue", "white"]
    np.testing.assert_allclose(left[60, 80].astype(int), [200, 0, 0], atol=6)
    np.testing.assert_allclose(right[4, 4].astype(int), _BACKGROUND, atol=4)
    red, green, blue = right[120, 120].astype(int)
    assert green > 2 * max(red, blue)


def test_colors_are_marked_so_that_players_agree(tmp_path: Path) -> None:
    with av.open(str(_video(tmp_path / "video.mp4", [0.0], quarters(64, 64)))) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)


def test_frames_keep_their_own_times(tmp_path: Path) -> None:
    times = [10.0, 10.0401, 10.1, 10.6, 10.61, 12.0]
    path = _video(tmp_path / "video.mp4", times, quarters(32, 32), height=32)
    images, moments = _read(path)
    assert len(images) == len(times)
    np.testing.assert_allclose([float(time) for time in moments], np.array(times) - 10, atol=1 / 90_000)
    with av.open(str(path)) as container:
        # The last image stays as long as the one before it.
        assert container.duration / 1e6 == pytest.approx(2.0 + 1.39, abs=0.01)


def test_frames_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    images, times = _read(_video(tmp_path / "video.mp4", [0.0, 0.0, 0.0, 0.04], height=32))
    assert len(images) == 4
    assert len(set(times)) == 4
    assert float(times[-1]) == pytest.approx(0.04, abs=1e-4)


@pytest.mark.parametrize(
    ("rows", "columns", "size"),
    [
        (1, 1, (512, 256)),
        (333, 251, (2 * round(251 / 333 * 166) + 332, 332)),
        (1080, 1920, (1280 + 720, 720)),
        (1920, 1080, (404 + 720, 720)),
        (10, 4000, (512 + 256, 256)),
        (900, 3, (2 + 720, 720)),
    ],
)
def test_images_of_any_size(tmp_path: Path, rows: int, columns: int, size: tuple[int, int]) -> None:
    ((image,), _) = _read(_video(tmp_path / "video.mp4", [0.0], np.full((rows, columns, 3), 90, dtype=np.uint8)))
    assert image.shape[1::-1] == size
    left = image[:, : size[0] - size[1]]
    middle = left[:, left.shape[1] // 2].astype(int)
    assert abs(middle - 90).max(axis=1).min() <= 6
    # What is left over above and below a strip is black; an ordinary image leaves nothing over.
    assert (middle[0].max() < 12) == (min(rows, columns) in (3, 10))


def test_a_later_image_of_another_size_is_shown_whole(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "video.mp4", head=_HEAD, height=128) as sink:
        sink.write(Frame(*_seen(0.0, quarters(128, 128)), _VERTICES))
        sink.write(Frame(*_seen(0.1, quarters(64, 128)), _VERTICES))
        sink.write(Frame(*_seen(0.2, None), _VERTICES))
    (_, wide, none), _ = _read(tmp_path / "video.mp4")
    assert corners(wide[32:96, :128]) == ["red", "green", "blue", "white"]
    assert wide[:28, :128].max() < 12
    assert wide[100:, :128].max() < 12
    assert none[:, :128].max() < 12


def test_without_a_image_the_head_has_the_video_to_itself(tmp_path: Path) -> None:
    images, _ = _read(_video(tmp_path / "video.mp4", [0.0, 0.1]))
    assert images[0].shape == (512, 512, 3)


def test_a_mark_says_that_no_face_was_found(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "video.mp4", head=_HEAD, height=256) as sink:
        sink.write(Frame(*_seen(0.0), _VERTICES))
        sink.write(Frame(*_seen(0.1, found=False), np.full_like(_VERTICES, np.nan)))
        sink.write(Frame(*_seen(0.2), _VERTICES))
    (before, without, after), _ = _read(tmp_path / "video.mp4")
    marked = np.abs(without.astype(int) - before).max(axis=2) > 40
    assert 20 < marked.sum() < 1500
    # In the lower left corner and nowhere else: the head stays as it was, although its pose is unknown.
    assert marked[-30:, :90].sum() == marked.sum()
    assert np.abs(after.astype(int) - before).max() < 40


def test_a_turned_head_stays_in_view(tmp_path: Path) -> None:
    size = 128
    with MeshRenderer(_FACES, size=(size, size), view_angle=26.0, background=(0, 0, 255)) as renderer:
        center = (_VERTICES.min(axis=0) + _VERTICES.max(axis=0)) / 2
        renderer.set_camera(center, distance=head_distance(_VERTICES))
        for turn in ([0, 0, 0], [0.35, 0, 0], [-0.35, 0, 0], [0, 0.9, 0], [0, -0.9, 0], [0, 0, 0.35], [0, 0, -0.35]):
            image = renderer.render(_VERTICES @ rotations.matrix(turn).T.astype(np.float32))
            covered = image[..., 0] > 30
            assert covered.any()
            rim = np.concatenate([covered[0], covered[-1], covered[:, 0], covered[:, -1]])
            assert not rim.any(), turn
            assert np.ptp(np.flatnonzero(covered.any(axis=1))) > 0.6 * size


def test_a_gif_loops_at_fifteen_images_a_second_and_keeps_time(tmp_path: Path) -> None:
    path = _video(tmp_path / "video.gif", [i / 30 for i in range(60)], quarters(400, 400))
    with Image.open(path) as gif:
        assert gif.size == (640, 320)
        assert gif.info["loop"] == 0
        assert gif.n_frames == 30
        durations = []
        for number in range(30):
            gif.seek(number)
            durations.append(gif.info["duration"])
        image = np.asarray(gif.convert("RGB"))
    assert sum(durations) == pytest.approx(2000, abs=20)
    assert set(durations) <= {60, 70}
    assert corners(image[:, :320]) == ["red", "green", "blue", "white"]
    np.testing.assert_allclose(image[3, 330].astype(int), _BACKGROUND, atol=6)


def test_a_gif_of_a_slow_source_has_every_image(tmp_path: Path) -> None:
    path = _video(tmp_path / "video.gif", [0.0, 0.2, 0.5, 0.6], quarters(32, 32), height=32)
    _, times = _read(path)
    np.testing.assert_allclose([float(time) for time in times], [0.0, 0.2, 0.5, 0.6], atol=0.011)


def test_a_gif_of_a_single_image(tmp_path: Path) -> None:
    with Image.open(_video(tmp_path / "video.gif", [5.0], height=32)) as gif:
        assert gif.size == (32, 32)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc to read memory from")
@pytest.mark.parametrize("encoder", [Mp4Encoder, GifEncoder])
def test_memory_does_not_grow_with_the_length(
    tmp_path: Path, encoder: Callable[[Path, tuple[int, int]], Encoder]
) -> None:
    def megabytes() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    video = encoder(tmp_path / "video", (320, 160))
    rows = np.tile(quarters(160, 320), (2, 1, 1))
    used = []
    for index in range(1200):
        video.add(rows[index % 160 : index % 160 + 160], index / 15)
        if index == 200:
            used.append(megabytes())
    video.close()
    # The images are 184 MB.
    assert megabytes() - used[0] < 60


def test_what_a_video_refuses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a video \.mp4 or \.gif; got video\.avi"):
        VideoSink(tmp_path / "video.avi", head=_HEAD)
    with pytest.raises(InputError, match="height of at least 2 pixels; got 1"):
        VideoSink(tmp_path / "video.mp4", head=_HEAD, height=1)
    sink = VideoSink(tmp_path / "video.mp4", head=_HEAD)
    with pytest.raises(InputError, match="needs its vertices; got None"):
        sink.write(Frame(*_seen(0.0)))
    sink.abort()
    with pytest.raises(SinkError, match="it is closed"):
        sink.write(Frame(*_seen(0.0), _VERTICES))
    assert list(tmp_path.iterdir()) == []


_ENCODE_ON = """
import sys
from pathlib import Path
import numpy as np
from mp2flame.sinks.encoders import Mp4Encoder

encoder = Mp4Encoder(Path(sys.argv[1]), (64, 48), full_color=True, fragmented=True)
for index in range(100_000):
    encoder.add(np.full((48, 64, 3), index % 200, dtype=np.uint8), index / 30)
    print(index + 1, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no kill that cannot be caught")
def test_a_fragmented_video_is_readable_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "images.mp4"
    command = [sys.executable, "-c", _ENCODE_ON, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        done = 0
        while done < 150:
            done = int(process.stdout.readline())
        process.kill()
    images, times = _read(path)
    assert len(images) >= done - 60
    np.testing.assert_allclose([float(time) for time in times], np.arange(len(images)) / 30, atol=1e-4)
    assert abs(int(images[90][0, 0, 0]) - 90) <= 3


def test_a_fragmented_video_that_is_closed_is_whole(tmp_path: Path) -> None:
    encoder = Mp4Encoder(tmp_path / "images.mp4", (64, 48), fragmented=True)
    for index in range(45):
        encoder.add(np.full((48, 64, 3), index, dtype=np.uint8), index / 30)
    encoder.close()
    assert len(_read(tmp_path / "images.mp4")[0]) == 45


@pytest.mark.parametrize(("suffix", "longest"), [(".mp4", 23_861), (".gif", 655)])
def test_a_gap_that_a_format_cannot_hold_is_refused(tmp_path: Path, suffix: str, longest: int) -> None:
    with pytest.raises(SinkError, match=f"jumps 1000000 s .* lasts at most {longest} s"):
        _video(tmp_path / f"long{suffix}", [0.0, 0.04, 1e6, 1e6 + 0.04], height=32)
    assert list(tmp_path.iterdir()) == []
    _, times = _read(_video(tmp_path / f"short{suffix}", [0.0, 0.1, 600.0, 600.1], height=32))
    np.testing.assert_allclose([float(time) for time in times], [0.0, 0.1, 600.0, 600.1], atol=0.011)
