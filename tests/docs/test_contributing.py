"""The examples of a source, a sink and a format in the documentation, as plug-ins of another package."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import mp2flame
from tests.helpers.documents import ROOT, code_blocks

_PAGE = ROOT / "docs" / "contributing.md"


def test_the_examples_work_as_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_package.py").write_text("\n".join(block.text for block in code_blocks(_PAGE, "python")))
    (toml,) = code_blocks(_PAGE, "toml")
    info = tmp_path / "my_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    groups = re.sub(r'\[project\.entry-points\."(.+?)"\]', r"[\1]", toml.text)
    (info / "entry_points.txt").write_text(re.sub(r'"(.+?)" = "(.+?)"', r"\1 = \2", groups))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    jaw = mp2flame.blendshapes.ARKIT.index("jawOpen")
    rows = np.zeros((30, 52))
    rows[:, jaw] = np.linspace(0, 0.8, 30)
    np.savetxt("take.scores", rows)

    report = mp2flame.drive("take.scores", ["take.jaw", "take.flametxt"], neutral="none", fps=10)

    assert report.frames == 30
    angles = np.loadtxt("take.jaw")
    assert len(angles) == 30
    assert angles[-1] > angles[0] + 5
    params = mp2flame.load_params("take.flametxt", frame_rate=10)
    assert params.time[-1] == pytest.approx(2.9)
    assert params.n_expression == mp2flame.load_head("builtin").n_expression
