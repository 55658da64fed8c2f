"""`drive` to .npz against a bare loop of decoding and MediaPipe in video mode on the same file, interleaved.

    python benchmarks/bench_drive.py FILM --landmarker face_landmarker.task

The film is played several times in a row, so that the start weighs as little as in a film of a minute. Also prints
the resident memory after a quarter and at the end.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import av
import mediapipe as mp
import psutil

from mp2flame import default_filters, drive, head_surface, load_head, open_sink, open_source
from mp2flame.mapping import HeadPose, default_mapping
from mp2flame.sinks.encoders import Mp4Encoder


def bare(film: Path, landmarker: Path) -> tuple[int, float]:
    """Start MediaPipe, decode and detect, nothing else: frames and seconds."""
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
        sink = open_sink(folder / "out.npz", head=head_surface(head))
        mapping = HeadPose(default_mapping())
        report = drive(source, mapping, head, [sink], filters=default_filters(), rest="auto")
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
    head = load_head("builtin")
    with open_source(film, landmarker=landmarker) as source:
        report = drive(
            source,
            default_mapping(),
            head,
            [open_sink(folder / "long.npz", head=head_surface(head))],
            filters=default_filters(),
            on_frame=lambda _: marks.append(process.memory_info().rss / 2**20),
        )
    return marks[len(marks) // 4], marks[-1], report.frames


def main() -> None:
    """Print the ratio of frame rates and the growth of memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", type=Path)
    parser.add_argument("--landmarker", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--times", type=int, default=4, help="how often the film is played in a row")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = long_film(options.film, folder / "film.mp4", options.times)
        runs = [(bare(film, options.landmarker), driven(film, options.landmarker, folder))
                for _ in range(options.rounds)]  # fmt: skip
        rates = [[frames / seconds for frames, seconds in column] for column in zip(*runs, strict=True)]
        peer, ours = (median(column) for column in rates)
        ratio = median(b / a for a, b in zip(*rates, strict=True))
        print(f"bare loop {peer:.1f} fps, drive to .npz {ours:.1f} fps, ratio {ratio:.3f} (at least 0.93)")
        quarter, end, frames = memory(film, options.landmarker, folder)
    print(f"memory after a quarter of {frames} frames {quarter:.0f} MB, at the end {end:.0f} MB")


if __name__ == "__main__":
    main()
