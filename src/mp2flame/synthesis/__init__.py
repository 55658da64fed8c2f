"""Rendered people with known parameters, as MediaPipe sees them."""
