"""Addresses such as `livelink://:11111?angles=degrees`, parsed strictly."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from mp2flame.errors import InputError

__all__ = ["Address", "parse_address"]


@dataclass(frozen=True)
class Address:
    """Where a stream comes from or goes to, and the settings written behind its `?`."""

    url: str
    """As it was given, for messages."""
    scheme: str
    host: str
    """Empty where the address names none, as in `livelink://:11111`."""
    port: int
    settings: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def text(self, name: str, default: str) -> str:
        """The setting of this name; the last one counts."""
        return self.settings.get(name, [default])[-1]

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        """A setting that must be one of the choices.

        Raises:
            InputError: it is none of them.
        """
        value = self.text(name, default)
        if value not in choices:
            raise InputError(f"expected {name}= one of {', '.join(choices)} in {self.url}; got {value!r}")
        return value

    def number(self, name: str, default: float | None) -> float | None:
        """A setting that must be a positive number.

        Raises:
            InputError: it is not.
        """
        if name not in self.settings:
            return default
        try:
            value = float(self.settings[name][-1])
        except ValueError:
            value = -1.0
        if not 0 < value < float("inf"):
            raise InputError(f"expected {name}= a positive number in {self.url}; got {self.settings[name][-1]!r}")
        return value


def parse_address(
    url: str, *, port: int | None = None, settings: Collection[str] = (), host_needed: bool = False
) -> Address:
    """Take an address apart.

    Args:
        url: for example `vmc://127.0.0.1:39539?case=pascal`.
        port: what an absent port means; None where it must be given.
        settings: the names that may come behind `?`.
        host_needed: an address without a host is an error.

    Raises:
        InputError: it has no such form, or a part that is not known.
    """
    try:
        parts = urlsplit(url)
        number = parts.port
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise InputError(f"expected an address such as udp://127.0.0.1:9000; got {url!r} ({error})") from error
    form = f"{parts.scheme}://{'HOST' if host_needed else '[HOST]'}:{'PORT' if port is None else port}"
    if parts.path not in ("", "/") or parts.fragment or parts.username is not None or not parts.scheme:
        raise InputError(f"expected an address of the form {form}; got {url!r}")
    if host_needed and not parts.hostname:
        raise InputError(f"expected an address with a host, {form}; got {url!r}")
    if number is None and port is None:
        raise InputError(f"expected an address with a port, {form}; got {url!r}")
    unknown = sorted(set(query) - set(settings))
    if unknown:
        known = ", ".join(sorted(settings)) or "none"
        raise InputError(f"unknown setting {', '.join(unknown)} in {url!r}; {parts.scheme}:// knows: {known}")
    chosen = number if number is not None else port
    assert chosen is not None
    return Address(url, parts.scheme, parts.hostname or "", chosen, query)
