"""Keeps MediaPipe's log lines from the user's terminal without hiding anything else."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Final

# MediaPipe's library reads no variable that would lower its log level (tried: GLOG_minloglevel, TF_CPP_MIN_LOG_LEVEL,
# ABSL_MIN_LOG_LEVEL, GOOGLE_STDERRTHRESHOLD), so its lines are known by their form. Errors (E, F) always pass.
_LOG_LINE: Final = re.compile(
    rb"[IW]\d{4} [\d:.]+ +\d+ \S+:\d+\] "
    rb"|WARNING: (All log messages before absl|Logging before InitGoogle)"
    rb"|INFO: (Created TensorFlow Lite |\[\S+:\d+\] )"
)
_STDERR: Final = 2


# Two threads that exchange the descriptor would restore each other's. Reentrant: inside the block Python may collect
# an abandoned iteration, which closes its detector in the same thread.
_lock = threading.RLock()


class StderrFilter:
    """Holds back what MediaPipe logs while a block runs.

    LiteRT logs a line as a rule for the first image of a process, now and then for a later one of the first `images`.
    """

    def __init__(self, images: int = 100) -> None:
        self._images_left = images
        self._active = False

    def while_detecting(self, *, started: bool) -> AbstractContextManager[None]:
        """`hold` for one image; does nothing once a task has started and no line is expected any more."""
        if started and self._images_left <= 0:
            return nullcontext()
        self._images_left -= 1
        return self.hold()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold back file descriptor 2, to which C++ writes, and pass on afterwards all that is not a log line."""
        with _lock:
            if self._active:
                # A block within a block of the same thread.
                yield
                return
            with tempfile.TemporaryFile() as held:
                try:
                    kept = os.dup(_STDERR)
                except OSError:
                    # The process has no stderr.
                    yield
                    return
                _exchange(held.fileno())
                self._active = True
                try:
                    yield
                finally:
                    self._active = False
                    _exchange(kept)
                    os.close(kept)
                    held.seek(0)
                    # Unbuffered, as C++ writes.
                    with suppress(OSError), open(_STDERR, "wb", buffering=0, closefd=False) as stderr:
                        stderr.writelines(line for line in held if not _LOG_LINE.match(line))


mediapipe_stderr: Final = StderrFilter()
"""The filter of this process."""


def _exchange(descriptor: int) -> None:
    """Let file descriptor 2 be a copy of another."""
    # Under some launchers sys.stderr is None or closed.
    with suppress(AttributeError, ValueError, OSError):
        sys.stderr.flush()
    os.dup2(descriptor, _STDERR)
