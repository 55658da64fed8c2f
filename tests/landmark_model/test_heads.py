"""MediaPipe looks at real heads: its landmarks land where they belong, with and without colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("mediapipe")
pytest.importorskip("pyvista")

import mp2flame
from mp2flame.errors import InputError
from mp2flame.landmark_model.cache import Preparation, find_landmarks, prepare_head
from mp2flame.landmark_model.diagnostic_plot import landmark_picture
from mp2flame.landmark_model.offsets import sitting_errors
from mp2flame.synthesis.appearance import Painter, Palette
from mp2flame.synthesis.landmark_samples import Plan, photograph
from mp2flame.synthesis.studio import tinted

_PLAN = Plan(people=16, pictures=3)
# (landmark of the subject's right, of the left): eye corners, mouth corners, brows, cheeks, nostrils.
_PAIRS = ((33, 263), (133, 362), (61, 291), (70, 300), (105, 334), (50, 280), (98, 327), (159, 386), (145, 374))


def _bare(head: mp2flame.FlameHead) -> mp2flame.FlameHead:
    """As a FLAME file: no colours, no labels, no shapes; skin and eyeballs alone."""
    arrays = head.arrays
    assert arrays.region is not None
    kept = np.isin(arrays.region[arrays.faces.astype(np.int64)], (0, 1, 4, 5)).all(axis=1)
    stripped = replace(arrays, vertex_colors=None, region=None, mirror=None, blendshapes=None)
    return replace(head, arrays=replace(stripped, faces=arrays.faces[kept]))


@pytest.fixture(scope="module")
def builtin(landmarker: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Preparation, Path]:
    folder = tmp_path_factory.mktemp("heads") / "new"
    return prepare_head(mp2flame.load_head("builtin"), landmarker, plan=_PLAN, folder=folder), folder


@pytest.fixture(scope="module")
def ict(shared_data: Path) -> mp2flame.FlameHead:
    return mp2flame.load_head(shared_data / "head" / "ict_head.npz")


@pytest.fixture(scope="module")
def ict_found(ict: mp2flame.FlameHead, landmarker: Path) -> Preparation:
    return find_landmarks(ict, landmarker, plan=_PLAN)


@pytest.fixture(scope="module")
def bare_found(ict: mp2flame.FlameHead, landmarker: Path) -> Preparation:
    return find_landmarks(_bare(ict), landmarker, plan=Plan(people=10, pictures=3))


def _positions(head: mp2flame.FlameHead, found: Preparation) -> NDArray[np.float64]:
    return found.embedding.positions(head.template, head.faces)


def _check_anatomy(head: mp2flame.FlameHead, found: Preparation) -> None:
    at = _positions(head, found)
    left_eye, right_eye = head.joints()[3:5]
    assert np.linalg.norm(at[473, :2] - left_eye[:2]) < 0.003
    assert np.linalg.norm(at[468, :2] - right_eye[:2]) < 0.003
    eyes = np.unique(head.faces[found.embedding.face_index[468:]])
    assert (head.arrays.weights[eyes, 3:].max(axis=1) > 0.5).all()
    # No landmark goes through the open mouth to the back of the head.
    assert at[:, 2].min() > left_eye[2] - 0.07
    # The nose's tip is the point farthest forward, the lips meet between their edges, the chin is below them.
    assert at[1, 2] > np.delete(at[:, 2], np.arange(0, 20)).max() - 0.008
    assert at[0, 1] > at[13, 1] > at[14, 1] > at[17, 1] > at[152, 1]
    for right, left in _PAIRS:
        np.testing.assert_allclose(at[right] * [-1, 1, 1], at[left], atol=0.005)


def test_landmarks_land_where_they_belong_on_the_builtin_head(builtin: tuple[Preparation, Path]) -> None:
    head = mp2flame.load_head("builtin")
    _check_anatomy(head, builtin[0])
    spread = builtin[0].embedding.spread
    assert spread is not None
    assert 0.0004 < np.median(spread) < 0.0016
    # Lids and lips hold a landmark, the outline of the cheeks lets it slide.
    assert spread[[33, 133, 263, 362]].max() < spread[[234, 454, 127, 356]].min()


def test_landmarks_land_where_they_belong_on_another_head(ict: mp2flame.FlameHead, ict_found: Preparation) -> None:
    _check_anatomy(ict, ict_found)


def test_a_head_without_colours_gives_the_same_places(
    ict: mp2flame.FlameHead, ict_found: Preparation, bare_found: Preparation
) -> None:
    _check_anatomy(_bare(ict), bare_found)
    away = np.linalg.norm(_positions(_bare(ict), bare_found) - _positions(ict, ict_found), axis=1)
    assert np.median(away) < 0.0025
    assert away[468:].max() < 0.004


def _share(color: NDArray[np.float64], paint: tuple[float, float, float]) -> float:
    """How far a colour has gone from skin to paint."""
    whole = np.array(paint) - Palette.skin
    return float((color - Palette.skin) @ whole / (whole @ whole))


def test_lips_and_brows_are_painted_where_the_landmarks_are(ict: mp2flame.FlameHead, bare_found: Preparation) -> None:
    head = _bare(ict)
    at = _positions(head, bare_found)
    colors = Painter(head, bare_found.embedding).paint(Palette()).astype(float)
    skin = np.flatnonzero(head.arrays.weights[:, 3:].max(axis=1) < 0.5)

    def color(*landmarks: int) -> NDArray[np.float64]:
        away = np.linalg.norm(head.template[skin] - at[list(landmarks)].mean(axis=0), axis=1)
        painted: NDArray[np.float64] = colors[skin[away.argmin()]]
        return painted

    for lip in ((37, 82), (267, 312), (84, 87), (314, 317)):
        assert _share(color(*lip), Palette.lips) > 0.5
    for brow in ((63, 53), (66, 65), (293, 283), (296, 295)):
        assert _share(color(*brow), Palette.brows) > 0.5
    for cheek in (50, 280, 151, 199):
        np.testing.assert_array_equal(color(cheek), Palette.skin)


def test_errors_of_people_not_seen_before_are_those_of_the_model(
    ict: mp2flame.FlameHead, ict_found: Preparation, landmarker: Path
) -> None:
    colors = ict.vertex_colors
    assert colors is not None
    fresh = photograph(ict, lambda rng: colors if rng is None else tinted(colors, rng), landmarker, Plan(8, 3, 99))
    model, embedding = ict_found.errors, ict_found.embedding
    errors, view = sitting_errors(fresh, embedding, ict.faces)
    left = (errors - model.bias_at(view)).reshape(len(errors), -1)
    assert (left**2).mean() < (errors**2).mean()
    covariance = model.covariance()
    likelihoods = {}
    for name, matrix in {"full": covariance, "independent": np.diag(covariance.diagonal())}.items():
        lower = np.linalg.cholesky(matrix)
        white = np.linalg.solve(lower, left.T)
        likelihoods[name] = -(white**2).mean() / 2 - np.log(lower.diagonal()).mean()
        assert 0.3 < (white**2).mean() < 2.5, name
    # In nats for each coordinate: landmark errors go together.
    assert likelihoods["full"] > likelihoods["independent"] + 0.5


def test_what_was_found_is_kept(builtin: tuple[Preparation, Path], landmarker: Path) -> None:
    found, folder = builtin
    head = mp2flame.load_head("builtin")
    kinds = sorted("".join(path.suffixes) for path in folder.iterdir())
    assert kinds == [".errors.npz", ".landmarks.npz", ".png"]

    def never() -> None:
        raise AssertionError("a picture was taken though everything was known")

    again = prepare_head(head, landmarker, plan=_PLAN, folder=folder, on_picture=never)
    np.testing.assert_array_equal(again.embedding.barycentric, found.embedding.barycentric)
    np.testing.assert_array_equal(again.errors.bias, found.errors.bias)
    again.embedding.check_head(head)
    next(folder.glob("*.errors.npz")).write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="a picture was taken"):
        prepare_head(head, landmarker, plan=_PLAN, folder=folder, on_picture=never)


def test_dots_are_drawn_where_landmarks_are(builtin: tuple[Preparation, Path]) -> None:
    head, embedding = mp2flame.load_head("builtin"), builtin[0].embedding
    dotted = landmark_picture(head, embedding).astype(int)
    plain = landmark_picture(head, replace(embedding, spread=None)).astype(int)
    assert dotted.shape[1] == 3 * dotted.shape[0]
    green = (dotted[..., 1] > dotted[..., 0] + 60) & (dotted[..., 1] > dotted[..., 2] + 60)
    blue = (plain[..., 2] > plain[..., 0] + 60) & (plain[..., 2] > plain[..., 1] + 60)
    middle = slice(dotted.shape[0], 2 * dotted.shape[0])
    assert green[:, middle].sum() > 200 * 8
    assert blue.sum() > green.sum()


def test_a_head_that_shows_no_face_is_said_and_shown(landmarker: Path, tmp_path: Path) -> None:
    head = mp2flame.load_head("builtin")
    # The back of a head, where the face should be.
    turn = np.array([-1, 1, -1], dtype=np.float32)
    arrays = head.arrays
    away = replace(
        arrays, v_template=arrays.v_template * turn, shapedirs=arrays.shapedirs * turn[:, None], vertex_colors=None
    )
    with pytest.raises(InputError, match=r"finds no face .* see .*unseen\.png"):
        prepare_head(replace(head, arrays=away), landmarker, folder=tmp_path)
    shown = next(tmp_path.glob("*.unseen.png"))
    assert shown.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [shown]
