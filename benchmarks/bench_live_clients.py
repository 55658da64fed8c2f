"""The frame rate with fifty WebSocket clients, ten of which never read, against the rate without clients.

    python -m benchmarks.bench_live_clients VIDEO --landmarker face_landmarker.task

The clients run in a process of their own and receive the head's vertices with every frame. Two rates are compared in
turns: the video in real time, like a camera, and the video as fast as possible, where forty clients that take a hundred
kilobytes per frame use their own share of the processors.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import cast

import psutil
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from mp2flame import Pipeline, default_filters, load_head, open_sink, open_source
from mp2flame.head import FlameHead
from mp2flame.mapping import load_mapping
from mp2flame.sources.player import play_in_real_time
from mp2flame.streams.websocket import WebSocketSink

READING, FROZEN = 40, 10


@dataclass(frozen=True)
class Run:
    """Results of one run."""

    rate: float
    """Frames a second."""
    frames: int
    dropped: int
    received: list[int]
    """Messages that each reading client got."""
    grown: float
    """MB."""


def run_clients(port: int, pipe: Connection) -> None:
    """Forty clients that read until the server closes, ten that connect and never read; sends back the counts."""
    counts = [0] * READING

    async def read(place: int, ready: asyncio.Semaphore) -> None:
        async with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as client:
            ready.release()
            with suppress(ConnectionClosed):
                async for _ in client:
                    counts[place] += 1

    async def run_all() -> None:
        ready = asyncio.Semaphore(0)
        readers = [asyncio.ensure_future(read(place, ready)) for place in range(READING)]
        for _ in readers:
            await ready.acquire()
        pipe.send("connected")
        await asyncio.gather(*readers)

    with ExitStack() as held:
        for _ in range(FROZEN):
            held.enter_context(_frozen(port))
        asyncio.run(run_all())
    pipe.send(counts)


def _frozen(port: int) -> socket.socket:
    """Connects and never reads."""
    frozen = socket.create_connection(("127.0.0.1", port))
    frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    frozen.sendall(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return frozen


class LiveRun:
    """From a video to a WebSocket server, with clients or without.

    Args:
        head: is driven; its vertices are sent with every frame.
        video: is played.
        landmarker: MediaPipe's bundle.
    """

    def __init__(self, head: FlameHead, video: Path, landmarker: Path) -> None:
        self.head = head
        self.video = video
        self.landmarker = landmarker

    def run(self, *, seconds: float | None, clients: bool) -> Run:
        """The video in real time for some seconds, or once as fast as possible."""
        arrivals: list[float] = []
        source = open_source(str(self.video), landmarker=self.landmarker)
        if seconds is not None:
            source, _ = play_in_real_time(source)
        process = psutil.Process()
        with source:
            sink = cast("WebSocketSink", open_sink("ws://:0?vertices=1", head=self.head))
            with_clients = _start_clients(sink.port) if clients else None
            before = process.memory_info().rss
            pipeline = Pipeline(
                source,
                load_mapping("builtin"),
                self.head,
                [sink],
                filters=default_filters(),
                on_frame=lambda frame: arrivals.append(frame.arrival),
            )
            if seconds is not None:
                threading.Timer(seconds, pipeline.stop).start()
            report = pipeline.run()
            grown = (process.memory_info().rss - before) / 2**20
            counts = with_clients.recv() if with_clients is not None else []
        rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
        return Run(rate, report.frames, report.dropped["source"] if seconds is not None else 0, counts, grown)


def _start_clients(port: int) -> Connection:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=run_clients, args=(port, theirs), daemon=True).start()
    assert ours.recv() == "connected"
    return ours


def main() -> None:
    """Print both rates with clients and without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--landmarker", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    live = LiveRun(load_head("builtin"), options.video, options.landmarker)
    for seconds, name in ((options.seconds, "in real time"), (None, "as fast as possible")):
        pairs = [
            (live.run(seconds=seconds, clients=False), live.run(seconds=seconds, clients=True))
            for _ in range(options.rounds)
        ]
        alone, with_clients = median(a.rate for a, _ in pairs), median(b.rate for _, b in pairs)
        share = median(b.rate / a.rate for a, b in pairs)
        last = pairs[-1][1]
        print(
            f"{name}: {alone:.1f} fps without clients, {with_clients:.1f} fps with {READING} that read and {FROZEN} "
            f"that do not, ratio {share:.3f}; of {last.frames} frames each reading client got {min(last.received)} to "
            f"{max(last.received)}, {last.dropped} were dropped before mapping, memory grew by {last.grown:.0f} MB"
        )


if __name__ == "__main__":
    main()
