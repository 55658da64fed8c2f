"""UDP sources and sinks on real sockets: round trips, strangers, silence, hostile packets, and nothing left behind."""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from mp2flame.data import Frame
from mp2flame.errors import InputError, SourceError
from mp2flame.rotations import matrix
from mp2flame.streams.base import DatagramSink, DatagramSource, parse_address
from mp2flame.streams.ifacialmocap import HANDSHAKE, IFacialMocapSource
from mp2flame.streams.livelink import LiveLinkSink, LiveLinkSource
from tests.helpers.streams import eventually, face, free_port, nobody, nothing_left_behind, pose, reading, surface

pytest.importorskip("pythonosc", reason="needs the stream extra")

from mp2flame.streams.vmc import VmcSink, VmcSource

Pair = Callable[[], tuple[DatagramSource, DatagramSink]]


def _livelink(settings: str = "") -> tuple[DatagramSource, DatagramSink]:
    source = LiveLinkSource.from_url(f"livelink://127.0.0.1:0{settings}")
    return source, LiveLinkSink.from_url(f"livelink://127.0.0.1:{source.port}{settings}")


def _vmc(settings: str = "") -> tuple[DatagramSource, DatagramSink]:
    source = VmcSource.from_url("vmc://127.0.0.1:0")
    return source, VmcSink.from_url(f"vmc://127.0.0.1:{source.port}{settings}", head=surface())


@contextmanager
def _strangers(source: DatagramSource, host: str = "127.0.0.1") -> Iterator[Callable[[bytes], object]]:
    """Sends bytes to the source from another host of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((host, 0))
        yield lambda data: sender.sendto(data, ("127.0.0.1", source.port))


@pytest.mark.parametrize(
    "pair",
    [
        _livelink,
        lambda: _livelink("?angles=degrees"),
        lambda: _livelink("?angles=half-turns"),
        _vmc,
        lambda: _vmc("?case=pascal&bones=head,jaw,eyes"),
    ],
)
def test_round_trip(pair: Pair) -> None:
    sent = [face(index, index / 30) for index in range(12)]
    with nothing_left_behind():
        source, sink = pair()
        with reading(source) as reader, sink:
            for index, seen in enumerate(sent):
                sink.write(Frame(seen, pose(index, seen)))
                assert eventually(lambda: len(reader.frames) > index)  # noqa: B023 - called at once
    assert (sink.sent, sink.lost, source.dropped, source.warnings) == (12, 0, 0, ())
    # Frames without a face may come in between on a slow machine.
    for index, (got, seen) in enumerate(zip(reader.seen, sent, strict=True)):
        np.testing.assert_allclose(got.scores[0, 1:], seen.scores[0, 1:], atol=1e-6)
        assert got.tongue_out is not None
        assert got.tongue_out[0] == pytest.approx(0.25)
        assert got.head_transform is not None
        params = pose(index, seen)
        turned = matrix(params.global_orient[0]) @ matrix(params.neck_pose[0])
        np.testing.assert_allclose(got.head_transform[0, :3, :3], turned, atol=1e-5)
    times = [float(frame.time[0]) for frame in reader.frames]
    assert (np.diff(times) > 0).all()


def test_live_link_times_are_the_senders() -> None:
    source = LiveLinkSource.from_url("livelink://127.0.0.1:0")
    address = parse_address(f"livelink://127.0.0.1:{source.port}")
    sink = LiveLinkSink(address, frame_rate=30.0, seconds_of_day=86399.9)
    with reading(source) as reader, sink:
        for index in range(10):
            seen = face(index, index / 30)
            sink.write(Frame(seen, pose(index, seen)))
            assert eventually(lambda: len(reader.seen) > index)  # noqa: B023 - called at once
    steps = np.diff([float(frame.time[0]) for frame in reader.seen])
    # Sent without a pause, but the stamps say a thirtieth of a second; once, at midnight, our own clock decides.
    assert np.median(steps) == pytest.approx(1 / 30, abs=1e-4)
    assert (steps > 0).all()


@pytest.mark.parametrize("pair", [_livelink, _vmc])
def test_no_face_is_reported(pair: Pair) -> None:
    source, sink = pair()
    with reading(source) as reader, sink:
        seen = face(0)
        sink.write(Frame(seen, pose(0, seen)))
        assert eventually(lambda: len(reader.frames) == 1)
        sink.write(Frame(*nobody(1 / 30)))
        assert eventually(lambda: len(reader.frames) == 2, 0.4), "before the silence would tell it"
    assert [bool(frame.found[0]) for frame in reader.frames[:2]] == [True, False]


def test_silence_is_a_face_that_is_gone() -> None:
    source, sink = _livelink()
    with reading(source) as reader, sink:
        assert not eventually(lambda: reader.frames, 0.7), "nothing before the first packet"
        seen = face(0)
        sink.write(Frame(seen, pose(0, seen)))
        assert eventually(lambda: len(reader.frames) > 3)
    assert [bool(frame.found[0]) for frame in reader.frames[:4]] == [True, False, False, False]
    times = [float(frame.time[0]) for frame in reader.frames]
    assert times[1] >= 0.4
    assert (np.diff(times) > 0).all()


@pytest.mark.parametrize("pair", [_livelink, _vmc])
def test_hostile_packets_are_counted_with_one_warning(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    source, sink = pair()
    rng = np.random.default_rng(0)
    junk = [b"", b"\x06", b"#bundle\0" + bytes(8) + struct.pack(">i", -4), bytes(60000), *map(rng.bytes, range(1, 90))]
    seen = face(0)
    with caplog.at_level(logging.DEBUG), reading(source) as reader, _strangers(source) as stranger, sink:
        for number, data in enumerate(junk, 1):
            stranger(data)
            assert eventually(lambda: source.dropped == number)  # noqa: B023 - called at once
        sink.write(Frame(seen, pose(0, seen)))
        assert eventually(lambda: reader.seen)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert source.warnings[0].startswith(f"{len(junk)} packets from")


@pytest.mark.parametrize(
    ("url", "packet"),
    [
        ("vmc://127.0.0.1:0", b"/[/x]\x1b[2J\0\0\0"),
        ("vmc://127.0.0.1:0", b"/" + b"<script>" * 500 + b"\0\0\0"),
        ("livelink://127.0.0.1:0", b"\x06\x1b[2J"),
        ("ifacialmocap://127.0.0.1?listen={port}", b"jawOpen-\x1b[2J|"),
        ("ifacialmocap://127.0.0.1?listen={port}", b"jawOpen-1|=head#" + b"<b>" * 500 + b"|"),
    ],
)
def test_text_of_packets_is_cleaned_and_bounded(url: str, packet: bytes, caplog: pytest.LogCaptureFixture) -> None:
    kinds: dict[str, type[LiveLinkSource | VmcSource | IFacialMocapSource]] = {
        "vmc": VmcSource,
        "livelink": LiveLinkSource,
        "ifacialmocap": IFacialMocapSource,
    }
    source = kinds[url.partition(":")[0]].from_url(url.format(port=free_port()))
    with caplog.at_level(logging.WARNING), reading(source), _strangers(source) as stranger:
        stranger(packet)
        assert eventually(lambda: source.dropped == 1)
        told = [*source.warnings, *(record.getMessage() for record in caplog.records)]
    assert len(told) == 2
    for sentence in told:
        assert not any(unicodedata.category(letter) == "Cc" for letter in sentence)
        assert len(sentence) < 500


def test_a_second_sender_is_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    source, sink = _vmc()
    other = VmcSink.from_url(f"vmc://127.0.0.1:{source.port}", head=surface())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))
        with reading(source) as reader, sink, other:
            first, second = face(1), face(2)
            sink.write(Frame(first, pose(1, first)))
            assert eventually(lambda: len(reader.seen) == 1)
            packet = other.encode(Frame(second, pose(2, second)))
            stranger.sendto(packet, ("127.0.0.1", source.port))
            assert eventually(lambda: source.dropped == 1)
            # Once the first has been silent for long, the other is welcome.
            monkeypatch.setattr("mp2flame.streams.base.SENDER_LOCK_SECONDS", 0.0)
            stranger.sendto(packet, ("127.0.0.1", source.port))
            assert eventually(lambda: len(reader.seen) == 2)
    np.testing.assert_allclose(reader.seen[1].scores[0, 1:], second.scores[0, 1:], atol=1e-6)


def test_a_second_subject_is_not_listened_to() -> None:
    source, sink = _livelink()
    other = LiveLinkSink.from_url(f"livelink://127.0.0.1:{source.port}?subject=bert")
    with reading(source) as reader, sink, other:
        for index, each in enumerate((sink, other, sink)):
            seen = face(index, index / 30)
            each.write(Frame(seen, pose(index, seen)))
            assert eventually(lambda: len(reader.seen) + source.dropped == index + 1)  # noqa: B023 - called at once
        assert len(reader.seen) == 2
    assert source.dropped == 1
    assert "another subject" in source.warnings[0]


def test_of_many_packets_that_wait_the_newest_counts() -> None:
    source, sink = _livelink()
    frames = [face(index, index / 60) for index in range(50)]
    with sink:
        for index, seen in enumerate(frames):
            sink.write(Frame(seen, pose(index, seen)))
        # Iterating begins only now.
        with reading(source) as reader:
            assert eventually(lambda: reader.seen)
            assert not eventually(lambda: len(reader.seen) > 1, 0.2)
    np.testing.assert_allclose(reader.seen[0].scores[0, 1:], frames[-1].scores[0, 1:], atol=1e-6)


def test_a_flood_neither_blocks_nor_grows() -> None:
    source, sink = _livelink()
    stop = threading.Event()
    with reading(source) as reader, _strangers(source) as stranger, sink:
        flood = threading.Thread(target=lambda: [stranger(bytes(900)) for _ in iter(stop.is_set, True)])
        flood.start()
        try:
            end = time.monotonic() + 20
            while len(reader.seen) < 3 and time.monotonic() < end:
                seen = face(0, time.monotonic())
                sink.write(Frame(seen, pose(0, seen)))
                stop.wait(0.01)
            assert len(reader.seen) >= 3, "frames get through"
        finally:
            stop.set()
            flood.join()
    assert source.dropped > 10


def test_close_from_another_thread() -> None:
    source, sink = _livelink()
    sink.close()
    with reading(source) as reader:
        source.close()
        assert reader.ended()
        source.close()
    # It may have been closed before it was iterated.
    assert reader.error is None or "closed" in str(reader.error)


def test_close_in_the_middle_of_an_iteration() -> None:
    with nothing_left_behind():
        source, sink = _livelink()
        seen = face(0)
        with source, sink:
            sink.write(Frame(seen, pose(0, seen)))
            for frame in source:
                assert frame.found[0]
                break


def test_a_port_that_is_taken() -> None:
    source, sink = _livelink()
    with source, sink, pytest.raises(SourceError, match="another program"):
        LiveLinkSource.from_url(f"livelink://127.0.0.1:{source.port}")


def test_nothing_came() -> None:
    with LiveLinkSource.from_url("livelink://127.0.0.1:0") as source:
        assert source.warnings == ("no packet has come to livelink://127.0.0.1:0",)


def test_a_phone_is_asked_until_it_answers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", 0))
        phone.settimeout(3.0)
        listen = free_port()
        source = IFacialMocapSource.from_url(f"ifacialmocap://127.0.0.1:{phone.getsockname()[1]}?listen={listen}")
        with reading(source) as reader, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for _ in range(2):
                asked, asker = phone.recvfrom(1000)
                assert asked == HANDSHAKE
                assert asker[1] == listen
            stranger.bind(("127.0.0.2", 0))
            stranger.sendto(b"jawOpen-90|", ("127.0.0.1", listen))
            assert eventually(lambda: source.dropped == 1)
            phone.sendto(b"jawOpen-50|eyeBlink_L-100|=head#0,90,0,0.1,0,-0.5|", ("127.0.0.1", listen))
            assert eventually(lambda: reader.seen)
    got = reader.seen[0]
    assert got.scores[0, 25] == 0.5
    assert got.head_transform is not None
    np.testing.assert_allclose(got.head_transform[0, :3, 2], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(got.head_transform[0, :3, 3], [10, 0, -50], atol=1e-4)


@pytest.mark.parametrize("url", ["ifacialmocap://", "ifacialmocap://h?listen=99999", "ifacialmocap://h?listen=1.5"])
def test_phone_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InputError):
        IFacialMocapSource.from_url(url)


def test_a_phone_that_nobody_knows() -> None:
    with pytest.raises(SourceError, match="no address is known"):
        IFacialMocapSource.from_url("ifacialmocap://phone.invalid")
