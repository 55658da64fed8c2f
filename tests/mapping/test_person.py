"""A person: neutral frames found in a video, kept in a file, applied to mappings of every kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.calibration.person import make_person
from mp2flame.data import FlameParams, Observation, concatenate
from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.mapping import (
    BlendshapeMapping,
    LandmarksOrScores,
    LinearMapping,
    WithHeadPose,
    load_person,
    read_mapping,
)

_LEFT, _RIGHT = MEDIAPIPE.index("eyeBlinkLeft"), MEDIAPIPE.index("eyeBlinkRight")
_SMILE = MEDIAPIPE.index("mouthSmileLeft")
_MIRROR = mirror_permutation(MEDIAPIPE)


def _neutral_scores() -> np.ndarray:
    return np.random.default_rng(3).uniform(0, 0.2, 52).astype(np.float32)


def _frames(scores: np.ndarray, *, fps: float = 30.0, start: float = 0.0, landmarks: bool = False) -> Observation:
    n = len(scores)
    points = np.random.default_rng(0).uniform(0.3, 0.7, (1, 478, 3)).astype(np.float32).repeat(n, axis=0)
    return Observation(
        time=start + np.arange(n) / fps,
        found=np.ones(n, dtype=np.bool_),
        scores=scores.astype(np.float32),
        landmarks=points if landmarks else None,
        head_transform=np.tile(np.eye(4, dtype=np.float32), (n, 1, 1)),
        image_size=np.array([640, 480]),
    )


def _minute(*, still: float = 2.0, seconds: float = 20.0) -> Observation:
    """A neutral face that then blinks with both eyes, smiles and opens the mouth."""
    time = np.arange(round(seconds * 30)) / 30
    above = np.zeros((len(time), 52))
    blink = 0.8 * np.clip(1 - np.abs((time % 2.0) - 1.7) / 0.12, 0, 1)
    above[:, [_LEFT, _RIGHT]] = blink[:, None]
    slow = np.clip(np.sin(time * 1.3), 0, 1)
    above[:, [_SMILE, _MIRROR[_SMILE]]] = 0.7 * slow[:, None]
    above[:, MEDIAPIPE.index("jawOpen")] = 0.6 * np.clip(np.sin(time * 2.1), 0, 1)
    above[time < still] = 0
    noise = np.random.default_rng(1).normal(0, 0.004, above.shape)
    return _frames(np.clip(_neutral_scores() + above + noise, 0, 1))


def _mapping() -> LinearMapping:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(52, 59)).astype(np.float32)
    # As a symmetric head has it, so far as this test looks: first coefficients are the lids.
    matrix[:, :2] = 0
    matrix[_LEFT, 0] = matrix[_RIGHT, 1] = 1
    return LinearMapping(matrix=matrix, uses_neutral=True)


def test_the_neutral_is_the_still_second_wherever_it_is() -> None:
    person = make_person(_minute())
    np.testing.assert_allclose(np.median(person.neutral.scores, axis=0), _neutral_scores(), atol=0.01)
    assert len(person.neutral) <= 24
    # A smile held in front of it is still, too, but no rest.
    smiling = np.tile(_neutral_scores(), (60, 1))
    smiling[:, [_SMILE, _MIRROR[_SMILE]]] += 0.6
    later = _minute()
    both = concatenate([_frames(smiling), replace(later, time=later.time + 2.0)])
    person = make_person(both)
    assert person.neutral.time[0] > 1.5
    np.testing.assert_allclose(np.median(person.neutral.scores, axis=0), _neutral_scores(), atol=0.01)


def _without_face(observation: Observation) -> Observation:
    return replace(observation, found=np.zeros(len(observation), dtype=np.bool_))


def _restless() -> Observation:
    rng = np.random.default_rng(0)
    return _frames(np.clip(_neutral_scores() + rng.uniform(0, 0.5, (600, 52)), 0, 1))


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (lambda: _without_face(_minute()), "no face was found in 600 frames: film your face"),
        (lambda: _minute()[0], "never still for a second"),
        (_restless, "never still for a second .*Begin the video with two seconds of looking straight"),
    ],
    ids=["no face", "one frame", "never neutral"],
)
def test_what_cannot_be_used_says_what_to_do(seen: Callable[[], Observation], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_person(seen())


def test_one_file_serves_mappings_of_every_kind(tmp_path: Path) -> None:
    minute = _minute()
    seen = replace(minute, landmarks=_frames(minute.scores, landmarks=True).landmarks)
    make_person(seen).save(tmp_path / "me.person.safetensors")
    person = load_person(tmp_path / "me.person.safetensors")
    landmarks, scores = read_mapping("builtin-landmarks"), read_mapping("builtin-scores")
    kinds: list[BlendshapeMapping] = [
        landmarks,
        scores,
        LandmarksOrScores(landmarks, scores),
        WithHeadPose(scores),
        _mapping(),
    ]
    kinds.append(replace(_mapping(), uses_neutral=False))
    for mapping in kinds:
        params = mapping.for_person(person)(seen)
        assert isinstance(params, FlameParams)
        assert params.found.all()
    # A person of scores alone cannot tell landmarks at rest.
    bare = replace(person, neutral=replace(person.neutral, landmarks=None))
    with pytest.raises(InputError, match="reads landmarks and the neutral frames have none"):
        landmarks.for_person(bare)
    assert LandmarksOrScores(landmarks, scores).for_person(bare)(seen).found.all()


def test_the_file_gives_back_the_person(tmp_path: Path) -> None:
    person = make_person(_minute())
    path = tmp_path / "me.person.safetensors"
    person.save(path)
    got = load_person(path)
    assert path.stat().st_size < 200_000
    for name in ("time", "scores", "head_transform", "image_size"):
        np.testing.assert_array_equal(getattr(got.neutral, name), getattr(person.neutral, name))
    got.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_files_that_are_no_persons(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"expected a person file at .*absent.safetensors"):
        load_person(tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match=r"path ending in .safetensors; got .*me.json"):
        make_person(_minute()).save(tmp_path / "me.json")
    path = tmp_path / "me.safetensors"
    _mapping().save(path)
    with pytest.raises(FormatError, match=r"expected format 'mp2flame-person'; got 'mp2flame-mapping'"):
        load_person(path)
    path.write_bytes(b"no")
    with pytest.raises(FormatError, match=r"truncated or no .* make one with mp2flame enroll"):
        load_person(path)
    person = make_person(_minute())
    person.save(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        metadata = dict(file.metadata())
    broken: list[tuple[dict[str, np.ndarray], dict[str, str], str]] = [
        (arrays, metadata | {"format_version": "2"}, "format version 2 is newer than 1, .* pip install --upgrade"),
        (arrays, metadata | {"names": "[]"}, "MediaPipe's order"),
        (arrays, metadata | {"format_version": "9" * 5000}, "expected format_version to be a whole number"),
        (arrays, metadata | {"image_size": "1e999"}, "image_size must"),
        (arrays, metadata | {"image_size": "[1e999, 2]"}, "image_size must"),
        (arrays, metadata | {"image_size": "[0, 0]"}, "image_size must"),
        (arrays, metadata | {"image_size": "[" * 100_000}, "expected image_size"),
        ({**arrays, "scores": arrays["scores"] * np.nan}, metadata, "scores must be finite"),
        ({"time": arrays["time"]}, metadata, "its arrays or metadata keys are not those"),
    ]
    for held, said, message in broken:
        safetensors.numpy.save_file(held, path, said)
        with pytest.raises(FormatError, match=message):
            load_person(path)


def test_files_with_gains_of_older_versions_are_read_without_them(tmp_path: Path) -> None:
    person = make_person(_minute())
    path = tmp_path / "me.safetensors"
    person.save(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        metadata = dict(file.metadata())
    arrays |= {"balance": np.full(52, 0.3, dtype=np.float32), "reach": np.full(52, 0.5, dtype=np.float32)}
    safetensors.numpy.save_file(arrays, path, metadata | {"seconds": "58.5"})
    np.testing.assert_array_equal(load_person(path).neutral.scores, person.neutral.scores)
