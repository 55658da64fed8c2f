"""Figures of a running session: frame rate, duration of each stage, and frames lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from mp2flame.pipeline import Pipeline
from mp2flame.pipeline.timing import StageTiming

DETECTION: Final = "detection"
END_TO_END: Final = "end to end"
NEUTRAL: Final = "neutral"
"""The name of the sink that collects a neutral, which is not a stage of its own."""
_ARRIVAL: Final = "arrival to "


@dataclass(frozen=True)
class Stats:
    """Figures over the latest frames."""

    frame_rate: float = 0.0
    """Frames per second."""
    timings: Mapping[str, StageTiming] = field(default_factory=dict)
    """Duration by stage, in the order of processing; the last is from the camera's image to the browser's socket."""
    losses: tuple[str, ...] = ()
    """One sentence for each place that lost frames."""


def collect_stats(pipeline: Pipeline, frame_rate: float, skipped: int) -> Stats:
    """The figures of a running pipeline.

    Args:
        pipeline: with its stopwatch.
        frame_rate: frames per second of the source.
        skipped: frames of a file that were left out because they were late.
    """
    summary = pipeline.stopwatch.summary()
    sinks = [stage for stage in summary if f"{_ARRIVAL}{stage}" in summary and stage != NEUTRAL]
    order = [DETECTION, "mapping", "filters", "head", *sinks, END_TO_END]
    timings = {stage: summary[stage] for stage in order if stage in summary}
    return Stats(frame_rate, timings, tuple(_losses(pipeline.dropped, skipped)))


def _losses(dropped: Mapping[str, int], skipped: int) -> Iterator[str]:
    if skipped:
        yield f"{skipped} frames of the file skipped"
    for place, count in dropped.items():
        if count and place != NEUTRAL:
            yield f"{count} frames dropped before {'mapping' if place == 'source' else place}"
