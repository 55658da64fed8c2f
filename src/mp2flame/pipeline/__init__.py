"""From a source to the sinks."""

from mp2flame.pipeline.pipeline import Pipeline, Report, drive

__all__ = ["Pipeline", "Report", "drive"]
