"""From a source to the sinks."""

from mp2flame.pipeline.driver import drive, load_neutral
from mp2flame.pipeline.pipeline import Pipeline, Report

__all__ = ["Pipeline", "Report", "drive", "load_neutral"]
