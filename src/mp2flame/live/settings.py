"""What a live session begins with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mp2flame.mapping import HeadPoseTarget, Person

__all__ = ["LiveSettings"]


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """What a live session begins with."""

    source: str = "0"
    """A camera's number, a file, or a stream's address."""
    head: str = "builtin"
    """A head file, or the built-in one."""
    mappings: tuple[str, ...] = ("builtin",)
    """Mappings to choose from; the first is in use."""
    compare: str | None = None
    """A second mapping beside the first, from the start."""
    send: tuple[str, ...] = ()
    """Addresses that every frame is sent to."""
    host: str = "127.0.0.1"
    """Where the page listens."""
    port: int = 8080
    """The first port to try; 0 lets the system choose."""
    mirror: bool = False
    """The camera's picture is mirrored."""
    landmarker: Path | None = None
    """MediaPipe's bundle, or None to find or fetch it."""
    head_pose: HeadPoseTarget = "global_orient"
    """The joint that turns with the head."""
    allow_head_mismatch: bool = False
    """Use mappings that were made for other heads."""
    person: Person | None = None
    """Who is before the camera; without it, the neutral that was kept for the source."""
    data: Path | None = None
    """Where neutrals and recordings are kept; by default the user's data folder."""
