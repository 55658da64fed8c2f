"""Without an extra, whatever needs it says how to install it, and everything else works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.split(".")[0])
sys.meta_path.insert(0, Blocker())
"""

_EXTRAS = [
    "mediapipe",
    "av",
    "cv2",
    "PIL",
    "pyvista",
    "vtk",
    "viser",
    "pythonosc",
    "websockets",
    "pyarrow",
    "matplotlib",
    "ray",
]


def _run(blocked: list[str], code: str, folder: Path) -> str:
    script = _BLOCK.format(blocked=blocked) + code
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, check=False)
    return (ran.stdout + ran.stderr).strip()


_HEAD = "import mp2flame; head = mp2flame.load_head('builtin'); surface = head\n"


@pytest.mark.parametrize(
    ("package", "extra", "code"),
    [
        ("mediapipe", "track", "import mp2flame.sources.detector"),
        ("av", "track", "import mp2flame.sources.video"),
        ("av", "track", _HEAD + "mp2flame.open_sink('film.mp4', head=surface)"),
        ("cv2", "track", "import mp2flame.sources.images as i; i.read_image('a.png')"),
        ("pyvista", "render", "import mp2flame.render"),
        ("pyvista", "render", _HEAD + "mp2flame.open_sink('film.mp4', head=surface)"),
        ("PIL", "render", _HEAD + "mp2flame.open_sink('film.gif', head=surface)"),
        ("pythonosc", "stream", _HEAD + "mp2flame.open_sink('vmc://127.0.0.1:39539', head=surface)"),
        ("websockets", "stream", _HEAD + "mp2flame.open_sink('ws://:0', head=surface)"),
        ("viser", "viewer", "import mp2flame.live.page"),
        ("pyarrow", "train", "import mp2flame.dataset.store"),
    ],
)
def test_a_missing_extra_prints_its_install_line(package: str, extra: str, code: str, tmp_path: Path) -> None:
    said = _run([package], code, tmp_path)
    assert said.splitlines()[-1].startswith("mp2flame.errors.MissingExtraError: "), said
    assert f'Install it with: pip install "mp2flame[{extra}]"' in said
    assert list(tmp_path.iterdir()) == []


def test_a_bare_install_maps_poses_and_saves(tmp_path: Path) -> None:
    code = (
        _HEAD
        + """
import numpy as np
mapping = mp2flame.load_mapping("builtin")
seen = mp2flame.Observation(time=np.zeros(1), found=np.ones(1, bool), scores=np.full((1, 52), 0.3, np.float32))
params = mapping(seen)
assert head(params).shape == (1, head.n_vertices, 3)
params.save("out.npz")
assert len(mp2flame.load_params("out.npz")) == 1
from mp_2_flame import MP_2_FLAME
print("all well")
"""
    )
    assert _run(_EXTRAS, code, tmp_path) == "all well"


def test_a_bare_install_has_a_command_line(tmp_path: Path) -> None:
    said = _run(_EXTRAS, "from mp2flame.cli import main; raise SystemExit(main(['head', 'info']))", tmp_path)
    assert "built-in" in said
    said = _run(
        _EXTRAS, "from mp2flame.cli import main; raise SystemExit(main(['drive', 'a.mp4', '-o', 'b.npz']))", tmp_path
    )
    assert "a.mp4" in said
    assert "Traceback" not in said
