"""MediaPipe's face to FLAME, in real time."""

__version__ = "0.1.0"
