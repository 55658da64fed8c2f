"""Downloads against a local server: the right file, the wrong one, none, half of one, and no server at all."""

from __future__ import annotations

import hashlib
import http.server
import io
import re
import socket
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mp2flame import downloads
from mp2flame.downloads import LANDMARKER, PUBLISHED, PublishedMapping, RemoteFile
from mp2flame.errors import FetchError, FormatError, InputError, MissingFileError
from mp2flame.mapping import load_mapping


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by name; `cut` bytes are left out of each although they were announced."""

    files: dict[str, bytes]
    cut: int
    asked: list[str]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/mappings/"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name)
        if name not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - self.server.cut])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), _Handler) as running:
        running.files, running.cut, running.asked = {}, 0, []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MP2FLAME_CACHE", str(folder))
    monkeypatch.delenv("MP2FLAME_LANDMARKER", raising=False)
    return folder


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _npy(width: int) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.full((52, width), 1 / width))
    return buffer.getvalue()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, server: Server) -> PublishedMapping:
    """A published mapping whose files a test can serve."""
    files = {"bs2exp.npy": _npy(100), "bs2jaw.npy": _npy(3), "bs2eye.npy": _npy(6)}
    mapping = PublishedMapping(
        name="somebody-flame2020",
        repository="https://github.com/somebody/mapping",
        commit="ab" * 20,
        server=f"http://127.0.0.1:{server.server_port}",
        hashes={name: _sha256(content) for name, content in files.items()},
    )
    monkeypatch.setattr(downloads, "PUBLISHED", {mapping.name: mapping})
    return mapping


def _bundle(*, without: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("face_detector", "face_landmarks_detector", "face_blendshapes"):
            if name != without:
                archive.writestr(f"{name}.tflite", b"0" * 100)
    return buffer.getvalue()


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch, server: Server) -> bytes:
    """A small landmarker whose hash is the expected one, at the server's address."""
    content = _bundle()
    monkeypatch.setattr(downloads, "LANDMARKER", RemoteFile(LANDMARKER.name, server.base_url, _sha256(content)))
    return content


def test_the_landmarker_is_downloaded_once(server: Server, cache: Path, bundle: bytes) -> None:
    server.files[LANDMARKER.name] = bundle
    path = downloads.fetch_landmarker()
    assert path == cache / LANDMARKER.name
    assert path.read_bytes() == bundle
    assert downloads.fetch_landmarker() == path
    assert downloads.landmarker_path() == path
    assert server.asked == [LANDMARKER.name]


def test_a_damaged_file_in_the_cache_is_downloaded_again(server: Server, cache: Path, bundle: bytes) -> None:
    server.files[LANDMARKER.name] = bundle
    cache.mkdir()
    (cache / LANDMARKER.name).write_bytes(bundle[:-1])
    assert downloads.fetch_landmarker().read_bytes() == bundle


@pytest.mark.parametrize("trouble", ["wrong", "absent", "cut", "refused"])
def test_a_failed_download_says_which_file_to_put_where(
    server: Server, cache: Path, bundle: bytes, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base_url = server.base_url
    reasons = {
        "wrong": "checksum mismatch",
        "absent": "404",
        "cut": "Connection",
        "refused": "cannot be reached",
    }
    if trouble == "wrong":
        server.files[LANDMARKER.name] = b"<html>please log in</html>"
    elif trouble == "cut":
        server.files[LANDMARKER.name], server.cut = bundle, 10
    elif trouble == "refused":
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            base_url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        monkeypatch.setattr(downloads, "LANDMARKER", replace(downloads.LANDMARKER, base_url=base_url))
    with pytest.raises(FetchError, match=reasons[trouble]) as caught:
        downloads.fetch_landmarker()
    for part in (base_url + LANDMARKER.name, downloads.LANDMARKER.sha256, f"put it into {cache}"):
        assert part in str(caught.value)
    assert not cache.exists() or not list(cache.iterdir())


def test_putting_the_file_there_by_hand_helps(cache: Path, bundle: bytes) -> None:
    cache.mkdir()
    (cache / LANDMARKER.name).write_bytes(bundle)
    assert downloads.landmarker_path() == cache / LANDMARKER.name


def test_a_named_landmarker_goes_before_the_variable_before_the_cache(
    tmp_path: Path, cache: Path, bundle: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    for path in (cache / LANDMARKER.name, tmp_path / "variable.task", tmp_path / "option.task"):
        path.write_bytes(bundle)
    assert downloads.landmarker_path() == cache / LANDMARKER.name
    monkeypatch.setenv("MP2FLAME_LANDMARKER", str(tmp_path / "variable.task"))
    assert downloads.landmarker_path() == tmp_path / "variable.task"
    assert downloads.landmarker_path(tmp_path / "option.task") == tmp_path / "option.task"


def test_a_named_landmarker_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        MissingFileError, match=r"expected a MediaPipe landmarker at .*there is no such file.*fetch landmarker"
    ):
        downloads.landmarker_path(tmp_path / "nowhere.task")
    path = tmp_path / "bad.task"
    whole = _bundle()
    for content in (b"", b"<html>", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="is truncated or no MediaPipe bundle"):
            downloads.landmarker_path(path)
    path.write_bytes(_bundle(without="face_blendshapes"))
    with pytest.raises(FormatError, match=r"is a bundle without face_blendshapes\.tflite"):
        downloads.landmarker_path(path)
    monkeypatch.setenv("MP2FLAME_LANDMARKER", str(path))
    with pytest.raises(FormatError, match="named by MP2FLAME_LANDMARKER"):
        downloads.landmarker_path()


def test_the_real_landmarker_has_the_pinned_hash_and_the_parts(landmarker: Path) -> None:
    assert downloads.landmarker_path(landmarker) == landmarker
    assert _sha256(landmarker.read_bytes()) == LANDMARKER.sha256


def test_a_published_mapping_is_fetched_and_loads(server: Server, cache: Path, published: PublishedMapping) -> None:
    server.files = {"bs2exp.npy": _npy(100), "bs2jaw.npy": _npy(3), "bs2eye.npy": _npy(6)}
    with pytest.raises(MissingFileError, match=f"mp2flame fetch mapping {published.name} gets it"):
        load_mapping(published.name)
    folder = downloads.fetch_mapping(published.name, accept_licence=True)
    assert folder == downloads.published_folder(published.name) == cache / "mappings" / published.name
    mapping = load_mapping(published.name)
    info = mapping.info
    assert (info.head_version, info.head_hash, info.n_expression) == ("FLAME 2020", None, 100)
    assert info.metadata["licence"] == published.licence
    assert published.commit in info.metadata["provenance"]
    (folder / "bs2jaw.npy").write_bytes(b"")
    with pytest.raises(MissingFileError, match=r"bs2jaw\.npy is missing or damaged"):
        load_mapping(published.name)


def test_nothing_is_asked_for_before_the_licence_is_accepted(server: Server, published: PublishedMapping) -> None:
    with pytest.raises(InputError, match=r"research and education only.*accept its terms first \(--accept-licence\)"):
        downloads.fetch_mapping(published.name, accept_licence=False)
    assert server.asked == []


def test_a_mapping_with_one_wrong_file_is_not_whole(server: Server, published: PublishedMapping) -> None:
    server.files = {"bs2exp.npy": _npy(100), "bs2jaw.npy": _npy(6), "bs2eye.npy": _npy(6)}
    with pytest.raises(FetchError, match=r"bs2jaw\.npy \(checksum mismatch\)"):
        downloads.fetch_mapping(published.name, accept_licence=True)
    with pytest.raises(MissingFileError, match="is not"):
        downloads.published_folder(published.name)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"published mapping \(peizhiyan-2025-flame2020, .*got 'x'"):
        downloads.fetch_mapping("x", accept_licence=True)
    with pytest.raises(InputError, match="got 'x'"):
        downloads.published_folder("x")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_mappings_are_pinned_to_a_commit_and_say_their_terms(name: str) -> None:
    mapping = PUBLISHED[name]
    for remote in mapping.files:
        assert re.fullmatch(r"[0-9a-f]{64}", remote.sha256)
        assert remote.url == (
            "https://raw.githubusercontent.com/PeizhiYan/mediapipe-blendshapes-to-flame/"
            f"{mapping.commit}/mappings/{remote.name}"
        )
    assert mapping.repository in mapping.licence_text
    assert "research and education only" in mapping.licence_text


def test_without_the_variable_the_cache_is_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MP2FLAME_CACHE")
    assert downloads.cache_folder().name == "mp2flame"
