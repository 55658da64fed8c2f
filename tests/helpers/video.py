"""Pictures and films made for tests, and what a detector sees in them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from mp2flame.data import Observation, concatenate
from mp2flame.sources.detector import FaceDetector
from mp2flame.sources.video import VideoReader

Pixels = NDArray[np.uint8]


def quarters(height: int, width: int, level: int = 0) -> Pixels:
    """Red, green, blue and white quarters, row by row, on which every turn and flip can be told."""
    picture = np.full((height, width, 3), level, np.uint8)
    top, left = height // 2, width // 2
    picture[:top, :left] = (200, 0, 0)
    picture[:top, left:] = (0, 200, 0)
    picture[top:, :left] = (0, 0, 200)
    picture[top:, left:] = (200, 200, 200)
    return picture


def corners(picture: Pixels) -> list[str]:
    """The colors in the four corners, row by row."""
    height, width = picture.shape[:2]
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white", (0, 0, 0): "black"}
    rows, columns = (height // 8, -height // 8), (width // 8, -width // 8)
    return [names[tuple((picture[y, x] > 100).astype(int).tolist())] for y in rows for x in columns]


def write_film(
    path: Path,
    pictures: Sequence[Pixels],
    *,
    ticks: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 30),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    aspect: Fraction | None = None,
) -> Path:
    """A film of these pictures, each at its tick of the time base; its index stands before the pictures."""
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = time_base
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number if ticks is None else ticks[number]
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a display matrix (a, b, c, d) into the track header of an mp4, as phones do."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4
    assert data[start] == 0
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, start + 4 + 20 + 16, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def noise(count: int, size: int = 96) -> list[Pixels]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (size, size, 3), dtype=np.uint8) for _ in range(count)]


def performance_frames(shared_data: Path, count: int = 90) -> list[Pixels]:
    """The first frames of a performance, 512 x 512."""
    frames = zip(VideoReader(shared_data / "video" / "performance_a.mp4"), range(count), strict=False)
    return [picture for (_, picture), _ in frames if picture is not None]


def watch(detector: FaceDetector, pictures: Sequence[Pixels], start: float = 0.0) -> Observation:
    """What is seen in pictures at 30 frames per second."""
    return concatenate(detector.detect(picture, start + number / 30) for number, picture in enumerate(pictures))


def scene(*faces: tuple[Pixels, int, int, int], width: int = 960) -> Pixels:
    """Pictures pasted side by side: each with its left, top and side in pixels."""
    canvas = np.full((512, width, 3), 180, np.uint8)
    for picture, left, top, side in faces:
        canvas[top : top + side, left : left + side] = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return canvas


def middles(seen: Observation) -> NDArray[np.float64]:
    """(N,) where the face is across the picture, in its width."""
    assert seen.landmarks is not None
    across: NDArray[np.float64] = seen.landmarks[:, :, 0].astype(np.float64).mean(axis=1)
    return across
