"""Every error that mp2flame raises on purpose.

    Mp2FlameError
    ├── InputError (ValueError)             an array, name or setting is not what the call needs
    │   └── HeadMismatchError               a mapping or parameters made for another head
    ├── FormatError (ValueError)            a file or packet is truncated, foreign or inconsistent
    │   └── UnsafePickleError               a pickle asks for something outside the list of plain data
    ├── MissingFileError (FileNotFoundError)
    ├── MissingExtraError (ImportError)     an optional dependency is not installed
    ├── SourceError (OSError)               a camera, video or stream cannot be read
    ├── SinkError (OSError)                 a file, window or socket cannot be written
    ├── FetchError (OSError)                a download failed, was refused or has the wrong hash
    └── WorkerError (RuntimeError)          a process that worked on a part was killed

Messages say what was expected, what was got and what to do.
"""

from __future__ import annotations

__all__ = [
    "FetchError",
    "FormatError",
    "HeadMismatchError",
    "InputError",
    "MissingExtraError",
    "MissingFileError",
    "Mp2FlameError",
    "SinkError",
    "SourceError",
    "UnsafePickleError",
    "WorkerError",
]


class Mp2FlameError(Exception):
    """Base of every error that mp2flame raises on purpose."""


class InputError(Mp2FlameError, ValueError):
    """An array, name or setting is not what the call needs."""


class HeadMismatchError(InputError):
    """A mapping or parameters made for one head meet another."""


class FormatError(Mp2FlameError, ValueError):
    """A file or packet is truncated, foreign or inconsistent."""


class UnsafePickleError(FormatError):
    """A pickle asks for something outside the short list of plain data; nothing of it was run."""


class MissingFileError(Mp2FlameError, FileNotFoundError):
    """A named file or folder does not exist."""


class MissingExtraError(Mp2FlameError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: the name as imported, for example ``"mediapipe"``.
        extra: the extra of mp2flame that brings it, for example ``"track"``.
        purpose: what it is needed for, as the end of the sentence "... is needed to".
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f'{package} is needed to {purpose}. Install it with: pip install "mp2flame[{extra}]"')
        self.package = package
        self.extra = extra


class SourceError(Mp2FlameError, OSError):
    """A camera, video, folder or stream cannot be read."""


class SinkError(Mp2FlameError, OSError):
    """A file, window or socket cannot be written."""


class FetchError(Mp2FlameError, OSError):
    """A download failed, was refused, or does not have the expected hash."""


class WorkerError(Mp2FlameError, RuntimeError):
    """A process that worked on a part was killed, as the system does when memory runs out."""
