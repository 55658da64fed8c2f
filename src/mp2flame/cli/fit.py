"""`mp2flame fit`: a mapping from a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mp2flame.cli.console import hint, say
from mp2flame.cli.dataset import ClusterOption
from mp2flame.cli.options import check_files, option, read_paths
from mp2flame.cli.text import pluralize
from mp2flame.files import check_outputs, check_writable


@dataclass(frozen=True, kw_only=True)
class Fit(ClusterOption):
    """Fit a mapping to a data set.

    Kinds: pinv is the pseudo-inverse of absolute scores; ridge is a regression on scores relative to neutral;
    landmarks are networks on landmarks and scores relative to neutral, the most accurate. The same seed on the same
    data gives the same bytes.
    """

    folder: Annotated[tyro.conf.Positional[Path], option("DATASET")]
    """The data set, as mp2flame dataset build writes it."""
    output: Annotated[Path, option("FILE", "-o")]
    """The mapping file to write (.safetensors); with --kind pinv, a name without suffix is a folder of .npy files."""
    kind: Annotated[Literal["pinv", "ridge", "landmarks"], option("KIND")] = "ridge"
    """pinv, ridge or landmarks."""
    head: Annotated[str | None, option("HEAD")] = None
    """The FLAME file that the data's parameters are for, or builtin; without it no mirrored faces are added."""
    seed: Annotated[int, option("N")] = 0
    """Random seed."""

    def run(self) -> int:
        """Fit, save, and print what was used."""
        from mp2flame.head import load_head
        from mp2flame.mapping import LinearMapping, save_npy_folder
        from mp2flame.regression.fit import fit

        as_folder = self.kind == "pinv" and not self.output.suffix
        if as_folder:
            check_outputs([self.output], read_paths([self.folder, self.head]))
            check_writable(self.output, folder=True)
        else:
            check_files([self.output], [self.folder, self.head], suffixes=(".safetensors",))
        head = None if self.head is None else load_head(self.head)
        with self.connected():
            mapping = fit(
                self.folder, kind=self.kind, head=head, seed=self.seed, cluster=self.cluster is not None, log=hint
            )
        if as_folder and isinstance(mapping, LinearMapping):
            save_npy_folder(mapping, self.output)
        else:
            mapping.save(self.output)
        metadata = mapping.metadata
        say(f"wrote {self.output}: {metadata.get('provenance', '')}")
        frames, people = (int(metadata.get(f"training_{name}", 0)) for name in ("frames", "subjects"))
        say(f"fitted to {pluralize(frames, 'frame')} of {pluralize(people, 'subject')}")
        return 0
