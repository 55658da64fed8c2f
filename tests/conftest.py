"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of development data beside the checkout (or `MP2FLAME_SHARED`); tests skip where it is absent."""
    folder = Path(os.environ.get("MP2FLAME_SHARED", _ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder} (set MP2FLAME_SHARED to the folder that holds data/)")
    return folder


@pytest.fixture(scope="session")
def landmarker(shared_data: Path) -> Path:
    """MediaPipe's face landmarker bundle."""
    path = shared_data / "landmarker" / "face_landmarker.task"
    if not path.is_file():
        pytest.skip(f"no landmarker at {path}")
    return path
