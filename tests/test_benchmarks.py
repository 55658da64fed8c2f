"""Benchmarks run as they say, from a checkout, without the tests."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_FILES = sorted((_ROOT / "benchmarks").glob("*.py"))
_COMMAND = re.compile(r"python (-m benchmarks\.(?P<module>\w+)|benchmarks/(?P<file>\w+)\.py)")


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_a_benchmark_imports_no_tests_and_names_a_command_that_finds_its_imports(path: Path) -> None:
    imported = _imported(path)
    assert "tests" not in imported
    command = _COMMAND.search(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
    if command is not None:
        assert path.stem in (command["module"], command["file"])
        # A file that is run by its path finds its neighbors under other names than theirs.
        assert command["module"] or "benchmarks" not in imported


@pytest.mark.parametrize("name", [path.stem for path in _FILES if path.stem.startswith("bench_live")])
def test_the_command_of_a_live_benchmark_starts(name: str) -> None:
    for package in ("viser", "mediapipe", "websockets", "psutil"):
        pytest.importorskip(package)
    environment = {**os.environ, "PYTHONPATH": str(_ROOT / "src")}
    command = _COMMAND.search((_ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8"))
    assert command is not None
    words = [sys.executable, *command[0].split()[1:], "--help"]
    result = subprocess.run(words, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "--landmarker" in result.stdout
