"""`mp2flame evaluate`: the error of mappings on people whose parameters are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from mp2flame.cli.console import hint, out, say
from mp2flame.cli.options import Flag, check_files, option
from mp2flame.errors import InputError

if TYPE_CHECKING:
    from mp2flame.mapping import BlendshapeMapping

_SHOWN = ("face", "lips", "lids", "brows", "jaw line", "jaw degrees", "gaze degrees", "blink recall")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure mappings on people that they were not fitted to.

    A name that stands for a pair of mappings (builtin, or a file with a landmarks mapping beside it) is measured as
    both: landmarks (where the data has them) and scores alone.
    """

    mappings: Annotated[tyro.conf.Positional[list[str]], option("MAPPING [MAPPING ...]")]
    """Mapping files, folders or names."""
    data: Annotated[Path, option("DATASET")]
    """The data set, as mp2flame dataset build writes it."""
    head: Annotated[str, option("HEAD")]
    """The FLAME file that the data's parameters are for, or builtin."""
    output: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], option("FILE", "-o")] = ()
    """A report to write: .html with images of the worst frames, or .json with the figures; may be repeated."""
    subjects: Annotated[list[str] | None, option("NAME [NAME ...]")] = None
    """The people to measure on; by default all."""
    allow_head_mismatch: Flag = False
    """Measure mappings although they were made for another head or do not name their head."""
    update_mapping: Flag = False
    """Write the figures into the metadata of the mapping files."""

    def run(self) -> int:
        """Measure, print a table, write the reports."""
        from mp2flame.dataset.store import Dataset
        from mp2flame.evaluation.evaluate import evaluate, with_metrics
        from mp2flame.evaluation.report import write_report
        from mp2flame.head import load_head
        from mp2flame.mapping import StoredMapping

        check_files(self.output, [*self.mappings, self.data, self.head], suffixes=(".html", ".json"))
        data = Dataset(self.data)
        parts = _parts(self.mappings, landmarks=data.has_column("landmarks"))
        result = evaluate(
            {name: mapping for name, (mapping, _) in parts.items()},
            data,
            load_head(self.head),
            subjects=self.subjects,
            allow_head_mismatch=self.allow_head_mismatch,
        )
        out.print(figures_table({name: measures.figures() for name, measures in result.measures.items()}))
        for path in self.output:
            write_report(result, path, log=hint)
            say(f"wrote {path}")
        for name, (mapping, file) in parts.items() if self.update_mapping else ():
            if file.suffix == ".safetensors" and file.is_file() and isinstance(mapping, StoredMapping):
                with_metrics(mapping, result, name).save(file)
                say(f"updated {file}")
        return 0


def _parts(sources: list[str], *, landmarks: bool) -> dict[str, tuple[BlendshapeMapping, Path]]:
    """Every mapping to measure, with the file that it would be in: a pair as its two parts, by short names."""
    from mp2flame.mapping import LandmarksOrScores, companion_path, load_mapping

    if not sources:
        raise InputError("expected at least one mapping; got none")
    parts: dict[str, tuple[BlendshapeMapping, Path]] = {}
    stems = [Path(source).stem for source in sources]
    for stem, source in zip(stems, sources, strict=True):
        name, path = stem if stems.count(stem) == 1 else source, Path(source)
        mapping = load_mapping(source, head_pose="none")
        if isinstance(mapping, LandmarksOrScores):
            parts[name] = (mapping.scores, path)
            if landmarks:
                parts.setdefault(f"{name}-landmarks", (mapping.landmarks, companion_path(path)))
        else:
            parts[name] = (mapping, path)
    return parts


def figures_table(figures: dict[str, dict[str, float]]) -> Table:
    """Figures of mappings, by name."""
    table = Table(box=None)
    table.add_column("mapping", no_wrap=True)
    for name in _SHOWN:
        table.add_column(name, justify="right")
    for mapping, row in figures.items():
        table.add_row(mapping, *(f"{row[name]:.3f}" if name in row else "-" for name in _SHOWN))
    return table
