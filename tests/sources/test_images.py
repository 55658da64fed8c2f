"""Image files: order, orientation, depth, and files that are none."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.sources import images
from mp2flame.sources.images import list_images, match_images, mirror_image, natural_order, to_rgb
from tests.helpers.video import corners, quarters


def save(path: Path, picture: NDArray[Any]) -> Path:
    """Write an RGB (or grey, or RGBA) picture."""
    bgr = picture
    if picture.ndim == 3:
        bgr = picture[..., [2, 1, 0, 3][: picture.shape[2]]]
    assert cv2.imwrite(str(path), bgr)
    return path


def orient(path: Path, orientation: int) -> None:
    """Put an EXIF orientation into a JPEG, as cameras do."""
    exif = b"Exif\0\0" + b"MM\0\x2a\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])


def test_natural_order() -> None:
    names = ["frame10.png", "frame2.png", "Frame1.png", "frame02.png", "a.png", "frame2b.png", f"frame{10**40}.png"]
    ordered = [path.name for path in sorted(map(Path, names), key=natural_order)]
    assert ordered == [
        "a.png", "Frame1.png", "frame02.png", "frame2.png", "frame2b.png", "frame10.png", f"frame{10**40}.png"
    ]  # fmt: skip


def test_a_folder_in_natural_order_without_other_files(tmp_path: Path) -> None:
    for name in ("p10.png", "p9.PNG", "p1.jpg"):
        save(tmp_path / name, quarters(8, 8))
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".p0.png").write_bytes(b"hidden")
    (tmp_path / "p5.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["p1.jpg", "p9.PNG", "p10.png"]
    assert [path.name for path in match_images(str(tmp_path / "*.png"))] == ["p10.png"]
    assert len(match_images(str(tmp_path / "p[0-9]*"))) == 3


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no images in the folder .* \(\.bmp, \.jp2, \.jpeg, \.jpg"):
        list_images(tmp_path)
    with pytest.raises(MissingFileError, match=r"no images for the pattern .*\*\.png"):
        match_images(str(tmp_path / "*.png"))
    with pytest.raises(InputError, match="at least one image"):
        images.ImagesReader([])
    with pytest.raises(MissingFileError, match=r"none\.png"):
        images.ImagesReader([tmp_path / "none.png"])


def test_times_are_by_the_rate(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{number}.png", quarters(8, 8)) for number in range(3)]
    assert [time for time, _ in images.ImagesReader(paths)] == [0.0, 1 / 30, 2 / 30]
    reader = images.ImagesReader(paths, fps=12.5)
    assert [time for time, _ in reader] == [0.0, 0.08, 0.16]
    assert (reader.n_frames, reader.fps, reader.mode) == (3, 12.5, "image")
    for wrong in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"fps must be .* above 0"):
            images.ImagesReader(paths, fps=wrong)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, ["red", "green", "blue", "white"]),
        (2, ["green", "red", "white", "blue"]),
        (3, ["white", "blue", "green", "red"]),
        (6, ["blue", "red", "white", "green"]),
        (8, ["green", "white", "red", "blue"]),
    ],
)
def test_exif_orientation(tmp_path: Path, orientation: int, expected: list[str]) -> None:
    path = save(tmp_path / "photo.jpg", quarters(64, 96))
    orient(path, orientation)
    picture = images.read_image(path)
    assert picture.shape == ((96, 64, 3) if orientation >= 5 else (64, 96, 3))
    assert corners(picture) == expected


def test_depths_and_channels(tmp_path: Path) -> None:
    rgb = quarters(31, 33)
    wide = rgb.astype(np.uint16) * 257
    grey = rgb[..., 0]
    alpha = np.dstack([rgb, np.full((31, 33), 9, np.uint8)])
    np.testing.assert_array_equal(images.read_image(save(tmp_path / "rgb.png", rgb)), rgb)
    np.testing.assert_array_equal(images.read_image(save(tmp_path / "wide.png", wide)), rgb)
    np.testing.assert_array_equal(images.read_image(save(tmp_path / "alpha.png", alpha)), rgb)
    np.testing.assert_array_equal(images.read_image(save(tmp_path / "grey.png", grey)), np.dstack([grey] * 3))


def test_arrays_become_images() -> None:
    rgb = quarters(31, 33)
    for same in (
        rgb,
        np.asfortranarray(rgb),
        np.dstack([rgb, rgb[..., :1]]),
        rgb.astype(np.uint16) << 8,
        np.ascontiguousarray(rgb[:, ::-1])[:, ::-1],
    ):
        got = to_rgb(same)
        np.testing.assert_array_equal(got, rgb)
        assert got.flags.c_contiguous
        assert got.dtype == np.uint8
    assert np.shares_memory(to_rgb(rgb), rgb)
    np.testing.assert_array_equal(to_rgb(rgb[..., 0]), np.dstack([rgb[..., 0]] * 3))
    np.testing.assert_array_equal(to_rgb(rgb[..., :1]), np.dstack([rgb[..., 0]] * 3))
    np.testing.assert_array_equal(mirror_image(rgb), rgb[:, ::-1])


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((4, 4, 3)), "uint8 .* got float64: scale it to 0..255"),
        (np.zeros((4, 4, 2), np.uint8), r"expected an image \(H, W, 3\)"),
        (np.zeros((4,), np.uint8), r"got shape \(4,\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"got shape \(1, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
    ],
)
def test_arrays_that_are_no_images(pixels: NDArray[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_rgb(pixels)


@pytest.mark.parametrize("content", [b"", b"no picture", "cut"])
def test_a_single_file_that_is_no_image_is_an_error(tmp_path: Path, content: bytes | str) -> None:
    path = save(tmp_path / "bad.png", quarters(64, 64))
    path.write_bytes(path.read_bytes()[:60] if isinstance(content, str) else content)
    with pytest.raises(FormatError, match=r"bad\.png is no image that can be decoded"):
        list(images.ImagesReader([path]))


def test_among_others_it_is_a_frame_without_an_image(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{number}.png", quarters(8, 8)) for number in range(6)]
    for path in paths[1:5]:
        path.write_bytes(b"no picture")
    reader = images.ImagesReader(paths)
    assert [picture is None for _, picture in reader] == [False, True, True, True, True, False]
    assert reader.warnings == (
        "4 images could not be read and count as frames without a face: 1.png, 2.png, 3.png, ...",
    )
    list(reader)
    assert reader.warnings[0].startswith("4 images")


def test_if_none_can_be_read_it_is_an_error(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(FormatError, match=r"2\.png is no image"):
        list(images.ImagesReader(list_images(tmp_path)))
