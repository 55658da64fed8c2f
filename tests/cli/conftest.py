"""What the tests of commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mp2flame import FlameParams, Frame, Observation, load_head, open_sink
from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.cli import main

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command: its exit code, and what it printed on both streams, as one line of words."""

    def run(*words: object) -> tuple[int, str]:
        try:
            code = main([str(word) for word in words])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        captured = capsys.readouterr()
        return code, " ".join((captured.out + captured.err).split())

    return run


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seconds: a neutral face, then an open jaw."""
    head = load_head("builtin")
    path = tmp_path / "input.jsonl"
    with open_sink(path, head=head) as sink:
        for index in range(60):
            scores = np.full((1, 52), 0.05, dtype=np.float32)
            scores[0, MEDIAPIPE.index("jawOpen")] = 0.02 if index < 35 else 0.8
            observation = Observation(
                time=np.array([index / 30]),
                found=np.array([True]),
                scores=scores,
                head_transform=np.eye(4, dtype=np.float32)[None],
            )
            params = FlameParams.neutral(n_expression=head.n_expression, time=observation.time)
            sink.write(Frame(observation, params))
    return path
