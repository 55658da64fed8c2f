"""`mp2flame calibrate`: a mapping for a head from images of that head alone."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mp2flame.cli.console import err, out, progress
from mp2flame.cli.evaluate import figures_table
from mp2flame.errors import InputError
from mp2flame.files import check_writable

if TYPE_CHECKING:
    from mp2flame.calibration.calibrate import Calibration

__all__ = ["Calibrate"]


@dataclass(frozen=True)
class Calibrate:
    """Make a mapping for a head with no data at all.

    The head is rendered as many people with many expressions, MediaPipe detects them, and mappings are fitted from
    its results to the head's parameters. Run again after an interruption, it goes on where it was.
    """

    output: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """The mapping to write (.safetensors). Kind both writes the scores mapping here and the landmarks one beside it, as
    NAME-landmarks.safetensors; drive and live take the pair by the first name."""
    head: str
    """The FLAME file, or "builtin"."""
    kind: Literal["both", "ridge", "landmarks"] = "both"
    """ridge: from scores alone, for any source. landmarks: from landmarks and scores, the most accurate."""
    quick: bool = False
    """A fifth of the pictures: minutes, and less accurate."""
    report: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """Report files, each with an option of its own: .html with pictures of the worst frames, .json with the figures."""
    seed: int = 0
    """The same seed gives the same mapping."""
    workers: int = 2
    """Processes that take pictures."""
    work: Path | None = None
    """The folder for pictures' figures while it runs; by default a hidden one beside the output."""
    keep_work: bool = False
    """Leave that folder."""
    landmarker: Path | None = None
    """MediaPipe's face_landmarker.task, where it is not to be fetched."""

    def run(self) -> int:
        """Calibrate, write, and print the held-out figures."""
        self._check()
        result = self._calibrate()
        self._write(result)
        return 0

    def _targets(self) -> dict[Literal["scores", "landmarks"], Path]:
        from mp2flame.mapping import companion_path

        if self.kind == "ridge":
            return {"scores": self.output}
        if self.kind == "landmarks":
            return {"landmarks": self.output}
        return {"scores": self.output, "landmarks": companion_path(self.output)}

    def _check(self) -> None:
        # Minutes of work: what would fail at the end fails now.
        if self.output.suffix != ".safetensors":
            raise InputError(f"expected an output that ends in .safetensors; got {self.output}")
        if self.workers < 1:
            raise InputError(f"expected at least one worker; got {self.workers}")
        for path in self.report:
            if path.suffix not in (".html", ".json"):
                raise InputError(f"expected reports that end in .html or .json; got {path}")
        for path in (*self._targets().values(), *self.report):
            check_writable(path)

    def _calibrate(self) -> Calibration:
        from mp2flame.calibration.calibrate import calibrate
        from mp2flame.calibration.config import DEFAULT, QUICK
        from mp2flame.downloads import landmarker_path

        quality = QUICK if self.quick else DEFAULT
        pictures = quality.frames + 1
        with progress("photographing", (quality.people + quality.held_out) * pictures) as bar:

            def person() -> None:
                for _ in range(pictures):
                    bar.advance()

            return calibrate(
                self.head,
                landmarker_path(self.landmarker),
                self.work or self.output.with_name(f".{self.output.stem}.calibration"),
                kinds=tuple(self._targets()),
                quality=quality,
                seed=self.seed,
                workers=self.workers,
                date=dt.datetime.now(tz=dt.timezone.utc).date().isoformat(),
                keep=self.keep_work,
                on_person=person,
                say=lambda text: err.print(text, soft_wrap=True),
            )

    def _write(self, result: Calibration) -> None:
        from mp2flame.evaluation.report import write_report

        out.print(f"on {len(result.evaluation.subjects)} people held out:")
        out.print(figures_table({name: m.figures() for name, m in result.evaluation.measures.items()}))
        for name, path in self._targets().items():
            result.mappings[name].save(path)
            out.print(f"wrote {path}: {name}", soft_wrap=True)
        for path in self.report:
            write_report(result.evaluation, path, log=lambda text: err.print(text, soft_wrap=True))
            out.print(f"wrote {path}", soft_wrap=True)
