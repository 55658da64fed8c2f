"""The one corridor from a source to the sinks."""

from mp2flame.pipeline.corridor import Pipeline
from mp2flame.pipeline.driving import drive
from mp2flame.pipeline.report import Report

__all__ = ["Pipeline", "Report", "drive"]
