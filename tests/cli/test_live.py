"""`mp2flame live` as it is typed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mp2flame.cli import main
from mp2flame.cli.live import Live
from mp2flame.live import LiveSession
from mp2flame.pipeline import Report
from tests.helpers.live import blendshape_mapping, performance_recording, running, settings, wait_for
from tests.helpers.streams import free_port
from tests.helpers.viser_client import Tab

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
    assert "only this machine can see" in said
    assert f"sending to {address}" in said
    assert "viser" not in said


def test_other_hosts_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(LiveSession, "run", lambda self: (self.stop(), self.page.close()) and _report())
    performance_recording(tmp_path / "performance.jsonl")
    live = Live(
        source=str(tmp_path / "performance.jsonl"),
        mapping=str(blendshape_mapping(tmp_path / "own.safetensors")),
        host="0.0.0.0",
        port=0,
        data=tmp_path,
        send=(f"ws://0.0.0.0:{free_port()}", f"ws://:{free_port()}"),
    )
    assert live.run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert "everyone on the network" in lines[0]
    assert "control this session" in lines[0]
    assert "everyone on the network" in lines[1]
    assert "receive the face" in lines[1]
    assert "only this machine" in lines[2]


def test_ctrl_c_ends_the_command_while_a_screenshot_waits_for_a_browser_that_does_not_answer(tmp_path: Path) -> None:
    performance_recording(tmp_path / "performance.jsonl")
    words = ["live", str(tmp_path / "performance.jsonl"), "--port", "0", "--data", str(tmp_path)]
    code = f"from mp2flame.cli import main; raise SystemExit(main({words!r}))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        with Tab(int(address.rpartition(":")[2])) as tab:
            tab.click("Screenshot")
            wait_for(lambda: tab.kinds["GetRenderRequestMessage"])
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            process.wait(60)
            assert time.monotonic() - began < 6
        assert process.returncode == 130


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


def test_a_video_is_detected_shown_and_recorded_with_its_images(
    tmp_path: Path, shared_data: Path, landmarker: Path
) -> None:
    pytest.importorskip("mediapipe", reason="the track extra is not installed")
    from mp2flame.sources.video import VideoReader

    film = shared_data / "video" / "performance_a.mp4"
    if not film.is_file():
        pytest.skip(f"no film at {film}")
    with running(settings(tmp_path, source=str(film), landmarker=landmarker)) as session:
        wait_for(lambda: "detection" in session.state.stats.timings, seconds=30)
        wait_for(lambda: session.state.face, seconds=30)
        assert session.state.position is not None
        session.recorder.start()
        wait_for(lambda: session.state.n_recorded > 10, seconds=30)
        session.recorder.stop()
        path = session.state.recording_path
        assert path is not None
        images = [image for _, image in VideoReader(path.with_suffix(".images.mp4"))]
        # One for each frame, and the first one a second time at the start of the video.
        assert len(images) == session.state.n_recorded + 1
        # Mirrored, the face that looked to one side looks to the other.
        assert session.source.current is not None
        session.source.set_mirror(on=True)
        assert session.source.current.mirror  # type: ignore[attr-defined]


@pytest.mark.parametrize("port", ["70000", "-1", "65536"])
def test_a_port_that_does_not_exist_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["live", "absent.jsonl", "--port", port]) == 1
    assert f"--port must be a finite number at least 0 and at most 65535; got {port}" in capsys.readouterr().err
