"""The live road: latency to the sockets, rate against a bare MediaPipe loop, memory over minutes.

    python benchmarks/bench_live.py FILM --landmarker face_landmarker.task [--minutes 10]

A process of its own plays the browser: it reads and unpacks what the page sends, without drawing it. Latency runs from
a frame's arrival behind the detector to its receipt in that process, on the clock that both share.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np
import psutil
from threadpoolctl import threadpool_limits
from websockets.exceptions import ConnectionClosed

from benchmarks.bench_drive import bare
from mp2flame import Pipeline, default_filters, head_surface, load_head, load_mapping, open_sink, open_source
from mp2flame.formats.recording import read_recording
from mp2flame.head import FlameHead
from mp2flame.live import LiveSession, LiveSettings
from mp2flame.live.takes import FORMATS
from mp2flame.mapping import HeadPose
from mp2flame.pipeline.lanes import Frame
from mp2flame.sources.base import Source
from mp2flame.sources.paced import paced
from mp2flame.viewer import Director, Page, ViewerSink
from tests import viser_client

Receipts = dict[int, float]


class _Nobody:
    """A director that is never asked."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def _browser(port: int, mesh: str, pipe: Connection) -> None:
    """Note when each new head was there, by the checksum of one mesh, until the page goes away."""
    receipts: Receipts = {}
    try:
        with suppress(ConnectionClosed), viser_client.connected(port) as browser:
            pipe.send("connected")
            while True:
                frame = browser.recv()
                now = time.perf_counter()
                points = viser_client.vertices(frame).get(mesh)
                if points is not None:
                    receipts[zlib.crc32(points)] = now
    finally:
        pipe.send(receipts)


def _listener(port: int, pipe: Connection) -> None:
    """Note when each datagram was there, by the frame's time in it, until none comes for three seconds."""
    receipts: dict[float, float] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", port))
        receiver.settimeout(3.0)
        pipe.send("connected")
        while True:
            try:
                message = receiver.recv(65535)
            except TimeoutError:
                break
            receipts[round(json.loads(message)["time"], 6)] = time.perf_counter()
    pipe.send(receipts)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Road:
    """The whole road, with a browser and a receiver at its end.

    Args:
        head: is driven.
        film: what is seen.
        landmarker: MediaPipe's bundle.
    """

    def __init__(self, head: FlameHead, film: Path, landmarker: Path) -> None:
        self.head = head
        self.film = film
        self.landmarker = landmarker
        self.frames: list[tuple[float, float, np.ndarray]] = []

    @contextmanager
    def _ends(self) -> Iterator[tuple[Page, int, list[Connection]]]:
        surface = head_surface(self.head)
        page = Page(
            surface, cast(Director, _Nobody()), port=0, sources=("0",), source="0", free_source=False,
            mappings=("builtin",), formats=FORMATS, n_expression=self.head.n_expression, mirror=False,
        )  # fmt: skip
        udp = _free_port()
        context = multiprocessing.get_context("spawn")
        pipes, processes = [], []
        for target, words in (
            (_browser, (int(page.address.rpartition(":")[2]), "/a/colours0")),
            (_listener, (udp,)),
        ):
            ours, theirs = context.Pipe()
            process = context.Process(target=target, args=(*words, theirs), daemon=True)
            process.start()
            assert ours.recv() == "connected"
            pipes.append(ours)
            processes.append(process)
        time.sleep(0.5)
        try:
            yield page, udp, pipes
        finally:
            page.close()
            for process in processes:
                process.join(timeout=10)

    def run(self, source: Source, seconds: float | None = None) -> tuple[float, Receipts, dict[float, float]]:
        """Frames a second, and when each frame reached the browser and the receiver."""
        self.frames.clear()

        def keep(frame: Frame) -> None:
            if frame.vertices is not None:
                self.frames.append((float(frame.observation.time[0]), frame.arrival, frame.vertices))

        with self._ends() as (page, udp, pipes), threadpool_limits(limits=1, user_api="blas"):
            sinks = [open_sink(f"udp://127.0.0.1:{udp}", head=head_surface(self.head)), ViewerSink(page)]
            pipeline = Pipeline(
                source, HeadPose(load_mapping("builtin")), self.head, sinks, filters=default_filters(), on_frame=keep
            )
            if seconds is not None:
                threading.Timer(seconds, pipeline.stop).start()
            report = pipeline.run()
            for room, took in report.rooms.items():
                print(f"    {room:28s} p50 {took.p50:6.2f}  p95 {took.p95:6.2f} ms")
            page.close()
            received = [pipe.recv() for pipe in pipes]
        # From the first frame to the last: making a detector is in neither of the rates compared.
        rate = (len(self.frames) - 1) / (self.frames[-1][1] - self.frames[0][1])
        return rate, received[0], received[1]


def latency(road: Road, seconds: float) -> None:
    """Print how long frames of a film at its own pace need to the sockets."""
    source, _ = paced(open_source(str(road.film), landmarker=road.landmarker))
    with source:
        rate, heads, datagrams = road.run(source, seconds)
    from mp2flame.viewer.painting import Painting

    painting = Painting(road.head.faces, road.head.vertex_colors, (0, 0, 0))
    # The first second holds imports and caches.
    frames = [frame for frame in road.frames if frame[0] > 1.0]
    to_browser = [
        heads[key] - arrival
        for _, arrival, vertices in frames
        if (key := zlib.crc32(painting.points(vertices)[0].tobytes())) in heads
    ]
    to_network = [datagrams[round(t, 6)] - arrival for t, arrival, _ in frames if round(t, 6) in datagrams]
    print(f"film at its own pace: {rate:.1f} fps")
    for name, values, most in (("the viewer's socket", to_browser, 5), ("the network sink", to_network, 3)):
        p50, p95, p99 = np.percentile(np.array(values) * 1e3, [50, 95, 99])
        print(
            f"arrival to {name}: p50 {p50:.2f}, p95 {p95:.2f} (at most {most}), p99 {p99:.2f} ms; "
            f"{len(values)} of {len(frames)} frames"
        )


def ratio(road: Road, rounds: int) -> None:
    """Print the whole road's rate, as fast as it can, over a bare MediaPipe loop's, interleaved."""
    peers, ours = [], []
    for _ in range(rounds):
        frames, seconds = bare(road.film, road.landmarker)
        peers.append(frames / seconds)
        with open_source(str(road.film), landmarker=road.landmarker) as source:
            ours.append(road.run(source)[0])
    share = median(b / a for a, b in zip(peers, ours, strict=True))
    print(f"bare loop {median(peers):.1f} fps, live road {median(ours):.1f} fps, ratio {share:.3f} (at least 0.9)")


def memory(film: Path, landmarker: Path, minutes: float) -> None:
    """Print memory after the first minute and at the end of a looping session that records, and what is left."""
    process = psutil.Process()
    threads, sockets = threading.active_count(), len(process.net_connections())
    with tempfile.TemporaryDirectory() as folder:
        session = LiveSession(LiveSettings(source=str(film), landmarker=landmarker, port=0, data=Path(folder)))
        marks: list[float] = []

        def watch() -> None:
            time.sleep(1.0)
            session.start_recording()
            for _ in range(round(minutes * 60)):
                time.sleep(1.0)
                marks.append(process.memory_info().rss / 2**20)
            session.stop_recording()
            session.stop()

        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        port = int(session.page.address.rpartition(":")[2])
        browser = context.Process(target=_browser, args=(port, "", theirs), daemon=True)
        browser.start()
        assert ours.recv() == "connected"
        watcher = threading.Thread(target=watch)
        watcher.start()
        report = session.run()
        watcher.join()
        browser.join(timeout=10)
        take = session._recorder.take
        assert take is not None
        recorded = sum(1 for _ in read_recording(take.path))
        size = sum(file.stat().st_size for file in take.path.parent.iterdir()) / 2**20
    # MediaPipe and viser need a moment to let go.
    time.sleep(3.0)
    after = median(marks[min(55, len(marks) // 2) : min(65, len(marks) // 2 + 10)])
    print(
        f"{minutes:g} minutes: memory {after:.0f} MB after the first, {median(marks[-10:]):.0f} MB at the end, most "
        f"{max(marks):.0f} MB; {report.frames} frames, dropped {report.dropped}; take {take.n_frames} frames, its "
        f"file {recorded}, {size:.0f} MB; threads {threads} before, {threading.active_count()} after; "
        f"sockets {sockets} before, {len(process.net_connections())} after"
    )


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--landmarker", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    road = Road(load_head("builtin"), options.film, options.landmarker)
    if options.seconds:
        latency(road, options.seconds)
    if options.rounds:
        ratio(road, options.rounds)
    if options.minutes:
        memory(options.film, options.landmarker, options.minutes)


if __name__ == "__main__":
    main()
