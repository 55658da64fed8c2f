"""Texts from outside cannot drive a terminal through a message, however long or strange they are."""

from __future__ import annotations

import pytest

from mp2flame import errors
from mp2flame.errors import FormatError, Mp2FlameError, plain

_CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Mp2FlameError)]


@pytest.mark.parametrize("bad", ["\x1b[2J", "\x1b]0;title\x07", "\x00", "\u202e", "\x9b", "\udc80", "\u2028", "\r"])
def test_control_characters_never_reach_a_message(bad: str) -> None:
    assert plain(f"a{bad}b").isprintable()
    error = FormatError(f"expected a file; got a{bad}b")
    assert str(error).isprintable()
    assert str(error).startswith("expected a file; got a")


@pytest.mark.parametrize("kind", [kind for kind in _CLASSES if kind is not errors.MissingExtraError])
def test_every_error_is_safe_to_print(kind: type[Mp2FlameError]) -> None:
    assert str(kind("in \x1b[31mred")) == "in \ufffd[31mred"


def test_text_of_any_language_stays_as_it_is() -> None:
    for text in ("Größe", "顔.mp4", "👩\u200d🚀", "نام"):
        assert plain(text) == text
        assert str(FormatError(text)) == text


def test_long_texts_are_cut_and_lines_become_spaces() -> None:
    assert plain("one\n\ttwo   three") == "one two three"
    assert plain("x" * 10_000, 50) == "x" * 49 + "\u2026"
    assert plain("x" * 50, 50) == "x" * 50


def test_what_has_no_text_is_named_by_its_kind() -> None:
    class _Silent:
        def __str__(self) -> str:
            raise RuntimeError

    assert plain(_Silent()) == "<_Silent>"
    assert len(plain(10**6000)) <= 200
