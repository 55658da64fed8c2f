"""From one network to another through the corridor: a phone's packets in, several streams out."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from mp2flame.data import Frame
from mp2flame.pipeline import Pipeline, Report
from mp2flame.sinks import open_sink
from mp2flame.sources import open_source
from mp2flame.streams.livelink import LiveLinkSource
from tests.helpers.fakes import FirstScores
from tests.helpers.streams import eventually, face, nothing_left_behind, pose, surface

pytest.importorskip("pythonosc", reason="needs the stream extra")
pytest.importorskip("websockets", reason="needs the stream extra")


def test_a_phone_drives_three_streams_until_it_is_stopped() -> None:
    with nothing_left_behind(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30.0)
        source = open_source("livelink://127.0.0.1:0")
        assert isinstance(source, LiveLinkSource)
        port = receiver.getsockname()[1]
        urls = (f"udp://127.0.0.1:{port}", "vmc://127.0.0.1:9", "ws://:0")
        sinks = [open_sink(url, head=surface()) for url in urls]
        reports: list[Report] = []
        with source, open_sink(f"livelink://127.0.0.1:{source.port}", head=surface()) as phone:
            pipeline = Pipeline(source, FirstScores(), None, sinks)
            running = threading.Thread(target=lambda: reports.append(pipeline.run()))
            running.start()
            for index in range(5):
                seen = face(index, index / 30)
                phone.write(Frame(seen, pose(index, seen)))
                frame = json.loads(receiver.recv(65536))
                assert frame["scores"]["jawOpen"] == pytest.approx(float(seen.scores[0, 25]), abs=1e-5)
                assert len(frame["flame"]["expression"]) == 5
            # The phone is silent: the reader waits for packets that do not come.
            pipeline.stop()
            assert eventually(lambda: not running.is_alive())
    assert reports[0].frames >= 5
