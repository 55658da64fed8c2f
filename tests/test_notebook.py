"""The notebook runs from top to bottom, and what it tells is true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="data sets need the extra train")

_NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "compute_mappings.ipynb"


def test_the_notebook_tells_the_truth(capsys: pytest.CaptureFixture[str]) -> None:
    cells = json.loads(_NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    told = capsys.readouterr().out
    assert "2408 frames, 8 at rest" in told
    assert "jawLeft on eyes 0.0000" in told
    figures = {name: measures.figures()["face"] for name, measures in names["evaluation"].measures.items()}
    assert figures["ridge"] < figures["pinv"] < figures["no expression"]
    assert (names["folder"] / "mine.safetensors").is_file()
