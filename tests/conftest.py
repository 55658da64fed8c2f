"""What every test may ask for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

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
def landmarker(shared_data: Path) -> Path:
    """MediaPipe's face landmarker bundle."""
    path = shared_data / "landmarker" / "face_landmarker.task"
    if not path.is_file():
        pytest.skip(f"no landmarker at {path}")
    return path


@pytest.fixture
def listens_to_ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests run in the background, where a process is born deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
