"""A person's rest, sides and reach: told from frames, kept in a file, applied to mappings; and better on true faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.calibration.person import make_person
from mp2flame.calibration.person_evidence import reach_of, side_balance
from mp2flame.data import FlameParams, Observation, concatenate
from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.mapping import HeadPose, LinearMapping, Mapping, Person, Preferred, Refined, load_mapping, load_person
from mp2flame.mapping.person import PAIRED

_LEFT, _RIGHT = MEDIAPIPE.index("eyeBlinkLeft"), MEDIAPIPE.index("eyeBlinkRight")
_SMILE = MEDIAPIPE.index("mouthSmileLeft")
_MIRROR = mirror_permutation(MEDIAPIPE)


def _rest_scores() -> np.ndarray:
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


def _minute(*, still: float = 2.0, seconds: float = 20.0, gains: np.ndarray | None = None) -> Observation:
    """A face at rest that then blinks with both eyes, smiles and opens the mouth; `gains` distort its scores."""
    time = np.arange(round(seconds * 30)) / 30
    above = np.zeros((len(time), 52))
    blink = 0.8 * np.clip(1 - np.abs((time % 2.0) - 1.7) / 0.12, 0, 1)
    above[:, [_LEFT, _RIGHT]] = blink[:, None]
    slow = np.clip(np.sin(time * 1.3), 0, 1)
    above[:, [_SMILE, _MIRROR[_SMILE]]] = 0.7 * slow[:, None]
    above[:, MEDIAPIPE.index("jawOpen")] = 0.6 * np.clip(np.sin(time * 2.1), 0, 1)
    above[time < still] = 0
    noise = np.random.default_rng(1).normal(0, 0.004, above.shape)
    return _frames(np.clip(_rest_scores() + above * (1 if gains is None else gains) + noise, 0, 1))


def _mapping(*, reach: float | None = 0.7) -> LinearMapping:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(52, 59)).astype(np.float32)
    # As a symmetric head has it, so far as this test looks: first coefficients are the lids.
    matrix[:, :2] = 0
    matrix[_LEFT, 0] = matrix[_RIGHT, 1] = 1
    metadata = {} if reach is None else {"reach": str([reach] * 52)}
    return LinearMapping(matrix=matrix, uses_rest=True, metadata=metadata)


def test_the_rest_is_the_still_second_wherever_it_is() -> None:
    person = make_person(_minute())
    np.testing.assert_allclose(np.median(person.rest.scores, axis=0), _rest_scores(), atol=0.01)
    assert person.seconds == pytest.approx(20, abs=0.1)
    assert len(person.rest) <= 24
    # A smile held in front of it is still, too, but no rest.
    smiling = np.tile(_rest_scores(), (60, 1))
    smiling[:, [_SMILE, _MIRROR[_SMILE]]] += 0.6
    later = _minute()
    both = concatenate([_frames(smiling), replace(later, time=later.time + 2.0)])
    person = make_person(both)
    assert person.rest.time[0] > 1.5
    np.testing.assert_allclose(np.median(person.rest.scores, axis=0), _rest_scores(), atol=0.01)


def _without_face(observation: Observation) -> Observation:
    return replace(observation, found=np.zeros(len(observation), dtype=np.bool_))


def _restless() -> Observation:
    rng = np.random.default_rng(0)
    return _frames(np.clip(_rest_scores() + rng.uniform(0, 0.5, (600, 52)), 0, 1))


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (lambda: _without_face(_minute()), "no face was found in 600 frames: film your face"),
        (lambda: _minute()[0], r"at least 5 seconds; got 0.0 seconds in 1 frames: .*drive --rest FILE"),
        (lambda: _minute(seconds=3), "at least 5 seconds; got 3.0 seconds"),
        (_restless, "never still for a second .*begin the video with two seconds of looking straight"),
    ],
    ids=["no face", "one frame", "three seconds", "no rest"],
)
def test_what_cannot_be_used_says_what_to_do(seen: Callable[[], Observation], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_person(seen())


def test_a_lid_that_reads_weakly_closes_as_far_as_the_other() -> None:
    gains = np.ones(52)
    gains[_LEFT] = 0.5
    seen = _minute(gains=gains)
    shut = seen[int(np.argmax(seen.scores[:, _RIGHT]))]
    mapping = _mapping()
    before = mapping.for_person(make_person(seen).rest)(shut).expression[0, :2]
    assert before[0] / before[1] == pytest.approx(0.5, abs=0.05)
    person = make_person(seen)
    after = person.refine(mapping)(shut).expression[0, :2]
    assert after[0] / after[1] == pytest.approx(1, abs=0.12)
    # Both go about as far as the strong one did; nothing else is moved by it.
    assert after.mean() == pytest.approx(before[1], rel=0.2)
    assert person.balance is not None
    assert np.abs(person.balance[PAIRED & ~np.isin(np.arange(52), [_LEFT, _RIGHT])]).max() < 0.02


def test_the_balance_is_the_ratio_that_the_scores_were_made_with() -> None:
    rng = np.random.default_rng(0)
    both = rng.uniform(0, 0.5, (2000, 1))
    relative = np.zeros((2000, 52), dtype=np.float32)
    relative[:, [_SMILE, _MIRROR[_SMILE]]] = both * [1.0, 0.4]
    balance = side_balance(relative, np.arange(2000.0))
    # The garrote takes the share (0.15 / log ratio)^2 of it.
    expected = 0.5 * np.log(0.4) * (1 - (0.15 / np.log(0.4)) ** 2) * 2000 / 2002
    assert balance[_SMILE] == pytest.approx(expected, abs=0.01)
    np.testing.assert_allclose(balance, -balance[_MIRROR] * PAIRED, atol=1e-6)
    np.testing.assert_allclose(side_balance(relative[:, _MIRROR], np.arange(2000.0)), balance[_MIRROR], atol=1e-6)


def test_sides_that_do_not_move_together_say_nothing() -> None:
    rng = np.random.default_rng(0)
    relative = np.zeros((400, 52), dtype=np.float32)
    relative[:200, _LEFT] = rng.uniform(0, 1, 200)
    relative[200:, _RIGHT] = rng.uniform(0, 0.4, 200)
    assert not side_balance(relative, np.arange(400.0)).any()
    assert not side_balance(np.zeros((400, 52), dtype=np.float32), np.arange(400.0)).any()


def test_little_that_was_seen_corrects_little() -> None:
    time = np.arange(600) / 30
    relative = np.zeros((600, 52), dtype=np.float32)
    relative[::60, [_LEFT]], relative[::60, [_RIGHT]] = 0.8, 0.3
    held = relative.copy()
    held[:14] = relative[0]
    few, once, many = (side_balance(r, time[: len(r)])[_LEFT] for r in (relative[:61], held[:61], relative))
    assert 0 > few > 0.65 * many > many > 0.5 * np.log(0.3 / 0.8)
    # One that is held for long is still one.
    assert once == pytest.approx(few, rel=1e-4)


def test_who_shows_little_is_left_alone_and_who_shows_much_is_taken_back_in_part() -> None:
    shown = np.full(52, 0.7, dtype=np.float32)
    jaw, brow = MEDIAPIPE.index("jawOpen"), MEDIAPIPE.index("browInnerUp")
    shown[jaw], shown[brow] = 0.95, 0.1
    person = Person(rest=_frames(_rest_scores()[None]), balance=np.zeros(52, dtype=np.float32), reach=shown)
    gains = person.gains(np.full(52, 0.7))
    assert 0.7 / 0.95 < gains[jaw] < 0.95
    np.testing.assert_array_equal(np.delete(gains, jaw), 1)
    np.testing.assert_array_equal(person.gains(None), 1)


def test_only_a_rest_is_what_for_person_does() -> None:
    seen = _minute()
    mapping = _mapping()
    person = Person(rest=seen[:30])
    np.testing.assert_array_equal(
        person.refine(mapping)(seen).expression, mapping.for_person(seen[:30])(seen).expression
    )


def test_a_refined_mapping_is_a_mapping() -> None:
    seen = concatenate([_minute(), Observation.missing(30.0)])
    person = make_person(_minute())
    inner = _mapping()
    refined = person.refine(HeadPose(inner))
    assert isinstance(refined, Refined)
    params = refined(seen)
    assert np.isnan(params.expression[-1]).all()
    assert not params.found[-1]
    # At rest it is at rest; batches are frames one by one; and what it saw before does not matter.
    assert np.abs(refined(person.rest).expression).max() < 0.3
    np.testing.assert_allclose(refined(seen[40]).expression, params.expression[40:41], atol=1e-5)
    # By hand: the scores corrected first.
    corrected = replace(seen, scores=refined.rest + (seen.scores - refined.rest) * person.gains(inner.reach))
    own = inner.for_person(person.rest)
    np.testing.assert_allclose(own(corrected).expression, params.expression, atol=1e-5)
    # Another rest keeps the gains.
    other = refined.for_person(seen[100:130])
    np.testing.assert_array_equal(other.gains, refined.gains)
    assert not np.array_equal(other.rest, refined.rest)


def test_one_file_serves_mappings_of_every_kind(tmp_path: Path) -> None:
    minute = _minute()
    seen = replace(minute, landmarks=_frames(minute.scores, landmarks=True).landmarks)
    make_person(seen).save(tmp_path / "me.person.safetensors")
    person = load_person(tmp_path / "me.person.safetensors")
    landmarks, scores = load_mapping("builtin-landmarks"), load_mapping("builtin")
    kinds: list[Mapping] = [landmarks, scores, Preferred(landmarks, scores), HeadPose(scores), _mapping(reach=None)]
    kinds.append(replace(_mapping(), uses_rest=False))
    for mapping in kinds:
        params = person.refine(mapping)(seen)
        assert isinstance(params, FlameParams)
        assert params.found.all()
    # A person of scores alone cannot tell landmarks at rest.
    bare = replace(person, rest=replace(person.rest, landmarks=None))
    with pytest.raises(InputError, match="reads landmarks and the rest frames have none"):
        bare.refine(landmarks)
    assert bare.refine(Preferred(landmarks, scores))(seen).found.all()


def test_the_file_gives_back_the_person(tmp_path: Path) -> None:
    person = make_person(_minute())
    path = tmp_path / "me.person.safetensors"
    person.save(path)
    got = load_person(path)
    assert path.stat().st_size < 200_000
    for name in ("balance", "reach"):
        np.testing.assert_array_equal(getattr(got, name), getattr(person, name))
    for name in ("time", "scores", "head_transform", "image_size"):
        np.testing.assert_array_equal(getattr(got.rest, name), getattr(person.rest, name))
    assert got.seconds == person.seconds
    got.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    bare = Person(rest=person.rest)
    bare.save(path)
    assert load_person(path).balance is None


def test_files_that_are_no_persons(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no person file .*calibrate --person VIDEO"):
        load_person(tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match=r"path ending in .safetensors; got .*me.json"):
        make_person(_minute()).save(tmp_path / "me.json")
    path = tmp_path / "me.safetensors"
    _mapping().save(path)
    with pytest.raises(FormatError, match=r"expected a person file .*this one says 'mp2flame-mapping'"):
        load_person(path)
    path.write_bytes(b"no")
    with pytest.raises(FormatError, match=r"truncated or no .* make it again with mp2flame calibrate"):
        load_person(path)
    person = make_person(_minute())
    person.save(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        metadata = dict(file.metadata())
    broken: list[tuple[dict[str, np.ndarray], dict[str, str], str]] = [
        (arrays, metadata | {"format_version": "2"}, "it has version '2'; this mp2flame reads 1: upgrade"),
        (arrays, metadata | {"names": "[]"}, "MediaPipe's order"),
        (arrays, metadata | {"seconds": "long"}, "seconds or image_size is damaged"),
        ({**arrays, "balance": arrays["balance"] + 1}, metadata, "must be opposite for the two of a pair"),
        ({**arrays, "reach": arrays["reach"] * np.nan}, metadata, "Person.reach must be finite"),
        ({"time": arrays["time"]}, metadata, "its arrays or metadata keys are not those"),
        ({name: array for name, array in arrays.items() if name != "reach"}, metadata, "both balance and reach"),
    ]
    for held, said, message in broken:
        safetensors.numpy.save_file(held, path, said)
        with pytest.raises(FormatError, match=message):
            load_person(path)


def test_reach_is_the_percentile_and_never_negative() -> None:
    relative = np.random.default_rng(0).normal(size=(500, 52)).astype(np.float32)
    relative[:, 0] = -1
    np.testing.assert_allclose(reach_of(relative)[1:], np.percentile(relative, 98, axis=0)[1:], rtol=1e-5)
    assert reach_of(relative)[0] == 0
