"""Finding a mapping by name, file or folder."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from mp2flame import downloads
from mp2flame.errors import FormatError, MissingFileError
from mp2flame.mapping.file import StoredMapping, read_mapping_file
from mp2flame.mapping.folder import load_folder

__all__ = ["load_mapping"]


_BUILTIN: Final = ("builtin", "builtin-landmarks")


def load_mapping(source: str | Path) -> StoredMapping:
    """A mapping, told by what is there.

    Args:
        source: `"builtin"` for the mapping of the built-in head (`"builtin-landmarks"` reads landmarks too); the name
            of a published mapping that was fetched (`mp2flame fetch mapping`); a `.safetensors` mapping file; or a
            folder with `bs2exp.npy` and so on.

    Raises:
        MissingFileError: there is nothing of that name.
        FormatError: it is not a mapping, or damaged.
    """
    if source in _BUILTIN:
        asset = files("mp2flame.mapping") / "assets" / f"{source}.safetensors"
        with as_file(asset) as path:
            return read_mapping_file(path)
    if isinstance(source, str) and source in downloads.PUBLISHED:
        published = downloads.PUBLISHED[source]
        metadata = {
            "head_version": published.head_version,
            "licence": published.licence,
            "provenance": f"{published.repository} at commit {published.commit}",
        }
        return load_folder(downloads.published_folder(source), metadata=metadata)
    path = Path(source)
    if path.is_dir():
        return load_folder(path)
    if not path.exists():
        raise MissingFileError(
            f"expected a mapping: 'builtin', a .safetensors file, a folder with bs2exp.npy, or one of "
            f"{', '.join([*_BUILTIN[1:], *downloads.PUBLISHED])}; there is nothing at {path}"
        )
    if path.suffix == ".npy":
        raise FormatError(f"{path} is one part of a mapping: name its folder, {path.parent}")
    return read_mapping_file(path)
