"""`mp2flame calibrate`: a mapping for a head from images of that head alone."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mp2flame.cli.console import hint, out, progress, say
from mp2flame.cli.evaluate import figures_table
from mp2flame.cli.options import Flag, LandmarkerOption, check_files, option
from mp2flame.cli.text import pluralize
from mp2flame.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Calibrate(LandmarkerOption):
    """Make mappings for a head from renders of that head alone.

    The head is rendered as many people with many expressions, MediaPipe detects them, and mappings are fitted from
    its results to the head's parameters. Started again after an interruption, the command continues.

    Kinds: ridge reads scores alone, for every source; landmarks reads landmarks and scores, and is the most accurate.
    With both, the scores mapping is written to FILE and the landmarks mapping beside it as NAME-landmarks.safetensors;
    other commands use the pair by the first name.
    """

    head: Annotated[str, option("HEAD")]
    """The head: a FLAME file (.pkl, .npz, .safetensors) or builtin."""
    output: Annotated[Path, option("FILE", "-o")]
    """The mapping file to write (.safetensors)."""
    kind: Annotated[Literal["both", "ridge", "landmarks"], option("KIND")] = "both"
    """both, ridge or landmarks."""
    quick: Flag = False
    """Render a fifth of the images: minutes instead of an hour, and less accurate."""
    report: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], option("FILE")] = ()
    """A report to write: .html with images of the worst frames, or .json with the figures; may be repeated."""
    seed: Annotated[int, option("N")] = 0
    """Random seed."""
    processes: Annotated[int, option("N", "--workers")] = 2
    """Number of processes that render."""
    work: Annotated[Path | None, option("DIR")] = None
    """The folder for intermediate results; by default a hidden one beside the output."""
    keep_work: Flag = False
    """Do not remove that folder at the end."""

    def run(self) -> int:
        """Calibrate, write, and print the held-out figures."""
        from mp2flame.calibration.calibrate import calibrate
        from mp2flame.calibration.config import DEFAULT, QUICK
        from mp2flame.downloads import landmarker_path
        from mp2flame.evaluation.report import write_report

        if self.processes < 1:
            raise InputError(f"expected at least one process; got {self.processes}")
        targets, read = self._targets(), [self.head, self.landmarker]
        check_files(targets.values(), [*read, *self.report], suffixes=(".safetensors",))
        check_files(self.report, read, suffixes=(".html", ".json"))
        config = QUICK if self.quick else DEFAULT
        images = config.images + 1
        with progress("rendering", (config.subjects + config.held_out) * images) as bar:
            result = calibrate(
                self.head,
                landmarker_path(self.landmarker),
                targets,
                self.work or self.output.with_name(f".{self.output.stem}.calibration"),
                config=config,
                seed=self.seed,
                workers=self.processes,
                date=dt.datetime.now(tz=dt.timezone.utc).date().isoformat(),
                keep_work=self.keep_work,
                on_subject=lambda: bar.advance(images),
                log=hint,
            )
        say(f"on {pluralize(len(result.evaluation.subjects), 'held-out subject')}:")
        out.print(figures_table({name: m.figures() for name, m in result.evaluation.measures.items()}))
        for name, path in targets.items():
            say(f"wrote {path}: {name}")
        for path in self.report:
            write_report(result.evaluation, path, log=hint)
            say(f"wrote {path}")
        return 0

    def _targets(self) -> dict[Literal["scores", "landmarks"], Path]:
        from mp2flame.mapping import companion_path

        if self.kind == "ridge":
            return {"scores": self.output}
        if self.kind == "landmarks":
            return {"landmarks": self.output}
        return {"scores": self.output, "landmarks": companion_path(self.output)}
