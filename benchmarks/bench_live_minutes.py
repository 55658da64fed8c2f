"""Minutes of a looping film through a live session that records: memory, threads, sockets, and every frame counted.

python benchmarks/bench_live_minutes.py FILM --landmarker face_landmarker.task [--minutes 10]
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

from benchmarks.live_ends import browse
from mp2flame.formats.recording import read_recording
from mp2flame.live import LiveSession, LiveSettings


class Minutes:
    """A session that is watched.

    Args:
        session: not yet run.
        seconds: how long to watch.
    """

    def __init__(self, session: LiveSession, seconds: float) -> None:
        self.session = session
        self.seconds = seconds
        self.memory: list[float] = []
        """MB, once a second."""
        self.read = 0
        """Frames that came out of the source."""
        self.skipped = 0

    def watch(self) -> None:
        """Look once a second, then let the road run empty, and stop."""
        process = psutil.Process()
        transport = self.session._playback.transport
        assert transport is not None
        for _ in range(round(self.seconds)):
            time.sleep(1.0)
            self.memory.append(process.memory_info().rss / 2**20)
        transport.pause()
        time.sleep(2.0)
        self.skipped = transport.skipped
        self.session.stop()

    def run(self) -> str:
        """Record from the first frame to the last; what came of it."""
        clock = self.session._playback.clock
        taken = clock.taken

        def counted(time_of_frame: float) -> None:
            self.read += 1
            taken(time_of_frame)

        clock.taken = counted  # type: ignore[method-assign]
        self.session.start_recording()
        watcher = threading.Thread(target=self.watch)
        watcher.start()
        report = self.session.run()
        watcher.join()
        take = self.session._recorder.stop()
        recorded = sum(1 for _ in read_recording(take.path))
        size = sum(file.stat().st_size for file in take.path.parent.iterdir()) / 2**20
        first = self.memory[min(55, len(self.memory) // 2) : min(65, len(self.memory) // 2 + 10)]
        return (
            f"memory {median(first):.0f} MB after the first minute, {median(self.memory[-10:]):.0f} MB at the end "
            f"(at most 20 more), most {max(self.memory):.0f} MB\n"
            f"{self.read} frames read, {report.frames} mapped, {take.n_frames} taken, {recorded} in the file "
            f"({size:.0f} MB); left out by the player as late {self.skipped}, dropped {report.dropped}"
        )


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--landmarker", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    process = psutil.Process()
    threads, sockets = _threads(), len(process.net_connections())
    with tempfile.TemporaryDirectory() as folder:
        session = LiveSession(
            LiveSettings(source=str(options.film), landmarker=options.landmarker, port=0, data=Path(folder))
        )
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        port = int(session.page.address.rpartition(":")[2])
        browser = multiprocessing.get_context("spawn").Process(target=browse, args=(port, "", theirs), daemon=True)
        browser.start()
        assert ours.recv() == "connected"
        print(Minutes(session, options.minutes * 60).run())
        browser.join(timeout=10)
    # MediaPipe and viser need a moment to let go.
    time.sleep(3.0)
    print(
        f"threads {threads} before, {_threads()} after; sockets {sockets} before, "
        f"{len(process.net_connections())} after"
    )


def _threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate())


if __name__ == "__main__":
    main()
