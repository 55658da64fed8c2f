"""From the name of a target, a file or an address, to a sink."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final

from mp2flame.data import HeadLike
from mp2flame.errors import InputError
from mp2flame.sinks.base import Sink

FILES: Final = {
    ".npz": "mp2flame.formats.vhap:NpzSink",
    ".csv": "mp2flame.formats.csv_table:CsvSink",
    "flame_param": "mp2flame.formats.vhap:FrameFolderSink",
    ".jsonl": "mp2flame.formats.recording:RecordingSink",
    ".mp4": "mp2flame.sinks.video:VideoSink",
    ".gif": "mp2flame.sinks.video:VideoSink",
}
"""Suffix, or name of a folder, to the class of the sink, which is called with the path and `head=`."""

ADDRESSES: Final = {
    "vmc": "mp2flame.streams.vmc:VmcSink",
    "livelink": "mp2flame.streams.livelink:LiveLinkSink",
    "ws": "mp2flame.streams.websocket:WebSocketSink",
    "udp": "mp2flame.streams.udp_json:UdpSink",
}
"""Scheme of an address to the class of the sink, which has `from_url(url, head=...)`."""


def file_sink_class(path: Path) -> Any:
    """The class of the sink that writes this kind of file, from this package or an entry point; None if there is none.

    Entry points of the groups `mp2flame.sinks` and `mp2flame.formats` are named by the suffix, such as `.bvh`.
    """
    kind = path.suffix.lower() or path.name
    if kind in FILES:
        return resolve_name(FILES[kind])
    return _entry_point(kind, "mp2flame.sinks", "mp2flame.formats")


def open_sink(target: str | Path, *, head: HeadLike, **options: Any) -> Sink:
    """The sink for a target such as `video.mp4`, `motion.npz`, `recording.jsonl` or `vmc://localhost:39539`.

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
        kind = scheme.lower()
        sink_class = resolve_name(ADDRESSES[kind]) if kind in ADDRESSES else _entry_point(kind, "mp2flame.sinks")
        if sink_class is None:
            raise InputError(f"expected an address {_listed(ADDRESSES, '://')}; got {target}")
        sink: Sink = sink_class.from_url(str(target), head=head, **options)
        return sink
    path = Path(target)
    sink_class = file_sink_class(path)
    if sink_class is None:
        raise InputError(
            f"expected an output {_listed(FILES)}, or an address {_listed(ADDRESSES, '://')}; got {path.name}"
        )
    file_sink: Sink = sink_class(path, head=head, **options)
    return file_sink


def open_sinks(targets: Iterable[str | Path], *, head: HeadLike) -> list[Sink]:
    """A sink for each target; if one cannot be opened, those before it leave nothing behind.

    Raises:
        InputError, MissingFileError, MissingExtraError, SinkError: as `open_sink` does.
    """
    sinks: list[Sink] = []
    try:
        for target in targets:
            sinks.append(open_sink(target, head=head))  # noqa: PERF401 - the sinks before a failing one are needed
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise
    return sinks


def _entry_point(name: str, *groups: str) -> Any:
    for group in groups:
        for entry in entry_points(group=group, name=name):
            return entry.load()
    return None


def _listed(table: Mapping[str, str], end: str = "") -> str:
    names = [name + end for name in table]
    return f"{', '.join(names[:-1])} or {names[-1]}"
