"""The notebook runs from top to bottom, and prints what its text says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="data sets need the extra train")

_NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "compute_mappings.ipynb"


def test_the_notebook_runs(capsys: pytest.CaptureFixture[str]) -> None:
    cells = json.loads(_NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    printed = capsys.readouterr().out
    assert "2408 frames, 8 neutral" in printed
    assert "jawLeft on eyes 0.0000" in printed
    figures = {name: errors.figures()["face"] for name, errors in names["evaluation"].measures.items()}
    assert figures["ridge"] < figures["pinv"] < figures["no expression"]
    assert (names["folder"] / "mine.safetensors").is_file()
