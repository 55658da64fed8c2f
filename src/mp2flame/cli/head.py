"""`mp2flame head`: look at a head file, or make the fast safe file of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from mp2flame.cli.console import out
from mp2flame.errors import InputError

__all__ = ["Head"]


@dataclass(frozen=True)
class Info:
    """Print a head's version, sizes and hash."""

    file: tyro.conf.Positional[str] = "builtin"
    """A FLAME file (.pkl, .npz, .safetensors), or the built-in head."""
    n_shape: int | None = None
    """How many of the shape directions are identity, for heads that are not as wide as FLAME."""

    def run(self) -> int:
        """Print one line for each fact."""
        from mp2flame.head import describe, load_head

        table = Table(show_header=False, box=None)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in describe(load_head(self.file, n_shape=self.n_shape)).items():
            if value is not None:
                table.add_row(name, str(value))
        out.print(table)
        return 0


@dataclass(frozen=True)
class Convert:
    """Turn a FLAME file into a .safetensors file that loads fast and can carry no code. Nothing is lost."""

    file: tyro.conf.Positional[Path]
    """The FLAME file (.pkl, .npz)."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=("-o",))] = None
    """Where to write; by default beside the input, with the suffix .safetensors."""
    version: str | None = None
    """The head's version in words, where it cannot be told from the file, for example "FLAME 2023"."""
    n_shape: int | None = None
    """How many of the shape directions are identity, for heads that are not as wide as FLAME."""

    def run(self) -> int:
        """Convert and say what was written."""
        from mp2flame.head import load_head

        target = self.output or self.file.with_suffix(".safetensors")
        if target.suffix != ".safetensors":
            raise InputError(f"expected an output that ends in .safetensors; got {target}")
        if target.exists() and target.resolve() == self.file.resolve():
            raise InputError(f"the output {target} is the input itself: choose another name")
        head = load_head(self.file, version=self.version, n_shape=self.n_shape)
        head.save(target)
        out.print(f"wrote {target}: {head.version}, hash {head.hash[:12]}", soft_wrap=True)
        return 0


@dataclass(frozen=True)
class Head:
    """Look at a head file (info), or make the fast safe file of it (convert)."""

    action: Annotated[Info, tyro.conf.subcommand("info")] | Annotated[Convert, tyro.conf.subcommand("convert")]

    def run(self) -> int:
        """Run the chosen action."""
        return self.action.run()
