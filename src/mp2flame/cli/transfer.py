"""`mp2flame transfer`: a mapping for sources that already speak ARKit, from a head's geometry alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mp2flame.cli.console import err, out, progress
from mp2flame.errors import InputError
from mp2flame.files import check_writable

if TYPE_CHECKING:
    from mp2flame.head import FlameHead
    from mp2flame.head.landmarks import LandmarkEmbedding

__all__ = ["Transfer"]


@dataclass(frozen=True)
class Transfer:
    """Make a mapping for sources that speak ARKit (Live Link Face, audio models, VRM) from a head's geometry alone.

    The built-in head's surface is laid on the head's, its 52 named shapes are carried over, and the head's own
    expression, jaw and eyes are solved for.
    """

    head: str
    """The head: a FLAME file (.pkl, .npz, .safetensors) of yours, or "builtin"."""
    output: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """The mapping file to write (.safetensors)."""
    sheet: Path | None = None
    """A picture to judge by (.png): each shape on the built-in head and, beside it, on yours."""
    landmarks: Path | None = None
    """Where MediaPipe's landmarks lie on the head (.npz); by default they are found, once for each head."""
    landmarker: Path | None = None
    """MediaPipe's face_landmarker.task, where it is not to be fetched."""

    def run(self) -> int:
        """Transfer, save, and name what this head cannot do."""
        from mp2flame.head import load_head
        from mp2flame.retargeting import arkit_mapping, transfer_shapes

        self._check_outputs()
        head = load_head(self.head)
        embedding = self._embedding(head)
        err.print("carrying 52 shapes over ...")
        transfer = transfer_shapes(head, embedding)
        date = datetime.now(tz=timezone.utc).date().isoformat()
        arkit_mapping(head, transfer, date=date).save(self.output)
        out.print(f"wrote {self.output}: {len(transfer.made)} of ARKit's 52 shapes for {head.version}", soft_wrap=True)
        if transfer.not_made:
            out.print(f"this head cannot make: {', '.join(transfer.not_made)}", soft_wrap=True)
        if self.sheet is not None:
            from mp2flame.retargeting.contact_sheet import save_sheet

            save_sheet(head, transfer, self.sheet)
            out.print(f"wrote {self.sheet}: judge it by eye", soft_wrap=True)
        return 0

    def _check_outputs(self) -> None:
        for path, suffix in ((self.output, ".safetensors"), (self.sheet, ".png")):
            if path is None:
                continue
            if path.suffix.lower() != suffix:
                raise InputError(f"expected an output that ends in {suffix}; got {path}")
            check_writable(path)

    def _embedding(self, head: FlameHead) -> LandmarkEmbedding:
        from mp2flame.head.landmarks import load_embedding

        if self.landmarks is not None:
            return load_embedding(self.landmarks)
        from mp2flame.downloads import landmarker_path
        from mp2flame.landmark_model.cache import prepare_head

        with progress("looking at the head", None) as bar:
            return prepare_head(head, landmarker_path(self.landmarker), on_picture=bar.advance).embedding
