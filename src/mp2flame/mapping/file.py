"""Finding mappings by name, file or folder, and whether a mapping and a head belong together."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import numpy as np

from mp2flame import downloads
from mp2flame.data import HeadLike
from mp2flame.errors import FormatError, HeadMismatchError, InputError, MissingFileError
from mp2flame.files import read_safetensors
from mp2flame.mapping.base import (
    FORMAT,
    FORMAT_VERSION,
    METADATA_KEYS,
    OPTIONAL_KEYS,
    BlendshapeMapping,
    StoredMapping,
    check_keys,
)
from mp2flame.mapping.landmark_mlp import LandmarkMapping
from mp2flame.mapping.linear import LinearMapping
from mp2flame.mapping.npy_folder import load_npy_folder
from mp2flame.mapping.person import NAMES
from mp2flame.mapping.wrappers import HeadPoseTarget, LandmarksOrScores, WithHeadPose, companion_path
from mp2flame.validation import check_header

_KINDS: Final[dict[str, type[StoredMapping]]] = {cls.kind: cls for cls in (LinearMapping, LandmarkMapping)}
_MAX_BYTES: Final = 256 << 20
_ADVICE: Final = "copy or download it again, or name the folder that holds bs2exp.npy"
_COMMON = ("format", "format_version", "kind", "names", "n_expression")
_REQUIRED = {*_COMMON, *METADATA_KEYS} - OPTIONAL_KEYS
_BUILTIN: Final = {"builtin": "builtin", "builtin-scores": "builtin", "builtin-landmarks": "builtin-landmarks"}
"""The mappings that come with the package, by name: the name of their file."""


def load_mapping(source: str | Path = "builtin", *, head_pose: HeadPoseTarget = "global_orient") -> BlendshapeMapping:
    """A mapping as every command uses it: landmarks where the source has them, scores otherwise, with head pose.

    Args:
        source: `"builtin"` for the pair of mappings of the built-in head, `"builtin-scores"` or `"builtin-landmarks"`
            for one of them; the name of a published mapping that was downloaded (`mp2flame fetch mapping`); a
            `.safetensors` mapping file, joined with the landmarks mapping beside it (see `companion_path`); or a
            folder with `bs2exp.npy` and so on.
        head_pose: the joint that takes the head's rotation; `"none"` leaves the rotation out.

    Raises:
        MissingFileError: there is no mapping of that name.
        FormatError: it is not a mapping, or damaged.
        InputError: a mapping file and the landmarks mapping beside it are for different heads.
    """
    mapping: BlendshapeMapping = read_mapping(source)
    companion = "builtin-landmarks" if source == "builtin" else companion_path(source)
    if source == "builtin" or (Path(source).suffix == ".safetensors" and Path(companion).is_file()):
        try:
            mapping = LandmarksOrScores(read_mapping(companion), mapping)
        except InputError as error:
            raise InputError(
                f"found {companion}, the landmarks mapping that belongs to {source}, but they do not match: {error}; "
                "move one of them to another folder, or calibrate again"
            ) from error
    return mapping if head_pose == "none" else WithHeadPose(mapping, to=head_pose)


def read_mapping(source: str | Path) -> StoredMapping:
    """The one mapping that a name, file or folder stands for, without its companion and without head pose.

    Args:
        source: as of `load_mapping`; `"builtin"` is the scores mapping.

    Raises:
        MissingFileError: there is no mapping of that name.
        FormatError: it is not a mapping, or damaged.
    """
    if isinstance(source, str) and source in _BUILTIN:
        with as_file(files("mp2flame.mapping") / "assets" / f"{_BUILTIN[source]}.safetensors") as path:
            return _read_file(path)
    if isinstance(source, str) and source in downloads.PUBLISHED:
        published = downloads.PUBLISHED[source]
        metadata = {
            "head_version": published.head_version,
            "licence": published.licence,
            "provenance": f"{published.repository} at commit {published.commit}",
        }
        return load_npy_folder(downloads.published_folder(source), metadata=metadata)
    path = Path(source)
    if path.is_dir():
        return load_npy_folder(path)
    if path.suffix == ".npy":
        raise FormatError(f"{path} is one part of a mapping: name its folder, {path.parent}")
    try:
        return _read_file(path)
    except MissingFileError as error:
        names = ", ".join([*_BUILTIN, *downloads.PUBLISHED])
        raise MissingFileError(
            f"expected a mapping: a .safetensors file, a folder with bs2exp.npy, or one of {names}; there is nothing "
            f"at {path}"
        ) from error


def _read_file(source: Path) -> StoredMapping:
    arrays, metadata = read_safetensors(source, "mapping file", limit=_MAX_BYTES, advice=_ADVICE)
    check_header(metadata, expected=FORMAT, newest=FORMAT_VERSION, source=source)
    try:
        check_keys("its metadata keys", set(metadata) & _REQUIRED, _REQUIRED)
        kind = metadata["kind"]
        if kind not in _KINDS:
            raise FormatError(f"this mapping is of kind {kind[:60]!r}; this version reads {', '.join(_KINDS)}")
        if metadata["names"] != NAMES:
            raise FormatError("expected the blendshapes in MediaPipe's order, _neutral first; `names` has another")
        for name, array in arrays.items():
            if array.dtype != np.float32:
                raise FormatError(f"expected {name} as float32; got {array.dtype}")
        settings = {key: value for key, value in metadata.items() if key not in {*_COMMON, *METADATA_KEYS}}
        described = {key: metadata[key] for key in METADATA_KEYS if key in metadata}
        mapping = _KINDS[kind].from_parts(arrays, settings, described)
        if str(mapping.n_expression) != metadata["n_expression"]:
            raise FormatError(f"it says n_expression {metadata['n_expression']}, its arrays {mapping.n_expression}")
    except (FormatError, InputError) as error:
        raise FormatError(f"{source}: {error}") from error
    return mapping


def check_compatible(mapping: BlendshapeMapping, head: HeadLike, *, allow_mismatch: bool = False) -> None:
    """Refuse a mapping that was made for another head: one head's coefficients mean nothing to another.

    A mapping that knows the hash of its head fits that head only. A mapping that knows only the version, such as a
    published folder, fits heads of exactly that version, upper and lower case alike. A mapping that knows neither fits
    no head unless the user allows it.

    Args:
        mapping: the mapping.
        head: the head to drive.
        allow_mismatch: accept a mapping of another or unknown head (`--allow-head-mismatch`).

    Raises:
        HeadMismatchError: the mapping gives more expression coefficients than the head has, or was made for another
            head.
    """
    info = mapping.info
    if info.n_expression > head.n_expression:
        raise HeadMismatchError(
            f"the mapping gives {info.n_expression} expression coefficients, the head ({head.version}) has only "
            f"{head.n_expression}: use a mapping made for this head, or load the head with all its components"
        )
    if allow_mismatch:
        return
    remedy = (
        "use a mapping made for this head, the head that the mapping was made for, or --allow-head-mismatch if you "
        "know that they fit; mp2flame head convert --version names the version of a head file that states none"
    )
    this = f"this head is {head.version}"
    made_for = f"the mapping was made for {info.head_version or 'a head of unknown version'}"
    if info.head_hash is not None:
        if info.head_hash != head.hash:
            hashes = f"hash {info.head_hash[:12]} against {(head.hash or 'unknown')[:12]}"
            raise HeadMismatchError(f"{made_for}, {this} ({hashes}): {remedy}")
    elif info.head_version is None:
        raise HeadMismatchError(f"the mapping does not say which head it was made for, {this}: {remedy}")
    elif head.version.casefold() != info.head_version.casefold():
        raise HeadMismatchError(f"{made_for}, {this}: {remedy}")
