"""`drive` to .npz against a bare loop of decoding and MediaPipe in video mode on the same file, interleaved.

    python benchmarks/bench_drive.py FILM --landmarker face_landmarker.task

Both clocks start before MediaPipe does and stop when it is closed: the bare loop's covers the landmarker, the film and
every frame; ours covers `open_source`, the mapping, the sink, `drive` with filters and the person's rest, and the file
written. Imports, and loading the head, are in neither. The film is played once, as it is, so that the start weighs
what it weighs; `--times 4` plays it four times in a row. Also prints the resident memory after a quarter and at the
end of a film.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import av
import mediapipe as mp
import psutil

from mp2flame import drive, load_head, open_sink, open_source
from mp2flame.mapping import load_mapping
from mp2flame.sinks.encoders import Mp4Encoder

_WANTED = 0.93


def bare(film: Path, landmarker: Path) -> tuple[int, float]:
    """Start MediaPipe, decode and detect, nothing else: frames and seconds.

    As its users write it: one thread, PyAV's threads for the codec.
    """
    vision = mp.tasks.vision
    options = vision.FaceLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(landmarker)),
        running_mode=vision.RunningMode.VIDEO,
        num_faces=1,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    frames = 0
    started = time.perf_counter()
    with vision.FaceLandmarker.create_from_options(options) as detector, av.open(str(film)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=frame.to_ndarray(format="rgb24"))
            detector.detect_for_video(picture, round(frame.time * 1000))
            frames += 1
        return frames, time.perf_counter() - started


def driven(film: Path, landmarker: Path, folder: Path) -> tuple[int, float]:
    """The whole road to an .npz: frames and seconds."""
    head = load_head("builtin")
    started = time.perf_counter()
    with open_source(str(film), landmarker=landmarker) as source:
        sink = open_sink(folder / "out.npz", head=head)
        mapping = load_mapping("builtin")
        report = drive(source, mapping=mapping, head=head, sinks=[sink])
        return report.frames, time.perf_counter() - started


def long_film(film: Path, path: Path, times: int) -> Path:
    """The film several times in a row, as one film."""
    encoder, offset, end = Mp4Encoder(path, _size(film)), 0.0, 0.0
    for _ in range(times):
        with av.open(str(film)) as container:
            for frame in container.decode(video=0):
                end = offset + frame.time
                encoder.add(frame.to_ndarray(format="rgb24"), end)
        offset = end + 1 / 30
    encoder.close()
    return path


def _size(film: Path) -> tuple[int, int]:
    with av.open(str(film)) as container:
        return container.streams.video[0].width, container.streams.video[0].height


def memory(film: Path, landmarker: Path, folder: Path) -> tuple[float, float, int]:
    """Resident megabytes after a quarter and at the end of a film, and how many frames that were."""
    process = psutil.Process()
    marks: list[float] = []
    with open_source(film, landmarker=landmarker) as source:
        report = drive(
            source,
            folder / "long.npz",
            neutral=None,
            on_frame=lambda _: marks.append(process.memory_info().rss / 2**20),
        )
    return marks[len(marks) // 4], marks[-1], report.frames


def _spread(rates: list[float]) -> str:
    return f"{median(rates):6.1f} ({min(rates):.1f} to {max(rates):.1f})"


def main() -> int:
    """Print the ratio of frame rates and the growth of memory; 0 where the median ratio is high enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", type=Path)
    parser.add_argument("--landmarker", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--times", type=int, default=1, help="how often the film is played in a row")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = options.film if options.times == 1 else long_film(options.film, folder / "film.mp4", options.times)
        bare(film, options.landmarker), driven(film, options.landmarker, folder)  # not counted: files into memory
        runs = []
        for number in range(options.rounds):
            # Who comes first changes, so that neither always finds the machine as the other leaves it.
            roads = [lambda: bare(film, options.landmarker), lambda: driven(film, options.landmarker, folder)]
            first = number % 2
            results = {first: roads[first](), 1 - first: roads[1 - first]()}
            runs.append([frames / seconds for frames, seconds in (results[0], results[1])])
        peer, ours = (list(column) for column in zip(*runs, strict=True))
        ratios = sorted(b / a for a, b in runs)
        print(f"clock: from before MediaPipe starts until it is closed; {options.rounds} rounds, each in turn")
        print(f"bare loop        {_spread(peer)} fps")
        print(f"drive to .npz    {_spread(ours)} fps")
        print(f"drive / bare     {median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}), best against best "
              f"{max(ours) / max(peer):.3f}; wanted at least {_WANTED}")  # fmt: skip
        quarter, end, frames = memory(film, options.landmarker, folder)
    print(f"memory after a quarter of {frames} frames {quarter:.0f} MB, at the end {end:.0f} MB")
    return 0 if median(ratios) >= _WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
