"""The mirror of MediaPipe's landmarks is that of its own canonical face, and of rendered faces."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from mp2flame import rotations
from mp2flame.geometry.landmark_mirror import LANDMARK_MIRROR

_FLIP = np.array([-1.0, 1.0, 1.0])


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a Protocol Buffers message that have a length or four bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            _, at = _varint(data, at)
            continue
        size = 4
        if key & 7 == 2:
            size, at = _varint(data, at)
        yield key >> 3, data[at : at + size]
        at += size


def _canonical_face(landmarker: Path) -> np.ndarray:
    """(468, 3) vertices of the canonical face mesh in a landmarker bundle."""
    metadata = zipfile.ZipFile(landmarker).read("geometry_pipeline_metadata_landmarks.binarypb")
    mesh = next(data for number, data in _fields(metadata) if number == 1)
    numbers = [struct.unpack("<f", data)[0] for number, data in _fields(mesh) if number == 3]
    return np.array(numbers).reshape(-1, 5)[:, :3]


def test_it_is_an_involution_of_all_landmarks() -> None:
    assert sorted(LANDMARK_MIRROR) == list(range(478))
    np.testing.assert_array_equal(LANDMARK_MIRROR[LANDMARK_MIRROR], np.arange(478))


def test_it_mirrors_the_canonical_face_exactly(landmarker: Path) -> None:
    face = _canonical_face(landmarker)
    assert face.shape == (468, 3)
    np.testing.assert_array_equal(face[LANDMARK_MIRROR[:468]], face * _FLIP)


def test_it_is_the_best_mirror_of_rendered_faces(shared_data: Path) -> None:
    data = np.load(shared_data / "synthetic" / "train.npz")
    points = (data["neutral_landmarks"].astype(np.float64) - [0.5, 0.5, 0]) * [1, -1, -1]
    turn = rotations.nearest_rotation(data["neutral_head_transform"][:, :3, :3].astype(np.float64))
    front = points @ turn
    front -= front.mean(axis=1, keepdims=True)
    for half in (front[::2], front[1::2]):
        mean = half.mean(axis=0)
        cost = ((mean[:, None] - (mean * _FLIP)[None]) ** 2).sum(axis=2)
        np.testing.assert_array_equal(linear_sum_assignment(cost)[1], LANDMARK_MIRROR)
