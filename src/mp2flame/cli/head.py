"""`mp2flame head`: what a head file holds, and its fast and safe form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mp2flame.cli.console import facts, out, say
from mp2flame.cli.options import check_files, option


@dataclass(frozen=True, kw_only=True)
class ShapeOption:
    """How a head file is read."""

    n_shape: Annotated[int | None, option("N")] = None
    """The number of identity directions, for heads with other shapedirs than FLAME's."""


@dataclass(frozen=True, kw_only=True)
class Info(ShapeOption):
    """Print a head's version, sizes and hash."""

    file: Annotated[tyro.conf.Positional[str], option("[HEAD]")] = "builtin"
    """The head: a FLAME file (.pkl, .npz, .safetensors) or builtin."""

    def run(self) -> int:
        """Print one line for each fact."""
        from mp2flame.head import describe, load_head

        facts_of_head = describe(load_head(self.file, n_shape=self.n_shape))
        out.print(facts((name, value) for name, value in facts_of_head.items() if value is not None))
        return 0


@dataclass(frozen=True, kw_only=True)
class Convert(ShapeOption):
    """Convert a FLAME file to .safetensors, fast and safe.

    All arrays are kept.
    """

    file: Annotated[tyro.conf.Positional[Path], option("HEAD")]
    """The FLAME file (.pkl, .npz)."""
    output: Annotated[Path | None, option("FILE", "-o")] = None
    """The file to write; by default beside the input, with the suffix .safetensors."""
    version: Annotated[str | None, option("VERSION")] = None
    """The head's version in words, where the file does not state it, for example "FLAME 2023"."""

    def run(self) -> int:
        """Convert and print what was written."""
        from mp2flame.head import load_head

        target = self.output or self.file.with_suffix(".safetensors")
        check_files([target], [self.file], suffixes=(".safetensors",))
        head = load_head(self.file, version=self.version, n_shape=self.n_shape)
        head.save(target)
        say(f"wrote {target}: {head.version}, hash {head.hash[:12]}")
        return 0
