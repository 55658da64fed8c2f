"""Latency of a live session to the sockets, and its frame rate against a bare MediaPipe loop.

    python -m benchmarks.bench_live VIDEO --landmarker face_landmarker.task

Latency is measured from the moment at which an image arrived to the moment at which a message was handed to its socket,
less the time inside MediaPipe: its own copy of the image, its landmarker, and once a second its search for further
faces. A process of its own plays the browser and the receiver: it reads and unpacks what comes without drawing it. When
a message arrived there is printed too; both processes share one clock.
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

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.bench_drive import bare
from benchmarks.live_probes import (
    DetectorProbe,
    Receipts,
    browse,
    free_port,
    listen,
    page_send_times,
    sink_write_times,
)
from mp2flame import Pipeline, default_filters, load_head, load_mapping, open_sink, open_source
from mp2flame.data import Frame
from mp2flame.head import FlameHead
from mp2flame.live.color_patches import ColorPatches
from mp2flame.live.page import Page
from mp2flame.live.state import SessionState
from mp2flame.sources.base import Source
from mp2flame.sources.detection import DetectedSource
from mp2flame.sources.player import play_in_real_time


@dataclass(frozen=True)
class Run:
    """Results of one run."""

    frames: list[tuple[float, float, np.ndarray]]
    """Time of the frame, when it left the source, its vertices."""
    heads: Receipts
    """Heads that the browser received."""
    datagrams: dict[float, float]
    """When the receiver got each frame, by its time rounded to microseconds."""
    page_sent: list[float]
    """When each message was handed to the browser's socket."""
    datagrams_sent: dict[float, float]
    """When each frame was handed to the network's socket, by its time."""

    @property
    def rate(self) -> float:
        """Frames per second from the first to the last; creating a detector is in neither of the rates compared."""
        return (len(self.frames) - 1) / (self.frames[-1][1] - self.frames[0][1])


class LiveRun:
    """A live pipeline with a browser and a receiver.

    Args:
        head: is driven.
        video: is played.
        landmarker: MediaPipe's bundle.
    """

    def __init__(self, head: FlameHead, video: Path, landmarker: Path) -> None:
        self.head = head
        self.video = video
        self.landmarker = landmarker

    @contextmanager
    def _clients(self) -> Iterator[tuple[Page, int, list[Connection]]]:
        state = SessionState(source="0", sources=("0",), mapping_names=("builtin",), mappings=("builtin", None))
        page = Page(self.head, state, port=0)
        udp = free_port()
        context = multiprocessing.get_context("spawn")
        pipes, processes = [], []
        browser = (browse, (int(page.address.rpartition(":")[2]), "/a/colors0"))
        for target, arguments in (browser, (listen, (udp,))):
            ours, theirs = context.Pipe()
            process = context.Process(target=target, args=(*arguments, theirs), daemon=True)
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

    def run(self, source: Source, seconds: float | None = None) -> Run:
        """Process the source until it ends or for some seconds."""
        frames: list[tuple[float, float, np.ndarray]] = []

        def keep(frame: Frame) -> None:
            if frame.vertices is not None:
                frames.append((float(frame.observation.time[0]), frame.arrival, frame.vertices))

        with (
            page_send_times() as page_sent,
            self._clients() as (page, udp, pipes),
            threadpool_limits(limits=1, user_api="blas"),
        ):
            network = open_sink(f"udp://127.0.0.1:{udp}", head=self.head)
            datagrams_sent = sink_write_times(network)
            pipeline = Pipeline(
                source,
                load_mapping("builtin"),
                self.head,
                [network, *page.sinks()],
                filters=default_filters(),
                on_frame=keep,
            )
            if seconds is not None:
                threading.Timer(seconds, pipeline.stop).start()
            report = pipeline.run()
            for stage, timing in report.timings.items():
                print(f"    {stage:28s} p50 {timing.p50:6.2f}  p95 {timing.p95:6.2f} ms")
            page.close()
            heads, datagrams = (pipe.recv() for pipe in pipes)
        return Run(frames, heads, datagrams, page_sent, datagrams_sent)


def latency(live: LiveRun, seconds: float) -> None:
    """Print the latency to the sockets for a video in real time."""
    source, _ = play_in_real_time(open_source(str(live.video), landmarker=live.landmarker))
    assert isinstance(source, DetectedSource)
    probe = DetectorProbe(source.detector)
    source.detector = probe
    with source, probe.measuring():
        run = live.run(source, seconds)
    surface = ColorPatches(live.head.faces, live.head.vertex_colors, (0, 0, 0))
    # The first second contains imports and the filling of caches.
    frames = [frame for frame in run.frames if frame[0] > 1.0]
    sent: dict[str, list[float]] = {"page": [], "browser": [], "network": [], "receiver": []}
    for moment, _, vertices in frames:
        start = probe.moments[moment] + probe.inside[moment]
        index, arrival = run.heads.get(zlib.crc32(surface.points(vertices)[0].tobytes()), (-1, 0.0))
        if index >= 0:
            sent["page"].append(run.page_sent[index] - start)
            sent["browser"].append(arrival - start)
        if moment in run.datagrams_sent:
            sent["network"].append(run.datagrams_sent[moment] - start)
        if round(moment, 6) in run.datagrams:
            sent["receiver"].append(run.datagrams[round(moment, 6)] - start)
    inside = np.percentile(np.array(list(probe.inside.values())) * 1e3, [50, 95])
    print(f"video in real time: {run.rate:.1f} fps; inside MediaPipe p50 {inside[0]:.2f}, p95 {inside[1]:.2f} ms")
    _print_latency("to the viewer's socket (at most 5)", sent["page"], len(frames))
    _print_latency("    to the browser", sent["browser"], len(frames))
    _print_latency("to the network sink's socket (at most 3)", sent["network"], len(frames))
    _print_latency("    to the receiver", sent["receiver"], len(frames))


def _print_latency(where: str, seconds: Sequence[float], of: int) -> None:
    p50, p95, p99 = np.percentile(np.array(seconds) * 1e3, [50, 95, 99])
    print(f"{where:44s} p50 {p50:.2f}, p95 {p95:.2f}, p99 {p99:.2f} ms; {len(seconds)} of {of} frames")


def ratio(live: LiveRun, rounds: int) -> None:
    """Print the live pipeline's frame rate, as fast as possible, over a bare MediaPipe loop's, interleaved."""
    peers, ours = [], []
    for _ in range(rounds):
        frames, seconds = bare(live.video, live.landmarker)
        peers.append(frames / seconds)
        with open_source(str(live.video), landmarker=live.landmarker) as source:
            ours.append(live.run(source).rate)
    share = median(b / a for a, b in zip(peers, ours, strict=True))
    print(f"bare loop {median(peers):.1f} fps, live {median(ours):.1f} fps, ratio {share:.3f} (at least 0.9)")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--landmarker", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    live = LiveRun(load_head("builtin"), options.video, options.landmarker)
    if options.seconds:
        latency(live, options.seconds)
    if options.rounds:
        ratio(live, options.rounds)


if __name__ == "__main__":
    main()
