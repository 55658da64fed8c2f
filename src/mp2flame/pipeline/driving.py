"""One call from a source to the sinks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from mp2flame.data import Frame, Observation
from mp2flame.filters.base import Filter
from mp2flame.head import FlameHead
from mp2flame.mapping.base import BlendshapeMapping
from mp2flame.pipeline.corridor import Pipeline
from mp2flame.pipeline.report import Report
from mp2flame.sinks.base import Sink
from mp2flame.sources.base import Source

__all__ = ["drive"]


def drive(
    source: Source,
    mapping: BlendshapeMapping,
    head: FlameHead | None,
    sinks: Sequence[Sink],
    *,
    filters: Filter | None = None,
    rest: Observation | Literal["auto"] | None = None,
    allow_head_mismatch: bool = False,
    on_frame: Callable[[Frame], None] | None = None,
) -> Report:
    """Drive a head from a source into sinks, until the source ends. Arguments as for `Pipeline`.

    The sinks are closed in every case; a head that is refused leaves nothing behind in them.

    Raises:
        HeadMismatchError, SourceError, SinkError: as `Pipeline` and `Pipeline.run` do.
    """
    try:
        pipeline = Pipeline(
            source,
            mapping,
            head,
            sinks,
            filters=filters,
            rest=rest,
            allow_head_mismatch=allow_head_mismatch,
            on_frame=on_frame,
        )
    except Exception:
        for sink in sinks:
            sink.abort()
        raise
    return pipeline.run()
