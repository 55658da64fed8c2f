"""A sink that is a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typing_extensions import override

from mp2flame.data import Frame
from mp2flame.sinks.base import Sink


class FunctionSink(Sink):
    """Calls a function with the latest frame, or with every frame.

    Args:
        name: by which timings and drops name the sink.
        write: the function.
        close: is called at the end.
        options: attributes of the sink, see `Sink`.
    """

    def __init__(
        self, name: str, write: Callable[[Frame], None], close: Callable[[], None] = lambda: None, **options: Any
    ) -> None:
        self._write = write
        self._close = close
        vars(self).update({"name": name, "policy": "latest", **options})

    @override
    def write(self, frame: Frame) -> None:
        self._write(frame)

    @override
    def close(self) -> None:
        self._close()
