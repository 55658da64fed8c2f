"""FLAME parameters to vertices."""
