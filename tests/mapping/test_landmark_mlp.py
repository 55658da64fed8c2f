"""The landmarks mapping: alignment against another authority, rest, batches, and its file."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import Observation
from mp2flame.errors import FormatError, InputError
from mp2flame.mapping import read_mapping
from mp2flame.mapping.landmark_mlp import N_INPUTS, LandmarkMapping, align, silu, upright
from mp2flame.mapping.residual_correction import ResidualCorrection

_E = 7


def _mapping(seed: int = 0, members: int = 2, hidden: int = 16) -> LandmarkMapping:
    rng = np.random.default_rng(seed)
    weights = rng.random(478).astype(np.float32)
    weights /= weights.sum()
    rest = rng.normal(size=(478, 3)).astype(np.float32)
    rest -= weights @ rest
    k = 12

    def layer(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
        weight = rng.normal(size=(members, before, after)).astype(np.float32) / np.sqrt(before)
        return weight.astype(np.float32), np.zeros((members, 1, after), dtype=np.float32)

    return LandmarkMapping(
        alignment_weights=weights,
        default_landmarks=rest,
        default_scores=rng.random(52).astype(np.float32),
        whitening=(rng.normal(size=(N_INPUTS, k)) / 30).astype(np.float32),
        layers=(layer(k, hidden), layer(hidden, _E + 9)),
    )


def _observation(n: int, seed: int = 1, found: np.ndarray | None = None) -> Observation:
    rng = np.random.default_rng(seed)
    landmarks = rng.random((n, 478, 3)).astype(np.float32)
    scores = rng.random((n, 52)).astype(np.float32)
    seen = np.ones(n, dtype=bool) if found is None else found
    return Observation(
        time=np.arange(n) / 30, found=seen, scores=scores, landmarks=landmarks, image_size=np.array([640, 480])
    )


def test_alignment_agrees_with_scipys_procrustes() -> None:
    rng = np.random.default_rng(3)
    target = rng.normal(size=(478, 3))
    target -= target.mean(axis=0)
    weights = np.full(478, 1 / 478, dtype=np.float32)
    for _ in range(5):
        points = rng.normal(size=(478, 3)) + 2 * target
        left = align(points[None].astype(np.float32), target.astype(np.float32), weights)[0]
        # scipy scales the target to unit size, and so its residual.
        _, _, disparity = procrustes(target, points)
        assert (left**2).sum() / (target**2).sum() == pytest.approx(disparity, rel=1e-4)


def test_alignment_takes_out_similarities_and_no_reflection() -> None:
    rng = np.random.default_rng(4)
    weights = rng.random(478).astype(np.float32)
    weights /= weights.sum()
    target = rng.normal(size=(478, 3)).astype(np.float32)
    target -= weights @ target
    turns = Rotation.random(20, random_state=1).as_matrix()
    moved = np.stack([1.7 * target @ turn.T + rng.normal(size=3) for turn in turns]).astype(np.float32)
    assert np.abs(align(moved, target, weights)).max() < 1e-4
    mirrored = align((target * [-1, 1, 1])[None].astype(np.float32), target, weights)
    assert np.abs(mirrored).max() > 0.5


def test_upright_squares_the_image() -> None:
    landmarks = np.array([[[0.75, 0.25, -0.1]]], dtype=np.float32)
    np.testing.assert_allclose(upright(landmarks, np.array([640, 480])), [[[0.25, 0.1875, 0.1]]], atol=1e-7)
    np.testing.assert_allclose(upright(landmarks, None), [[[0.25, 0.25, 0.1]]], atol=1e-7)


def test_silu_is_its_formula_and_does_not_overflow() -> None:
    x = np.array([-1e30, -100, -1, 0, 1, 100], dtype=np.float32)
    with np.errstate(all="raise", under="ignore"):
        got = silu(x)
    np.testing.assert_allclose(got[1:], x[1:] / (1 + np.exp(-x[1:].astype(np.float64))), atol=1e-6)


def test_a_plain_loop_gives_the_same() -> None:
    mapping, seen = _mapping(), _observation(3)
    assert seen.landmarks is not None
    params = mapping(seen)
    for i in range(3):
        p = upright(seen.landmarks[i : i + 1], seen.image_size)[0].astype(float)
        w, t = mapping.alignment_weights.astype(float), mapping.default_landmarks.astype(float)
        mean = w @ p
        turn, _ = Rotation.align_vectors(t, p - mean, weights=w)
        turned = turn.apply(p - mean)
        scale = (w[:, None] * turned * t).sum() / (w[:, None] * turned * turned).sum()
        x = np.concatenate([(scale * turned - t).ravel(), seen.scores[i] - mapping.default_scores]) @ mapping.whitening
        out = np.zeros(_E + 9)
        for m in range(2):
            (a, _), (b, _) = mapping.layers
            h = x @ a[m]
            out += (h / (1 + np.exp(-h))) @ b[m] / 2
        np.testing.assert_allclose(params.expression[i], out[:_E], atol=2e-4)
        np.testing.assert_allclose(params.reye_pose[i], out[-3:], atol=2e-4)


def test_a_persons_neutral_maps_to_zero() -> None:
    seen = _observation(9)
    assert seen.landmarks is not None
    # Frames that all show the same face from different sides have no expression.
    turns = Rotation.from_euler("y", np.linspace(-20, 20, 9)[:, None], degrees=True).as_matrix()
    face = upright(seen.landmarks[:1], seen.image_size)[0]
    turned = np.stack([face @ turn.T for turn in turns])
    landmarks = turned * [1, -640 / 480, -1] + [0.5, 0.5, 0]
    still = replace(seen, landmarks=landmarks.astype(np.float32), scores=np.repeat(seen.scores[:1], 9, axis=0))
    params = _mapping().for_person(still)(still)
    assert np.abs(params.expression).max() < 1e-4
    assert np.abs(params.eye_pose).max() < 1e-4


def test_batch_single_and_repeats_agree() -> None:
    mapping, seen = _mapping(), _observation(20)
    together = mapping(seen)
    assert together.expression.tobytes() == mapping(seen).expression.tobytes()
    for i in range(20):
        np.testing.assert_allclose(mapping(seen[i]).expression[0], together.expression[i], atol=1e-5)


def test_rows_without_a_face_are_nan() -> None:
    found = np.array([True, False, True])
    params = _mapping()(_observation(3, found=found))
    assert np.isnan(params.expression[1]).all()
    assert np.isfinite(params.expression[found]).all()
    nobody = _mapping()(_observation(3, found=np.zeros(3, dtype=bool)))
    assert np.isnan(nobody.jaw_pose).all()


def test_file_round_trip(tmp_path: Path) -> None:
    mapping = _mapping().for_person(_observation(4))
    mapping.save(tmp_path / "m.safetensors")
    again = read_mapping(tmp_path / "m.safetensors")
    assert isinstance(again, LandmarkMapping)
    assert again.encoded() == mapping.encoded()
    seen = _observation(5)
    assert again(seen).expression.tobytes() == mapping(seen).expression.tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alignment_weights": np.zeros(478, np.float32)}, "sum 1"),
        ({"default_landmarks": np.zeros((468, 3), np.float32)}, "default_landmarks"),
        ({"whitening": np.zeros((10, 4), np.float32)}, "whitening"),
        ({"layers": ()}, "at least one layer"),
        ({"neutral_scores": np.zeros(52, np.float32)}, "both neutral_landmarks"),
        ({"default_scores": np.full(52, np.nan, np.float32)}, "finite"),
    ],
)
def test_wrong_arrays_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(_mapping(), **change)  # type: ignore[arg-type]


def test_layers_must_fit_together() -> None:
    mapping = _mapping()
    first, last = mapping.layers
    with pytest.raises(InputError, match="layer_1_weight"):
        replace(mapping, layers=(first, (last[0][:, 1:], last[1])))
    arrays = mapping.arrays()
    del arrays["layer_0_bias"]
    with pytest.raises(FormatError, match="layer_0_bias"):
        LandmarkMapping.from_parts(arrays, mapping.settings(), {})


def test_scores_alone_are_refused_with_advice() -> None:
    with pytest.raises(InputError, match="kind linear"):
        _mapping()(replace(_observation(1), landmarks=None))
    with pytest.raises(InputError, match="neutral frames have none"):
        _mapping().for_person(replace(_observation(1), landmarks=None))


def test_a_frame_is_fast() -> None:
    rng = np.random.default_rng(0)
    widths = [160, 256, 256, 256, 59]
    layers = tuple(
        ((rng.normal(size=(2, a, b)) / 16).astype(np.float32), np.zeros((2, 1, b), np.float32))
        for a, b in pairwise(widths)
    )
    mapping = replace(_mapping(), whitening=(rng.normal(size=(N_INPUTS, 160)) / 30).astype(np.float32), layers=layers)
    frame = _observation(1)
    times = []
    for _ in range(200):
        start = perf_counter()
        mapping(frame)
        times.append(perf_counter() - start)
    # 0.3 ms on a quiet machine; a busy one gets room, and the median of many calls.
    assert np.quantile(times, 0.1) < 0.6e-3


def test_without_a_neutral_the_jaw_opens_no_further_than_its_score_allows() -> None:
    mapping = _mapping()
    first, (weight, bias) = mapping.layers
    mapping = replace(mapping, layers=(first, (weight * np.float32(30), bias)))
    seen = _observation(60)
    scores = seen.scores.copy()
    scores[:, MEDIAPIPE.index("jawOpen")] = np.repeat([0.0, 0.1, 0.9], 20)
    seen = replace(seen, scores=scores)
    jaw = np.degrees(mapping(seen).jaw_pose[:, 0])
    assert jaw[:20].max() <= 2.5 + 1e-4
    assert jaw[20:40].max() <= 8.5 + 1e-4
    own = np.degrees(mapping.for_person(seen[40:])(seen).jaw_pose[:, 0])
    assert own[:40].max() > 8.5


def test_a_correction_is_saved_with_the_mapping_and_used_where_there_is_a_head_transform(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    width, size = _E + 9, 3 * 478
    correction = ResidualCorrection(
        gain=rng.normal(size=(size, width)) * 1e-3,  # type: ignore[arg-type]
        response=rng.normal(size=(width, size)) * 1e-3,  # type: ignore[arg-type]
        view_response=rng.normal(size=(13, size)) * 1e-3,  # type: ignore[arg-type]
        usual_residuals=np.linalg.qr(rng.normal(size=(size, 4)))[0].T,
        unusual_size=np.array([1e-3], np.float32),
        default_view=np.zeros(13, np.float32),
    )
    plain = _mapping()
    mapping = replace(plain, correction=correction)
    mapping.save(tmp_path / "m.safetensors")
    loaded = read_mapping(tmp_path / "m.safetensors")
    seen = _observation(5)
    np.testing.assert_array_equal(mapping(seen).expression, plain(seen).expression)
    turned = replace(seen, head_transform=np.tile(np.eye(4, dtype=np.float32), (5, 1, 1)))
    np.testing.assert_array_equal(loaded(turned).expression, mapping(turned).expression)
    assert np.abs(mapping(turned).expression - plain(turned).expression).max() > 1e-3
