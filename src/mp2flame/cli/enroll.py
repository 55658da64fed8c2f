"""`mp2flame enroll`: a person file with the neutral face of one person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import tyro

from mp2flame.cli.console import err, out, progress
from mp2flame.errors import InputError
from mp2flame.files import check_writable

if TYPE_CHECKING:
    from mp2flame.data import Observation

_LIVE_SECONDS: Final = 10.0
_LATE_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Enroll:
    """Find the neutral face of one person in a video, for the option --neutral of drive and live."""

    source: tyro.conf.Positional[str]
    """A video or recording of the person, neutral for two seconds first; or a webcam's index, read for 10 s."""
    output: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """The person file to write (.safetensors)."""
    landmarker: Path | None = None
    """MediaPipe's face_landmarker.task, where it is not to be fetched."""
    mirror: bool = False
    """The camera's image is mirrored."""

    def run(self) -> int:
        """Read the source, find the neutral face, write the file."""
        from mp2flame.calibration.person import make_person

        # Reading takes as long as the video: what would fail at its end fails now.
        if self.output.suffix != ".safetensors":
            raise InputError(
                f"expected an output that ends in .safetensors, such as me.person.safetensors; got {self.output}"
            )
        check_writable(self.output)
        person = make_person(self._observe())
        person.save(self.output)
        begin = float(person.neutral.time[0])
        out.print(f"the face is neutral from {begin:.1f} s on")
        if begin > _LATE_SECONDS:
            err.print(
                f"[yellow]note:[/] the neutral face was found from {begin:.1f} s on, since the beginning is not as "
                "still. If the face is not neutral there, film again and begin with two seconds of a relaxed face",
                soft_wrap=True,
            )
        out.print(f"wrote {self.output}; use it with: mp2flame drive VIDEO --rest {self.output}", soft_wrap=True)
        return 0

    def _observe(self) -> Observation:
        from mp2flame.data import concatenate
        from mp2flame.sources import open_source

        frames: list[Observation] = []
        with (
            open_source(self.source, landmarker=self.landmarker, mirror=self.mirror) as source,
            progress("reading", source.n_frames) as bar,
        ):
            if source.live:
                err.print(f"look straight into the camera with a relaxed face for {_LIVE_SECONDS:.0f} seconds")
            for observation in source:
                frames.append(observation.without_picture())
                bar.advance()
                if source.live and float(observation.time[0] - frames[0].time[0]) >= _LIVE_SECONDS:
                    break
        if not frames:
            raise InputError(f"{self.source} has no frames: name a video of the person")
        return concatenate(frames)
