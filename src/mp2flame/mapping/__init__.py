"""Observations to FLAME parameters."""
