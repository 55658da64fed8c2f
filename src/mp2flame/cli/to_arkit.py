"""`mp2flame to-arkit`: ARKit's blendshape weights from FLAME parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mp2flame.cli.console import progress, say
from mp2flame.cli.options import Flag, HeadOption, check_files, option
from mp2flame.cli.text import pluralize
from mp2flame.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ToArkit(HeadOption):
    """Convert FLAME parameters to ARKit blendshape weights.

    A recording (.jsonl) can be played to Unreal, VRM avatars and others:
    mp2flame live recording.jsonl --send livelink://HOST.
    """

    params: Annotated[tyro.conf.Positional[Path], option("PARAMS")]
    """The parameters: .npz, .csv, .jsonl, .json, or a tracker's folder."""
    output: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], option("FILE", "-o")]
    """A file to write: .jsonl (recording) or .csv (table); may be repeated."""
    mapping: Annotated[Path | None, option("MAPPING")] = None
    """The mapping that mp2flame transfer made for this head; not needed for a head with ARKit's shapes."""
    allow_head_mismatch: Flag = False
    """Use the mapping although it was made for another head or does not name its head."""
    fps: Annotated[float, option("FPS")] = 30.0
    """Frames per second of parameters without times."""

    def run(self) -> int:
        """Solve, write, and print how much of the movement the shapes leave out."""
        from mp2flame import load_head, load_params
        from mp2flame.mapping import load_mapping
        from mp2flame.retargeting import ArkitSolver, arkit_shapes
        from mp2flame.sinks import open_sinks, write_frames

        check_files(self.output, [self.params, self.head, self.mapping], suffixes=(".jsonl", ".csv"))
        params, head = load_params(self.params, frame_rate=self.fps), load_head(self.head)
        if not params.found.any():
            raise InputError(f"expected frames with a face in {self.params}; none of its {len(params)} has one")
        mapping = None if self.mapping is None else load_mapping(self.mapping)
        solver = ArkitSolver(head, arkit_shapes(head, mapping, allow_head_mismatch=self.allow_head_mismatch))
        with progress("solving", int(params.found.sum())) as bar:
            weights = solver(params, on_frame=bar.advance)
        write_frames(open_sinks(self.output, head=head), zip(weights, params, strict=True))
        for path in self.output:
            say(f"wrote {path}: {pluralize(len(params), 'frame')}")
        say(f"{len(solver.names)} shapes; {solver.unexplained:.0%} of the face's movement is not reproduced")
        return 0
