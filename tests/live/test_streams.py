"""A session whose source is a network stream, end to end: from a sender's packets to a sink's, and to the page."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mp2flame.blendshapes import ARKIT, MEDIAPIPE, reorder
from mp2flame.data import Frame
from mp2flame.live import LiveSession
from mp2flame.sinks import open_sink
from mp2flame.streams.ifacialmocap import HANDSHAKE
from tests.helpers.live import running, settings, wait_for
from tests.helpers.streams import face, free_port, pose, surface

pytest.importorskip("viser", reason="the viewer's extra is not installed")
pytest.importorskip("pythonosc", reason="needs the stream extra")
pytest.importorskip("websockets", reason="needs the stream extra")

from mp2flame.streams.websocket import WebSocketSink


@contextmanager
def _receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(60.0)
        yield receiver


def _source(session: LiveSession) -> Any:
    return session.source.current


def _next_with_a_face(receiver: socket.socket, jaw_open: float) -> dict[str, Any]:
    """The next frame in which the mouth is as open as that; others may have been on the way before it."""
    while True:
        frame: dict[str, Any] = json.loads(receiver.recv(65536))
        if frame["found"] and abs(frame["scores"]["jawOpen"] - jaw_open) < 1e-4:
            return frame


@pytest.mark.parametrize("scheme", ["livelink", "vmc", "ws"])
def test_what_our_own_sink_sends_drives_a_session(scheme: str, tmp_path: Path) -> None:
    with _receiver() as receiver:
        send = (f"udp://127.0.0.1:{receiver.getsockname()[1]}",)
        port = free_port(socket.SOCK_STREAM)
        sender = open_sink(f"ws://:{port}", head=surface()) if scheme == "ws" else None
        spec = f"ws://127.0.0.1:{port}" if sender is not None else f"{scheme}://127.0.0.1:0"
        with running(settings(tmp_path, source=spec, send=send)) as session:
            sender = sender or open_sink(f"{scheme}://127.0.0.1:{_source(session).port}", head=surface())
            with sender:
                if isinstance(sender, WebSocketSink):
                    wait_for(lambda: sender.clients)
                for index in range(5):
                    seen = face(index, index / 30)
                    sender.write(Frame(seen, pose(index, seen)))
                    got = _next_with_a_face(receiver, float(seen.scores[0, MEDIAPIPE.index("jawOpen")]))
                    sent = dict(zip(ARKIT, reorder(seen.scores[0], MEDIAPIPE, ARKIT).tolist(), strict=True))
                    for name, value in got["scores"].items():
                        assert value == pytest.approx(0.25 if name == "tongueOut" else sent[name], abs=2e-5)
                    assert np.isfinite(got["flame"]["expression"]).all()
                wait_for(lambda: session.state.face)
                assert session.state.position is None


def test_a_phone_is_asked_and_drives_a_session(tmp_path: Path) -> None:
    with _receiver() as receiver, _receiver() as phone:
        listen = free_port()
        spec = f"ifacialmocap://127.0.0.1:{phone.getsockname()[1]}?listen={listen}"
        send = (f"udp://127.0.0.1:{receiver.getsockname()[1]}",)
        with running(settings(tmp_path, source=spec, send=send)):
            asked, address = phone.recvfrom(1024)
            assert asked == HANDSHAKE
            done = threading.Event()

            def answer() -> None:
                # A phone sends sixty times a second; one packet may be lost.
                while not done.wait(0.02):
                    phone.sendto(b"jawOpen-62|eyeBlink_L-30|=head#10,20,5,0.01,0.02,0.3|", address)

            sending = threading.Thread(target=answer)
            sending.start()
            try:
                frame = _next_with_a_face(receiver, 0.62)
            finally:
                done.set()
                sending.join()
            assert frame["scores"]["eyeBlinkLeft"] == pytest.approx(0.3, abs=1e-5)
            assert frame["head_transform"] is not None


def test_a_stream_that_falls_silent_shows_no_face_and_the_session_goes_on(tmp_path: Path) -> None:
    with running(settings(tmp_path, source="livelink://127.0.0.1:0")) as session:
        with open_sink(f"livelink://127.0.0.1:{_source(session).port}", head=surface()) as sender:
            seen = face(1, 0.0)
            sender.write(Frame(seen, pose(1, seen)))
            wait_for(lambda: session.state.notice == "Face detected.")
        wait_for(lambda: "No face" in session.state.notice)
        session.set_camera(on=False)
        assert not session.state.camera_on
