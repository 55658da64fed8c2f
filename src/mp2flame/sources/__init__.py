"""Pixels or packets to observations."""
