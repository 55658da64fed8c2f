"""The figures beside the picture: frame rate, how long each room takes, and what was lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from mp2flame.cli.text import pluralize
from mp2flame.errors import InputError
from mp2flame.live.page import Page
from mp2flame.live.playback import Playback
from mp2flame.live.recorder import Recorder
from mp2flame.pipeline import Pipeline
from mp2flame.pipeline.timing import StageTiming

__all__ = ["DETECTION", "ROAD", "end_recording", "losses", "rooms_to_show", "show_figures", "show_progress"]

DETECTION: Final = "detection"
ROAD: Final = "whole road"
_ARRIVAL = "arrival to "
_HIDDEN = "neutral"


def rooms_to_show(summary: Mapping[str, StageTiming]) -> dict[str, StageTiming]:
    """Rooms in the order of the road, under names that people know; the whole road last."""
    sinks = [room for room in summary if f"{_ARRIVAL}{room}" in summary]
    order = [DETECTION, "mapping", "filters", "head", *sinks, ROAD]
    return {room: summary[room] for room in order if room in summary and room != _HIDDEN}


def losses(pipeline: Pipeline, skipped: int) -> Iterator[str]:
    """One line for each place that lost frames.

    Args:
        pipeline: the corridor.
        skipped: frames of a file that came too late.
    """
    if skipped:
        yield f"{pluralize(skipped, 'frame')} of the file skipped"
    for place, count in pipeline.dropped.items():
        if count and place != _HIDDEN:
            yield f"{pluralize(count, 'frame')} dropped before {place if place != 'source' else 'mapping'}"


def show_progress(page: Page, playback: Playback, recorder: Recorder) -> None:
    """Where a file is, and how long a recording; one that broke off is ended."""
    transport = playback.transport
    if transport is None:
        page.show_transport(0.0, None, playing=False, visible=False)
    else:
        page.show_transport(transport.position, transport.duration, playing=transport.playing, visible=True)
    take = recorder.take
    if recorder.running and take is not None:
        if take.error is None:
            page.controls.show_recording(f"recording: {take.seconds:.1f} s", running=True, ready=False)
        else:
            # Whoever records may press Stop at the same moment.
            with suppress(InputError):
                end_recording(page, recorder)


def end_recording(page: Page, recorder: Recorder) -> None:
    """Stop, and show what there is to download.

    Raises:
        InputError: nothing is being recorded.
    """
    take = recorder.stop()
    failed = f" It broke off: {take.error}" if take.error is not None else ""
    text = f"{take.n_frames} frames, {take.seconds:.1f} s, kept in `{take.path}`.{failed}"
    page.controls.show_recording(text, running=False, ready=take.n_frames > 0)


def show_figures(page: Page, playback: Playback, pipeline: Pipeline) -> None:
    """Frame rate, durations and losses."""
    skipped = playback.transport.skipped if playback.transport is not None else 0
    rooms = rooms_to_show(pipeline.stopwatch.summary())
    page.show_figures(playback.clock.rate(), rooms, list(losses(pipeline, skipped)))
