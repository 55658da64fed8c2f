"""Without the stream extra, addresses that need it say what to install; the others work."""

from __future__ import annotations

import subprocess
import sys

import pytest

_OPEN = """
import sys
for name in ("pythonosc", "websockets"):
    sys.modules[name] = None
import numpy as np
from mp2flame.sinks import open_sink
from mp2flame.sources import open_source
from tests.helpers.heads import HeadStub

head = HeadStub(faces=np.zeros((1, 3), np.uint32), neutral_vertices=np.zeros((3, 3), np.float32))
try:
    (open_sink(sys.argv[2], head=head) if sys.argv[1] == "out" else open_source(sys.argv[2])).close()
except ImportError as error:
    print(type(error).__name__, error)
"""


def _opened(direction: str, address: str) -> str:
    ran = subprocess.run([sys.executable, "-c", _OPEN, direction, address], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.mark.parametrize(
    ("direction", "address"),
    [
        ("out", "vmc://127.0.0.1"),
        ("in", "vmc://127.0.0.1:0"),
        ("out", "ws://:0"),
        ("in", "ws://127.0.0.1:9"),
    ],
)
def test_what_to_install(direction: str, address: str) -> None:
    said = _opened(direction, address)
    assert said.startswith("MissingExtraError")
    assert said.endswith('Install it with: pip install "mp2flame[stream]"')


@pytest.mark.parametrize(
    ("direction", "address"),
    [("out", "udp://127.0.0.1:9"), ("out", "livelink://127.0.0.1"), ("in", "livelink://127.0.0.1:0")],
)
def test_what_works_without(direction: str, address: str) -> None:
    assert _opened(direction, address) == ""
