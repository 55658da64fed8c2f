"""MediaPipe's face to FLAME, in real time.

    head = mp2flame.load_head("builtin")                    # or the path of a FLAME file
    mapping = mp2flame.load_mapping("builtin")              # or a file, a folder, the name of a fetched mapping
    params = mapping(observation)                           # FlameParams
    vertices = head(params)                                 # (N, V, 3) metres
    with mp2flame.open_source("video.mp4") as source:
        mp2flame.drive(source, "out.mp4")

Importing the package loads NumPy and nothing else; every name below is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mp2flame.data import FlameParams, Frame, HeadLike, Observation, concatenate

if TYPE_CHECKING:
    from mp2flame.filters import default_filters
    from mp2flame.formats import load_params
    from mp2flame.head import FlameHead, load_head
    from mp2flame.mapping import BlendshapeMapping, load_mapping
    from mp2flame.pipeline import Pipeline, Report, drive
    from mp2flame.sinks import open_sink
    from mp2flame.sources import open_source
    from mp2flame.tracking.track import track

__version__ = "0.1.0"

__all__ = [
    "BlendshapeMapping",
    "FlameHead",
    "FlameParams",
    "Frame",
    "HeadLike",
    "Observation",
    "Pipeline",
    "Report",
    "__version__",
    "concatenate",
    "default_filters",
    "drive",
    "load_head",
    "load_mapping",
    "load_params",
    "open_sink",
    "open_source",
    "track",
]

_HOMES = {
    "FlameHead": "head",
    "BlendshapeMapping": "mapping",
    "Pipeline": "pipeline",
    "Report": "pipeline",
    "default_filters": "filters",
    "drive": "pipeline",
    "load_head": "head",
    "load_mapping": "mapping",
    "load_params": "formats",
    "open_sink": "sinks",
    "open_source": "sources",
    "track": "tracking.track",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mp2flame' has no attribute {name!r}")
    value = getattr(import_module(f"mp2flame.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
