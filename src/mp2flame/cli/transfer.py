"""`mp2flame transfer`: a mapping for sources of ARKit blendshapes, from a head's geometry alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mp2flame.cli.console import hint, progress, say
from mp2flame.cli.options import LandmarkerOption, OptionalFile, check_files, option

if TYPE_CHECKING:
    from mp2flame.head import FlameHead
    from mp2flame.head.landmarks import LandmarkEmbedding


@dataclass(frozen=True, kw_only=True)
class Transfer(LandmarkerOption):
    """Make a mapping for ARKit blendshapes from a head's geometry.

    Such blendshapes come from Live Link Face, audio models and VRM programs. The built-in head's surface is registered
    to the head, its 52 named shapes are transferred, and the head's own expression, jaw and eyes are fitted to them.
    """

    head: Annotated[str, option("HEAD")]
    """The head: a FLAME file (.pkl, .npz, .safetensors) or builtin."""
    output: Annotated[Path, option("FILE", "-o")]
    """The mapping file to write (.safetensors)."""
    sheet: OptionalFile = None
    """An image to write for checking by eye (.png): each shape on the built-in head and on yours."""
    landmarks: OptionalFile = None
    """Where MediaPipe's landmarks lie on the head (.npz); by default they are found, once for each head."""

    def run(self) -> int:
        """Transfer, save, and name the shapes that this head cannot make."""
        from mp2flame.head import load_head
        from mp2flame.retargeting import arkit_mapping, transfer_shapes

        read = [self.head, self.landmarks, self.landmarker]
        sheets = [] if self.sheet is None else [self.sheet]
        check_files([self.output], [*read, *sheets], suffixes=(".safetensors",))
        check_files(sheets, read, suffixes=(".png",))
        head = load_head(self.head)
        embedding = self._embedding(head)
        hint("transferring 52 shapes ...")
        transfer = transfer_shapes(head, embedding)
        date = datetime.now(tz=timezone.utc).date().isoformat()
        arkit_mapping(head, transfer, date=date).save(self.output)
        say(f"wrote {self.output}: {len(transfer.made)} of ARKit's 52 shapes for {head.version}")
        if transfer.omitted:
            say(f"this head cannot make: {', '.join(transfer.omitted)}")
        if self.sheet is not None:
            from mp2flame.retargeting.contact_sheet import save_sheet

            save_sheet(head, transfer, self.sheet)
            say(f"wrote {self.sheet}: check it by eye")
        return 0

    def _embedding(self, head: FlameHead) -> LandmarkEmbedding:
        from mp2flame.head.landmarks import load_embedding

        if self.landmarks is not None:
            return load_embedding(self.landmarks)
        from mp2flame.downloads import landmarker_path
        from mp2flame.landmark_model.cache import cached_landmarks

        with progress("finding landmarks on the head", None) as bar:
            return cached_landmarks(head, landmarker_path(self.landmarker), on_image=bar.advance, log=hint)
