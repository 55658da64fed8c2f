"""Reading and writing of files: atomic, deterministic, bounded, and never over what is being read.

A file appears under its final name only when it is whole: it is written to a hidden sibling and renamed. The same
content gives the same bytes. A file is read only if it is a regular file of a size that its kind can honestly have.
"""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import secrets
import shutil
import socket
import stat
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import FormatError, InputError, MissingFileError, Mp2FlameError, SinkError, plain

Arrays = dict[str, NDArray[Any]]

LARGEST_JSON: Final = 1 << 28
"""Bytes; so large may a JSON file of a tracker be."""

# So much of a name goes into that of its temporary sibling, which must stay within 255 bytes.
_NAME_PART: Final = 48
_HOST: Final = f"{zlib.crc32(socket.gethostname().encode()):08x}"


# --- before the work -------------------------------------------------------------------------------------------------


def check_writable(path: Path, *, folder: bool = False) -> None:
    """Refuse a name that cannot be written, before any work is done, by creating a temporary sibling and removing it.

    Args:
        path: the final name.
        folder: a folder of files is to be written there, which may exist.

    Raises:
        MissingFileError: the folder around it does not exist.
        InputError: the name is that of a folder (or, with `folder`, of a file), or is too long.
        SinkError: the folder cannot be written to.
    """
    _require_parent(path)
    kind = _kind(path, path)
    if folder and kind not in (None, stat.S_IFDIR):
        raise InputError(f"cannot write the folder {path}: there is a file of that name")
    if not folder:
        _refuse_special(path, kind)
    probe = _temporary_name(path if not (folder and kind == stat.S_IFDIR) else path / "probe")
    with write_errors(path, "nothing was written"):
        probe.touch(exist_ok=False)
        probe.unlink()


def _require_parent(path: Path) -> None:
    if _kind(path.parent, path) != stat.S_IFDIR:
        raise MissingFileError(f"cannot write {path}: the folder {path.parent} does not exist; make it first")


def _refuse_special(path: Path, kind: int | None) -> None:
    """Refuse an existing target that is no file: a rename would replace a device such as `/dev/null`."""
    if kind not in (None, stat.S_IFREG):
        other = "folder" if kind == stat.S_IFDIR else "pipe, device or socket"
        raise InputError(f"cannot write {path}: it is a {other}; expected the name of a file")


def expand_home(path: str | Path) -> Path:
    """The path with a leading `~` replaced by the home folder, where there is one: a file may be called `~a.mp4`."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - `Path.expanduser` raises an error where there is none


def _kind(path: Path, named: Path) -> int | None:
    """The type of what is at `path` (`stat.S_IFREG` and so on), or None; names that cannot exist are refused."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot use the name {plain(named)}: {plain(reason)}") from error


def check_outputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path] = ()) -> None:
    """Refuse outputs that are the same file as another output or as an input, however the paths are spelled.

    Relative and absolute paths, symbolic links, hard links and `..` are seen through.

    Args:
        outputs: every file or folder that a command writes.
        inputs: everything that it reads; what is no existing file (an address, a camera's number, "builtin") is
            passed over.

    Raises:
        InputError: two of them are the same file.
    """
    read: dict[object, Path] = {}
    written: dict[object, Path] = {}
    for path in map(Path, inputs):
        read.update(dict.fromkeys(_identities(path), path))
    for path in map(Path, outputs):
        for identity in _identities(path, new=True):
            if identity in read:
                raise InputError(
                    f"the output {path} is the input {read[identity]}: choose a name other than what is read"
                )
            other = written.setdefault(identity, path)
            if other is not path:
                same = "more than once" if other == path else f"and {other}, which are the same file"
                raise InputError(f"expected different outputs; got {path} {same}")


def _identities(path: Path, *, new: bool = False) -> list[object]:
    """What tells whether two paths lead to one file: the resolved path, and device and inode where it exists."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        if not new:
            return []
        return [os.path.normcase(Path(os.path.abspath(path.parent)).resolve() / path.name)]  # noqa: PTH100 - of "" too
    return [os.path.normcase(path.resolve()), (status.st_dev, status.st_ino)]


# --- writing ---------------------------------------------------------------------------------------------------------


@contextmanager
def write_errors(path: Path, consequence: str) -> Iterator[None]:
    """Turn the operating system's errors into a `SinkError` that says what follows.

    Args:
        path: the final name, for the message.
        consequence: what it means for the work, as a clause, such as "nothing was written".

    Raises:
        SinkError: anything inside failed to write.
    """
    try:
        yield
    except Mp2FlameError:
        raise
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}; {consequence}") from error


def _prefix(path: Path) -> str:
    return f".{path.name[:_NAME_PART]}.{_HOST}-"


def _temporary_name(path: Path) -> Path:
    # In the same folder, so that the rename cannot cross file systems.
    return path.with_name(f"{_prefix(path)}{os.getpid()}-{secrets.token_hex(3)}.part")


def _remove_leftovers(path: Path) -> None:
    """Remove temporary siblings of `path` whose process, on this machine, is dead."""
    with suppress(OSError):
        for leftover in path.parent.glob(f"{glob.escape(_prefix(path))}*.part"):
            pid = leftover.name[len(_prefix(path)) :].partition("-")[0]
            if pid.isdigit() and not _is_running(int(pid)):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    if os.name != "posix":
        return True  # Signal 0 would end it.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


class _Atomic:
    """A temporary sibling of `path` that takes its name when it is published, and is removed otherwise.

    As a context manager it gives the temporary path, publishes at the end of the block, discards after an exception,
    and turns the operating system's errors into `SinkError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = _temporary_name(path)
        _remove_leftovers(path)

    def publish(self) -> None:
        """Give what is finished its final name."""
        raise NotImplementedError

    def discard(self) -> None:
        """Remove the temporary sibling, if it is still there."""
        raise NotImplementedError

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with write_errors(self.path, "nothing was written"):
                if error is None:
                    self.publish()
                elif isinstance(error, OSError) and not isinstance(error, Mp2FlameError):
                    raise error
        finally:
            self.discard()


class AtomicFile(_Atomic):
    """A file that appears under its final name when it is whole.

    Raises:
        MissingFileError: the folder does not exist.
        InputError: the name is a folder.
        SinkError: the folder cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        _require_parent(path)
        _refuse_special(path, _kind(path, path))
        super().__init__(path)
        with write_errors(path, "nothing was written"):
            self.temporary.touch(exist_ok=False)

    def publish(self) -> None:
        """Give the finished file its final name; what had that name before is replaced."""
        with self.temporary.open("rb") as file:
            os.fsync(file.fileno())
        self.temporary.replace(self.path)

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)


class AtomicFolder(_Atomic):
    """A folder of files that appears under its final name when it is whole. One that holds something is not replaced.

    Raises:
        MissingFileError: the folder around it does not exist.
        InputError: the name is taken.
        SinkError: the folder around it cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        _require_parent(path)
        if _kind(path, path) is not None and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"cannot write {path}: it exists and is not empty; remove it or choose another name")
        super().__init__(path)
        with write_errors(path, "nothing was written"):
            self.temporary.mkdir()

    def publish(self) -> None:
        """Give the finished folder its final name."""
        if self.path.is_dir():
            self.path.rmdir()
        self.temporary.rename(self.path)

    def discard(self) -> None:
        """Remove the temporary folder and what is in it, if it is still there."""
        shutil.rmtree(self.temporary, ignore_errors=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file in one go; what had its name before stays until the new one is whole.

    Raises:
        MissingFileError: the folder does not exist.
        InputError: the name is a folder.
        SinkError: it cannot be written; nothing is left behind.
    """
    with AtomicFile(path) as temporary:
        temporary.write_bytes(data)


def lock(file: IO[bytes], message: str) -> None:
    """Lock an open file until it is closed, however the process ends; without effect on systems without such locks.

    Raises:
        SinkError: (with `message`) another process holds the lock.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SinkError(message) from error
    except (ImportError, OSError):
        return


@contextmanager
def exclusive_lock(path: Path, message: str) -> Iterator[None]:
    """Hold a lock file for the block, so that two processes do not do the same work. The file stays, empty.

    Raises:
        SinkError: (with `message`) another process holds the lock; or the file cannot be created.
    """
    with write_errors(path, "nothing was done"):
        file = path.open("ab")
    with file:
        lock(file, message)
        yield


# --- reading ---------------------------------------------------------------------------------------------------------


def check_regular(path: Path, what: str, *, limit: int | None = None) -> None:
    """Refuse what is no regular file, so that a pipe or a device does not block the program, and what is too large.

    Args:
        path: the file.
        what: is expected there, for the message, such as "mapping file".
        limit: the largest size in bytes that a file of this kind can honestly have.

    Raises:
        MissingFileError: there is nothing.
        FormatError: it is a folder, a pipe, a device or a socket, or larger than `limit`.
        InputError: the name cannot exist.
    """
    kind = _kind(path, path)
    if kind is None:
        raise MissingFileError(f"expected a {what} at {path}; there is no such file")
    if kind != stat.S_IFREG:
        other = "folder" if kind == stat.S_IFDIR else "pipe, device or socket"
        raise FormatError(f"{path}: expected a {what}; got a {other}")
    size = path.stat().st_size
    if limit is not None and size > limit:
        raise FormatError(f"{path}: expected a {what} of at most {limit} bytes; got {size} bytes")


def read_bounded(path: Path, what: str, *, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        MissingFileError: there is nothing.
        FormatError: it is no regular file, larger than `limit`, or cannot be read.
        InputError: the name cannot exist.
    """
    check_regular(path, what, limit=limit)
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise FormatError(f"{path}: the {what} cannot be read ({error.strerror})") from error
    if len(data) > limit:
        raise FormatError(f"{path}: expected a {what} of at most {limit} bytes; got more")
    return data


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, hexadecimal, read a piece at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


# --- safetensors -----------------------------------------------------------------------------------------------------

_TYPE_NAMES: Final = {
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{'U' if sign else 'I'}{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
}


def encode_safetensors(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a `.safetensors` file, the same for the same content.

    The `safetensors` package does not promise an order of the metadata when it writes, so the header is written here:
    metadata sorted; arrays of larger numbers first, which keeps all of them aligned, then by name. Layout
    (https://github.com/huggingface/safetensors#format): eight bytes with the header's length, little-endian; the
    header, JSON padded with spaces to a multiple of 8; the arrays one after the other.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    chunks: list[bytes] = []
    offset = 0
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {
            "dtype": _TYPE_NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *chunks])


def read_safetensors(
    path: Path, what: str, *, limit: int, advice: str, keys: Collection[str] | None = None
) -> tuple[Arrays, dict[str, str]]:
    """The arrays and the string metadata of a `.safetensors` file.

    Args:
        path: the file.
        what: is expected there, for the message.
        limit: the largest size in bytes that a file of this kind can honestly have.
        advice: what to do where the file is damaged.
        keys: the arrays to read; None for all.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is truncated, too large, or no `.safetensors` file at all.
    """
    from safetensors import SafetensorError, safe_open

    check_regular(path, what, limit=limit)
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys() if keys is None or name in keys}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"{path}: truncated or no .safetensors file ({plain(error)}); {advice}") from error
    return arrays, metadata


# --- npz -------------------------------------------------------------------------------------------------------------

_UNPACKED: Final = 256 << 20
_RATIO: Final = 50
"""An archive may unpack to so many times its size; parameters compress to a third or a tenth."""


@contextmanager
def _open_zip(path: Path, what: str) -> Iterator[zipfile.ZipFile]:
    check_regular(path, what)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            yield archive
    except Mp2FlameError:
        raise
    except Exception as error:
        raise FormatError(f"{path}: truncated, damaged or no {what} ({plain(error, 100)})") from error


def npz_names(path: Path, what: str) -> set[str]:
    """The names of an `.npz` file's arrays, without reading them.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is truncated, damaged or no `.npz`.
    """
    with _open_zip(path, what) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}


def read_npz(
    path: Path,
    what: str,
    *,
    limit: int | None = None,
    keys: Collection[str] | None = None,
    skip: Collection[str] = (),
    read_objects: Callable[[str, bytes], NDArray[Any]] | None = None,
) -> Arrays:
    """Arrays of an `.npz` file by name. Nothing pickled is loaded; arrays of Python objects are left out.

    Args:
        path: the file.
        what: is expected there, for messages.
        limit: the largest number of bytes that the arrays may take together, unpacked; by default 256 MB, or 50 times
            the size of a larger file.
        keys: the arrays to read, where they exist; None for all.
        skip: arrays to leave out.
        read_objects: makes an array of the name and the pickled bytes of an array of Python objects.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is truncated, damaged, no `.npz`, or unpacks to more than `limit` bytes.
    """
    arrays: Arrays = {}
    with _open_zip(path, what) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        wanted = [name for name in members if name not in skip and (keys is None or name in keys)]
        size = sum(members[name].file_size for name in wanted)
        most = max(_UNPACKED, _RATIO * path.stat().st_size) if limit is None else limit
        if size > most:
            raise FormatError(f"{path}: its arrays unpack to {size} bytes; a {what} has at most {most}")
        for name in wanted:
            with archive.open(members[name]) as member:
                array = _read_array(member, name, members[name].file_size, read_objects)
            if array is not None:
                arrays[name] = array
    return arrays


def _read_array(
    member: IO[bytes], name: str, size: int, read_objects: Callable[[str, bytes], NDArray[Any]] | None
) -> NDArray[Any] | None:
    if member.read(6) != np.lib.format.MAGIC_PREFIX:
        return None
    version = tuple(member.read(2))
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(member)
    if dtype.hasobject:
        return None if read_objects is None else read_objects(name, member.read())
    count = math.prod(shape)
    if any(type(length) is not int or length < 0 for length in shape) or count * dtype.itemsize > size:
        raise ValueError(f"{name} is shorter than its header says")
    flat = np.frombuffer(member.read(count * dtype.itemsize), dtype=dtype, count=count)
    return flat.reshape(shape, order="F" if fortran else "C")


def read_zip_member(path: Path, ending: str, what: str, *, limit: int) -> bytes | None:
    """The first file in a zip archive whose name has this ending; None where there is none.

    Raises:
        MissingFileError: there is no such archive.
        FormatError: it is truncated, damaged, or the file in it is larger than `limit` bytes.
    """
    with _open_zip(path, what) as archive:
        info = next((info for info in archive.infolist() if info.filename.endswith(ending)), None)
        if info is not None and info.file_size > limit:
            raise FormatError(
                f"{path}: {info.filename} unpacks to {info.file_size} bytes; a {what} has at most {limit}"
            )
        return None if info is None else archive.read(info)
