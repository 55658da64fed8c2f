"""`mp2flame dataset`: tracked data of any tool as one data set, its content, and its distributions."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mp2flame.cli.console import facts, out, progress, say
from mp2flame.cli.options import Flag, LandmarkerOption, option
from mp2flame.cli.text import join_ranges, pluralize
from mp2flame.files import check_outputs, check_writable

DataFolder = Annotated[tyro.conf.Positional[Path], option("DATASET")]


@dataclass(frozen=True, kw_only=True)
class ClusterOption:
    """Where a pass over the data runs."""

    cluster: Annotated[str | None, option("ADDRESS")] = None
    """Run on the Ray cluster at this address, or on one that is started on this machine (local)."""

    def connected(self) -> AbstractContextManager[None]:
        """A connection to Ray for a block, or none."""
        if self.cluster is None:
            return nullcontext()
        from mp2flame.dataset.cluster import cluster

        return cluster(self.cluster)


@dataclass(frozen=True, kw_only=True)
class Build(ClusterOption, LandmarkerOption):
    """Read tracked data of any tool into a data set for fit.

    Scores that are missing are computed from the images. Started again after an interruption, the command continues.
    """

    inputs: Annotated[tyro.conf.Positional[list[str]], option("INPUT [INPUT ...]")]
    """Files and folders of trackers; PARAMS=IMAGES where the images are elsewhere, JSON=NPZ for speech data."""
    output: Annotated[Path, option("DIR", "-o")]
    """The folder to make."""
    head: Annotated[str | None, option("HEAD")] = None
    """The FLAME file that the parameters are for, or builtin; its hash is stored."""
    head_version: Annotated[str, option("VERSION")] = ""
    """The head's version in words, where there is no file, for example "FLAME 2020"."""
    order: Annotated[Literal["mediapipe", "arkit", "livelink-csv", "lam", "beat"] | None, option("ORDER")] = None
    """The order of the inputs' scores: mediapipe (default), arkit, livelink-csv, lam or beat."""
    fps: Annotated[float | None, option("FPS")] = None
    """Frame rate of inputs without times (default 30); plain arrays are one video if it is given."""
    processes: Annotated[int | None, option("N")] = None
    """Number of processes that detect faces; by default one for each processor."""
    estimate_neutral: Flag = False
    """Mark the frames nearest to a neutral face as neutral, for people without neutral frames."""

    def run(self) -> int:
        """Build, and print how many frames were used and left out."""
        from mp2flame.dataset.build import build
        from mp2flame.head import load_head

        read = [path for path in (*_paths(self.inputs), self.head, self.landmarker) if path is not None]
        check_outputs([self.output], read)
        check_writable(self.output, folder=True)
        head = None if self.head is None else load_head(self.head)
        with progress("detecting faces", None) as bar, self.connected():
            _, report = build(
                self.inputs,
                self.output,
                head=head,
                head_version=self.head_version,
                order=self.order,
                fps=self.fps,
                landmarker=self.landmarker,
                processes=self.processes,
                estimate_neutral=self.estimate_neutral,
                cluster=self.cluster is not None,
                progress=bar.update,
            )
        people = pluralize(len(report.subjects), "subject")
        say(f"wrote {self.output}: {pluralize(report.frames, 'frame')} of {people}, {report.neutral} of them neutral")
        for reason, count in sorted(report.left_out.items()):
            say(f"  left out {pluralize(count, 'frame')}: {reason}")
        return 0


def _paths(inputs: list[str]) -> list[str]:
    return [path for text in inputs for path in (text, *text.split("=")) if path]


@dataclass(frozen=True, kw_only=True)
class Info:
    """Print what a data set holds and which values never change."""

    folder: DataFolder
    """The data set."""

    def run(self) -> int:
        """Print the summary."""
        from mp2flame.dataset.store import Dataset
        from mp2flame.dataset.summary import summarize

        summary = summarize(Dataset(self.folder))
        counts = f"{summary.frames}, {summary.found} with a face and all numbers, {summary.neutral} neutral"
        rows = {
            "frames": counts,
            "subjects": len(summary.subjects),
            "without neutral": ", ".join(summary.subjects_without_neutral) or "nobody",
            "landmarks": "yes" if summary.has_landmarks else "no: fit with --kind ridge or pinv",
            "head": summary.head_version,
            "scores always 0": ", ".join(summary.silent_scores) or "none",
            "constant parameters": join_ranges(summary.still_outputs) or "none",
        }
        out.print(facts(rows.items()))
        return 0


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Plot the distributions of scores and parameters.

    Four PNG files are written.
    """

    folder: DataFolder
    """The data set."""
    output: Annotated[Path, option("DIR", "-o")]
    """The folder for the files."""

    def run(self) -> int:
        """Plot, and print the names of the files."""
        from mp2flame.dataset.plots import plot
        from mp2flame.dataset.store import Dataset

        data = Dataset(self.folder)
        check_writable(self.output, folder=True)
        for path in plot(data, self.output):
            say(f"wrote {path}")
        return 0
