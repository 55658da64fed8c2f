"""`mp2flame enroll`: a person file with the neutral face of one person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import tyro

from mp2flame.cli.console import hint, progress, say, warn
from mp2flame.cli.options import ImageOptions, check_files, option
from mp2flame.errors import InputError

if TYPE_CHECKING:
    from mp2flame.data import Observation

_LIVE_SECONDS: Final = 10.0
_LATE_SECONDS: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Enroll(ImageOptions):
    """Find a person's neutral face in a video, for --neutral.

    The video should begin with two seconds of a relaxed face that looks straight into the camera.
    """

    source: Annotated[tyro.conf.Positional[str], option("SOURCE")]
    """A video or recording of the person, or a webcam's index (0), which is read for 10 seconds."""
    output: Annotated[Path, option("FILE", "-o")]
    """The person file to write (.safetensors)."""

    def run(self) -> int:
        """Read the source, find the neutral face, write the file."""
        from mp2flame.calibration.person import make_person

        check_files([self.output], [self.source, self.landmarker], suffixes=(".safetensors",))
        person = make_person(self._observe())
        person.save(self.output)
        begin = float(person.neutral.time[0])
        say(f"the face is neutral from {begin:.1f} s on")
        if begin > _LATE_SECONDS:
            warn(
                f"the neutral face was found from {begin:.1f} s on, since the beginning is not as still. If the face "
                "is not neutral there, film again and begin with two seconds of a relaxed face"
            )
        say(f"wrote {self.output}; use it with: mp2flame drive VIDEO --neutral {self.output}")
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
                hint(f"look straight into the camera with a relaxed face for {_LIVE_SECONDS:.0f} seconds")
            for observation in source:
                frames.append(observation.without_picture())
                bar.advance()
                if source.live and float(observation.time[0] - frames[0].time[0]) >= _LIVE_SECONDS:
                    break
        if not frames:
            raise InputError(f"{self.source} has no frames: name a video of the person")
        return concatenate(frames)
