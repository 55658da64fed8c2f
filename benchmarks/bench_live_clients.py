"""Fifty WebSocket clients, ten of which never read, beside the road without any: does it keep its rate?

    python benchmarks/bench_live_clients.py FILM --landmarker face_landmarker.task

The clients live in a process of their own, and are sent the head's vertices with every frame. Two rates are compared
in turns: the film at its own pace, as a camera gives it, and the film as fast as it can be seen, where forty clients
that take a hundred kilobytes a frame use their own share of the two cores.
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
class Walk:
    """What one run tells."""

    rate: float
    """Frames a second."""
    frames: int
    dropped: int
    received: list[int]
    """Messages that each reader got."""
    grown: float
    """MB."""


def crowd(port: int, pipe: Connection) -> None:
    """Forty clients that read until the server says goodbye, ten that shake hands and never read; how many each got."""
    counts = [0] * READING

    async def read(place: int, ready: asyncio.Semaphore) -> None:
        async with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as client:
            ready.release()
            with suppress(ConnectionClosed):
                async for _ in client:
                    counts[place] += 1

    async def everyone() -> None:
        ready = asyncio.Semaphore(0)
        readers = [asyncio.ensure_future(read(place, ready)) for place in range(READING)]
        for _ in readers:
            await ready.acquire()
        pipe.send("connected")
        await asyncio.gather(*readers)

    with ExitStack() as held:
        for _ in range(FROZEN):
            held.enter_context(_frozen(port))
        asyncio.run(everyone())
    pipe.send(counts)


def _frozen(port: int) -> socket.socket:
    """Shakes hands and never reads again."""
    frozen = socket.create_connection(("127.0.0.1", port))
    frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    frozen.sendall(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return frozen


class Road:
    """Film to WebSocket server, with a crowd at its end or nobody.

    Args:
        head: is driven; its vertices are sent with every frame.
        film: what is seen.
        landmarker: MediaPipe's bundle.
    """

    def __init__(self, head: FlameHead, film: Path, landmarker: Path) -> None:
        self.head = head
        self.film = film
        self.landmarker = landmarker

    def run(self, *, seconds: float | None, clients: bool) -> Walk:
        """The film at its own pace for some seconds, or once as fast as it can be seen."""
        arrivals: list[float] = []
        source = open_source(str(self.film), landmarker=self.landmarker)
        if seconds is not None:
            source, _ = play_in_real_time(source)
        process = psutil.Process()
        with source:
            sink = cast("WebSocketSink", open_sink("ws://:0?vertices=1", head=self.head))
            crowded = _crowd(sink.port) if clients else None
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
            counts = crowded.recv() if crowded is not None else []
        rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
        return Walk(rate, report.frames, report.dropped["source"] if seconds is not None else 0, counts, grown)


def _crowd(port: int) -> Connection:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=crowd, args=(port, theirs), daemon=True).start()
    assert ours.recv() == "connected"
    return ours


def main() -> None:
    """Print both rates with the crowd and without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--landmarker", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    road = Road(load_head("builtin"), options.film, options.landmarker)
    for seconds, name in ((options.seconds, "at its own pace"), (None, "as fast as it can")):
        pairs = [
            (road.run(seconds=seconds, clients=False), road.run(seconds=seconds, clients=True))
            for _ in range(options.rounds)
        ]
        alone, crowded = median(a.rate for a, _ in pairs), median(b.rate for _, b in pairs)
        share = median(b.rate / a.rate for a, b in pairs)
        last = pairs[-1][1]
        print(
            f"{name}: {alone:.1f} fps without clients, {crowded:.1f} fps with {READING} that read and {FROZEN} that "
            f"do not, ratio {share:.3f}; of {last.frames} frames each reader got {min(last.received)} to "
            f"{max(last.received)}, {last.dropped} were dropped before mapping, memory grew by {last.grown:.0f} MB"
        )


if __name__ == "__main__":
    main()
