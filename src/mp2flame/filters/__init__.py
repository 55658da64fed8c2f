"""FLAME parameters along time."""
