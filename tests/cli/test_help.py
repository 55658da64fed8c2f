"""Help: of every command, complete, in words, and narrow enough for a terminal."""

from __future__ import annotations

import re

import pytest

from mp2flame.cli import main
from mp2flame.cli.main import COMMANDS

# What generators of help print of Python: types, defaults that say nothing, and names of themselves.
_PYTHON = re.compile(
    r"\bSTR\b|\bINT\b|\bFLOAT\b|\bPATH\b|\{None|default: None|default: False|default: True|MISSING|tyro"
)


def _main(*words: str) -> int:
    try:
        return main(words)
    except SystemExit as stopped:
        return int(stopped.code or 0)


def _help(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert _main(*words, "--help") == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_all_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = _help(capsys, *name.split())
    assert f"usage: mp2flame {name}" in text
    assert not _PYTHON.search(text), text
    described = re.sub(r"[│╭╮╰╯─]", " ", text)
    for option in re.findall(r"^ +(--[\w-]+)", described, flags=re.MULTILINE):
        after = described.split(f" {option}", 1)[1]
        words = re.sub(r"^(?: ?[A-Z|]+(?: \[[A-Z]+ \.\.\.\])?)?,?(?: --\w+ [A-Z]+)?", "", after).split()
        assert words, option
        assert not words[0].startswith("--"), f"{option} is not described"
    assert max(map(len, text.split("usage:")[0].splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_descriptions_of_options_are_not_broken_in_the_middle_of_a_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    for line in _help(capsys, *name.split()).split("usage:")[1].splitlines():
        inside = line.strip("│ ")
        if line.startswith("│") and not inside.startswith(("-", "MAPPING", "VIDEO", "INPUT")):
            # A description stands behind its option, or on one line below it.
            assert inside.endswith((".", ")", "HEAD", "help message and exit")), line


def test_the_overview_is_one_screen_with_a_line_for_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _help(capsys).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line.startswith("  ")] == [
        line for line in lines if line.strip() and "  " in line
    ]
    for name in COMMANDS:
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        assert line.endswith(".")


def test_a_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    text = _help(capsys, "dataset")
    assert re.findall(r"^  (\w+ \w+)", text, flags=re.MULTILINE) == ["dataset build", "dataset info", "dataset plot"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["drvie"], "there is no command drvie; did you mean drive?"),
        (["dataset", "bulid", "x"], "there is no command dataset bulid; did you mean dataset build?"),
        (["--what"], "there is no command --what"),
        ([], "usage: mp2flame COMMAND"),
        (["head"], "head convert"),
        (["drive"], "SOURCE"),
        (["drive", "x", "--head"], "--head"),
        (["drive", "x", "--rest", "none"], "--rest"),
        (["drive", "x", "--fps", "[/x]"], "[/x]"),
        (["drive", "x", "--[/x]"], "--[/x]"),
    ],
)
def test_wrong_usage_is_explained(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(*words) == 2
    captured = capsys.readouterr()
    assert message in " ".join((captured.out + captured.err).split())
