"""`mp2flame live`: a head in the browser that follows a face, live."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mp2flame.cli.console import finish, say
from mp2flame.cli.options import HeadOption, ImageOptions, MappingOptions, option
from mp2flame.files import check_writable
from mp2flame.validation import check_number


@dataclass(frozen=True, kw_only=True)
class Live(ImageOptions, MappingOptions, HeadOption):
    """Drive a head live in the browser; send and record it.

    The page controls the source, the neutral face, smoothing, gains, mappings, sliders and recordings. Ctrl-C ends the
    command.

    The source may be a stream: livelink://:11111, ifacialmocap://HOST, vmc://:39539, ws://HOST:PORT. Frames can be sent
    to vmc://HOST:PORT, livelink://HOST:PORT, udp://HOST:PORT, and to the clients of ws://:PORT.

    With --neutral auto, the neutral face that was stored for this source is used if there is one.
    """

    source: Annotated[tyro.conf.Positional[str], option("[SOURCE]")] = "0"
    """A webcam's index (0), a video, a recording (.jsonl), or the address of a stream."""
    compare: Annotated[str | None, option("MAPPING")] = None
    """A second mapping, whose head is shown beside the first."""
    send: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], option("ADDRESS")] = ()
    """An address to send every frame to; may be repeated."""
    host: Annotated[str, option("HOST")] = "127.0.0.1"
    """The address at which the page is served; 0.0.0.0 serves it to the network."""
    port: Annotated[int, option("PORT")] = 8080
    """The port of the page; if it is in use the next free one is taken, and with 0 any free one."""
    data: Annotated[Path | None, option("DIR")] = None
    """The folder of recordings and stored neutral faces; by default the system's folder for user data."""

    def run(self) -> int:
        """Serve the page until Ctrl-C, then print the report."""
        from mp2flame.data import Observation
        from mp2flame.live import LiveSession, LiveSettings
        from mp2flame.mapping import Person
        from mp2flame.pipeline import load_neutral
        from mp2flame.streams.base import describe_exposure, describe_stream

        check_number("--port", self.port, at_least=0, at_most=65535)
        if self.data is not None:
            check_writable(self.data, folder=True)
        neutral = load_neutral(self.neutral, landmarker=self.landmarker, mirror=self.mirror)
        if isinstance(neutral, Observation):
            neutral = Person(neutral=neutral)
        session = LiveSession(
            LiveSettings(
                source=self.source,
                head=self.head,
                mappings=(self.mapping,),
                compare=self.compare,
                send=self.send,
                host=self.host,
                port=self.port,
                mirror=self.mirror,
                landmarker=self.landmarker,
                head_pose=self.head_pose,
                allow_head_mismatch=self.allow_head_mismatch,
                neutral=neutral,
                data=self.data,
            )
        )
        say(f"open {session.page.address} in a browser; {describe_exposure(self.host)}")
        for address in self.send:
            say(f"sending to {address}{describe_stream(address)}")
        return finish(session.run())
