"""`mp2flame arkit`: ARKit's shapes out of FLAME parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mp2flame.cli.console import out, progress
from mp2flame.cli.text import counted
from mp2flame.errors import InputError
from mp2flame.files import check_outputs, check_writable

__all__ = ["Arkit"]

_SUFFIXES = (".jsonl", ".csv")


@dataclass(frozen=True)
class Arkit:
    """Say FLAME parameters as weights of ARKit's shapes: the way back, for all that speaks ARKit (Unreal, VRM).

    A recording (.jsonl) can be played to them: `mp2flame live take.jsonl --send livelink://HOST`.
    """

    params: tyro.conf.Positional[Path]
    """The parameters: .npz, .csv, .jsonl, .json, or a tracker's folder."""
    output: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], tyro.conf.arg(aliases=("-o",))]
    """A file to write, its format by its suffix: .jsonl is a recording, .csv a table; may be given twice."""
    head: str = "builtin"
    """The head that the parameters are for: a FLAME file (.pkl, .npz, .safetensors), or "builtin"."""
    mapping: Path | None = None
    """What `mp2flame transfer` made for this head; not needed for a head that carries ARKit's shapes itself."""
    allow_head_mismatch: bool = False
    """Take the mapping although it was made for another head, or does not say for which."""
    fps: float = 30.0
    """Frames per second of parameters that come without times."""

    def run(self) -> int:
        """Solve, write, and say how much of the movement the shapes make."""
        from mp2flame import load_head, load_mapping, load_params
        from mp2flame.retargeting import ArkitSolver, arkit_shapes
        from mp2flame.sinks import open_sinks, write_frames

        self._check_outputs()
        params, head = load_params(self.params, frame_rate=self.fps), load_head(self.head)
        if not params.found.any():
            raise InputError(f"expected frames with a face in {self.params}; none of its {len(params)} has one")
        mapping = None if self.mapping is None else load_mapping(self.mapping)
        solver = ArkitSolver(head, arkit_shapes(head, mapping, allow_head_mismatch=self.allow_head_mismatch))
        with progress("solving", int(params.found.sum())) as bar:
            said = solver(params, on_frame=bar.advance)
        write_frames(open_sinks(self.output, head=head), zip(said, params, strict=True))
        for path in self.output:
            out.print(f"wrote {path}: {counted(len(params), 'frame')}", soft_wrap=True)
        out.print(
            f"{len(solver.names)} shapes; they leave {solver.unexplained:.0%} of the face's movement unsaid",
            soft_wrap=True,
        )
        return 0

    def _check_outputs(self) -> None:
        check_outputs(self.output, [self.params])
        for path in self.output:
            check_writable(path)
            if path.suffix.lower() not in _SUFFIXES:
                raise InputError(f"expected an output that ends in {' or '.join(_SUFFIXES)}; got {path}")
