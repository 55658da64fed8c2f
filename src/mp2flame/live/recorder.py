"""Record, stop, download: one take at a time, kept in the user's data folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from mp2flame.errors import InputError
from mp2flame.head import FlameHead
from mp2flame.live.takes import Take, export
from mp2flame.pipeline import Pipeline

__all__ = ["Recorder"]


class Recorder:
    """Methods may be called from any thread.

    Args:
        folder: where takes are kept.
        head: is driven.
        pipeline: feeds the takes.
    """

    def __init__(self, folder: Path, head: FlameHead, pipeline: Pipeline) -> None:
        self._folder = folder
        self._head = head
        self._pipeline = pipeline
        self._take: Take | None = None
        self._running = False
        self._exporting = threading.Lock()
        self._lock = threading.Lock()

    @property
    def take(self) -> Take | None:
        """The take that runs, or the last one."""
        return self._take

    @property
    def running(self) -> bool:
        """Whether frames are being recorded."""
        return self._running

    def start(self) -> None:
        """Begin a new take.

        Raises:
            InputError: one is running.
            SinkError: its file cannot be made.
        """
        with self._lock:
            if self._running:
                raise InputError("a recording is running: stop it first")
            name = time.strftime("%Y-%m-%d_%H-%M-%S")
            path = self._folder / f"{name}.jsonl"
            count = 1
            while path.exists():
                count += 1
                path = self._folder / f"{name}_{count}.jsonl"
            self._take = Take(path, head=self._head)
            self._pipeline.add_sink(self._take)
            self._running = True

    def stop(self) -> Take:
        """End the take that runs.

        Raises:
            InputError: none is running.
        """
        with self._lock:
            if not self._running or self._take is None:
                raise InputError("nothing is being recorded")
            self._running = False
            self._pipeline.remove_sink(self._take)
            return self._take

    def export(self, kind: str, on_frame: Callable[[int], None]) -> Path:
        """The last take as a file of another format, see `mp2flame.live.takes.export`.

        Raises:
            InputError: there is no finished take with frames, or no such format.
            SinkError: it cannot be written.
        """
        take = self._take
        if take is None or self._running:
            raise InputError("expected a finished recording: press Record, then Stop")
        with self._exporting:
            return export(take, kind, head=self._head, on_frame=on_frame)
