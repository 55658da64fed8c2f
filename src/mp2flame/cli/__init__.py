"""The command line: parse, call, print."""

from mp2flame.cli.main import main

__all__ = ["main"]
