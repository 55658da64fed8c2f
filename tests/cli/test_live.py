"""`mp2flame live` as it is typed."""

from __future__ import annotations

import json
import signal
import socket
import threading
from pathlib import Path

import pytest

from mp2flame.cli import main
from mp2flame.cli.live import Live
from mp2flame.live import LiveSession
from mp2flame.pipeline import Report
from tests.helpers.live import blendshape_mapping, performance_recording, running, settings, wait_for

pytest.importorskip("viser", reason="the viewer's extra is not installed")


@pytest.mark.usefixtures("listens_to_ctrl_c")
def test_it_says_who_can_see_it_sends_and_ends_with_ctrl_c(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Lines are wrapped at the width of the terminal.
    monkeypatch.setenv("COLUMNS", "300")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20.0)
        address = f"udp://127.0.0.1:{receiver.getsockname()[1]}"
        received: list[dict[str, object]] = []

        def listen() -> None:
            received.append(json.loads(receiver.recv(65535)))
            signal.raise_signal(signal.SIGINT)

        listener = threading.Thread(target=listen)
        listener.start()
        words = [
            "live", str(performance_recording(tmp_path / "performance.jsonl")), "--port", "0", "--send", address,
            "--mapping", str(blendshape_mapping(tmp_path / "own.safetensors")), "--data", str(tmp_path / "data"),
        ]  # fmt: skip
        assert main(words) == 130
        listener.join(timeout=5)
    assert received
    said = capsys.readouterr().out
    assert "open http://127.0.0.1:" in said
    assert "only this machine can see it" in said
    assert f"sending to {address}" in said
    assert "viser" not in said


def test_other_hosts_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(LiveSession, "run", lambda self: (self._playback.close(), self.page.close()) and _report())
    performance_recording(tmp_path / "performance.jsonl")
    live = Live(
        source=str(tmp_path / "performance.jsonl"),
        mapping=str(blendshape_mapping(tmp_path / "own.safetensors")),
        host="0.0.0.0",
        port=0,
        data=tmp_path,
    )
    assert live.run() == 0
    assert "everyone on the network" in capsys.readouterr().out


def _report() -> Report:
    return Report(
        frames=1,
        frames_without_face=0,
        seconds=1.0,
        dropped={"ViewerSink": 3},
        timings={},
        neutral_taken=False,
        warnings=("x",),
    )


def test_a_film_is_seen_shown_and_recorded_with_its_pictures(
    tmp_path: Path, shared_data: Path, landmarker: Path
) -> None:
    pytest.importorskip("mediapipe", reason="the track extra is not installed")
    film = shared_data / "video" / "performance_a.mp4"
    if not film.is_file():
        pytest.skip(f"no film at {film}")
    with running(settings(tmp_path, source=str(film), landmarker=landmarker)) as session:
        wait_for(lambda: "detection" in session.page._figures.content, seconds=30)
        assert "face seen" in session.page._sign.content
        assert session.page._position.visible
        session.start_recording()
        take = session._recorder.take
        assert take is not None
        wait_for(lambda: take.n_frames > 10, seconds=30)
        session.stop_recording()
        assert len(take.has_picture) == take.n_frames == sum(take.has_picture)
        assert take.pictures.stat().st_size > 1000
        # Mirrored, the face that looked to one side looks to the other.
        session.set_playing(on=False)
        session.set_mirror(on=True)
        detected = session._playback._detected
        assert detected is not None
        assert detected.mirror
