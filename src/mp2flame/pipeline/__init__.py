"""The one corridor from a source to the sinks."""

from mp2flame.pipeline.corridor import Pipeline, Report, drive, head_surface

__all__ = ["Pipeline", "Report", "drive", "head_surface"]
