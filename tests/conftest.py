"""What every test may ask for."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mp2flame.downloads import find_landmarker

if TYPE_CHECKING:
    from mp2flame.live import LiveSession
    from mp2flame.sources.detector import FaceDetector
    from tests.helpers.video import Pixels

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of development data beside the checkout (or `MP2FLAME_SHARED`); tests skip where it is absent."""
    base = Path(os.environ.get("MP2FLAME_SHARED", _ROOT.parent / "shared" / "data"))
    folder = base / "data" if (base / "data").is_dir() else base
    if not (folder / "head").is_dir():
        pytest.skip(f"no development data at {folder} (MP2FLAME_SHARED names another folder)")
    return folder


@pytest.fixture(scope="session")
def landmarker(request: pytest.FixtureRequest) -> Path:
    """MediaPipe's face landmarker bundle: the one that the product finds, or that of the development data."""
    path = find_landmarker()
    if path is None:
        folder: Path = request.getfixturevalue("shared_data")
        path = folder / "landmarker" / "face_landmarker.task"
        if not path.is_file():
            pytest.skip(f"no landmarker at {path}; mp2flame fetch landmarker downloads it")
    return path


@pytest.fixture
def listens_to_ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests run in the background, where a process is born deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    """Every thread that a test begins has an end."""
    from tests.helpers.live import wait_for

    before = set(threading.enumerate())
    yield
    wait_for(lambda: not set(threading.enumerate()) - before)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[LiveSession]:
    """A live session that plays a recorded performance."""
    from tests.helpers.live import running, settings

    with running(settings(tmp_path)) as live:
        yield live


@pytest.fixture(scope="module")
def performance(shared_data: Path) -> list[Pixels]:
    """Frames of a rendered head that plays the scripted performance."""
    from tests.helpers.video import performance_frames

    return performance_frames(shared_data)


@pytest.fixture
def detector(landmarker: Path) -> Iterator[FaceDetector]:
    """MediaPipe, fresh."""
    from mp2flame.sources.detector import FaceDetector

    made = FaceDetector(landmarker)
    yield made
    made.close()
