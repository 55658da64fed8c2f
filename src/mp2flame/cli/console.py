"""What commands print with: one console for results, one for the rest, and a progress bar with rate and time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
from rich.text import Text

__all__ = ["Bar", "err", "out", "progress"]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} fps", style="cyan")


class Bar:
    """One line of progress."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self) -> None:
        """One more step is done."""
        self._progress.advance(self._task)

    def complete(self) -> None:
        """All is done: an estimated total becomes the true one."""
        task = self._progress.tasks[self._task]
        self._progress.update(self._task, total=task.completed)


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Bar]:
    """A progress bar on standard error while the block runs; silent where that is no terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as display:
        bar = Bar(display, display.add_task(label, total=total))
        yield bar
        bar.complete()
