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

import unicodedata

_JOINERS = "\u200c\u200d"


def plain(text: object, limit: int = 200) -> str:
    """Text from outside (packets, file contents, file names, reasons of servers) made safe for a message.

    White space and line breaks become single spaces. Control characters, invisible formatting characters and halves of
    characters are replaced by U+FFFD, so that nothing moves the cursor, colors a terminal or reorders a line. A text
    longer than `limit` characters is cut and ends in an ellipsis. HTML and markup are not escaped here: whoever writes
    to a page or to a terminal with markup escapes for that place.
    """
    try:
        content = str(text)
    except Exception:  # noqa: BLE001 - a number of thousands of digits, or an object of someone else
        content = f"<{type(text).__name__}>"
    content = printable(" ".join(content[: 4 * limit].split()))
    return content if len(content) <= limit else content[: limit - 1] + "\u2026"


def printable(text: str) -> str:
    """`text` with control characters, invisible formatting characters and halves of characters as U+FFFD."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if _is_control(char) else char for char in text)


def _is_control(char: str) -> bool:
    kind = unicodedata.category(char)
    return (kind[0] == "C" or kind in ("Zl", "Zp")) and char not in _JOINERS


class Mp2FlameError(Exception):
    """Base of every error that mp2flame raises on purpose."""

    def __str__(self) -> str:
        # Most messages name a file, whose name may hold anything.
        return printable(super().__str__())


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
