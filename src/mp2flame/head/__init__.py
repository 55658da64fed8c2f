"""FLAME parameters to vertices: head files, and the head as a function."""

from mp2flame.head.files import describe, load_head
from mp2flame.head.landmarks import LandmarkEmbedding, load_embedding
from mp2flame.head.model import FlameHead

__all__ = ["FlameHead", "LandmarkEmbedding", "describe", "load_embedding", "load_head"]
