"""`mp2flame evaluate`: how good mappings are on people whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from mp2flame.cli.console import err, out
from mp2flame.errors import InputError

__all__ = ["Evaluate", "figures_table"]

_SHOWN = ("face", "lips", "lids", "brows", "jaw line", "jaw degrees", "gaze degrees", "blink recall")


@dataclass(frozen=True)
class Evaluate:
    """Measure mappings side by side on a data set of people that they were not fitted on."""

    mappings: tyro.conf.Positional[list[str]]
    """Mapping files, folders or names."""
    data: Path
    """The data set."""
    head: str
    """The FLAME file that the data's parameters are for, or "builtin"."""
    output: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=("-o",)), tyro.conf.UseAppendAction] = ()
    """Report files, each with an option of its own: .html with pictures of the worst frames, .json with the figures."""
    subjects: list[str] | None = None
    """Whom to measure on; by default everybody."""
    allow_head_mismatch: bool = False
    """Measure mappings that were made for another head too."""
    keep: bool = True
    """Write the figures into the mapping files."""

    def run(self) -> int:
        """Measure, print a table, write the reports and the summaries."""
        from mp2flame.evaluation.evaluate import evaluate, with_metrics
        from mp2flame.evaluation.report import write_report
        from mp2flame.head import load_head
        from mp2flame.mapping import read_mapping

        names = _short(self.mappings)
        for path in self.output:
            if path.suffix not in (".html", ".json"):
                raise InputError(f"expected reports that end in .html or .json; got {path}")
        mappings = {name: read_mapping(spec) for name, spec in names.items()}
        got = evaluate(
            mappings,
            self.data,
            load_head(self.head),
            subjects=self.subjects,
            allow_head_mismatch=self.allow_head_mismatch,
        )
        out.print(figures_table({name: measures.figures() for name, measures in got.measures.items()}))
        for path in self.output:
            write_report(got, path, log=lambda text: err.print(text, soft_wrap=True))
            out.print(f"wrote {path}", soft_wrap=True)
        for name, spec in names.items():
            mapping, path = mappings[name], Path(spec)
            if self.keep and path.suffix == ".safetensors" and path.is_file():
                with_metrics(mapping, got, name).save(path)
        return 0


def _short(specs: list[str]) -> dict[str, str]:
    """Each mapping by the last part of its name, or by all of it where two are called alike."""
    if not specs:
        raise InputError("expected at least one mapping; got none")
    stems = [Path(spec).stem for spec in specs]
    return {stem if stems.count(stem) == 1 else spec: spec for stem, spec in zip(stems, specs, strict=True)}


def figures_table(figures: dict[str, dict[str, float]]) -> Table:
    """Figures of mappings, by name."""
    table = Table(box=None)
    table.add_column("mapping", no_wrap=True)
    for name in _SHOWN:
        table.add_column(name, justify="right")
    for mapping, row in figures.items():
        cells = [f"{row[name]:.3f}" if name in row else "-" for name in _SHOWN]
        table.add_row(mapping, *cells)
    return table
