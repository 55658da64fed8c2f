"""MediaPipe's landmarks on rendered heads lie where they belong, with and without colors; the cache keeps them."""

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
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.landmark_model import cache
from mp2flame.landmark_model.cache import cache_key, cached_error_model, cached_landmarks, code_digest
from mp2flame.landmark_model.correspondences import find_landmarks
from mp2flame.landmark_model.diagnostic_plot import plot_landmarks
from mp2flame.landmark_model.error_model import LandmarkErrorModel, fit_error_model, render_error_samples
from mp2flame.synthesis.appearance import Palette, ProceduralAlbedo
from mp2flame.synthesis.render import RenderSettings

_IMAGES = RenderSettings(subjects=16, images=3)
_ERROR_IMAGES = RenderSettings(subjects=12, images=3)
# (landmark of the subject's right, of the left): eye corners, mouth corners, brows, cheeks, nostrils.
_PAIRS = ((33, 263), (133, 362), (61, 291), (70, 300), (105, 334), (50, 280), (98, 327), (159, 386), (145, 374))


def _bare(head: mp2flame.FlameHead) -> mp2flame.FlameHead:
    """As a FLAME file: no colors, no labels, no shapes; skin and eyeballs alone."""
    arrays = head.arrays
    assert arrays.region is not None
    kept = np.isin(arrays.region[arrays.faces.astype(np.int64)], (0, 1, 4, 5)).all(axis=1)
    stripped = replace(arrays, vertex_colors=None, region=None, mirror=None, blendshapes=None)
    return replace(head, arrays=replace(stripped, faces=arrays.faces[kept]))


@pytest.fixture(scope="module")
def builtin(landmarker: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[LandmarkEmbedding, Path]:
    folder = tmp_path_factory.mktemp("heads") / "new"
    return cached_landmarks(mp2flame.load_head("builtin"), landmarker, settings=_IMAGES, folder=folder), folder


@pytest.fixture(scope="module")
def ict(shared_data: Path) -> mp2flame.FlameHead:
    return mp2flame.load_head(shared_data / "head" / "ict_head.npz")


@pytest.fixture(scope="module")
def ict_found(ict: mp2flame.FlameHead, landmarker: Path) -> LandmarkEmbedding:
    return find_landmarks(ict, landmarker, settings=_IMAGES)


@pytest.fixture(scope="module")
def bare_found(ict: mp2flame.FlameHead, landmarker: Path) -> LandmarkEmbedding:
    return find_landmarks(_bare(ict), landmarker, settings=RenderSettings(subjects=10, images=3))


def _positions(head: mp2flame.FlameHead, found: LandmarkEmbedding) -> NDArray[np.float64]:
    return found.positions(head.template, head.faces)


def _check_anatomy(head: mp2flame.FlameHead, found: LandmarkEmbedding) -> None:
    at = _positions(head, found)
    left_eye, right_eye = head.joints()[3:5]
    assert np.linalg.norm(at[473, :2] - left_eye[:2]) < 0.003
    assert np.linalg.norm(at[468, :2] - right_eye[:2]) < 0.003
    eyes = np.unique(head.faces[found.face_index[468:]])
    assert (head.arrays.weights[eyes, 3:].max(axis=1) > 0.5).all()
    # No landmark goes through the open mouth to the back of the head.
    assert at[:, 2].min() > left_eye[2] - 0.07
    # The nose's tip is the point farthest forward, the lips meet between their edges, the chin is below them.
    assert at[1, 2] > np.delete(at[:, 2], np.arange(0, 20)).max() - 0.008
    assert at[0, 1] > at[13, 1] > at[14, 1] > at[17, 1] > at[152, 1]
    for right, left in _PAIRS:
        np.testing.assert_allclose(at[right] * [-1, 1, 1], at[left], atol=0.005)


def test_landmarks_land_where_they_belong_on_the_builtin_head(builtin: tuple[LandmarkEmbedding, Path]) -> None:
    head = mp2flame.load_head("builtin")
    _check_anatomy(head, builtin[0])
    spread = builtin[0].spread
    assert spread is not None
    assert 0.0004 < np.median(spread) < 0.0016
    # Lids and lips hold a landmark, the outline of the cheeks lets it slide.
    assert spread[[33, 133, 263, 362]].max() < spread[[234, 454, 127, 356]].min()


def test_landmarks_land_where_they_belong_on_another_head(
    ict: mp2flame.FlameHead, ict_found: LandmarkEmbedding
) -> None:
    _check_anatomy(ict, ict_found)


def test_a_head_without_colors_gives_the_same_places(
    ict: mp2flame.FlameHead, ict_found: LandmarkEmbedding, bare_found: LandmarkEmbedding
) -> None:
    _check_anatomy(_bare(ict), bare_found)
    away = np.linalg.norm(_positions(_bare(ict), bare_found) - _positions(ict, ict_found), axis=1)
    assert np.median(away) < 0.0025
    assert away[468:].max() < 0.004


def _share(color: NDArray[np.float64], paint: tuple[float, float, float]) -> float:
    """How far a color has gone from skin to paint."""
    whole = np.array(paint) - Palette.skin
    return float((color - Palette.skin) @ whole / (whole @ whole))


def test_lips_and_brows_are_painted_where_the_landmarks_are(
    ict: mp2flame.FlameHead, bare_found: LandmarkEmbedding
) -> None:
    head = _bare(ict)
    at = _positions(head, bare_found)
    colors = ProceduralAlbedo(head, bare_found).paint(Palette()).astype(float)
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


def test_error_models_of_other_subjects_predict_their_errors(
    ict: mp2flame.FlameHead, ict_found: LandmarkEmbedding, landmarker: Path
) -> None:
    settings = RenderSettings(subjects=90, images=3)
    model = fit_error_model(render_error_samples(ict, ict_found, landmarker, settings))
    fresh = render_error_samples(ict, ict_found, landmarker, RenderSettings(subjects=10, images=3, seed=99))
    flat = fresh.errors.reshape(len(fresh.errors), -1)
    residual = flat - model.view_bias(fresh.view) - fresh.face @ model.face_response
    residual -= fresh.identity @ model.identity_response
    assert (residual**2).mean() < 0.8 * (flat**2).mean()
    likelihoods = {}
    dense = model.absolute.components.T @ model.absolute.components + np.diag(model.absolute.noise**2)
    for name, matrix in {"full": dense, "independent": np.diag(dense.diagonal())}.items():
        lower = np.linalg.cholesky(matrix)
        white = np.linalg.solve(lower, residual.T)
        likelihoods[name] = -(white**2).mean() / 2 - np.log(lower.diagonal()).mean()
        assert 0.3 < (white**2).mean() < 4, name
    # In nats for each coordinate: landmark errors go together.
    assert likelihoods["full"] > likelihoods["independent"] + 0.5


def _never() -> None:
    raise AssertionError("an image was rendered though everything is in the cache")


def test_the_cache_keeps_landmarks_and_error_model(
    builtin: tuple[LandmarkEmbedding, Path], landmarker: Path, tmp_path: Path
) -> None:
    head, (found, folder) = mp2flame.load_head("builtin"), builtin
    assert sorted("".join(path.suffixes) for path in folder.iterdir()) == [".landmarks.npz", ".png"]
    again = cached_landmarks(head, landmarker, settings=_IMAGES, folder=folder, on_image=_never)
    np.testing.assert_array_equal(again.barycentric, found.barycentric)
    again.check_head(head)

    def errors(**options: object) -> LandmarkErrorModel:
        return cached_error_model(head, landmarker, found, settings=_ERROR_IMAGES, folder=tmp_path, **options)  # type: ignore[arg-type]

    first = errors()
    np.testing.assert_allclose(errors(on_image=_never).bias, first.bias, atol=1e-8)
    for stored in tmp_path.iterdir():
        stored.write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="an image was rendered"):
        errors(on_image=_never)


def test_a_key_differs_between_heads_settings_and_code(
    ict: mp2flame.FlameHead, landmarker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = _bare(ict)
    colorless = replace(ict, arrays=replace(ict.arrays, vertex_colors=None))
    other = tmp_path / "other.task"
    other.write_bytes(b"another landmarker")
    keys = [
        cache_key(ict, landmarker, _IMAGES),
        cache_key(bare, landmarker, _IMAGES),
        cache_key(colorless, landmarker, _IMAGES),
        cache_key(ict, other, _IMAGES),
        cache_key(ict, landmarker, _ERROR_IMAGES),
        cache_key(ict, landmarker, replace(_IMAGES, seed=1)),
    ]
    monkeypatch.setattr(cache, "code_digest", lambda: "changed code")
    keys.append(cache_key(ict, landmarker, _IMAGES))
    assert len(set(keys)) == len(keys)


def test_a_changed_line_of_a_renderer_changes_the_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pretended_synthesis"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "views.py").write_text("YAW = 13\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = code_digest("pretended_synthesis")
    assert before == code_digest("pretended_synthesis")
    (package / "views.py").write_text("YAW = 14\n")
    changed = code_digest("pretended_synthesis")
    (package / "views.py").write_text("YAW = 13\n")
    monkeypatch.setattr(mp2flame, "__version__", "99.0")
    assert len({before, changed, code_digest("pretended_synthesis")}) == 3


@pytest.mark.parametrize("kind", ["a file", "below a file"])
def test_a_cache_that_cannot_be_written_is_a_warning(kind: str, landmarker: Path, tmp_path: Path) -> None:
    head = mp2flame.load_head("builtin")
    (tmp_path / "file").write_bytes(b"no folder")
    folder = tmp_path / "file" if kind == "a file" else tmp_path / "file" / "heads"
    warnings: list[str] = []
    few = RenderSettings(subjects=4, images=3)
    found = cached_landmarks(head, landmarker, settings=few, folder=folder, log=warnings.append)
    assert len(found) == 478
    assert len(warnings) == 1
    assert "set MP2FLAME_CACHE to a folder that can be written" in warnings[0]
    assert (tmp_path / "file").read_bytes() == b"no folder"


def test_dots_are_drawn_where_landmarks_are(builtin: tuple[LandmarkEmbedding, Path]) -> None:
    head, embedding = mp2flame.load_head("builtin"), builtin[0]
    dotted = plot_landmarks(head, embedding).astype(int)
    plain = plot_landmarks(head, replace(embedding, spread=None)).astype(int)
    assert dotted.shape[1] == 3 * dotted.shape[0]
    green = (dotted[..., 1] > dotted[..., 0] + 60) & (dotted[..., 1] > dotted[..., 2] + 60)
    blue = (plain[..., 2] > plain[..., 0] + 60) & (plain[..., 2] > plain[..., 1] + 60)
    middle = slice(dotted.shape[0], 2 * dotted.shape[0])
    assert green[:, middle].sum() > 200 * 8
    assert blue.sum() > green.sum()


def test_a_head_that_shows_no_face_is_refused_with_an_image(landmarker: Path, tmp_path: Path) -> None:
    head = mp2flame.load_head("builtin")
    # The back of a head, where the face should be.
    turn = np.array([-1, 1, -1], dtype=np.float32)
    arrays = head.arrays
    away = replace(
        arrays, v_template=arrays.v_template * turn, shapedirs=arrays.shapedirs * turn[:, None], vertex_colors=None
    )
    with pytest.raises(InputError, match=r"found one in 0 of 1 images .*: see .*missed\.png"):
        cached_landmarks(replace(head, arrays=away), landmarker, folder=tmp_path)
    shown = next(tmp_path.glob("*.missed.png"))
    assert shown.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [shown]
