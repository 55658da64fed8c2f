"""The program `mp2flame`, also as `python -m mp2flame`."""

import sys


def main() -> int:
    """Run the command that the process was called with, and return its exit code."""
    try:
        # Ctrl-C may come while the commands are still being imported.
        from mp2flame.cli import main as run
    except KeyboardInterrupt:
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
