"""From a source to the sinks."""

from mp2flame.pipeline.neutral import load_neutral
from mp2flame.pipeline.pipeline import Pipeline, Report, drive

__all__ = ["Pipeline", "Report", "drive", "load_neutral"]
