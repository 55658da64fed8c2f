"""`mp2flame live`: look into the camera, and the head in the browser does what you do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mp2flame.cli.console import err, out
from mp2flame.errors import InputError

if TYPE_CHECKING:
    from mp2flame.mapping import Person
    from mp2flame.pipeline import Report

__all__ = ["Live"]


@dataclass(frozen=True)
class Live:
    """Drive a head live: camera, film, recording or stream in; a browser page and network streams out.

    The page is at http://localhost:8080. It steers everything: source, neutral, smoothing, gains, mappings, sliders,
    recording. It ends with Ctrl-C.
    """

    source: tyro.conf.Positional[str] = "0"
    """A camera's index (0), a video or .jsonl recording played at its own pace, or a stream (livelink://:11111,
    ifacialmocap://HOST, vmc://:39539, ws://HOST:PORT)."""
    head: str = "builtin"
    """The head to drive: a FLAME file (.pkl, .npz, .safetensors) of yours, or the built-in one."""
    mapping: str | None = None
    """A mapping file or folder, or the name of a fetched one; by default the one for the built-in head."""
    compare: str | None = None
    """A second mapping, whose head stands beside the first."""
    rest: Annotated[Path | None, tyro.conf.arg(aliases=("--person",))] = None
    """The person: the file that calibrate --person made, or a picture, video or recording of the face at rest; by
    default the neutral that was kept for this source."""
    send: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Where to send every frame: vmc://HOST:PORT, livelink://HOST:PORT, ws://:PORT, udp://HOST:PORT; repeatable."""
    host: str = "127.0.0.1"
    """The address of the page; by default only this machine can see it. 0.0.0.0 is all addresses."""
    port: int = 8080
    """The port of the page; the next free one is taken if it is in use, any free one for 0."""
    mirror: bool = False
    """The camera's picture is mirrored."""
    head_pose: Literal["global_orient", "neck_pose", "none"] = "global_orient"
    """Which joint the head's rotation goes to."""
    landmarker: Path | None = None
    """MediaPipe's face_landmarker.task, where it is not to be fetched."""
    data: Path | None = None
    """Where your neutral and your recordings are kept; by default the system's folder for user data."""
    allow_head_mismatch: bool = False
    """Use mappings although they were made for another head."""

    def run(self) -> int:
        """Serve the page until Ctrl-C, then print what was done."""
        from mp2flame.live import LiveSession, LiveSettings
        from mp2flame.live.access import who_can_see

        mappings = (self.mapping or "builtin",)
        session = LiveSession(
            LiveSettings(
                source=self.source,
                head=self.head,
                mappings=mappings,
                compare=self.compare,
                send=self.send,
                host=self.host,
                port=self.port,
                mirror=self.mirror,
                landmarker=self.landmarker,
                head_pose=self.head_pose,
                allow_head_mismatch=self.allow_head_mismatch,
                person=_person(self.rest, self.landmarker, mirror=self.mirror),
                data=self.data,
            )
        )
        out.print(f"open {session.page.address} in a browser; {who_can_see(self.host)}", soft_wrap=True)
        for address in self.send:
            out.print(f"sending to {address}", soft_wrap=True)
        _print_report(session.run())
        return 0


def _person(rest: Path | None, landmarker: Path | None, *, mirror: bool) -> Person | None:
    from mp2flame.mapping import Person

    if rest is None:
        return None
    from mp2flame.pipeline import load_neutral

    got = load_neutral(rest, landmarker=landmarker, mirror=mirror)
    if got is None or got == "auto":
        raise InputError(f"expected a file with --rest; got {rest}: leave it out, and press Neutral on the page")
    return got if isinstance(got, Person) else Person(neutral=got)


def _print_report(report: Report) -> None:
    out.print(
        f"{report.frames} frames in {report.seconds:.1f} s ({report.rate:.1f} fps), "
        f"{report.frames_without_face} without a face"
    )
    for place, count in report.dropped.items():
        if count:
            err.print(f"[yellow]{count} frames were dropped at {place}[/]")
    for warning in report.warnings:
        err.print(f"[yellow]note:[/] {warning}", soft_wrap=True)
