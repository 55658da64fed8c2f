"""Addresses: what is taken, and what the message says about the rest."""

from __future__ import annotations

import pytest

from mp2flame.errors import InputError
from mp2flame.streams.base import parse_address


def test_parts_and_defaults() -> None:
    address = parse_address("vmc://10.0.0.7?case=pascal&fps=29.97", port=39539, settings=("case", "fps"))
    assert (address.scheme, address.host, address.port) == ("vmc", "10.0.0.7", 39539)
    assert address.choice("case", ("camel", "pascal"), "camel") == "pascal"
    assert address.number("fps", 60.0) == 29.97
    assert address.number("rate", 60.0) == 60.0
    assert parse_address("livelink://:11112", port=11111).port == 11112
    assert parse_address("livelink://:11112", port=11111).host == ""
    assert parse_address("ws://[::1]:9000").host == "::1"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ws://localhost", "with a port"),
        ("ws://localhost:99999", "expected an address"),
        ("ws://localhost:x", "expected an address"),
        ("ws://localhost:1/path", "of the form"),
        ("ws://me:secret@localhost:1", "of the form"),
        ("ws://localhost:1?color=red", "unknown setting color"),
        ("ws://localhost:1?format", "expected an address"),
    ],
)
def test_refusals(url: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_address(url, settings=("format",))


def test_a_host_that_is_needed() -> None:
    with pytest.raises(InputError, match="with a host"):
        parse_address("udp://:9000", host_needed=True)


@pytest.mark.parametrize("value", ["0", "-1", "many", "inf", "nan"])
def test_numbers_are_positive(value: str) -> None:
    with pytest.raises(InputError, match="positive number"):
        parse_address(f"livelink://h?fps={value}", port=1, settings=("fps",)).number("fps", 60.0)


def test_choices_are_listed() -> None:
    address = parse_address("vmc://h?case=upper", port=1, settings=("case",))
    with pytest.raises(InputError, match="one of camel, pascal"):
        address.choice("case", ("camel", "pascal"), "camel")
