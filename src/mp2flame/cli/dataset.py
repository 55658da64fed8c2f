"""`mp2flame dataset`: tracked data of any tool as one data set, what it holds, and its distributions."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.table import Table

from mp2flame.cli.console import Bar, out, progress
from mp2flame.cli.text import counted, listed

__all__ = ["Dataset", "connected"]


def connected(address: str | None) -> AbstractContextManager[None]:
    """A connection to Ray for a block, or none."""
    if address is None:
        return nullcontext()
    from mp2flame.dataset.cluster import cluster

    return cluster(address)


@dataclass(frozen=True)
class Build:
    """Read tracked data and write a data set that `mp2flame fit` takes.

    Scores that are missing are computed from the pictures. Started again after a kill, it goes on where it was.
    """

    inputs: tyro.conf.Positional[list[str]]
    """Files and folders of trackers; PARAMS=PICTURES where the pictures lie elsewhere, JSON=NPZ for speech data."""
    output: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """The folder to make."""
    head: str | None = None
    """The FLAME file that the parameters are for, or "builtin"; it is remembered, and blinks are checked against it."""
    head_version: str = ""
    """The same in words, where there is no file at hand, for example "FLAME 2020"."""
    order: Literal["mediapipe", "arkit", "livelink-csv", "lam", "beat"] | None = None
    """The order of the inputs' scores, where it is not MediaPipe's."""
    landmarker: Path | None = None
    """MediaPipe's face_landmarker.task; by default the one that is fetched."""
    processes: int | None = None
    """Processes that look at pictures; by default one for each processor."""
    cluster: str | None = None
    """Look at pictures on the Ray cluster at this address, or on one that is started here ("local")."""
    estimate_neutral: bool = False
    """Mark the calmest frames of people without rest frames as their rest."""

    def run(self) -> int:
        """Build, and say what became of the frames."""
        from mp2flame.dataset.build import build
        from mp2flame.head import load_head

        head = None if self.head is None else load_head(self.head)
        with progress("looking at pictures", None) as bar, connected(self.cluster):
            _, report = build(
                self.inputs,
                self.output,
                head=head,
                head_version=self.head_version,
                order=self.order,
                landmarker=self.landmarker,
                processes=self.processes,
                estimate_neutral=self.estimate_neutral,
                cluster=self.cluster is not None,
                progress=_Advance(bar),
            )
        people = counted(len(report.subjects), "subject")
        told = f"wrote {self.output}: {counted(report.frames, 'frame')} of {people}, {report.neutral} of them at rest"
        out.print(told, soft_wrap=True)
        for reason, count in sorted(report.left_out.items()):
            out.print(f"  {counted(count, 'frame')}: {reason}")
        return 0


class _Advance:
    """Turns counts of pictures into steps of a bar."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._done = 0

    def __call__(self, done: int, total: int) -> None:
        for _ in range(done - self._done):
            self._bar.advance()
        self._done = done
        if done == total:
            self._bar.complete()


@dataclass(frozen=True)
class Info:
    """Say what a data set holds, which blendshapes never fire and which parameters never move."""

    folder: tyro.conf.Positional[Path]
    """The data set."""

    def run(self) -> int:
        """Print the summarize."""
        from mp2flame.dataset.store import Dataset as Data
        from mp2flame.dataset.summary import summarize

        found = summarize(Data(self.folder))
        table = Table(show_header=False, box=None)
        table.add_row("frames", f"{found.frames}, {found.found} with a face and all numbers, {found.neutral} at rest")
        table.add_row("subjects", str(len(found.subjects)))
        table.add_row("without rest", ", ".join(found.subjects_without_neutral) or "nobody")
        table.add_row("landmarks", "yes" if found.has_landmarks else "no: fit with --kind ridge or pinv")
        table.add_row("head", found.head_version)
        table.add_row("never fire", ", ".join(found.silent_scores) or "none")
        table.add_row("never move", listed(found.still_outputs) or "none")
        out.print(table)
        return 0


@dataclass(frozen=True)
class Plot:
    """Draw the distributions of scores, expression, jaw and eyes, as four PNG files."""

    folder: tyro.conf.Positional[Path]
    """The data set."""
    output: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """The folder for the files."""

    def run(self) -> int:
        """Draw, and say where the files are."""
        from mp2flame.dataset.plots import plot
        from mp2flame.dataset.store import Dataset as Data

        for path in plot(Data(self.folder), self.output):
            out.print(f"wrote {path}", soft_wrap=True)
        return 0


@dataclass(frozen=True)
class Dataset:
    """Make a data set of tracked data (build), look into it (info), draw its distributions (plot)."""

    action: (
        Annotated[Build, tyro.conf.subcommand("build")]
        | Annotated[Info, tyro.conf.subcommand("info")]
        | Annotated[Plot, tyro.conf.subcommand("plot")]
    )

    def run(self) -> int:
        """Run the chosen action."""
        return self.action.run()
