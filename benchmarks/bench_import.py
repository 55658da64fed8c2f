"""How long `import mp2flame` takes, beside `import numpy` alone, each in fresh processes, interleaved."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

_CODE = "import time; t = time.perf_counter(); import {name}; print(time.perf_counter() - t)"


def _seconds(name: str) -> float:
    code = _CODE.format(name=name)
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main(rounds: int = 11) -> None:
    """Print both medians and their ratio."""
    pairs = [(_seconds("mp2flame"), _seconds("numpy")) for _ in range(rounds)]
    ours, numpy = (median(column) for column in zip(*pairs, strict=True))
    print(
        f"import mp2flame {ours * 1e3:.0f} ms (limit 200), import numpy {numpy * 1e3:.0f} ms, ratio {ours / numpy:.2f}"
    )


if __name__ == "__main__":
    main()
