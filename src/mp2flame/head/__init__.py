"""FLAME parameters to vertices: head files, and the head as a function."""

from mp2flame.head.files import describe, load_head, save_head
from mp2flame.head.model import FlameHead

__all__ = ["FlameHead", "describe", "load_head", "save_head"]
