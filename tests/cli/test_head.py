"""The commands head info and head convert."""

from __future__ import annotations

from pathlib import Path

from mp2flame import load_head
from tests.cli.conftest import Run


def test_info_prints_version_sizes_and_hash(run: Run) -> None:
    code, text = run("head", "info")
    head = load_head("builtin")
    assert code == 0
    assert head.hash in text.replace(" ", "")
    assert str(head.n_vertices) in text
    assert "built-in" in text


def test_convert_keeps_the_hash(shared_data: Path, tmp_path: Path, run: Run) -> None:
    source = shared_data / "flame_pickles" / "flame_like_chumpy.pkl"
    code, text = run("head", "convert", source, "-o", tmp_path / "head.safetensors", "--version", "FLAME test")
    assert code == 0, text
    assert load_head(tmp_path / "head.safetensors").hash == load_head(source).hash
    assert load_head(tmp_path / "head.safetensors").version == "FLAME test"
    code, text = run("head", "convert", source, "-o", tmp_path / "head.pkl")
    assert code == 1
    assert "ends in .safetensors" in text
