"""Minutes of a looping video in a live session that records: memory, threads, sockets, and every frame counted.

    python -m benchmarks.bench_live_minutes VIDEO --landmarker face_landmarker.task [--minutes 10]

A process of its own plays the browser. `--seek` jumps in the video every five seconds, as a user who searches does.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import psutil

from benchmarks.live_probes import browse
from mp2flame.formats.recording import read_recording
from mp2flame.live import LiveSession, LiveSettings


class MemoryWatch:
    """A session whose memory is measured while it records.

    Args:
        session: not yet run.
        seconds: how long to run it.
        seek: jump in the video every five seconds.
    """

    def __init__(self, session: LiveSession, seconds: float, *, seek: bool) -> None:
        self.session = session
        self.seconds = seconds
        self.seek = seek
        self.memory: list[float] = []
        """MB, once a second."""
        self.skipped = 0

    def watch(self) -> None:
        """Measure once a second, then let the pipeline run empty, and stop."""
        process = psutil.Process()
        player = self.session.source.player
        assert player is not None
        for second in range(round(self.seconds)):
            time.sleep(1.0)
            self.memory.append(process.memory_info().rss / 2**20)
            if self.seek and second % 5 == 4:
                player.seek(1.0 + second % 7)
        player.pause()
        time.sleep(2.0)
        self.skipped = player.skipped
        self.session.stop()

    def run(self) -> str:
        """Record from the first frame to the last; returns the results as text."""
        self.session.recorder.start()
        watcher = threading.Thread(target=self.watch)
        watcher.start()
        report = self.session.run()
        watcher.join()
        state = self.session.state
        assert state.recording_path is not None
        recorded = sum(1 for _ in read_recording(state.recording_path))
        size = sum(file.stat().st_size for file in state.recording_path.parent.iterdir()) / 2**20
        first = self.memory[min(55, len(self.memory) // 2) : min(65, len(self.memory) // 2 + 10)]
        return (
            f"memory {self.memory[0]:.0f} MB after a second, {median(first):.0f} MB after the first minute, "
            f"{median(self.memory[-10:]):.0f} MB at the end (at most 20 more), largest {max(self.memory):.0f} MB\n"
            f"{report.frames} frames processed, {state.n_recorded} recorded, {recorded} in the file "
            f"({size:.0f} MB); skipped by the player as late {self.skipped}, dropped {report.dropped}"
        )


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--landmarker", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seek", action="store_true")
    options = parser.parse_args()
    process = psutil.Process()
    threads, sockets = _threads(), len(process.net_connections())
    with tempfile.TemporaryDirectory() as folder:
        session = LiveSession(
            LiveSettings(source=str(options.video), landmarker=options.landmarker, port=0, data=Path(folder))
        )
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        port = int(session.page.address.rpartition(":")[2])
        browser = multiprocessing.get_context("spawn").Process(target=browse, args=(port, "", theirs), daemon=True)
        browser.start()
        assert ours.recv() == "connected"
        print(MemoryWatch(session, options.minutes * 60, seek=options.seek).run())
        browser.join(timeout=10)
    # MediaPipe and viser need a moment to end their threads.
    time.sleep(3.0)
    print(
        f"threads {threads} before, {_threads()} after; sockets {sockets} before, "
        f"{len(process.net_connections())} after"
    )


def _threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate())


if __name__ == "__main__":
    main()
