"""Downloads with a pinned sha256, through `pooch`: MediaPipe's landmarker and the mappings that others published.

Files go to a cache folder (`MP2FLAME_CACHE`, else the system's own); only whole files with the right hash get there.
Where a download fails, the message says which file to put where.
"""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mp2flame.errors import FetchError, FormatError, InputError, MissingFileError, plain
from mp2flame.files import check_regular, expand_home, file_sha256

_TIMEOUT: Final = (10, 60)
"""Seconds to wait for a connection, and for the next bytes."""


@dataclass(frozen=True)
class RemoteFile:
    """One file to download."""

    name: str
    """File name, on the server and in the cache."""
    base_url: str
    """Address of its folder, ending in a slash."""
    sha256: str
    """Hexadecimal."""

    @property
    def url(self) -> str:
        """The whole address."""
        return self.base_url + self.name


LANDMARKER: Final = RemoteFile(
    name="face_landmarker.task",
    base_url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/",
    sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
)
"""MediaPipe's Face Landmarker bundle, float16, version 1 (Apache-2.0)."""

_LANDMARKER_PARTS = {"face_detector.tflite", "face_landmarks_detector.tflite", "face_blendshapes.tflite"}


@dataclass(frozen=True)
class PublishedMapping:
    """A mapping that somebody else published under a licence of its own; it is downloaded and not shipped."""

    name: str
    commit: str
    hashes: Mapping[str, str]
    """sha256 by file name."""
    head_version: str = "FLAME 2020"
    """The head that it was made for."""
    repository: str = "https://github.com/PeizhiYan/mediapipe-blendshapes-to-flame"
    licence: str = "research and education only, not for commercial use"
    server: str = "https://raw.githubusercontent.com"

    @property
    def licence_text(self) -> str:
        """Terms of use, shown before anything is downloaded."""
        return (
            f"{self.name} was made and published by Peizhi Yan: {self.repository}\n"
            f"Its author provides it for {self.licence}, as it is and without any warranty; parts of the data behind "
            "it are public data sets with terms of their own. For anything else, ask the author or make your own "
            f"mapping. It fits {self.head_version} only, whose own licence applies as well. The terms in full are in "
            "the repository's README, under Disclaimer. It is not part of mp2flame and not under its licence."
        )

    @property
    def files(self) -> tuple[RemoteFile, ...]:
        """The files to download."""
        base = f"{self.server}/{self.repository.removeprefix('https://github.com/')}/{self.commit}/mappings/"
        return tuple(RemoteFile(name, base, sha256) for name, sha256 in self.hashes.items())

    @property
    def folder(self) -> Path:
        """Where the files are in the cache."""
        return cache_folder() / "mappings" / self.name


_PEIZHI_YAN = (
    PublishedMapping(
        name="peizhiyan-2025-flame2020",
        commit="bb3d2beb2d1818d5658726a4d0d069a70a3171b0",
        hashes={
            "bs2exp.npy": "5ab129a700b541d4dcc18929ee1c2ca7d029f9544668afb39d2a7fc96440bf05",
            "bs2eye.npy": "a9628a62541691a12c9853e705a64a04662a4c58cb691aa5e8a9b856d044aec7",
            "bs2jaw.npy": "271d184bc968c2ca292e0f26ae30ad39ddd6d92bc24531192214855bfbbbf8fa",
        },
    ),
    PublishedMapping(
        name="peizhiyan-2024-flame2020",
        commit="62e4ba2eabafefecbe35bdc3c6c5f91d5dc7305d",
        hashes={
            "bs2exp.npy": "8ba38b6e509316bdb03a9235fca6d7b4bb7f6c48f71f8722babcf93f742f295e",
            "bs2eye.npy": "f5a570a513802b19defeaeb4f1137e8c8450714cd356b1d4af2eaef156b60f52",
            "bs2pose.npy": "716f01aa4a32d9539d48e8db80b611c1a37a0a2bbad004174ab15d97314b3253",
        },
    ),
)

PUBLISHED: Final[Mapping[str, PublishedMapping]] = MappingProxyType({mapping.name: mapping for mapping in _PEIZHI_YAN})
"""By name. All of them are for research and education only."""


def cache_folder() -> Path:
    """Where downloads are kept: the folder that `MP2FLAME_CACHE` names, else the system's cache folder."""
    chosen = os.environ.get("MP2FLAME_CACHE")
    if chosen:
        return expand_home(chosen)
    import pooch

    return Path(pooch.os_cache("mp2flame"))


def _has_hash(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _fetch(remote: RemoteFile, folder: Path) -> Path:
    """The file in `folder`, downloaded if it is not there with the right hash."""
    target = folder / remote.name
    if _has_hash(target, remote.sha256):
        return target
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)  # it announces every download on stderr otherwise
    try:
        pooch.retrieve(
            remote.url,
            known_hash=f"sha256:{remote.sha256}",
            fname=remote.name,
            path=folder,
            # Not streamed: the files are small, and a download that breaks off then leaves no open socket.
            downloader=pooch.HTTPDownloader(timeout=_TIMEOUT, chunk_size=1 << 16, stream=False),
        )
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong hash is a ValueError
        reason = _reason(error)
        raise FetchError(
            f"could not download {remote.url} ({reason}). Get the file {remote.name} another way, check that its "
            f"sha256 is {remote.sha256}, and put it into {folder}"
        ) from error
    return target


def _reason(error: Exception) -> str:
    if type(error) is ValueError:
        return "checksum mismatch"
    kind = type(error).__name__
    # The text of requests for a lost connection is a page long and says no more.
    return "the host cannot be reached" if kind in ("ConnectionError", "ConnectTimeout") else f"{kind}: {plain(error)}"


def fetch_landmarker() -> Path:
    """MediaPipe's landmarker from the cache, downloaded if need be.

    Raises:
        FetchError: it cannot be downloaded or has the wrong hash; says which file to put where.
    """
    return _fetch(LANDMARKER, cache_folder())


def landmarker_path(explicit: str | Path | None = None) -> Path:
    """MediaPipe's landmarker: the given file, else that of `MP2FLAME_LANDMARKER`, else the cache or a download.

    A file that is given by path may be another version of the bundle: its hash is not checked, only that it is whole.

    Raises:
        MissingFileError: the named file does not exist.
        FormatError: the named file is truncated or no landmarker bundle.
        FetchError: none is named, and it cannot be downloaded.
    """
    if explicit is not None:
        return _checked_bundle(Path(explicit), "")
    named = os.environ.get("MP2FLAME_LANDMARKER")
    if named:
        return _checked_bundle(expand_home(named), " (named by MP2FLAME_LANDMARKER)")
    return fetch_landmarker()


def find_landmarker() -> Path | None:
    """The landmarker that `landmarker_path` would take without downloading anything; None if there is none.

    Raises:
        MissingFileError, FormatError: `MP2FLAME_LANDMARKER` names a file that is not there or no landmarker bundle.
    """
    if os.environ.get("MP2FLAME_LANDMARKER"):
        return landmarker_path()
    cached = cache_folder() / LANDMARKER.name
    return cached if _has_hash(cached, LANDMARKER.sha256) else None


def _checked_bundle(path: Path, origin: str) -> Path:
    try:
        check_regular(path, "MediaPipe landmarker")
    except MissingFileError as error:
        raise MissingFileError(f"{error}{origin}: mp2flame fetch landmarker downloads it") from error
    try:
        with zipfile.ZipFile(path) as bundle:
            parts = set(bundle.namelist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise FormatError(
            f"{path}{origin} is truncated or no MediaPipe bundle ({error}); mp2flame fetch landmarker gets a whole one"
        ) from error
    if not parts >= _LANDMARKER_PARTS:
        raise FormatError(
            f"{path}{origin} is a bundle without {', '.join(sorted(_LANDMARKER_PARTS - parts))}: "
            f"expected the {LANDMARKER.name} that mp2flame fetch landmarker gets"
        )
    return path


def fetch_mapping(name: str, *, accept_licence: bool) -> Path:
    """The folder of a published mapping in the cache, downloaded if need be.

    Args:
        name: one of `PUBLISHED`.
        accept_licence: the user has read `PUBLISHED[name].licence_text` and agrees.

    Raises:
        InputError: no mapping of that name, or the licence is not accepted; nothing is downloaded then.
        FetchError: a file cannot be downloaded or has the wrong hash; says which file to put where.
    """
    mapping = _published(name)
    if not accept_licence:
        raise InputError(f"{name} is for {mapping.licence}: accept its terms first (--accept-licence)")
    for remote in mapping.files:
        _fetch(remote, mapping.folder)
    return mapping.folder


def published_folder(name: str) -> Path:
    """The folder of a published mapping that was fetched before; never downloads.

    Raises:
        InputError: no mapping of that name.
        MissingFileError: it was not fetched yet, or a file in the cache is damaged.
    """
    mapping = _published(name)
    for remote in mapping.files:
        if not _has_hash(mapping.folder / remote.name, remote.sha256):
            raise MissingFileError(
                f"{name} is not (or not whole) in {mapping.folder}: {remote.name} is missing or damaged; "
                f"mp2flame fetch mapping {name} gets it"
            )
    return mapping.folder


def _published(name: str) -> PublishedMapping:
    if name not in PUBLISHED:
        raise InputError(f"expected the name of a published mapping ({', '.join(PUBLISHED)}); got {name!r}")
    return PUBLISHED[name]
