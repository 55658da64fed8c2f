"""MediaPipe's face to FLAME, in real time.

    import mp2flame

    mp2flame.drive("me.mp4", "out.mp4")                      # what the command does: best mapping, head pose, filters
    params = mp2flame.track("me.mp4")                        # FlameParams, fitted to the video
    head = mp2flame.load_head("builtin")                     # or a FLAME file
    mapping = mp2flame.load_mapping("builtin")               # or a mapping file
    with mp2flame.open_source(0) as camera:
        for observation in camera:
            vertices = head(mapping(observation))            # (1, V, 3) meters

Importing the package loads NumPy and nothing else; most names below are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mp2flame.data import FlameParams, Frame, HeadLike, Observation, concatenate
from mp2flame.errors import (
    FetchError,
    FormatError,
    HeadMismatchError,
    InputError,
    MissingExtraError,
    MissingFileError,
    Mp2FlameError,
    SinkError,
    SourceError,
    UnsafePickleError,
    WorkerError,
)

if TYPE_CHECKING:
    from mp2flame.filters import Filter, default_filters
    from mp2flame.formats import load_params
    from mp2flame.head import FlameHead, LandmarkEmbedding, load_embedding, load_head
    from mp2flame.mapping import BlendshapeMapping, Person, load_mapping, load_person
    from mp2flame.pipeline import Pipeline, Report, drive
    from mp2flame.sinks import Sink, open_sink
    from mp2flame.sources import Source, open_source
    from mp2flame.tracking.track import track

__version__ = "0.1.0"

__all__ = [
    "BlendshapeMapping",
    "FetchError",
    "Filter",
    "FlameHead",
    "FlameParams",
    "FormatError",
    "Frame",
    "HeadLike",
    "HeadMismatchError",
    "InputError",
    "LandmarkEmbedding",
    "MissingExtraError",
    "MissingFileError",
    "Mp2FlameError",
    "Observation",
    "Person",
    "Pipeline",
    "Report",
    "Sink",
    "SinkError",
    "Source",
    "SourceError",
    "UnsafePickleError",
    "WorkerError",
    "__version__",
    "concatenate",
    "default_filters",
    "drive",
    "load_embedding",
    "load_head",
    "load_mapping",
    "load_params",
    "load_person",
    "open_sink",
    "open_source",
    "track",
]

_LAZY = {
    "filters": ("Filter", "default_filters"),
    "formats": ("load_params",),
    "head": ("FlameHead", "LandmarkEmbedding", "load_embedding", "load_head"),
    "mapping": ("BlendshapeMapping", "Person", "load_mapping", "load_person"),
    "pipeline": ("Pipeline", "Report", "drive"),
    "sinks": ("Sink", "open_sink"),
    "sources": ("Source", "open_source"),
    "tracking.track": ("track",),
}

if not TYPE_CHECKING:  # A type checker would take any misspelled name for one that exists.

    def __getattr__(name: str) -> object:
        for module, names in _LAZY.items():
            if name in names:
                value = globals()[name] = getattr(import_module(f"mp2flame.{module}"), name)
                return value
        raise AttributeError(f"module 'mp2flame' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted(__all__)
