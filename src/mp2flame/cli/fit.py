"""`mp2flame fit`: a mapping from a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mp2flame.cli.console import err, out
from mp2flame.cli.dataset import connected
from mp2flame.cli.text import counted
from mp2flame.errors import InputError, MissingFileError

__all__ = ["Fit"]


@dataclass(frozen=True)
class Fit:
    """Fit a mapping to a data set. The same seed on the same data gives the same bytes."""

    folder: tyro.conf.Positional[Path]
    """The data set, see `mp2flame dataset build`."""
    output: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """The mapping file to write (.safetensors); for kind pinv also a folder of the field's .npy files."""
    kind: Literal["pinv", "ridge", "landmarks"] = "ridge"
    """pinv: the field's own method. ridge: scores relative to rest. landmarks: networks, the most accurate."""
    head: str | None = None
    """The FLAME file that the data's parameters are for, or "builtin"; without it no mirrored faces are added."""
    seed: int = 0
    """Of everything random."""
    cluster: str | None = None
    """Pass over the data on the Ray cluster at this address, or on one that is started here ("local")."""

    def run(self) -> int:
        """Fit, save, and say what was used."""
        from mp2flame.head import load_head
        from mp2flame.regression.fit import fit

        # A fit can take minutes: what would fail at its end fails now.
        if self.output.suffix != ".safetensors" and self.kind != "pinv":
            raise InputError(f"expected an output that ends in .safetensors; got {self.output}")
        if not self.output.parent.is_dir():
            raise MissingFileError(f"cannot write {self.output}: the folder {self.output.parent} does not exist")
        head = None if self.head is None else load_head(self.head)
        with connected(self.cluster):
            mapping = fit(
                self.folder,
                kind=self.kind,
                head=head,
                seed=self.seed,
                cluster=self.cluster is not None,
                log=lambda text: err.print(text, soft_wrap=True),
            )
        mapping.save(self.output)
        told = mapping.metadata
        out.print(f"wrote {self.output}: {told.get('provenance', '')}", soft_wrap=True)
        frames, people = (int(told.get(f"training_{name}", 0)) for name in ("frames", "subjects"))
        out.print(f"from {counted(frames, 'frame')} of {counted(people, 'subject')}")
        return 0
