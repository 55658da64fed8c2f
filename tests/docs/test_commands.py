"""What the documents tell a reader to type: commands have the options that they are given, links lead to files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import mp2flame
from mp2flame.cli import main
from mp2flame.cli.main import COMMANDS
from tests.helpers.documents import DOCUMENTS, ROOT, Block, code_blocks, commands

_SHELL = [block for path in DOCUMENTS for block in code_blocks(path, "bash")]
_PYTHON = [block for path in DOCUMENTS for block in code_blocks(path, "python")]
_OTHER_PROGRAMS = {
    "pip",
    "pytest",
    "python",
    "python3",
    "mypy",
    "ruff",
    "sphinx-build",
    "apt-get",
    "export",
    "source",
    "cd",
}


@pytest.mark.parametrize("block", _SHELL, ids=str)
def test_every_command_has_these_options(
    block: Block, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in set(COMMANDS.values()):
        monkeypatch.setattr(command, "run", lambda self: 0)
    for words in commands(block):
        if words[0] in _OTHER_PROGRAMS:
            continue
        assert words[0] == "mp2flame", f"{block}: {' '.join(words)}"
        try:
            code = main(words[1:])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        assert code == 0, f"{block}: {' '.join(words)}: {capsys.readouterr()}"


@pytest.mark.parametrize("block", _PYTHON, ids=str)
def test_python_blocks_are_python(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_lead_to_files(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", text)
    files = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in files if not (path.parent / link).exists()] == []


def test_every_public_name_is_in_the_overview_of_the_python_interface() -> None:
    text = (ROOT / "docs" / "api" / "index.md").read_text(encoding="utf-8")
    assert [name for name in mp2flame.__all__ if f"`{name}`" not in text and f"`mp2flame.{name}`" not in text] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
