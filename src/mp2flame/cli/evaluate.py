"""`mp2flame evaluate`: the error of mappings on people whose parameters are known, or the motion on any video."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from mp2flame.cli.console import hint, out, progress, say
from mp2flame.cli.options import Flag, check_files, option
from mp2flame.errors import InputError

if TYPE_CHECKING:
    from mp2flame.evaluation.closed_loop import MotionFigures
    from mp2flame.mapping import BlendshapeMapping

_SHOWN = ("face", "lips", "lids", "brows", "jaw line", "jaw degrees", "gaze degrees", "blink recall")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure mappings on held-out people, or on any video.

    With --data, results are compared with known parameters. With --video, MediaPipe compares the motion of the face in
    the video with that of the head that it drives, and no parameters need to be known.

    A name that stands for a pair of mappings (builtin, or a file with a landmarks mapping beside it) is measured as
    both: landmarks (where the data has them) and scores alone.
    """

    mappings: Annotated[tyro.conf.Positional[list[str]], option("[MAPPING ...]")] = field(default_factory=list)
    """Mapping files, folders or names; with --video one at most, builtin by default."""
    data: Annotated[Path | None, option("DATASET")] = None
    """The data set, as mp2flame dataset build writes it."""
    video: Annotated[list[str] | None, option("VIDEO [VIDEO ...]")] = None
    """Videos of a face, instead of a data set."""
    neutral_frame: Annotated[int | None, option("N")] = None
    """The number of a frame of the video in which the person is neutral: the driven face should be neutral there."""
    head: Annotated[str, option("HEAD")] = "builtin"
    """The FLAME file that the data's parameters or the mapping are for, or builtin."""
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
        if (self.data is None) == (self.video is None):
            raise InputError("expected either a data set (--data) or videos (--video)")
        return self._on_videos(self.video) if self.data is None else self._on_data(self.data)

    def _on_videos(self, videos: list[str] | None) -> int:
        from mp2flame.evaluation.closed_loop import closed_loop, pool
        from mp2flame.evaluation.closed_loop_report import write_closed_loop
        from mp2flame.mapping import companion_path

        mapping, *others = self.mappings or ["builtin"]
        if others or not videos:
            raise InputError(f"expected one mapping and at least one video; got {len(self.mappings)} mappings")
        check_files(self.output, [mapping, companion_path(mapping), self.head, *videos], suffixes=(".html", ".json"))
        results = {}
        for video in videos:
            with progress(f"comparing {Path(video).name}", None) as bar:
                results[video] = closed_loop(
                    video,
                    head=self.head,
                    mapping=mapping,
                    neutral_frame=self.neutral_frame,
                    keep_images=any(path.suffix == ".html" for path in self.output),
                    on_frame=bar.advance,
                )
            for warning in results[video].warnings:
                hint(f"{video}: {warning}")
        out.print(_motion_table(pool([result.figures for result in results.values()])))
        for video, result in results.items():
            if result.neutral_mm is not None:
                say(
                    f"{video}: the driven face is {result.neutral_mm:.2f} mm from neutral in frame {self.neutral_frame}"
                )
        for path in self.output:
            write_closed_loop(results, path)
            say(f"wrote {path}")
        return 0

    def _on_data(self, folder: Path) -> int:
        from mp2flame.dataset.store import Dataset
        from mp2flame.evaluation.evaluate import evaluate, with_metrics
        from mp2flame.evaluation.report import write_report
        from mp2flame.head import load_head
        from mp2flame.mapping import StoredMapping

        check_files(self.output, [*self.mappings, folder, self.head], suffixes=(".html", ".json"))
        data = Dataset(folder)
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


def _motion_table(figures: MotionFigures) -> Table:
    """Figures of the motion, by measure, and their means."""
    from mp2flame.evaluation.closed_loop import FACE_MEASURES

    table = Table("measure", box=None)
    columns = {"correlation": figures.correlation, "gain": figures.gain, "explained": figures.explained}
    for name in columns:
        table.add_column(name, justify="right")
    for number, measure in enumerate(FACE_MEASURES):
        table.add_row(measure, *(f"{values[number]:.2f}" for values in columns.values()))
    table.add_row("mean", *(f"{values.mean():.3f}" for values in columns.values()))
    return table
