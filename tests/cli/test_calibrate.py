"""`mp2flame calibrate`: what it refuses and with which words, and the pair of files that drive takes by one name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mp2flame import load_head
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "m.npz", "--head", "builtin"], "expected an output that ends in .safetensors; got m.npz"),
        (["-o", "no/m.safetensors", "--head", "builtin"], "the folder no does not exist"),
        (["-o", "m.safetensors", "--head", "builtin", "--workers", "0"], "expected at least one process; got 0"),
        (
            ["-o", "m.safetensors", "--head", "builtin", "--report", "r.pdf"],
            "expected an output that ends in .html or .json; got r.pdf",
        ),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = run("calibrate", *words)
    assert code == 1
    assert message in text
    assert not list(tmp_path.iterdir())


def test_a_head_without_expression_components_is_refused(landmarker: Path, tmp_path: Path, run: Run) -> None:
    pytest.importorskip("pyvista")
    pytest.importorskip("mediapipe")
    pytest.importorskip("pyarrow")

    head = load_head("builtin")
    stilled = head.arrays.shapedirs.copy()
    stilled[:, :, head.n_shape :] = 0
    path = tmp_path / "still.safetensors"
    replace(head, arrays=replace(head.arrays, shapedirs=stilled)).save(path)
    code, text = run("calibrate", "--head", path, "-o", tmp_path / "m.safetensors", "--landmarker", landmarker)
    assert code == 1
    assert "expected a head whose expression components move it" in text
    assert "there is nothing to calibrate" in text
    assert list(tmp_path.iterdir()) == [path]


def test_a_head_that_mediapipe_cannot_find_is_refused_and_its_image_saved(
    landmarker: Path, tmp_path: Path, run: Run
) -> None:
    pytest.importorskip("pyvista")
    pytest.importorskip("mediapipe")
    pytest.importorskip("pyarrow")

    head = load_head("builtin")
    # Under black and white speckles nothing looks like a face, whatever its form is.
    speckles = np.random.default_rng(0).integers(0, 2, (head.n_vertices, 1)) * 255
    path = tmp_path / "speckled.safetensors"
    colors = np.repeat(speckles, 3, axis=1).astype(np.uint8)
    replace(head, arrays=replace(head.arrays, vertex_colors=colors)).save(path)
    code, text = run(
        *("calibrate", "--head", path, "-o", tmp_path / "m.safetensors", "--work", tmp_path / "work"),
        *("--landmarker", landmarker),
    )
    assert code == 1
    assert "expected a head in whose images MediaPipe finds a face; it found one in 0 of 1 images" in text
    (image,) = (tmp_path / "work").glob("missed-*.png")
    assert image.read_bytes().startswith(b"\x89PNG")
    assert image.name in text
    assert not (tmp_path / "m.safetensors").exists()


def test_a_head_that_mediapipe_seldom_finds_is_refused_before_subjects_are_rendered(
    landmarker: Path, tmp_path: Path, run: Run
) -> None:
    pytest.importorskip("pyvista")
    pytest.importorskip("mediapipe")
    pytest.importorskip("pyarrow")

    arrays = load_head("builtin").arrays
    # So low a face is still found from the front, but seldom from elsewhere.
    low = np.diag([1, 0.37, 1]).astype(np.float32)
    pressed = replace(
        arrays,
        v_template=arrays.v_template @ low,
        shapedirs=np.einsum("ij,vjk->vik", low, arrays.shapedirs),
    )
    path = tmp_path / "low.safetensors"
    replace(load_head("builtin"), arrays=pressed).save(path)
    code, text = run(
        *("calibrate", "--head", path, "-o", tmp_path / "m.safetensors", "--work", tmp_path / "work"),
        *("--landmarker", landmarker),
    )
    assert code == 1
    assert re.search(r"it found one in \d+ of 17 images", text)
    (image,) = (tmp_path / "work").glob("missed-*.png")
    assert image.name in text
