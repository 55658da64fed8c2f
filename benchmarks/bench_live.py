"""The live road: latency to the sockets, and rate against a bare MediaPipe loop.

    python benchmarks/bench_live.py FILM --landmarker face_landmarker.task

Latency runs from the moment at which a picture was there to the moment at which a message was with its socket, less the
time inside MediaPipe: its own copy of the picture, its landmarker, and once a second its search for further faces. A
process of its own plays the browser and the receiver: it reads and unpacks what comes, without drawing it; when a
message was there is printed too, on the clock that both share.
"""

from __future__ import annotations

import argparse
import multiprocessing
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.bench_drive import bare
from benchmarks.live_ends import Arrivals, Nobody, Receipts, browse, free_port, listen, page_leavings, sink_leavings
from mp2flame import Pipeline, default_filters, load_head, open_sink, open_source
from mp2flame.data import Frame
from mp2flame.head import FlameHead
from mp2flame.live.color_patches import Painting
from mp2flame.live.director import Director
from mp2flame.live.page import Page
from mp2flame.live.takes import FORMATS
from mp2flame.live.viewer_sink import PictureSink, ViewerSink
from mp2flame.mapping import load_mapping
from mp2flame.sources.base import Source
from mp2flame.sources.detection import DetectedSource
from mp2flame.sources.player import play_in_real_time

Timed = list[tuple[float, float, np.ndarray]]


@dataclass(frozen=True)
class Walk:
    """What one run tells."""

    frames: Timed
    """Time on the frame, when it left the source, its vertices."""
    heads: Receipts
    """Heads that the browser received."""
    datagrams: dict[float, float]
    """When the receiver had each frame, by its time in microseconds' precision."""
    pages_left: list[float]
    datagrams_left: dict[float, float]

    @property
    def rate(self) -> float:
        """Frames a second from the first to the last: making a detector is in neither of the rates compared."""
        return (len(self.frames) - 1) / (self.frames[-1][1] - self.frames[0][1])


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

    @contextmanager
    def _ends(self) -> Iterator[tuple[Page, int, list[Connection]]]:
        page = Page(
            self.head, cast(Director, Nobody()), port=0, sources=("0",), source="0", free_source=False,
            mappings=("builtin",), formats=FORMATS, n_expression=self.head.n_expression, mirror=False,
        )  # fmt: skip
        udp = free_port()
        context = multiprocessing.get_context("spawn")
        pipes, processes = [], []
        for target, words in (
            (browse, (int(page.address.rpartition(":")[2]), "/a/colours0")),
            (listen, (udp,)),
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

    def run(self, source: Source, seconds: float | None = None) -> Walk:
        """Take the source down the road, until it ends or for some seconds."""
        frames: Timed = []

        def keep(frame: Frame) -> None:
            if frame.vertices is not None:
                frames.append((float(frame.observation.time[0]), frame.arrival, frame.vertices))

        with (
            page_leavings() as pages_left,
            self._ends() as (page, udp, pipes),
            threadpool_limits(limits=1, user_api="blas"),
        ):
            network = open_sink(f"udp://127.0.0.1:{udp}", head=self.head)
            datagrams_left = sink_leavings(network)
            pipeline = Pipeline(
                source,
                load_mapping("builtin"),
                self.head,
                [network, ViewerSink(page), PictureSink(page)],
                filters=default_filters(),
                on_frame=keep,
            )
            if seconds is not None:
                threading.Timer(seconds, pipeline.stop).start()
            report = pipeline.run()
            for room, took in report.timings.items():
                print(f"    {room:28s} p50 {took.p50:6.2f}  p95 {took.p95:6.2f} ms")
            page.close()
            heads, datagrams = (pipe.recv() for pipe in pipes)
        return Walk(frames, heads, datagrams, pages_left, datagrams_left)


def latency(road: Road, seconds: float) -> None:
    """Print how long frames of a film at its own pace need to the sockets."""
    source, _ = play_in_real_time(open_source(str(road.film), landmarker=road.landmarker))
    assert isinstance(source, DetectedSource)
    arrivals = Arrivals(source.detector)
    source.detector = arrivals
    with source, arrivals.watching():
        walk = road.run(source, seconds)
    painting = Painting(road.head.faces, road.head.vertex_colors, (0, 0, 0))
    # The first second holds imports and caches.
    frames = [frame for frame in walk.frames if frame[0] > 1.0]
    left: dict[str, list[float]] = {"page": [], "page there": [], "network": [], "network there": []}
    for moment, _, vertices in frames:
        begun = arrivals.moments[moment] + arrivals.inside[moment]
        place, there = walk.heads.get(zlib.crc32(painting.points(vertices)[0].tobytes()), (-1, 0.0))
        if place >= 0:
            left["page"].append(walk.pages_left[place] - begun)
            left["page there"].append(there - begun)
        if moment in walk.datagrams_left:
            left["network"].append(walk.datagrams_left[moment] - begun)
        if round(moment, 6) in walk.datagrams:
            left["network there"].append(walk.datagrams[round(moment, 6)] - begun)
    inside = np.percentile(np.array(list(arrivals.inside.values())) * 1e3, [50, 95])
    print(f"film at its own pace: {walk.rate:.1f} fps; inside MediaPipe p50 {inside[0]:.2f}, p95 {inside[1]:.2f} ms")
    _say("with the viewer's socket (at most 5)", left["page"], len(frames))
    _say("    there in the browser", left["page there"], len(frames))
    _say("with the network sink's socket (at most 3)", left["network"], len(frames))
    _say("    there at the receiver", left["network there"], len(frames))


def _say(where: str, seconds: Sequence[float], of: int) -> None:
    p50, p95, p99 = np.percentile(np.array(seconds) * 1e3, [50, 95, 99])
    print(f"{where:44s} p50 {p50:.2f}, p95 {p95:.2f}, p99 {p99:.2f} ms; {len(seconds)} of {of} frames")


def ratio(road: Road, rounds: int) -> None:
    """Print the whole road's rate, as fast as it can, over a bare MediaPipe loop's, interleaved."""
    peers, ours = [], []
    for _ in range(rounds):
        frames, seconds = bare(road.film, road.landmarker)
        peers.append(frames / seconds)
        with open_source(str(road.film), landmarker=road.landmarker) as source:
            ours.append(road.run(source).rate)
    share = median(b / a for a, b in zip(peers, ours, strict=True))
    print(f"bare loop {median(peers):.1f} fps, live road {median(ours):.1f} fps, ratio {share:.3f} (at least 0.9)")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--landmarker", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    road = Road(load_head("builtin"), options.film, options.landmarker)
    if options.seconds:
        latency(road, options.seconds)
    if options.rounds:
        ratio(road, options.rounds)


if __name__ == "__main__":
    main()
