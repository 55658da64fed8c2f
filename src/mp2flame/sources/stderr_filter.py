"""Keeps MediaPipe's start-up chatter from the user's terminal without hiding anything else."""

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
# ABSL_MIN_LOG_LEVEL, GOOGLE_STDERRTHRESHOLD), so its lines are known by their looks. Errors (E, F) always pass.
_CHATTER: Final = re.compile(
    rb"[IW]\d{4} [\d:.]+ +\d+ \S+:\d+\] "
    rb"|WARNING: (All log messages before absl|Logging before InitGoogle)"
    rb"|INFO: (Created TensorFlow Lite |\[\S+:\d+\] )"
)
# Said once in a process, when the input of one of the models happens to lie where LiteRT does not want it: in the first
# picture as a rule, but now and then in a later one.
_ONCE: Final = b"Input tensor memory is not aligned"
_PICTURES_TO_WAIT: Final = 100
_STDERR: Final = 2
# Two threads that exchange the same descriptor would put back each other's.
_lock = threading.Lock()


class _Expected:
    """For how many pictures more the warning that comes once is waited for."""

    pictures = _PICTURES_TO_WAIT


def filter_stderr_while_detecting(*, started: bool) -> AbstractContextManager[None]:
    """`filter_stderr` for one picture; nothing once a task has started and MediaPipe has said all that it says."""
    if started and _Expected.pictures <= 0:
        return nullcontext()
    _Expected.pictures -= 1
    return filter_stderr()


@contextmanager
def filter_stderr() -> Iterator[None]:
    """Hold back file descriptor 2, where C++ writes, and let through afterwards what is not MediaPipe's chatter."""
    with _lock, tempfile.TemporaryFile() as held:
        try:
            kept = os.dup(_STDERR)
        except OSError:
            # A process without stderr has nothing to be kept clean.
            yield
            return
        _flush()
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            _flush()
            os.dup2(kept, _STDERR)
            os.close(kept)
            held.seek(0)
            text = held.read()
            if _ONCE in text:
                _Expected.pictures = 0
            _replay(text)


def _flush() -> None:
    # Under some launchers sys.stderr is None or closed.
    with suppress(AttributeError, ValueError, OSError):
        sys.stderr.flush()


def _replay(text: bytes) -> None:
    passed = b"".join(line for line in text.splitlines(keepends=True) if not _CHATTER.match(line))
    with suppress(OSError):
        while passed:
            passed = passed[os.write(_STDERR, passed) :]
