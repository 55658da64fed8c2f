"""How a calibrated mapping's error falls with the number of images: a table and a chart.

    mp2flame calibrate --head builtin -o mine.safetensors --work work --keep-work
    python -m scripts.learning_curve work --head builtin -o docs/pictures/calibration.png

Mappings are fitted on the first 25, 50, 100 and so on of the people that a calibration left, and measured on its
held-out ones; with `--data`, also on a data set of the same head that was made otherwise.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import matplotlib.pyplot as plt

from mp2flame.calibration.calibrate import frame_table
from mp2flame.calibration.config import DEFAULT
from mp2flame.dataset.store import Dataset
from mp2flame.dataset.writer import DatasetWriter
from mp2flame.evaluation.evaluate import evaluate
from mp2flame.head import FlameHead, load_head
from mp2flame.regression.fit import fit
from mp2flame.synthesis.subjects import load_samples

_KINDS: dict[str, Literal["ridge", "landmarks"]] = {"scores": "ridge", "landmarks and scores": "landmarks"}


def subset(work: Path, count: int, head: FlameHead, folder: Path) -> tuple[Dataset, int]:
    """The first subjects of a calibration as a data set, and how many frames they have."""
    frames = 0
    with DatasetWriter(folder, head_version=head.version, head_hash=head.hash) as writer:
        for path in sorted(work.glob("subject-*.safetensors"))[:count]:
            samples = load_samples(path)
            if samples is not None and len(samples.parameters):
                writer.add(frame_table(samples))
                frames += len(samples.parameters)
        writer.finish({"sources": [f"renders of the {head.version} head"]})
    return Dataset(folder), frames


def chart(curves: dict[tuple[str, str], list[tuple[int, float]]], path: Path) -> None:
    """Frames against error, a line for each mapping and each data set that it was measured on."""
    figure, axes = plt.subplots(figsize=(7.6, 3.6), layout="constrained")
    mappings, places = (list(dict.fromkeys(names)) for names in zip(*curves, strict=True))
    for (mapping, place), points in curves.items():
        style = {"color": f"C{mappings.index(mapping)}", "linestyle": ("-", "--")[places.index(place)]}
        axes.plot(*zip(*points, strict=True), marker="o", label=f"{mapping},\n{place}", **style)
    axes.set_xscale("log")
    axes.set_xticks(frames := sorted({count for points in curves.values() for count, _ in points}))
    axes.set_xticklabels([f"{count:,}" for count in frames])
    axes.minorticks_off()
    axes.set_xlabel("frames fitted on")
    axes.set_ylabel("face distance, of no expression")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Fit, measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="what calibrate --work --keep-work left")
    parser.add_argument("--head", required=True)
    parser.add_argument("--people", type=int, nargs="+", default=[25, 50, 100, 200, 300])
    parser.add_argument("--data", type=Path, help="another data set to measure on")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    mpl.use("agg")
    head = load_head(options.head)
    (work,) = {path.parent for path in options.work.rglob("subject-*.safetensors")}
    measured = {"held out": work / "held-out"} | ({"other data": options.data} if options.data else {})
    curves: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for count in options.people:
        with tempfile.TemporaryDirectory() as name:
            data, frames = subset(work, count, head, Path(name) / "data")
            for label, kind in _KINDS.items():
                mapping = fit(data, kind=kind, head=head, network=DEFAULT.network_for(head))
                for where, truth in measured.items():
                    face = evaluate({label: mapping}, truth, head).measures[label].figures()["face"]
                    curves.setdefault((label, where), []).append((frames, face))
                    print(f"{count} people, {frames} frames, {label}, {where}: {face:.3f}", flush=True)
    chart(curves, options.output)


if __name__ == "__main__":
    main()
