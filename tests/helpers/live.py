"""What the tests of live sessions are run on: a recorded performance, and the mapping that undoes how it was made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mp2flame.blendshapes import ARKIT, MEDIAPIPE, reorder
from mp2flame.data import HeadLike, Observation
from mp2flame.demo_animation import SCRIPT, sample_weights
from mp2flame.formats.recording import RecordingSink
from mp2flame.head import load_head
from mp2flame.live import LiveSession, LiveSettings
from mp2flame.live.page import Page
from mp2flame.live.state import SessionState
from mp2flame.mapping import LinearMapping
from tests.helpers.streams import surface


def blendshape_mapping(path: Path, *, gain: float = 1.0) -> Path:
    """A mapping that gives the built-in head's own blendshapes, times a gain."""
    head = load_head("builtin")
    shapes = head.blendshapes()
    rows = np.concatenate([shapes.expression, shapes.jaw_pose, shapes.leye_pose, shapes.reye_pose], axis=1)
    matrix = reorder(rows.T, ARKIT, MEDIAPIPE).T * gain
    known = {"head_version": head.version, "head_hash": head.hash}
    LinearMapping(matrix=matrix, uses_neutral=True, metadata=known).save(path)
    return path


def performance_recording(path: Path, *, seconds: float = 11.6, fps: float = 30.0) -> Path:
    """The scripted performance as a recording of scores and head poses."""
    times = np.arange(round(min(seconds, SCRIPT[-1].time) * fps)) / fps
    weights, _ = sample_weights(times)
    scores = reorder(weights, ARKIT, MEDIAPIPE)
    writer = RecordingSink(path)
    for moment, row in zip(times, scores, strict=True):
        transform = np.eye(4, dtype=np.float32)[None]
        writer.append(
            Observation(
                time=np.array([moment]), found=np.ones(1, dtype=np.bool_), scores=row[None], head_transform=transform
            )
        )
    writer.close()
    return path


def settings(folder: Path, **changes: object) -> LiveSettings:
    """Settings of a session in `folder`, on a free port."""
    standard: dict[str, object] = {
        "source": str(performance_recording(folder / "performance.jsonl")),
        "mappings": (str(blendshape_mapping(folder / "own.safetensors")),),
        "data": folder / "data",
        "port": 0,
    }
    return LiveSettings(**{**standard, **changes})  # type: ignore[arg-type]


@contextmanager
def running(given: LiveSettings) -> Iterator[LiveSession]:
    """A session that runs in a thread; its end is waited for, and an error of its own is raised."""
    session = LiveSession(given)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            session.run()
        except BaseException as error:  # noqa: BLE001 - raised again by the test
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield session
    finally:
        session.stop()
        thread.join(timeout=60)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def open_page(head: HeadLike | None = None, *, host: str = "127.0.0.1", port: int = 0) -> Page:
    """A page without a session."""
    state = SessionState(source="0", sources=("0", "film.mp4"), mapping_names=("own", "half"), mappings=("own", None))
    return Page(head or surface(60), state, host=host, port=port)


def port_of(page: Page) -> int:
    """The port on which a page listens."""
    return int(page.address.rpartition(":")[2])


def wait_for(what: Callable[[], object], *, seconds: float = 60.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
