"""Pictures of meshes: the colors asked for, the right way round, and new normals when points move."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.errors import InputError

pytest.importorskip("pyvista", reason="needs the extra render")
from mp2flame.render import MeshRenderer

_SQUARE = np.array([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0.1, 0.1, 0], [-0.1, 0.1, 0]], dtype=np.float32)
_FACES = [[0, 1, 2], [0, 2, 3]]


def _coloured(rgb: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.tile(np.array(rgb, dtype=np.uint8), (4, 1))


def test_size_background_and_colour() -> None:
    with MeshRenderer(
        _FACES, vertex_colors=_coloured((220, 20, 20)), size=(96, 64), background=(10, 200, 30)
    ) as renderer:
        renderer.set_camera((0, 0, 0), distance=1.0)
        picture = renderer.render(_SQUARE)
    assert picture.shape == (64, 96, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(picture[0, 0], (10, 200, 30), atol=2)
    red, green, blue = picture[32, 48].astype(int)
    assert red > 3 * max(green, blue)


def test_left_and_up_are_where_they_should_be() -> None:
    with MeshRenderer(
        _FACES, vertex_colors=_coloured((255, 255, 255)), size=(64, 64), background=(0, 0, 0)
    ) as renderer:
        renderer.set_camera((0, 0, 0), distance=1.0)
        # +X is the subject's left: right in the picture of someone who faces the camera.
        right = renderer.render(_SQUARE + np.array([0.1, 0, 0], dtype=np.float32)).sum(axis=2)
        up = renderer.render(_SQUARE + np.array([0, 0.1, 0], dtype=np.float32)).sum(axis=2)
    assert right[:, 40:].sum() > 5 * right[:, :24].sum()
    assert up[:24].sum() > 5 * up[40:].sum()


def test_camera_goes_round_to_the_subjects_left() -> None:
    step = np.vstack([_SQUARE, _SQUARE + np.array([0, 0, 0.2], dtype=np.float32)])
    faces = [*_FACES, *(np.array(_FACES) + 4).tolist()]
    colors = np.vstack([_coloured((255, 0, 0)), _coloured((0, 0, 255))])
    with MeshRenderer(faces, vertex_colors=colors, size=(64, 64), background=(0, 0, 0)) as renderer:
        renderer.set_camera((0, 0, 0), distance=1.0, yaw=60)
        picture = renderer.render(step).astype(int)
    # Seen from +X, what is nearer to +Z lies to the left.
    columns = np.arange(64)
    nearer, farther = picture[..., 2].sum(axis=0), picture[..., 0].sum(axis=0)
    assert (nearer @ columns) / nearer.sum() < (farther @ columns) / farther.sum()


def test_shading_follows_moved_points() -> None:
    turned = _SQUARE.copy()
    turned[:, 2] = turned[:, 0] * 3
    with MeshRenderer(_FACES, size=(32, 32)) as first:
        first.set_camera((0, 0, 0), distance=1.0)
        flat = first.render(_SQUARE)
        moved = first.render(turned)
    with MeshRenderer(_FACES, size=(32, 32)) as fresh:
        fresh.set_camera((0, 0, 0), distance=1.0)
        np.testing.assert_array_equal(moved, fresh.render(turned))
    assert np.abs(moved[16, 16].astype(int) - flat[16, 16]).max() > 10


def test_new_colours_and_lights_take_effect() -> None:
    with MeshRenderer(_FACES, vertex_colors=_coloured((200, 200, 200)), size=(32, 32)) as renderer:
        renderer.set_camera((0, 0, 0), distance=1.0)
        bright = renderer.render(_SQUARE)
        green = renderer.render(_SQUARE, _coloured((0, 200, 0)))
        renderer.set_lights(((0.0, 0.0, 1.0), 0.2))
        dark = renderer.render(_SQUARE)
    assert bright[16, 16, 0] > 100
    assert green[16, 16, 0] < 40 < green[16, 16, 1]
    assert dark[16, 16, 1] < green[16, 16, 1] - 20


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(InputError, match=r"faces must have shape \(F, 3\); got \(1, 4\)"):
        MeshRenderer([[0, 1, 2, 3]])
    with (
        MeshRenderer(_FACES) as renderer,
        pytest.raises(InputError, match=r"vertices must have shape \(V, 3\); got \(1, 4, 3\)"),
    ):
        renderer.render(_SQUARE[None])


def _in_a_fresh_process(code: str) -> str:
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, env=environment
    )
    return process.stdout.strip()


def test_threads_find_all_of_pyvista_imported_and_draw_their_first_images_together() -> None:
    code = """
import sys, threading
from mp2flame.render import MeshRenderer
imported, start, drawn = set(sys.modules), threading.Barrier(2), []
def draw():
    start.wait()
    with MeshRenderer([[0, 1, 2]], size=(32, 32)) as renderer:
        drawn.append(renderer.render([[0, 0, 0], [1, 0, 0], [0, 1, 0]]).shape)
threads = [threading.Thread(target=draw) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(drawn, [name for name in set(sys.modules) - imported if name.startswith("pyvista")])
"""
    assert _in_a_fresh_process(code) == "[(32, 32, 3), (32, 32, 3)] []"


@pytest.mark.parametrize("module", ["pyvista", "pyvista.plotting", "vtkmodules"])
def test_an_interrupt_waits_until_vtk_is_imported(module: str) -> None:
    code = f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
try:
    import mp2flame.render
except KeyboardInterrupt:
    print("interrupted", hasattr(sys.modules.get("pyvista.plotting"), "Plotter"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
    assert _in_a_fresh_process(code) == "interrupted True"
