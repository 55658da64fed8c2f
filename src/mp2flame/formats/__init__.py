"""FLAME parameters to and from files."""
