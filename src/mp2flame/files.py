"""Files that appear under their final name only when they are whole."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mp2flame.errors import InputError, MissingFileError, Mp2FlameError, SinkError

__all__ = ["PartFile", "PartFolder", "check_different", "check_target", "write_whole", "writing"]


def check_target(path: Path) -> None:
    """Refuse a file name that can never be written, before any work is done.

    Raises:
        MissingFileError: its folder does not exist.
        InputError: the name is a folder.
    """
    if not path.parent.is_dir():
        raise MissingFileError(f"cannot write {path}: the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; expected the name of a file")


def check_different(targets: Sequence[Path], source: Path | None = None) -> None:
    """Refuse files that would be written twice, or over the one that is read.

    Raises:
        InputError: a file is named twice, or is the source.
    """
    doubled = [target for target in dict.fromkeys(targets) if targets.count(target) > 1]
    if doubled:
        raise InputError(f"expected different outputs; got {', '.join(map(str, doubled))} more than once")
    for target in targets:
        if source is not None and target.exists() and target.resolve() == source.resolve():
            raise InputError(f"the output {target} is the source itself: choose a name other than what is read")


@contextmanager
def writing(path: Path, kept: str) -> Iterator[None]:
    """Turn the operating system's errors into a `SinkError` that says what was kept.

    Args:
        path: the final name, for the message.
        kept: what is left of the work, as a sentence without a full stop.

    Raises:
        SinkError: anything inside failed to write.
    """
    try:
        yield
    except Mp2FlameError:
        raise
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}; {kept}") from error


def _part_name(path: Path) -> Path:
    # In the same folder, so that the rename cannot cross file systems.
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.part")


class PartFile:
    """A temporary sibling of `path` that takes its place when published, and is removed otherwise.

    Raises:
        MissingFileError: the folder does not exist.
        InputError: the name is a folder.
        SinkError: the folder cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        check_target(path)
        self.path = path
        self.part = _part_name(path)
        with writing(path, "nothing was written"):
            self.part.touch(exist_ok=False)

    def publish(self) -> None:
        """Give the finished part its final name; what had that name before is replaced."""
        with self.part.open("rb") as file:
            os.fsync(file.fileno())
        self.part.replace(self.path)

    def discard(self) -> None:
        """Remove the part, if it is still there."""
        with suppress(OSError):
            self.part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one go; what had its name before stays until the new one is whole.

    Raises:
        MissingFileError: the folder does not exist.
        InputError: the name is a folder.
        SinkError: it cannot be written; nothing is left behind.
    """
    part = PartFile(path)
    try:
        with writing(path, "nothing was written"):
            part.part.write_bytes(data)
            part.publish()
    finally:
        part.discard()


class PartFolder:
    """As `PartFile`, for a folder of files. A folder that already holds something is not replaced.

    Raises:
        MissingFileError: the folder around it does not exist.
        InputError: the name is taken.
        SinkError: the folder around it cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        if not path.parent.is_dir():
            raise MissingFileError(f"cannot write {path}: the folder {path.parent} does not exist; make it first")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"cannot write {path}: it exists and is not empty; remove it or choose another name")
        self.path = path
        self.part = _part_name(path)
        with writing(path, "nothing was written"):
            self.part.mkdir()

    def publish(self) -> None:
        """Give the finished folder its final name."""
        if self.path.is_dir():
            self.path.rmdir()
        self.part.rename(self.path)

    def discard(self) -> None:
        """Remove the part and what is in it, if it is still there."""
        shutil.rmtree(self.part, ignore_errors=True)
