"""Sinks by the name of their target: a file's suffix, or the scheme of an address."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mp2flame.data import HeadLike
from mp2flame.errors import InputError
from mp2flame.sinks.base import Sink

__all__ = ["open_sink"]

# Modules are imported when they are asked for: each needs other packages.
_FILES: Final = MappingProxyType(
    {
        ".npz": "mp2flame.sinks.params_file:ParamsFileSink",
        ".csv": "mp2flame.sinks.params_file:ParamsFileSink",
        "flame_param": "mp2flame.sinks.params_file:ParamsFileSink",
        ".jsonl": "mp2flame.sinks.recording:RecordingSink",
        ".mp4": "mp2flame.sinks.film:FilmSink",
        ".gif": "mp2flame.sinks.film:FilmSink",
    }
)
_ADDRESSES: Final = MappingProxyType(
    {
        "vmc": "mp2flame.streams.vmc:VmcSink",
        "livelink": "mp2flame.streams.livelink:LiveLinkSink",
        "ws": "mp2flame.streams.websocket:WebSocketSink",
        "udp": "mp2flame.streams.udp_json:UdpSink",
    }
)


def open_sink(target: str | Path, *, head: HeadLike, **options: Any) -> Sink:
    """The sink for a target such as `film.mp4`, `motion.npz`, `take.jsonl` or `vmc://localhost:39539`.

    Args:
        target: a file name, or an address with a scheme.
        head: the head that is driven.
        options: settings of that kind of sink.

    Raises:
        InputError: no sink takes this suffix or scheme.
        MissingFileError: the folder of the file does not exist.
        MissingExtraError: a package that this sink needs is not installed.
        SinkError: the target cannot be opened.
    """
    scheme, separator, _ = str(target).partition("://")
    if separator:
        if scheme.lower() not in _ADDRESSES:
            raise InputError(f"expected an address {_listed(_ADDRESSES, '://')}; got {target}")
        sink: Sink = _imported(_ADDRESSES[scheme.lower()]).from_url(str(target), head=head, **options)
        return sink
    path = Path(target)
    kind = path.suffix.lower() or path.name
    if kind not in _FILES:
        raise InputError(
            f"expected an output {_listed(_FILES)}, or an address {_listed(_ADDRESSES, '://')}; got {path.name}"
        )
    made: Sink = _imported(_FILES[kind])(path, head=head, **options)
    return made


def _listed(table: MappingProxyType[str, str], end: str = "") -> str:
    names = [name + end for name in table]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
