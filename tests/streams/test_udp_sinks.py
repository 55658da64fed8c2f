"""UDP sinks: settings, lost frames, and receivers that were not written here."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import numpy as np
import pytest

from mp2flame.data import FlameParams, Frame
from mp2flame.errors import InputError, SinkError
from mp2flame.streams.base import DatagramSink, parse_address
from mp2flame.streams.livelink import LiveLinkSink
from mp2flame.streams.udp_json import UdpSink
from tests.helpers.streams import eventually, face, free_port, nobody, pose, reading, surface

pytest.importorskip("pythonosc", reason="needs the stream extra")

from mp2flame.streams.vmc import VmcSink, VmcSource


@pytest.mark.parametrize("kind", [UdpSink, VmcSink, LiveLinkSink])
def test_sinks_say_what_is_wrong(kind: type[UdpSink] | type[VmcSink] | type[LiveLinkSink]) -> None:
    scheme = kind.__name__.removesuffix("Sink").lower()
    with pytest.raises(SinkError, match="no address is known"):
        kind.from_url(f"{scheme}://nobody.invalid:9", head=surface())
    with pytest.raises(InputError, match="host"):
        kind.from_url(f"{scheme}://:9", head=surface())
    sink = kind.from_url(f"{scheme}://127.0.0.1:9", head=surface())
    sink.close()
    sink.close()
    with pytest.raises(SinkError, match="closed"):
        sink.write(Frame(face(0), pose(0, face(0))))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("vmc://h?case=upper", "camel, pascal"),
        ("vmc://h?bones=tail", "head, jaw, eyes"),
        ("livelink://h?angles=turns", "radians"),
        ("livelink://h?fps=0", "positive"),
        ("livelink://127.0.0.1?fps=5000", "frame rate"),
        ("livelink://127.0.0.1?subject=" + "x" * 300, "at most 256"),
        ("udp://h", "with a port"),
        ("udp://h:1?case=camel", "unknown setting"),
    ],
)
def test_settings_that_are_none(url: str, says: str) -> None:
    kinds: dict[str, type[DatagramSink]] = {"vmc": VmcSink, "livelink": LiveLinkSink, "udp": UdpSink}
    make: Callable[..., DatagramSink] = getattr(kinds[url.partition(":")[0]], "from_url")  # noqa: B009 - of three classes
    with pytest.raises(InputError, match=says):
        make(url, head=surface())


def test_udp_frames_are_one_json_object_each() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(3.0)
        with UdpSink.from_url(f"udp://127.0.0.1:{receiver.getsockname()[1]}", head=surface()) as sink:
            seen = face(5, 0.5)
            sink.write(Frame(seen, pose(5, seen)))
            sink.write(Frame(*nobody(0.6)))
        data = receiver.recv(65536)
        assert len(data) < 8192
        first, second = json.loads(data), json.loads(receiver.recv(65536))
    assert (first["sequence"], first["time"], first["found"]) == (0, 0.5, True)
    assert first["scores"]["jawOpen"] == pytest.approx(float(seen.scores[0, 25]), abs=1e-6)
    assert first["scores"]["tongueOut"] == 0.25
    assert len(first["flame"]["expression"]) == 100
    assert (second["sequence"], second["found"], second["flame"]) == (1, False, None)


def test_a_name_is_preferably_an_ipv4_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(3.0)
        port = receiver.getsockname()[1]
        kind = socket.SOCK_DGRAM
        both = [
            (socket.AF_INET6, kind, 17, "", ("::1", port, 0, 0)),
            (socket.AF_INET, kind, 17, "", ("127.0.0.1", port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        with UdpSink.from_url(f"udp://localhost:{port}", head=surface()) as sink:
            sink.write(Frame(face(0), pose(0, face(0))))
        assert json.loads(receiver.recv(65536))["found"]


def test_nobody_has_to_listen_and_lost_frames_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    frames = [Frame(face(index), pose(index, face(index))) for index in range(20)]
    with UdpSink.from_url(f"udp://127.0.0.1:{free_port()}") as sink:
        for frame in frames:
            sink.write(frame)
        assert sink.sent + sink.lost == 20
    caplog.clear()
    # No system sends to port 0.
    with UdpSink.from_url("udp://127.0.0.1:0") as sink:
        for frame in frames:
            sink.write(frame)
    assert (sink.sent, sink.lost) == (0, 20)
    assert len(caplog.records) == 1


def test_a_frame_too_large_for_a_datagram() -> None:
    class Large(UdpSink):
        def encode(self, frame: Frame) -> bytes:
            return bytes(65508)

    with Large(parse_address("udp://127.0.0.1:9")) as sink, pytest.raises(SinkError, match="65508 bytes"):
        sink.write(Frame(face(0), pose(0, face(0))))


def test_live_link_to_an_independent_reader() -> None:
    peer = pytest.importorskip("pylivelinkface")
    seen = face(3, 10.0)
    params = FlameParams(
        time=seen.time,
        found=seen.found,
        expression=np.zeros((1, 50), dtype=np.float32),
        global_orient=np.array([[0.0, 0.3, 0.0]]),
        leye_pose=np.array([[-0.2, 0.0, 0.0]]),
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(3.0)
        address = parse_address(f"livelink://127.0.0.1:{receiver.getsockname()[1]}")
        with LiveLinkSink(address, frame_rate=29.97, subject="anna", seconds_of_day=3600.0) as sink:
            sink.write(Frame(seen, params))
        found, read = peer.PyLiveLinkFace.decode(receiver.recv(2000))
    assert found
    assert (read.name, read.fps, read._denominator) == ("anna", 30000, 1001)
    assert (read._frames + read._sub_frame) * 1001 / 30000 == pytest.approx(3610.0, abs=1e-6)
    shape = peer.FaceBlendShape
    assert read.get_blendshape(shape.HeadYaw) == pytest.approx(0.3), "to the subject's left"
    assert read.get_blendshape(shape.HeadPitch) == pytest.approx(0.0, abs=1e-7)
    assert read.get_blendshape(shape.LeftEyePitch) == pytest.approx(0.2), "up"
    assert read.get_blendshape(shape.RightEyePitch) == 0.0
    assert read.get_blendshape(shape.JawOpen) == pytest.approx(float(seen.scores[0, 25]))
    assert read.get_blendshape(shape.TongueOut) == 0.25


def test_vmc_to_an_independent_server() -> None:
    from pythonosc.dispatcher import Dispatcher
    from pythonosc.osc_server import BlockingOSCUDPServer

    heard: list[tuple[object, ...]] = []
    dispatcher = Dispatcher()
    dispatcher.set_default_handler(lambda *message: heard.append(message))
    with BlockingOSCUDPServer(("127.0.0.1", 0), dispatcher) as server:
        url = f"vmc://127.0.0.1:{server.server_address[1]}?case=pascal&bones=head,jaw"
        with VmcSink.from_url(url, head=surface()) as sink:
            seen = face(4, 2.0)
            sink.write(Frame(seen, pose(4, seen)))
            server.handle_request()
    assert heard[0] == ("/VMC/Ext/OK", 1, 3, 0, 1)
    assert heard[1] == ("/VMC/Ext/T", 2.0)
    assert [message[1] for message in heard if message[0] == "/VMC/Ext/Bone/Pos"] == ["Head", "Jaw"]
    assert ("/VMC/Ext/Blend/Val", "JawOpen", float(seen.scores[0, 25])) in heard
    assert heard[-1] == ("/VMC/Ext/Blend/Apply",)


def test_vmc_from_an_independent_client() -> None:
    from pythonosc.udp_client import SimpleUDPClient

    with reading(VmcSource.from_url("vmc://127.0.0.1:0")) as reader:
        source = reader.source
        assert isinstance(source, VmcSource)
        client = SimpleUDPClient("127.0.0.1", source.port)
        with client._sock:
            client.send_message("/VMC/Ext/Blend/Val", ["jawOpen", 0.5])
            client.send_message("/VMC/Ext/Blend/Apply", [])
            assert eventually(lambda: reader.seen)
    assert reader.seen[0].scores[0, 25] == 0.5
    assert reader.seen[0].head_transform is None
