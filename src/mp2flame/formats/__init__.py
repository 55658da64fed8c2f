"""FLAME parameters and recordings, to and from files: one module a format."""

from mp2flame.formats.base import ParamsSink
from mp2flame.formats.registry import load_params, save_params

__all__ = ["ParamsSink", "load_params", "save_params"]
