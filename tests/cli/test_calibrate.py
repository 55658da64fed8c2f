"""`mp2flame calibrate`: what it refuses and with which words, and the pair of files that drive takes by one name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mp2flame import load_head
from mp2flame.cli import main


def _run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """The exit code, and what was printed on both streams as one line of words."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, " ".join((captured.out + captured.err).split())


def test_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["calibrate", "--help"])
    assert stopped.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for word in ("--head", "--kind", "--quick", "--report", "--keep-work"):
        assert word in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "m.npz", "--head", "builtin"], "expected an output that ends in .safetensors; got m.npz"),
        (["-o", "no/m.safetensors", "--head", "builtin"], "the folder no does not exist"),
        (["-o", "m.safetensors", "--head", "builtin", "--workers", "0"], "expected at least one worker; got 0"),
        (
            ["-o", "m.safetensors", "--head", "builtin", "--report", "r.pdf"],
            "expected reports that end in .html or .json; got r.pdf",
        ),
    ],
)
def test_what_cannot_work_is_said_before_any_work(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = _run(capsys, "calibrate", *words)
    assert code == 1
    assert said in text
    assert not list(tmp_path.iterdir())


def test_a_head_without_expression_components_is_refused(
    landmarker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyvista")
    pytest.importorskip("mediapipe")
    pytest.importorskip("pyarrow")

    head = load_head("builtin")
    stilled = head.arrays.shapedirs.copy()
    stilled[:, :, head.n_shape :] = 0
    path = tmp_path / "still.safetensors"
    replace(head, arrays=replace(head.arrays, shapedirs=stilled)).save(path)
    code, said = _run(capsys, "calibrate", "--head", path, "-o", tmp_path / "m.safetensors", "--landmarker", landmarker)
    assert code == 1
    assert "expected a head whose expression components move it" in said
    assert "there is nothing to calibrate" in said
    assert list(tmp_path.iterdir()) == [path]


def test_a_head_that_mediapipe_cannot_find_is_refused_and_its_picture_saved(
    landmarker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    code, said = _run(
        capsys,
        *("calibrate", "--head", path, "-o", tmp_path / "m.safetensors", "--work", tmp_path / "work"),
        *("--landmarker", landmarker),
    )
    assert code == 1
    assert "expected a head that MediaPipe can see; it finds no face in a picture of this one" in said
    (picture,) = (tmp_path / "work").glob("unseen-*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.name in said
    assert not (tmp_path / "m.safetensors").exists()


def test_a_head_that_mediapipe_seldom_finds_is_refused_before_people_are_photographed(
    landmarker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    code, said = _run(
        capsys,
        *("calibrate", "--head", path, "-o", tmp_path / "m.safetensors", "--work", tmp_path / "work"),
        *("--landmarker", landmarker),
    )
    assert code == 1
    assert "pictures only of this one" in said
    (picture,) = (tmp_path / "work").iterdir()
    assert picture.name in said
