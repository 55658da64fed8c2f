"""What commands print with.

Text from outside (names of files, messages of servers) is printed as it is, never read as markup. Results go to
standard output; warnings, errors, hints and progress bars to standard error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from mp2flame.cli.text import pluralize
from mp2flame.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mp2flame.pipeline import Report

out = Console(highlight=False, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """Print a result on standard output."""
    out.print(_safe(text), soft_wrap=True)


def hint(text: str) -> None:
    """Print what a user should know or do on standard error."""
    err.print(_safe(text), soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    err.print(Text.assemble(("warning: ", "yellow"), _safe(text)), soft_wrap=True)


def fail(text: str) -> None:
    """Print an error on standard error."""
    err.print(Text.assemble(("error: ", "bold red"), _safe(text)), soft_wrap=True)


def _safe(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


def facts(rows: Iterable[tuple[str, object]]) -> Table:
    """A table of two columns without a head: names and values."""
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, _safe(str(value)))
    return table


def finish(report: Report, outputs: Iterable[str | Path] = ()) -> int:
    """Print the result of a run of the pipeline (frames, losses, warnings, files) and return 0.

    Raises:
        KeyboardInterrupt: the run was interrupted.
    """
    neutral = "; the person's neutral face was found" if report.neutral_taken else ""
    say(
        f"{pluralize(report.frames, 'frame')} in {report.seconds:.1f} s ({report.rate:.1f} fps), "
        f"{report.frames_without_face} without a face{neutral}"
    )
    for place, count in report.dropped.items():
        if count:
            warn(f"{pluralize(count, 'frame')} dropped at {place}")
    for warning in report.warnings:
        warn(warning)
    for path in outputs:
        say(f"wrote {path}")
    if report.interrupted:
        raise KeyboardInterrupt
    return 0


@dataclass(frozen=True)
class Bar:
    """One line of progress."""

    _progress: Progress
    _task: TaskID

    def advance(self, steps: int = 1) -> None:
        """So many more steps are done."""
        self._progress.advance(self._task, steps)

    def update(self, done: int, total: int) -> None:
        """So many steps of so many are done."""
        self._progress.update(self._task, completed=done, total=total)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="cyan")


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Bar]:
    """A progress bar on standard error while the block runs; silent where that is no terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as display:
        yield Bar(display, display.add_task(label, total=total))
