"""Fitting against its peers, in the same run: NumPy's pseudo-inverse, pyarrow's reading, `numpy.load`, one process.

    python benchmarks/bench_fit.py [pinv] [pass] [folder] [extract] [--rows N] [--film FILE --landmarker FILE]

Each part prints both times and their ratio, and exits with 1 where a ratio misses its goal.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
import pyarrow.parquet as pq

from mp2flame.dataset.extract import Extraction
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.dataset.readers.flame_head_tracker import read_head_tracker_folder
from mp2flame.dataset.store import Dataset
from mp2flame.dataset.table import FrameTable
from mp2flame.dataset.writer import DatasetWriter
from mp2flame.mapping.linear import FEATURES
from mp2flame.regression.context import pass_over
from mp2flame.regression.ridge import pinv_matrix
from mp2flame.regression.sufficient_statistics import SufficientStatistics

_PARTS = ("pinv", "pass", "folder", "extract")
_E = 100
_CHUNK = 250_000


def _best(run: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        start = perf_counter()
        run()
        taken.append(perf_counter() - start)
    return min(taken)


def _verdict(what: str, ours: float, theirs: float, ratio: float, goal: float) -> bool:
    print(f"{what}: ours {ours:.3f} s, peer {theirs:.3f} s, ratio {ratio:.2f} (goal {goal})")
    return ratio >= goal


def _turn(run: Callable[[], object], seconds: float = 0.5) -> float:
    """Seconds of one run, the median of as many as fit into a turn.

    The pause lets threads sleep that BLAS keeps spinning after somebody else's turn. A processor that was idle takes
    some of our runs to come back to its speed, so that both get the same time to do so.
    """
    sleep(0.1)
    taken: list[float] = []
    while sum(taken) < seconds:
        taken.append(_best(run, 1))
    return float(np.median(taken))


def bench_pinv() -> bool:
    """45,971 frames of 52 scores to 109 parameters; a turn of ours beside each turn of the peer's.

    The peer is what the field's notebooks do: `numpy.linalg.pinv` of the scores in float64, and a product.
    """
    rng = np.random.default_rng(0)
    scores = rng.random((45_971, 52)).astype(np.float32)
    truth = rng.normal(size=(45_971, _E + 9)).astype(np.float32)

    def ours() -> np.ndarray:
        return pinv_matrix(SufficientStatistics.zeros(("scores",), _E + 9).with_frames(scores, [truth], with_yy=False))

    def numpys() -> np.ndarray:
        result: np.ndarray = np.linalg.pinv(scores.astype(np.float64)) @ truth
        return result

    assert np.abs(ours() - numpys()).max() < 1e-6
    # Medians: the least of unequal numbers would flatter whoever has more.
    turns = [(_turn(ours), _turn(numpys)) for _ in range(15)]
    mine, theirs = (float(np.median(times)) for times in zip(*turns, strict=True))
    return _verdict("pinv", mine, theirs, theirs / mine, 5)


def _generated(folder: Path, rows: int) -> Path:
    rng = np.random.default_rng(0)
    n = min(_CHUNK, rows)
    widths = {"scores": 52, "expression": _E, "jaw": 3, "eyes": 6, "neck": 3, "global": 3}
    columns = {name: rng.random((n, width)).astype(np.float32) for name, width in widths.items()}
    with DatasetWriter(folder) as writer:
        for part in range(rows // n):
            for neutral in (True, False):
                count = 1 if neutral else n
                writer.add(
                    FrameTable(
                        subject=f"person {part:03d}",
                        sequence=np.full(count, "generated", dtype=np.object_),
                        frame=np.arange(count),
                        time=np.arange(count) / 30,
                        found=np.ones(count, dtype=np.bool_),
                        neutral=np.full(count, neutral),
                        columns={name: column[:count] for name, column in columns.items()},
                    )
                )
        writer.finish({})
    return folder


def _one_pass(folder: str, kind: str) -> None:
    data = Dataset(folder)
    features = FEATURES if kind == "ridge" else ("scores",)
    start = perf_counter()
    pass_over(data, features, "pinv" if kind == "pinv" else "ridge")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{perf_counter() - start} {peak}")


def _read_alone(folder: str) -> None:
    start = perf_counter()
    columns = ["scores", "expression", "jaw", "eyes", "found", "frame", "sequence", "time", "rest", "image_size"]
    for path in sorted(Path(folder).rglob("*.parquet")):
        with pq.ParquetFile(path, memory_map=True) as file:
            for batch in file.iter_batches(65_536, columns=columns):
                assert len(batch)
    print(f"{perf_counter() - start} 0")


def _in_own_process(*words: str) -> tuple[float, float]:
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    seconds, megabytes = done.stdout.split()[-2:]
    return float(seconds), float(megabytes)


def bench_pass(rows: int) -> bool:
    """One pass over generated rows: seconds and peak memory, against pyarrow reading the same columns."""
    good = True
    with tempfile.TemporaryDirectory(prefix="bench_fit_") as scratch:
        folder = str(_generated(Path(scratch) / "data", rows))
        _in_own_process("--read-alone", folder)
        for kind in ("pinv", "ridge"):
            turns = [
                (_in_own_process("--one-pass", folder, kind), _in_own_process("--read-alone", folder)) for _ in "ab"
            ]
            ours, megabytes = min(mine for mine, _ in turns)
            theirs = min(alone for _, (alone, _) in turns)
            name = f"one pass over {rows} rows, {kind}, peak {megabytes:.0f} MB (goal 1000)"
            good &= _verdict(name, ours, theirs, theirs / ours, 0.5) and megabytes < 1000
    return good


def bench_folder(n: int = 200) -> bool:
    """A flame-head-tracker folder with pictures in its files, against `numpy.load` of every member."""
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.integers(-2, 3, size=(1, 512, 512, 3)), axis=2).astype(np.uint8)
    with tempfile.TemporaryDirectory(prefix="bench_fit_") as scratch:
        folder = Path(scratch) / "anna"
        folder.mkdir()
        for i in range(n):
            np.savez_compressed(
                folder / f"{i}.npz",
                shape=np.zeros((1, 300), np.float32),
                exp=rng.random((1, 100)).astype(np.float32),
                head_pose=np.zeros((1, 3), np.float32),
                jaw_pose=np.zeros((1, 3), np.float32),
                neck_pose=np.zeros((1, 3), np.float32),
                eye_pose=np.zeros((1, 6), np.float32),
                blendshape_scores=rng.random((1, 52)).astype(np.float32),
                img=smooth,
                img_aligned=smooth,
                img_rendered=smooth[:, ::2, ::2],
                shape_rendered=smooth[:, ::2, ::2],
                parsing=smooth[..., 0],
                parsing_aligned=smooth[..., 0],
            )

        def everything() -> None:
            for path in folder.iterdir():
                with np.load(path) as archive:
                    for name in archive.files:
                        assert archive[name] is not None

        ours, theirs = _best(lambda: list(read_head_tracker_folder(folder)), 5), _best(everything, 2)
    return _verdict(f"flame-head-tracker folder of {n}", ours, theirs, theirs / ours, 10)


def bench_extract(film: Path, landmarker: Path, n: int = 2048) -> bool:
    """Scores out of pictures on one process and on two, and what two bare MediaPipe processes make of this machine."""
    from PIL import Image

    from mp2flame.data import FlameParams
    from mp2flame.sources.video import VideoReader

    with tempfile.TemporaryDirectory(prefix="bench_fit_") as scratch:
        folder = Path(scratch)
        pictures = [picture for _, picture in VideoReader(film) if picture is not None][:n]
        paths = [folder / f"{i}.jpg" for i in range(n)]
        for i, path in enumerate(paths):
            Image.fromarray(pictures[i % len(pictures)]).save(path)
        sequence = TrackedSequence(
            subject="a",
            name="a",
            source="a",
            params=FlameParams.neutral(n, n_expression=1),
            frame=np.arange(n),
            images=paths,
        )
        one, two = (_extraction_seconds(folder, sequence, landmarker, processes) for processes in (1, 2))
        alone, beside = (_bare_rate(folder, landmarker, processes) for processes in (1, 2))
    print(f"bare MediaPipe: {alone:.0f} pictures/s on one process, {beside:.0f} on two, ratio {beside / alone:.2f}")
    return _verdict(f"extraction of {n} pictures on two processes", two, one, one / two, 1.7)


def _extraction_seconds(folder: Path, sequence: TrackedSequence, landmarker: Path, processes: int) -> float:
    extraction = Extraction(folder / f"detected{processes}", landmarker, processes=processes)
    start = perf_counter()
    extraction.run([sequence], lambda *_: None)
    return perf_counter() - start


def _bare_rate(folder: Path, landmarker: Path, processes: int) -> float:
    """Pictures a second of processes that only read pictures and detect, all together, without their start."""
    words = [sys.executable, __file__, "--bare", str(folder), str(landmarker)]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return sum(float(process.communicate()[0].split()[-1]) for process in running)


def _bare(folder: str, landmarker: str, seconds: float = 6.0) -> None:
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=landmarker),
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    paths = sorted(Path(folder).glob("*.jpg"))
    with vision.FaceLandmarker.create_from_options(options) as detector:
        detector.detect(mediapipe.Image.create_from_file(str(paths[0])))
        start, done = perf_counter(), 0
        while perf_counter() - start < seconds:
            detector.detect(mediapipe.Image.create_from_file(str(paths[done % len(paths)])))
            done += 1
        print(done / (perf_counter() - start))


def main() -> int:
    """Run the parts that are asked for; all that can run when none is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--film", type=Path)
    parser.add_argument("--landmarker", type=Path, default=os.environ.get("MP2FLAME_LANDMARKER"))
    parser.add_argument("--one-pass", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--read-alone", help=argparse.SUPPRESS)
    parser.add_argument("--bare", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_pass:
        _one_pass(*options.one_pass)
        return 0
    if options.bare:
        _bare(*options.bare)
        return 0
    if options.read_alone:
        _read_alone(options.read_alone)
        return 0
    good = True
    for part in options.parts or _PARTS:
        if part == "pinv":
            good &= bench_pinv()
        elif part == "pass":
            good &= bench_pass(options.rows)
        elif part == "folder":
            good &= bench_folder()
        elif options.film and options.landmarker:
            good &= bench_extract(options.film, Path(options.landmarker))
        else:
            print("extract: skipped, it needs --film and --landmarker")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
